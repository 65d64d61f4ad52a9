"""How many files this process may have open, and so how many connections it can have."""

import os
from typing import Final

import structlog

from secagg.errors import ConfigError

FILES_OF_ONE: Final = 3
"""A connection is one file of the proxy to the participant, one from there to grpc, and one of grpc."""

RESERVED: Final = 200
"""For the control plane, ledgers, logs and the process itself."""

ENOUGH: Final = 1000
"""Fewer connections than this are worth a warning."""

_WANTED: Final = 65_536
_FEWEST: Final = 16


def places(others: int) -> int:
    """Raise the limit of open files as far as the system lets us; how many connections of participants fit under it.

    Args:
        others: connections of the status port, one file each.

    Raises:
        ConfigError: almost none.
    """
    files, found = raised(others)
    if found < ENOUGH:
        structlog.get_logger().warning(
            "few_open_files", open_files=files, connections=found, change="raise the hard limit of open files"
        )
    return found


def raised(others: int) -> tuple[int, int]:
    """As `places`, without a word in the log: how many files may be open, and how many connections that makes."""
    files = _raised()
    found = max(0, files - RESERVED - others) // FILES_OF_ONE
    if found < _FEWEST:
        raise ConfigError(
            f"this process may open {files} files, which is {found} connections; raise the hard limit "
            "(ulimit -Hn, LimitNOFILE of systemd, --ulimit nofile of docker) to 4096 or more"
        )
    return files, found


def in_use() -> tuple[int, int | None]:
    """How many files this process has open, and how many it may have; None where the system knows no limit."""
    try:
        import resource  # noqa: PLC0415, not on every platform

        found = len(os.listdir("/proc/self/fd"))  # noqa: PTH208, names alone
    except (ImportError, OSError):
        return 0, None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return found, None if soft == resource.RLIM_INFINITY else soft


def _raised() -> int:
    try:
        import resource  # noqa: PLC0415, not on every platform
    except ImportError:
        return _WANTED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return _WANTED if soft == resource.RLIM_INFINITY else min(soft, _WANTED)
