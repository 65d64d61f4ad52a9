"""The program `secagg-server`, also as `python -m secagg_server`."""

import os
import signal
import sys
from importlib import import_module
from typing import Final

from secagg.errors import MissingExtraError
from secagg_server.observability.grpc_verbosity import tell_of_handshakes

_EXTRA: Final = frozenset(
    {"grpc_health", "grpc_reflection", "prometheus_client", "pydantic", "pydantic_settings", "structlog", "uvicorn"}
)
"""What the extra `server` brings beside the client."""


def main() -> None:
    """Run the command line, or say what has to be installed for it. `health` runs without the rest, which is slow to
    load.
    """
    _fill_standard_files()
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _stop_before_the_start)
    if sys.argv[1:2] == ["serve"]:
        tell_of_handshakes()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it is served: files are read at the start anyway
    try:
        cli = import_module("secagg_server.health" if sys.argv[1:2] == ["health"] else "secagg_server.cli")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _EXTRA:
            raise
        sys.exit(f"error: {MissingExtraError('secagg-server', 'server')}")
    cli.main()


def _fill_standard_files() -> None:
    """Open /dev/null in place of standard input, output and error, as far as whoever started us has closed them. The
    next file that the process opens would have that place otherwise, and would get what is written to the log.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # has the lowest number that is free, which is this one
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115, lasts


def _stop_before_the_start(*_: object) -> None:
    """End the first process of a container while its modules are loaded: the kernel passes over a signal that such a
    process does not handle. Nothing has to be ended in order yet, and an exception could be lost in whatever is being
    imported. `serve` replaces this handler.
    """
    os._exit(0)


if __name__ == "__main__":
    main()
