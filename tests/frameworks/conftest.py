"""Tests of the plug-ins, beside the frameworks themselves: `make frameworks` runs them in an environment of its own.

Warnings of our code are errors, as in all tests. A warning that a framework causes in itself, or in another package,
says nothing about us and is ignored. Nothing here asks a host outside this machine: what the frameworks tell their
makers is switched off before they are imported.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

SWITCHED_OFF = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
os.environ.update(SWITCHED_OFF)


def pytest_configure(config: pytest.Config) -> None:
    # The module of a warning is the one that did what is warned of. pytest tells of what nobody caught or closed.
    config.addinivalue_line("filterwarnings", r"ignore:::(?!secagg|tests\.|_pytest\.)")


@pytest.fixture(scope="session", autouse=True)
def _home_of_flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what Flower writes: its connections, its apps and the environments of their runs."""
    home = tmp_path_factory.mktemp("flower")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLWR_HOME", str(home))
        yield home
