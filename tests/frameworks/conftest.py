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
    # Ray opens this for the processes that it starts, and leaves it to the garbage collector.
    left_open = "ignore:Exception ignored in. <_io.FileIO name='/dev/null':pytest.PytestUnraisableExceptionWarning"
    config.addinivalue_line("filterwarnings", left_open)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two files run at a time, but no two of one framework: simulators look for free ports, and take them later."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            place = item.path.relative_to(here).as_posix()
            framework = next((name for name in ("flower", "nvflare") if name in place), place)
            item.add_marker(pytest.mark.xdist_group(framework))


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for what frameworks write and read: connections of Flower, environments of its runs, settings of FLARE."""
    home = tmp_path_factory.mktemp("home")
    # Ray asks the metadata server of the cloud that it may run in, unless a file says what its cluster is.
    (home / "ray_bootstrap_config.yaml").write_text("cluster_name: tests\nprovider: {type: local}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("FLWR_HOME", str(home / ".flwr"))
        yield home
