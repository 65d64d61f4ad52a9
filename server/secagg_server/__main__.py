"""The program `secagg-server`, also as `python -m secagg_server`."""

import sys
from importlib import import_module
from typing import Final

_EXTRA: Final = frozenset({"grpc_health", "grpc_reflection", "pydantic", "pydantic_settings", "structlog"})
"""What `pip install 'secagg[server]'` brings beside the client."""


def main() -> None:
    """Run the command line, or say what has to be installed for it."""
    try:
        cli = import_module("secagg_server.cli")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _EXTRA:
            raise
        sys.exit("error: secagg-server needs an optional dependency; install it with: pip install 'secagg[server]'")
    cli.main()


if __name__ == "__main__":
    main()
