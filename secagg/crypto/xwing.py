"""X-Wing (draft-connolly-cfrg-xwing-kem): a key encapsulation that holds as long as X25519 or ML-KEM-768 does.

The private key is a seed of 32 bytes, so it is shared among participants as an X25519 private key is.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

from cryptography.hazmat.backends.openssl.backend import backend
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from secagg.crypto import agreement
from secagg.crypto.agreement import KEY_SIZE, KeyPair
from secagg.crypto.secret import Secret
from secagg.errors import AuthenticationError, ConfigError

PUBLIC_KEY_SIZE: Final = 1216
"""Bytes of a public key: 1184 of ML-KEM-768, then 32 of X25519."""

CIPHERTEXT_SIZE: Final = 1120
"""Bytes of a ciphertext: 1088 of ML-KEM-768, then 32 of X25519."""

_ML_KEM_CIPHERTEXT: Final = CIPHERTEXT_SIZE - KEY_SIZE
_ML_KEM_SEED: Final = 64
_LABEL: Final = b"\\.//^\\"

Encapsulate = Callable[[bytes], tuple[Secret, bytes]]
"""From a public key of 1216 bytes to a fresh secret of 32 bytes and the ciphertext that gives it to the owner of the
key. It raises `ValueError` for a key that nobody can own.
"""


@dataclass(frozen=True, slots=True)
class HybridKeyPair(KeyPair):
    """A fresh X-Wing key pair of one round. Its X25519 half agrees with that of another pair, too (`agree`)."""

    public_size: ClassVar[int] = PUBLIC_KEY_SIZE
    _decapsulation: MLKEM768PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        scalar, seed = _expanded(self.private)
        object.__setattr__(self, "_handle", X25519PrivateKey.from_private_bytes(scalar))
        object.__setattr__(self, "_decapsulation", MLKEM768PrivateKey.from_seed_bytes(seed))

    @classmethod
    def from_private(cls, private: Secret) -> Self:
        """The key pair of a 32-byte seed."""
        scalar, seed = _expanded(private)
        ml_kem = MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()
        return cls(private, ml_kem + X25519PrivateKey.from_private_bytes(scalar).public_key().public_bytes_raw())

    def decapsulate(self, ciphertext: bytes, *, sender: str) -> Secret:
        """The 32-byte secret in a ciphertext of 1120 bytes. One that was made for another key, or altered, gives a
        secret that nobody else has; so whatever was sealed with it does not open.

        Raises:
            AuthenticationError: it gives no secret, since its X25519 half is of low order.
        """
        ml_kem, x25519 = ciphertext[:_ML_KEM_CIPHERTEXT], ciphertext[_ML_KEM_CIPHERTEXT:]
        try:
            agreed = self._handle.exchange(X25519PublicKey.from_public_bytes(x25519))
            return _combined(self._decapsulation.decapsulate(ml_kem), agreed, x25519, _x25519_half(self.public))
        except ValueError:
            raise AuthenticationError(f"the ciphertext of {sender} gives no secret", culprit=sender) from None


def encapsulate(public: bytes) -> tuple[Secret, bytes]:
    """A fresh secret and its ciphertext, as `Encapsulate` says. The randomness is the operating system's."""
    ephemeral = X25519PrivateKey.generate()
    owner = X25519PublicKey.from_public_bytes(_x25519_half(public))
    shared, ciphertext = MLKEM768PublicKey.from_public_bytes(public[:-KEY_SIZE]).encapsulate()
    x25519 = ephemeral.public_key().public_bytes_raw()
    return _combined(shared, ephemeral.exchange(owner), x25519, _x25519_half(public)), ciphertext + x25519


def check_public_key(public: bytes, *, owner: str) -> None:
    """Refuse a public key that no honest participant makes.

    Raises:
        AuthenticationError: not 1216 bytes, or an X25519 half that `agreement.check_public_key` refuses, or an ML-KEM
            half with a coefficient that is not reduced (FIPS 203, section 7.2).
    """
    if len(public) != PUBLIC_KEY_SIZE:
        raise AuthenticationError(f"public key of {owner} is not {PUBLIC_KEY_SIZE} bytes", culprit=owner)
    agreement.check_public_key(_x25519_half(public), owner=owner)
    try:
        MLKEM768PublicKey.from_public_bytes(public[:-KEY_SIZE])
    except ValueError:
        raise AuthenticationError(f"public key of {owner} is no key of ML-KEM-768", culprit=owner) from None


def require() -> None:
    """Refuse to go on where the OpenSSL below the library has no ML-KEM-768.

    Raises:
        ConfigError: it has none.
    """
    if not backend.mlkem_supported():
        raise ConfigError(
            "the suite XWING_SHA256_AES256 needs ML-KEM-768, which the library cryptography does not have here; "
            "install one of its wheels, or build it with OpenSSL 3.5 or later"
        )


def _expanded(seed: Secret) -> tuple[bytes, bytes]:
    """The X25519 scalar and the ML-KEM seed (d ‖ z) of a seed."""
    both = hashlib.shake_256(seed.expose()).digest(_ML_KEM_SEED + KEY_SIZE)
    return both[_ML_KEM_SEED:], both[:_ML_KEM_SEED]


def _combined(ml_kem: bytes, x25519: bytes, ciphertext: bytes, public: bytes) -> Secret:
    """The secret, from those of both halves, and from the X25519 halves of ciphertext and public key."""
    return Secret(hashlib.sha3_256(ml_kem + x25519 + ciphertext + public + _LABEL).digest())


def _x25519_half(public: bytes) -> bytes:
    return public[-KEY_SIZE:]
