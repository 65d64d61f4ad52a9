"""TLS 1.3 or nothing.

grpc has no setting for the lowest TLS version. It reads its TLS 1.2 cipher suites from the environment when it is
first imported. The only one offered here needs an RSA certificate, and the coordinator serves an ECDSA one (see
`secagg.crypto.identity.CoordinatorIdentity`): a TLS 1.2 handshake finds no cipher in common. The suites of TLS 1.3
are separate and stay.
"""

import os
import sys
from typing import Final

from secagg.errors import ConfigError

VARIABLE: Final = "GRPC_SSL_CIPHER_SUITES"
SUITES: Final = "ECDHE-RSA-AES128-GCM-SHA256"


def offer_tls13_only() -> None:
    """Set grpc's cipher suites for this process.

    Raises:
        ConfigError: grpc was imported before without them.
    """
    if os.environ.get(VARIABLE) == SUITES:
        return
    if "grpc" in sys.modules:
        raise ConfigError(
            f"grpc was imported before secagg_server and would allow TLS 1.2; import secagg_server first, "
            f"or start the process with {VARIABLE}={SUITES}"
        )
    os.environ[VARIABLE] = SUITES
