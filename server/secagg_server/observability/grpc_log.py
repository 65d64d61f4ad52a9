"""grpc's own log, which is no part of ours: a line on standard error for each handshake that fails, without any limit.

So a stranger could fill a disk. What the front says of such connections is bounded, and tells their address.
"""

import os
from typing import Final

VARIABLE: Final = "GRPC_VERBOSITY"


def keep_errors_alone() -> None:
    """For this process, unless its environment says otherwise. grpc reads it when it is first used."""
    os.environ.setdefault(VARIABLE, "ERROR")
