"""The settings of TLS: version 1.3 alone, certificates on both sides, and one CA that both sides believe.

gRPC has no setting for the lowest TLS version. It reads its TLS 1.2 cipher suites from the environment when it is first
imported. The only suite that is left here needs an RSA certificate, and the coordinator serves an ECDSA one (see
`secagg.crypto.identity.CoordinatorIdentity`), so a TLS 1.2 handshake finds no cipher in common. The suites of TLS 1.3
are separate and stay. The setting holds for every gRPC connection of the process.

The cipher suites must be chosen before grpc is imported, so this module imports grpc only when credentials are made.
"""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from secagg.errors import ConfigError

if TYPE_CHECKING:
    import grpc

    from secagg.crypto.identity import Identity, TrustAnchors
    from secagg.crypto.secret import Secret

VARIABLE: Final = "GRPC_SSL_CIPHER_SUITES"
SUITES: Final = "ECDHE-RSA-AES128-GCM-SHA256"


def prefer_tls13() -> None:
    """Choose the cipher suites of this process, unless its environment has a choice or grpc was imported before.

    A client may leave it at that: the coordinator refuses TLS 1.2 in any case. Once grpc is imported nothing is set,
    because it would have no effect and look as if it had one.
    """
    if "grpc" not in sys.modules:
        os.environ.setdefault(VARIABLE, SUITES)


def demand_tls13(package: str) -> None:
    """Choose the cipher suites of this process, whatever its environment says.

    Args:
        package: that is being imported, for the error.

    Raises:
        ConfigError: grpc was imported before with other suites.
    """
    if os.environ.get(VARIABLE) == SUITES:
        return
    if "grpc" in sys.modules:  # check: tls-1.3-alone
        raise ConfigError(
            f"grpc was imported before {package} and would allow TLS 1.2; import {package} first, "
            f"or start the process with {VARIABLE}={SUITES}"
        )
    os.environ[VARIABLE] = SUITES


def client_credentials(identity: "Identity", trust: "TrustAnchors") -> "grpc.ChannelCredentials":
    """Show the participant's certificate, and believe servers of the deployment's CA alone."""
    import grpc  # noqa: PLC0415

    return grpc.ssl_channel_credentials(
        root_certificates=trust.pem,
        private_key=identity.private_key_pem().expose(),
        certificate_chain=identity.certificate_pem,
    )


def server_configuration(
    certificate_pem: bytes, key_pem: "Secret", trust: "TrustAnchors"
) -> "grpc.ServerCertificateConfiguration":
    """Show the coordinator's certificate, and believe participants of the deployment's CA alone."""
    import grpc  # noqa: PLC0415

    pairs = [(key_pem.expose(), certificate_pem)]
    return grpc.ssl_server_certificate_configuration(pairs, root_certificates=trust.pem)


def server_credentials(
    first: "grpc.ServerCertificateConfiguration",
    changed: "Callable[[], grpc.ServerCertificateConfiguration | None]",
) -> "grpc.ServerCredentials":
    """Demand a certificate of every client, and let the server's own be replaced while it runs.

    Args:
        first: in force when the server starts.
        changed: asked by a thread of gRPC before each handshake; None where nothing has changed since it last asked.
    """
    return _server_credentials(first, changed, mutual=True)


def server_only_credentials(
    first: "grpc.ServerCertificateConfiguration",
    changed: "Callable[[], grpc.ServerCertificateConfiguration | None]",
) -> "grpc.ServerCredentials":
    """As `server_credentials`, but clients need no certificate: their calls say who they are."""
    return _server_credentials(first, changed, mutual=False)


def _server_credentials(
    first: "grpc.ServerCertificateConfiguration",
    changed: "Callable[[], grpc.ServerCertificateConfiguration | None]",
    *,
    mutual: bool,
) -> "grpc.ServerCredentials":
    import grpc  # noqa: PLC0415

    # The stubs do not know that None stands for no change.
    return grpc.dynamic_ssl_server_credentials(first, changed, mutual)  # type: ignore[arg-type]
