"""The files of the data plane's certificate, key and CA, and of who is refused. The certificate is ECDSA and also signs
receipts.
"""

import shlex
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc

from secagg.crypto.certificates import CertificateError, check_valid_at, parse_pem_chain
from secagg.crypto.identity import CoordinatorIdentity, TrustAnchors
from secagg.crypto.revocation import RevocationList
from secagg.crypto.secret import Secret
from secagg.errors import IdentityError
from secagg.programs.keyfiles import read_private, read_public
from secagg.transport.tls import server_configuration
from secagg_server.certificates.denied import DenyList
from secagg_server.gateway.tokens import read_keys
from secagg_server.observability.state import GATEWAY_CERTIFICATE
from secagg_server.settings import Settings


@dataclass(frozen=True, slots=True)
class GatewayFiles:
    """What the gateway shows, and whom it believes.

    Attributes:
        tls: TLS 1.3 alone, with its certificate and key.
        token_keys: of tokens.
        not_valid_after: when the gateway's own certificate expires, or another one in its file before that; None where
            it shows the coordinator's.
    """

    tls: ssl.SSLContext
    token_keys: tuple[Secret, ...]
    not_valid_after: datetime | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files of certificate, key, CA and who is refused hold. Certificate and key fit each other.

    Attributes:
        identity: one certificate serves TLS and signs receipts.
        trust: who may connect, without those whose certificates the CA took back.
        denied: who may not, by name.
        gateway: what the gateway needs; None without one.
    """

    identity: CoordinatorIdentity
    trust: TrustAnchors
    denied: DenyList
    gateway: GatewayFiles | None
    _certificate_pem: bytes = field(repr=False)
    _key_pem: Secret

    def for_grpc(self) -> grpc.ServerCertificateConfiguration:
        """What gRPC shows and believes on new connections."""
        return server_configuration(self._certificate_pem, self._key_pem, self.trust)

    @property
    def expiries(self) -> list[tuple[str, datetime]]:
        """What expires when: the server certificate (with what is in its file), each CA, each revocation list, and the
        gateway's own certificate.
        """
        gateway = None if self.gateway is None else self.gateway.not_valid_after
        others = [] if gateway is None else [(GATEWAY_CERTIFICATE, gateway)]
        return [("server certificate", self.identity.not_valid_after), *self.trust.expiries, *others]


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
    identity = _identity(settings, certificate, key, now)
    return Loaded(identity, trust, read_denied(settings), read_gateway(settings, now), certificate, key)


def read_trust(settings: Settings, now: float) -> TrustAnchors:
    """Who may take part.

    Raises:
        IdentityError: a file is missing, cannot be read, or has no CA certificate that is valid at `now`; or a
            revocation list is not signed by a CA of ours, or a newer one is due.
    """
    with _of_setting("participant_ca", settings.participant_ca):
        pem = read_public(settings.participant_ca)
        trust = TrustAnchors.from_pem(pem)
        trust.check_validity(datetime.fromtimestamp(now, UTC))
    if settings.crl is None:
        return trust
    with _of_setting("crl", settings.crl):
        lists = read_public(settings.crl)
        try:
            if not RevocationList.all_in(lists):  # check: revocation-list-there
                raise IdentityError("it holds no PEM revocation list (BEGIN X509 CRL)")
            trust = TrustAnchors.from_pem(pem.rstrip() + b"\n" + lists)
            trust.check_validity(datetime.fromtimestamp(now, UTC))
        except IdentityError as error:
            raise error.mended_by(f"install -m 644 secagg-ca/crl.pem {shlex.quote(str(settings.crl))}") from None
    return trust


def read_denied(settings: Settings) -> DenyList:
    """Who may not take part.

    Raises:
        IdentityError: the file is missing, cannot be read, or has a line that names nobody.
    """
    if settings.denied is None:
        return DenyList()
    with _of_setting("denied", settings.denied):
        try:
            return DenyList.parse(read_public(settings.denied).decode())
        except UnicodeDecodeError:
            raise IdentityError("it is not UTF-8") from None


def read_identity(settings: Settings, now: float) -> CoordinatorIdentity:
    """The certificate that serves TLS and signs receipts, and its key.

    Raises:
        IdentityError: as of `load`, but for the CA.
    """
    return _identity(settings, *_read_pair(settings), now)


def read_gateway(settings: Settings, now: float) -> GatewayFiles | None:
    """What the gateway needs; None without one.

    Raises:
        IdentityError: a file is missing, or open to others; or it holds no keys of tokens; or certificate and key do
            not fit, or the gateway's own certificate is not valid at `now`.
    """
    if settings.gateway is None or settings.gateway_token_key is None:
        return None
    with _of_setting("gateway_token_key", settings.gateway_token_key):
        keys = read_keys(read_private(settings.gateway_token_key))
    own = settings.gateway_certificate is not None
    certificate, key = settings.gateway_certificate or settings.certificate, settings.gateway_key or settings.key
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _demand_tls13(tls)  # check: gateway-tls
    tls.set_alpn_protocols(["http/1.1"])
    with _of_setting("gateway_key" if own else "key", key):
        read_private(key)
    with _of_setting("gateway_certificate" if own else "certificate", certificate):
        pem = read_public(certificate)
        try:
            tls.load_cert_chain(certificate, key, password="")
        except (ssl.SSLError, ValueError):
            raise IdentityError(f"it is no certificate chain in PEM, or {key} is not its key") from None
        expires = _valid_until(pem, datetime.fromtimestamp(now, UTC)) if own else None
    return GatewayFiles(tls, keys, expires)


def _valid_until(pem: bytes, now: datetime) -> datetime:
    """When the first of the certificates expires. Raise `IdentityError` if the leaf is not valid at `now`."""
    try:
        leaf, *others = parse_pem_chain(pem)
        check_valid_at(leaf, now)  # check: gateway-certificate-valid
    except CertificateError as error:
        raise IdentityError(f"the gateway's certificate: {error}") from None
    return min(one.not_valid_after_utc for one in (leaf, *others))


def _read_pair(settings: Settings) -> tuple[bytes, Secret]:
    with _of_setting("certificate", settings.certificate):
        certificate = read_public(settings.certificate)
    with _of_setting("key", settings.key):
        return certificate, read_private(settings.key)


def _identity(settings: Settings, certificate: bytes, key: Secret, now: float) -> CoordinatorIdentity:
    with _of_setting("certificate", settings.certificate):
        return CoordinatorIdentity.from_pem(certificate, key.expose(), datetime.fromtimestamp(now, UTC))


def _demand_tls13(tls: ssl.SSLContext) -> None:
    tls.minimum_version = ssl.TLSVersion.TLSv1_3


@contextmanager
def _of_setting(name: str, path: Path) -> Iterator[None]:
    """Let an error name the setting, and the file that it names."""
    try:
        yield
    except IdentityError as error:
        named = "" if str(path) in error.wrong else f", {path}"
        raise IdentityError(f"{error.wrong} (setting {name}{named})").mended_by(error.mend) from error
