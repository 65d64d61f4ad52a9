"""The files of the data plane's certificate, key and CA. The certificate is ECDSA and also signs receipts."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc

from secagg.crypto.identity import CoordinatorIdentity, TrustAnchors
from secagg.crypto.secret import Secret
from secagg.programs.keyfiles import read_private, read_public
from secagg.transport.tls import server_configuration
from secagg_server.settings import Settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files of certificate, key and CA hold. Certificate and key fit each other.

    Attributes:
        identity: one certificate serves TLS and signs receipts.
        trust: who may connect.
    """

    identity: CoordinatorIdentity
    trust: TrustAnchors
    _certificate_pem: bytes = field(repr=False)
    _key_pem: Secret

    def for_grpc(self) -> grpc.ServerCertificateConfiguration:
        """What gRPC shows and believes on new connections."""
        return server_configuration(self._certificate_pem, self._key_pem, self.trust)

    @property
    def expiries(self) -> list[tuple[str, datetime]]:
        """What expires when: the server certificate (with what is in its file), and each CA."""
        return [("server certificate", self.identity.not_valid_after), *self.trust.expiries]


def load(settings: Settings, now: float) -> Loaded:
    """Read the files that `settings` name.

    Args:
        settings: name the files.
        now: seconds since 1970.

    Raises:
        IdentityError: a file is missing, open to others, expired, RSA, or does not fit the other.
    """
    trust = TrustAnchors.from_pem(read_public(settings.participant_ca))
    certificate, key = read_public(settings.certificate), read_private(settings.key)
    identity = CoordinatorIdentity.from_pem(certificate, key.expose(), datetime.fromtimestamp(now, UTC))
    return Loaded(identity, trust, certificate, key)
