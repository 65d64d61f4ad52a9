"""ECDSA over P-256 with SHA-256 (FIPS 186-5): the one signature scheme of the protocol."""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secagg.errors import AuthenticationError

MAX_SIGNATURE_SIZE: Final = 72
"""Bytes of a signature at most."""

# Deterministic nonces (RFC 6979): a bad random number generator must not give the key away; vectors can be replayed.
_SIGN: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_VERIFY: Final = ec.ECDSA(hashes.SHA256())


def sign(private_key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """A DER-encoded signature (RFC 3279 §2.2.3), about 70 bytes. `message` starts with its label."""
    return private_key.sign(message, _SIGN)


def encode_public_key(public_key: ec.EllipticCurvePublicKey) -> bytes:
    """The point, uncompressed (SEC 1): 65 bytes."""
    return public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def decode_public_key(point: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a point that `encode_public_key` gave."""
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def verify(public_key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes, *, culprit: str | None) -> None:
    """Raise `AuthenticationError` naming `culprit` unless `signature` is valid over `message`.

    A valid signature can be turned into a second valid one without the key (r, n − s): a signature proves who signed
    what, and is never used as an identifier.
    """
    try:
        public_key.verify(signature, message, _VERIFY)
    except InvalidSignature as error:
        who = "a peer" if culprit is None else culprit
        raise AuthenticationError(f"the signature of {who} does not verify", culprit=culprit) from error
