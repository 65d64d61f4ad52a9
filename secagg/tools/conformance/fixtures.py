"""Identities and randomness of the vectors: fixed, public, for tests alone.

Every scalar and seed is the hash of a label, so the vectors come out the same byte for byte wherever they are made.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secagg.context import Context
from secagg.crypto.certificates import PARTICIPANT_URN
from secagg.crypto.identity import Identity
from secagg.crypto.rng import SeededRng
from secagg.messages import ParticipantId

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
NOW_S: Final = 1_700_000_000
"""When every round of the vectors opens: 2023-11-14 22:13:20 UTC, in seconds since 1970."""

_NOW: Final = datetime.fromtimestamp(NOW_S, UTC)
_DAY: Final = timedelta(days=1)


def seed(name: str) -> bytes:
    """32 bytes for one purpose."""
    return hashlib.sha256(b"secagg conformance, test only: " + name.encode()).digest()


CONTEXT: Final = Context(seed("context"))
ALICE: Final = ParticipantId("Alice.1")
BOB: Final = ParticipantId("bob-2")
"""Where there is no round: what binds to one, and two participants."""


def rng(name: str) -> SeededRng:
    """A replayable stream for one purpose."""
    return SeededRng(seed(name))


def signing_key(name: str) -> ec.EllipticCurvePrivateKey:
    """The ECDSA key over P-256 of a participant, coordinator or CA."""
    scalar = int.from_bytes(seed("signing key of " + name), "big") % (P256_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def scalar_hex(key: ec.EllipticCurvePrivateKey) -> str:
    """The private scalar: 32 bytes big-endian."""
    return key.private_numbers().private_value.to_bytes(32, "big").hex()


def authority(name: str, *, below: int = 0) -> x509.Certificate:
    """A self-signed CA of that name, with at most so many CAs below it."""
    key = signing_key(name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, subject, key, serial=name, days=3650)
        .add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)


def intermediate(name: str, issuer: str) -> bytes:
    """A CA of that name below the one called `issuer`, in DER."""
    ca, own = signing_key(issuer), authority(name)
    builder = (
        _builder(own.subject, authority(issuer).subject, signing_key(name), serial=f"{issuer}/{name}", days=365)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()), critical=False)
    )
    return der(builder.sign(ca, hashes.SHA256(), ecdsa_deterministic=True))


def certificate(participant_id: str, organisation: str, issuer: str, *, days: int = 365) -> bytes:
    """A participant's certificate by the CA called `issuer`, in DER. `days`: negative for one that is expired."""
    subject = [(NameOID.ORGANIZATION_NAME, organisation), (NameOID.COMMON_NAME, participant_id)]
    name = x509.UniformResourceIdentifier(PARTICIPANT_URN + participant_id)
    serial = f"{issuer}/{participant_id}/{days}"
    return _issued(issuer, participant_id, subject, name, ExtendedKeyUsageOID.CLIENT_AUTH, serial=serial, days=days)


def server_certificate(host: str, issuer: str) -> bytes:
    """A coordinator's certificate by the CA called `issuer`, in DER. Its key is that of `host`."""
    subject, name = [(NameOID.COMMON_NAME, host)], x509.DNSName(host)
    return _issued(issuer, host, subject, name, ExtendedKeyUsageOID.SERVER_AUTH, serial=f"{issuer}/{host}", days=365)


def identity(certificate_der: bytes, scalar: str, *issuers: bytes) -> Identity:
    """An identity from its parts as a vector states them. `issuers` stand between its certificate and the CA."""
    chain = b"".join(map(pem, (certificate_der, *issuers)))
    return Identity.from_pem(chain, private_pem(ec.derive_private_key(int(scalar, 16), ec.SECP256R1())))


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as unencrypted PKCS#8."""
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, pkcs8, plain)


def der(certificate: x509.Certificate) -> bytes:
    """A certificate in DER, as vectors hold it."""
    return certificate.public_bytes(serialization.Encoding.DER)


def pem(certificate_der: bytes) -> bytes:
    """The same certificate in PEM."""
    return x509.load_der_x509_certificate(certificate_der).public_bytes(serialization.Encoding.PEM)


def _issued(
    issuer: str,
    holder: str,
    subject: list[tuple[x509.ObjectIdentifier, str]],
    name: x509.GeneralName,
    purpose: x509.ObjectIdentifier,
    *,
    serial: str,
    days: int,
) -> bytes:
    ca, key = signing_key(issuer), signing_key(holder)
    holders = x509.Name([x509.NameAttribute(kind, value) for kind, value in subject])
    builder = (
        _builder(holders, authority(issuer).subject, key, serial=serial, days=days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()), critical=False)
    )
    return der(builder.sign(ca, hashes.SHA256(), ecdsa_deterministic=True))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, serial: str, days: int
) -> x509.CertificateBuilder:
    begin, end = (_NOW - _DAY, _NOW + days * _DAY) if days > 0 else (_NOW + (days - 1) * _DAY, _NOW + days * _DAY)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(seed("serial number of " + serial)[:16], "big") >> 1 | 1)
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    never = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        **dict.fromkeys((*never, "encipher_only", "decipher_only"), False),
    )
