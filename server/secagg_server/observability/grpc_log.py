"""The log of grpc itself, which is no part of ours.

It has a line on standard error for each handshake that fails, without any limit, so a stranger could fill a disk. What
our connection proxy logs of such connections is bounded, and has their address.
"""

import os
from typing import Final

VARIABLE: Final = "GRPC_VERBOSITY"


def keep_errors_alone() -> None:
    """Let grpc log errors alone, unless the environment says otherwise. grpc reads this when it is first used."""
    os.environ.setdefault(VARIABLE, "ERROR")
