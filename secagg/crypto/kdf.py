"""HKDF-SHA256 (RFC 5869), the only key derivation of the protocol."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secagg.crypto.secret import Secret


def derive(key_material: Secret, *, salt: bytes, info: bytes, size: int) -> Secret:
    """A key of `size` bytes. `info` is a `transcript.frame` that begins with the label of its one purpose."""
    return Secret(HKDF(algorithm=SHA256(), length=size, salt=salt, info=info).derive(key_material.expose()))
