"""How much grpc's C core writes to standard error.

It has a line for each handshake that fails, without any limit, so a stranger could fill a disk. Where nobody reads its
lines it writes errors alone. `secagg-server serve` reads them (`standard_error.py`), and lets it tell of handshakes.
grpc looks at these variables when it is imported, so this module imports nothing of it.
"""

import os
from typing import Final

VERBOSITY: Final = "GRPC_VERBOSITY"
TRACE: Final = "GRPC_TRACE"
HANDSHAKES: Final = "handshaker"
"""The tracer whose lines say why a handshake failed and whose it was, in one."""

CHOSEN: Final = VERBOSITY in os.environ
"""Whether the operator chose how much grpc writes. Then it stays so, and all of it goes to the log."""


def keep_errors_alone() -> None:
    """Let grpc write errors alone, unless the operator chose otherwise."""
    os.environ.setdefault(VERBOSITY, "ERROR")


def tell_of_handshakes() -> None:
    """Let grpc write of each handshake, unless the operator chose otherwise: its lines will be read."""
    if CHOSEN:
        return
    os.environ[VERBOSITY] = "INFO"
    os.environ[TRACE] = ",".join(filter(None, (os.environ.get(TRACE), HANDSHAKES)))
