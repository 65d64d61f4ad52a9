"""These tests need the extra `redteam`, which is not in requirements.lock.

Without it they are left out, and the summary says so. Where SECAGG_REDTEAM is set, as in CI, leaving them out is an
error: they cannot vanish unnoticed.
"""

import os
from importlib.util import find_spec

import pytest

MISSING = [name for name in ("torch", "skimage", "sklearn") if find_spec(name) is None]

if MISSING and os.environ.get("SECAGG_REDTEAM"):
    raise pytest.UsageError(f"SECAGG_REDTEAM is set and {', '.join(MISSING)} missing: pip install '.[redteam]'")

collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MISSING:
        terminalreporter.write_line(
            f"tests/redteam/inversion left out: {', '.join(MISSING)} not installed", yellow=True
        )


if not MISSING:
    import torch

    torch.set_num_threads(1)  # small arrays: more threads only wait for each other
