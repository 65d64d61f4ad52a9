"""How several byte strings become one, without ambiguity, before they are hashed, signed, sealed or derived from."""

import hashlib


def frame(label: bytes, *fields: bytes) -> bytes:
    """`label` and `fields`, each behind its length as four big-endian bytes (proto/PROTOCOL.md, "Framing")."""
    return b"".join([len(part).to_bytes(4, "big") + part for part in (label, *fields)])


def digest(label: bytes, *fields: bytes) -> bytes:
    """SHA-256 of the frame: 32 bytes."""
    return hashlib.sha256(frame(label, *fields)).digest()
