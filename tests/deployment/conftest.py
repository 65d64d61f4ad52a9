"""Tests of what is in deploy/ and of the pages that the sidecar serves, with the programs that read them elsewhere.

`make deployment` runs them. They need Debian's docker.io, debootstrap, iptables, prometheus (promtool), chromium,
chromium-driver, curl, faketime, iproute2, procps and systemd, which `.ci/run` installs. They also need root, because
some imitate the users of a pod or boot a systemd in namespaces of its own. A program that is missing is a failure and
no reason to skip.
"""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKERS = ROOT / "build/deployment/bin", ROOT / "build/checkov/bin"
"""Commands of requirements-deployment.lock and requirements-checkov.lock; `make deployment` installs them."""


def program(name: str) -> str:
    """Where a program is: of our own environments, or of the system."""
    found = shutil.which(name, path=":".join(map(str, CHECKERS))) or shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: {__doc__}")
    return found
