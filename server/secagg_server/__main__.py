"""The program `secagg-server`, also as `python -m secagg_server`."""

import sys
from importlib import import_module
from typing import Final

from secagg.errors import MissingExtraError

_EXTRA: Final = frozenset({"grpc_health", "grpc_reflection", "pydantic", "pydantic_settings", "structlog"})
"""What the extra `server` brings beside the client."""


def main() -> None:
    """Run the command line, or say what has to be installed for it."""
    try:
        cli = import_module("secagg_server.cli")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _EXTRA:
            raise
        sys.exit(f"error: {MissingExtraError('secagg-server', 'server')}")
    cli.main()


if __name__ == "__main__":
    main()
