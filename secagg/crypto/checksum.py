"""What finds out whether bytes were changed by mistake. It is no defence against somebody who makes bytes for it."""

from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHECKSUM_SIZE: Final = 16
CHECKSUM_TAG_SIZE: Final = 12

_PLAIN: Final = bytes(CHECKSUM_TAG_SIZE)

_CIPHER: Final = AESGCM(bytes(16))
# The key and the nonces are known to everybody. Nothing is kept secret by them: the tag of AES-GCM is used because
# processors with AES instructions compute it faster than SHA-256.


def checksum(data: bytes | memoryview, tag: bytes = _PLAIN) -> bytes:
    """16 bytes, which are others with a probability of about 1 − 2^-100 if the data was changed by mistake.

    Args:
        data: contiguous, less than 2 GiB.
        tag: 12 bytes that say what the data is; with another one the checksum is another one.
    """
    return _CIPHER.encrypt(tag, b"", data)
