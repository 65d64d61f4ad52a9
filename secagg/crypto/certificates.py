"""What a secagg certificate looks like: one profile, read the same way wherever a certificate is met.

A participant's certificate (RFC 5280, DER) holds
- an ECDSA P-256 key,
- the participant id in exactly one SubjectAlternativeName URI `urn:secagg:participant:<id>`
  (the subject CN repeats it for people and is never read),
- the organisation in exactly one subject O attribute,
- the extended key usage clientAuth.
A coordinator's certificate holds an ECDSA P-256 key, its DNS names and IP addresses in the SubjectAlternativeName,
and the extended key usage serverAuth.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Final, TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secagg.errors import printable

ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)
CertificateChain: TypeAlias = tuple[bytes, ...]  # DER, leaf first
PARTICIPANT_URN: Final = "urn:secagg:participant:"
MAX_CHAIN_LENGTH: Final = 4
MAX_CERTIFICATE_BYTES: Final = 8192
MAX_ORGANISATION_CHARS: Final = 64  # RFC 5280, ub-organization-name
MAX_SHOWN_CHARS: Final = 200  # of what a peer wrote into a certificate, in an error

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What `cryptography` raises over a certificate that it can load and not read (a BIT STRING for a name: TypeError).
UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class CertificateError(ValueError):
    """A certificate outside the profile. Never leaves the package: whose certificate it is decides the error raised."""


class Role(Enum):
    """What a certificate is for; the value is its extended key usage."""

    PARTICIPANT = ExtendedKeyUsageOID.CLIENT_AUTH
    SERVER = ExtendedKeyUsageOID.SERVER_AUTH


def is_participant_id(text: str) -> bool:
    """1 to 64 ASCII letters, digits, dots, underscores and dashes; a letter or digit first."""
    return _ID.fullmatch(text) is not None


def is_organisation(text: str) -> bool:
    """1 to 64 printable characters, no space at either end."""
    return 0 < len(text) <= MAX_ORGANISATION_CHARS and text.isprintable() and text == text.strip()


def check_chain_size(chain: Sequence[bytes]) -> None:
    """Raise unless the chain is as short as everybody takes it."""
    if not 0 < len(chain) <= MAX_CHAIN_LENGTH:
        raise CertificateError(f"a chain holds 1 to {MAX_CHAIN_LENGTH} certificates, this one {len(chain)}")
    if max(map(len, chain)) > MAX_CERTIFICATE_BYTES:
        raise CertificateError(f"a certificate is longer than {MAX_CERTIFICATE_BYTES} bytes")


def parse_der_chain(chain: CertificateChain) -> list[x509.Certificate]:
    """The certificates of a chain that a peer sent, leaf first."""
    check_chain_size(chain)
    try:
        return [x509.load_der_x509_certificate(der) for der in chain]
    except UNREADABLE as error:
        raise CertificateError("not a readable X.509 certificate") from error


def parse_pem_chain(pem: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM file, in its order."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except UNREADABLE as error:
        raise CertificateError("no readable PEM certificate") from error


def participant_id_of(certificate: x509.Certificate) -> str:
    """The id in the one `urn:secagg:participant:` name."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    uris = [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)
    ids = [uri.removeprefix(PARTICIPANT_URN) for uri in uris if uri.startswith(PARTICIPANT_URN)]
    if len(ids) != 1:
        raise CertificateError(f"needs exactly one name {PARTICIPANT_URN}<id>, has {len(ids)}")
    if not is_participant_id(ids[0]):
        raise CertificateError("the participant id is not 1 to 64 of A-Z a-z 0-9 . _ -")
    return ids[0]


def host_names_of(certificate: x509.Certificate) -> list[str]:
    """The DNS names and IP addresses of a coordinator's certificate, at least one. Raise if it is a participant's."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        raise CertificateError("names no host in its SubjectAlternativeName")
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if any(uri.startswith(PARTICIPANT_URN) for uri in uris):
        raise CertificateError("it is a participant's")
    hosts = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    if not hosts:
        raise CertificateError("names no host in its SubjectAlternativeName")
    return hosts


def organisation_of(certificate: x509.Certificate) -> str:
    """The one organisation (O) of the subject."""
    try:
        values = [
            attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        ]
    except UNREADABLE as error:
        raise CertificateError("the subject is unreadable") from error
    if len(values) != 1:
        raise CertificateError(f"needs exactly one organisation (O) in its subject, has {len(values)}")
    value = values[0]
    if not isinstance(value, str) or not is_organisation(value):
        raise CertificateError(f"the organisation is not 1 to {MAX_ORGANISATION_CHARS} printable characters")
    return value


def public_key_of(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """The ECDSA P-256 key that a certificate is about."""
    try:
        key = certificate.public_key()
    except UNREADABLE as error:
        raise CertificateError("the public key is unreadable") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CertificateError("the key is not ECDSA; secagg takes ECDSA P-256 only")
    if not isinstance(key.curve, ec.SECP256R1):
        raise CertificateError(f"the key is on the curve {key.curve.name}; secagg takes ECDSA P-256 (secp256r1) only")
    return key


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may sign certificates (basic constraints, CA)."""
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def may_sign_lists(certificate: x509.Certificate) -> bool:
    """Whether it may sign revocation lists (key usage, cRLSign); a certificate without key usage may."""
    usage = _extension(certificate, x509.KeyUsage)
    return usage is None or usage.crl_sign


def check_role(certificate: x509.Certificate, role: Role) -> None:
    """Raise unless the extended key usage names `role`."""
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    if usage is None or role.value not in usage:
        name = "clientAuth" if role is Role.PARTICIPANT else "serverAuth"
        raise CertificateError(f"not a {role.name.lower()} certificate: its extended key usage lacks {name}")


def check_valid_at(certificate: x509.Certificate, now: datetime) -> None:
    """Raise before the first and after the last moment of validity. `now` is timezone-aware."""
    try:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except UNREADABLE as error:
        raise CertificateError("the validity period is unreadable") from error
    if now < begin:
        raise CertificateError(f"not valid before {begin:%Y-%m-%d %H:%M} UTC{_by_this_clock(now)}")
    if now > end:
        raise CertificateError(f"expired on {end:%Y-%m-%d %H:%M} UTC{_by_this_clock(now)}")


def _by_this_clock(now: datetime) -> str:
    """Either the certificate or the clock is wrong, so an error shows both."""
    return f" (the clock says {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC)"


def issuer_of(certificate: x509.Certificate) -> x509.Name:
    """The name of who signed it."""
    try:
        return certificate.issuer
    except UNREADABLE as error:
        raise CertificateError("the issuer is unreadable") from error


def show_name(name: x509.Name) -> str:
    """A subject or issuer for people."""
    return printable(name.rfc4514_string() or "(empty name)", MAX_SHOWN_CHARS)


def _extension(certificate: x509.Certificate, kind: type[ExtensionT]) -> ExtensionT | None:
    """The one extension of this kind, or None."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except UNREADABLE as error:
        raise CertificateError("its extensions are unreadable") from error
