"""AES-GCM (NIST SP 800-38D) for one message under one key."""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secagg.crypto.secret import Secret
from secagg.errors import AuthenticationError

TAG_SIZE: Final = 16

# Every sealing key is derived for one round, one direction and one message, so no (key, nonce) pair can repeat.
_NONCE: Final = bytes(12)


def seal(key: Secret, plaintext: bytes, associated_data: bytes) -> bytes:
    """Ciphertext ‖ 16-byte tag. `key` must never seal a second message."""
    return AESGCM(key.expose()).encrypt(_NONCE, plaintext, associated_data)


def unseal(key: Secret, sealed: bytes, associated_data: bytes, *, sender: str) -> bytes:
    """The plaintext.

    Raises:
        AuthenticationError: made with another key, for other associated data, or altered.
    """
    try:
        return AESGCM(key.expose()).decrypt(_NONCE, sealed, associated_data)
    except InvalidTag:
        raise AuthenticationError(f"the sealed message of {sender} does not open", culprit=sender) from None
