"""The deployment's own CA: makes itself, certificates of participants and of coordinators, and its revocation list.

All keys are ECDSA P-256, fresh from the operating system. The caller gives the time and keeps the files.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from secagg.crypto.certificates import (
    PARTICIPANT_URN,
    CertificateError,
    Role,
    is_authority,
    is_organisation,
    is_participant_id,
    parse_pem_chain,
    public_key_of,
)
from secagg.crypto.secret import Secret
from secagg.errors import ConfigError, IdentityError

AUTHORITY_VALIDITY: Final = timedelta(days=3650)
LEAF_VALIDITY: Final = timedelta(days=365)
LIST_VALIDITY: Final = timedelta(days=30)
# A certificate begins this much before it is made, so that a machine whose clock is a little behind takes it at once.
BACKDATE: Final = timedelta(minutes=10)
_DNS_NAME: Final = re.compile(r"(?=.{1,253}\Z)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_MAX_COMMON_NAME_CHARS: Final = 64  # RFC 5280, ub-common-name


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A new certificate and its private key, both PEM (the key PKCS#8, encrypted if a passphrase was given)."""

    certificate_pem: bytes
    key_pem: Secret


@dataclass(frozen=True, slots=True, eq=False)
class Authority:
    """A CA that can sign: its certificate and private key."""

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def from_pem(cls, certificate_pem: bytes, key_pem: bytes, *, passphrase: bytes | None = None) -> "Authority":
        """Raise `IdentityError` when the two do not make a CA."""
        try:
            certificate = parse_pem_chain(certificate_pem)[0]
            public_key = public_key_of(certificate)
            authority = is_authority(certificate)
        except CertificateError as error:
            raise IdentityError(f"CA certificate: {error}") from error
        if not authority:
            raise IdentityError("this certificate is no CA certificate: it cannot issue others")
        key = load_private_key(key_pem, passphrase)
        if key.public_key() != public_key:
            raise IdentityError("the CA certificate and the CA key do not belong together")
        return cls(certificate, key)

    def __reduce__(self) -> NoReturn:
        raise TypeError("private keys are not pickled")


def create_authority(
    *, name: str, now: datetime, validity: timedelta = AUTHORITY_VALIDITY, passphrase: bytes | None = None
) -> IssuedCertificate:
    """A self-signed CA that can issue end certificates and no further CAs."""
    if not is_organisation(name):
        raise ConfigError("the CA's name is 1 to 64 printable characters")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, subject, key.public_key(), now, _end(now, validity))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    return _issued(builder.sign(key, hashes.SHA256()), key, passphrase)


def issue_participant(
    authority: Authority, *, participant_id: str, organisation: str, now: datetime, validity: timedelta = LEAF_VALIDITY
) -> IssuedCertificate:
    """An identity: one participant of one organisation, for mTLS and for signing protocol messages."""
    if not is_participant_id(participant_id):
        raise ConfigError(
            f"participant id {participant_id!r}: use 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
        )
    if not is_organisation(organisation):
        raise ConfigError("the organisation is 1 to 64 printable characters without a space at either end")
    subject = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
        x509.NameAttribute(NameOID.COMMON_NAME, participant_id),
    ]
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(PARTICIPANT_URN + participant_id)]
    return _issue(authority, subject, names, Role.PARTICIPANT, now=now, validity=validity)


def issue_server(
    authority: Authority, *, hosts: Sequence[str], now: datetime, validity: timedelta = LEAF_VALIDITY
) -> IssuedCertificate:
    """A coordinator's TLS certificate for these DNS names and IP addresses."""
    if not hosts:
        raise ConfigError("a server certificate needs at least one host name or IP address")
    common_name = x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:_MAX_COMMON_NAME_CHARS] or "?")
    return _issue(
        authority, [common_name], [_host_name(host) for host in hosts], Role.SERVER, now=now, validity=validity
    )


def issue_revocation_list(
    authority: Authority,
    serials: Sequence[tuple[int, datetime]],
    *,
    number: int,
    now: datetime,
    validity: timedelta = LIST_VALIDITY,
) -> bytes:
    """The list of a CA, PEM.

    Args:
        authority: the CA.
        serials: numbers of the certificates that are taken back, each with when that was.
        number: higher than that of the list before.
        now: timezone-aware.
        validity: until the next list comes at the latest.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - BACKDATE)
        .next_update(now + validity)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial, at in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
        builder = builder.add_revoked_certificate(revoked)
    return builder.sign(authority._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def load_private_key(key_pem: bytes, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """An ECDSA P-256 private key, or `IdentityError` that says what is wrong with it."""
    try:
        key = serialization.load_pem_private_key(key_pem, passphrase)
    except TypeError as error:  # how `cryptography` says: a passphrase is missing, or was given for nothing
        trouble = "is encrypted and needs its passphrase" if passphrase is None else "is not encrypted"
        raise IdentityError(f"the private key {trouble}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        trouble = (
            "no readable PEM private key" if passphrase is None else "no readable private key, or a wrong passphrase"
        )
        raise IdentityError(trouble) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError("the private key is not ECDSA P-256 (secp256r1), the only kind secagg takes")
    return key


def _issue(
    authority: Authority,
    subject: list[x509.NameAttribute[str]],
    names: list[x509.GeneralName],
    role: Role,
    *,
    now: datetime,
    validity: timedelta,
) -> IssuedCertificate:
    """Sign a fresh key for `subject`. The certificate never outlives its CA."""
    end, ca_end = _end(now, validity), authority.certificate.not_valid_after_utc
    if now > ca_end:
        raise IdentityError(f"the CA expired on {ca_end:%Y-%m-%d %H:%M} UTC; make a new one with: secagg ca init")
    if end > ca_end:
        raise ConfigError(
            f"the CA expires on {ca_end:%Y-%m-%d}: ask for at most {(ca_end - now).days} days or make a new CA first"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(x509.Name(subject), authority.certificate.subject, key.public_key(), now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([role.value]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key_of(authority.certificate)), critical=False
        )
    )
    return _issued(builder.sign(authority._key, hashes.SHA256()), key, None)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _end(now: datetime, validity: timedelta) -> datetime:
    if validity <= timedelta(0):
        raise ConfigError("a certificate must be valid for some time: ask for at least one day")
    try:
        return now + validity
    except OverflowError as error:
        raise ConfigError("the validity reaches past the year 9999") from error


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if _DNS_NAME.fullmatch(host) is None:
        raise ConfigError(f"{host!r} is neither an IP address nor a DNS name (write international names as xn--…)")
    return x509.DNSName(host)


def _issued(
    certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, passphrase: bytes | None
) -> IssuedCertificate:
    encryption: serialization.KeySerializationEncryption = (
        serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
    )
    key_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return IssuedCertificate(certificate.public_bytes(serialization.Encoding.PEM), Secret(key_pem))
