"""The data plane's credentials: an ECDSA certificate, which also signs receipts, and client certificates required."""

from datetime import UTC, datetime

import grpc

from secagg.cli.keyfiles import read_private, read_public
from secagg.crypto.identity import CoordinatorIdentity, TrustAnchors
from secagg_server.settings import Settings


def load_trust(settings: Settings) -> TrustAnchors:
    """The CA whose participants may connect; `IdentityError` when it cannot be read."""
    return TrustAnchors.from_pem(read_public(settings.participant_ca))


def load_credentials(
    settings: Settings, trust: TrustAnchors, now: float
) -> tuple[grpc.ServerCredentials, CoordinatorIdentity]:
    """Mutual TLS for grpc, and what signs receipts: one certificate for both.

    Args:
        settings: name the files.
        trust: who may connect.
        now: seconds since 1970.

    Raises:
        IdentityError: a file is missing, open to others, expired, RSA, or does not fit the other.
    """
    certificate, key = read_public(settings.certificate), read_private(settings.key)
    identity = CoordinatorIdentity.from_pem(certificate, key.expose(), datetime.fromtimestamp(now, UTC))
    pairs = [(key.expose(), certificate)]
    return grpc.ssl_server_credentials(pairs, root_certificates=trust.pem, require_client_auth=True), identity
