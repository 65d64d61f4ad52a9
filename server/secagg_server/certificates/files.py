"""The files of the data plane's certificate, key and CA. The certificate is ECDSA and also signs receipts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc

from secagg.crypto.identity import CoordinatorIdentity, TrustAnchors
from secagg.crypto.secret import Secret
from secagg.errors import IdentityError
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
    trust = read_trust(settings, now)
    certificate, key = _read_pair(settings)
    return Loaded(_identity(settings, certificate, key, now), trust, certificate, key)


def read_trust(settings: Settings, now: float) -> TrustAnchors:
    """Who may take part.

    Raises:
        IdentityError: the file is missing, cannot be read, or has no CA certificate that is valid at `now`.
    """
    with _of_setting("participant_ca", settings.participant_ca):
        trust = TrustAnchors.from_pem(read_public(settings.participant_ca))
        trust.check_validity(datetime.fromtimestamp(now, UTC))
    return trust


def read_identity(settings: Settings, now: float) -> CoordinatorIdentity:
    """The certificate that serves TLS and signs receipts, and its key.

    Raises:
        IdentityError: as of `load`, but for the CA.
    """
    return _identity(settings, *_read_pair(settings), now)


def _read_pair(settings: Settings) -> tuple[bytes, Secret]:
    with _of_setting("certificate", settings.certificate):
        certificate = read_public(settings.certificate)
    with _of_setting("key", settings.key):
        return certificate, read_private(settings.key)


def _identity(settings: Settings, certificate: bytes, key: Secret, now: float) -> CoordinatorIdentity:
    with _of_setting("certificate", settings.certificate):
        return CoordinatorIdentity.from_pem(certificate, key.expose(), datetime.fromtimestamp(now, UTC))


@contextmanager
def _of_setting(name: str, path: Path) -> Iterator[None]:
    """Let an error name the setting, and the file that it names."""
    try:
        yield
    except IdentityError as error:
        named = "" if str(path) in error.wrong else f", {path}"
        raise IdentityError(f"{error.wrong} (setting {name}{named})").mended_by(error.mend) from error
