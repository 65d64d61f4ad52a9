"""X25519 (RFC 7748) key pairs and agreement."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, Final, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.errors import AuthenticationError

KEY_SIZE: Final = 32
"""Bytes of a private key, of a public key and of a shared secret."""

_FIELD: Final = 2**255 - 19


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A fresh key pair of one round."""

    public_size: ClassVar[int] = KEY_SIZE
    private: Secret
    public: bytes
    # The library's form of the private key: making it costs as much as an agreement.
    _handle: X25519PrivateKey = field(init=False, repr=False, compare=False)
    _agreed: dict[bytes, Secret] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_handle", X25519PrivateKey.from_private_bytes(self.private.expose()))

    @classmethod
    def generate(cls, rng: Rng) -> Self:
        """A key pair from 32 random bytes."""
        return cls.from_private(Secret(rng.token(KEY_SIZE)))

    @classmethod
    def from_private(cls, private: Secret) -> Self:
        """The key pair of a 32-byte private key."""
        key = X25519PrivateKey.from_private_bytes(private.expose())
        return cls(private, key.public_key().public_bytes_raw())

    def agree(self, peer_public: bytes, *, peer: str) -> Secret:
        """The 32-byte shared secret with `peer`, from the X25519 key that the last 32 bytes of its public key are.

        Raises:
            AuthenticationError: the peer's key is of low order, so the secret would be known to everyone.
        """
        try:
            return Secret(self._handle.exchange(_public_key(peer_public[-KEY_SIZE:])))
        except ValueError:
            raise AuthenticationError(f"public key of {peer} gives no secret (low order)", culprit=peer) from None

    def agree_both_ways(self, peer_public: bytes, *, peer: str) -> Secret:
        """As `agree`, for a secret that is asked for twice, once in each direction. It is kept until then."""
        known = self._agreed.pop(peer_public, None)
        if known is None:
            known = self._agreed[peer_public] = self.agree(peer_public, peer=peer)
        return known


@lru_cache(maxsize=4096)
def _public_key(public: bytes) -> X25519PublicKey:
    """The library's form of a public key. It is kept: to unmask, the same ones are agreed with again and again."""
    return X25519PublicKey.from_public_bytes(public)


def is_reduced(public: bytes) -> bool:
    """Whether this is the one encoding of its point that honest participants make."""
    return int.from_bytes(public, "little") < _FIELD


def check_public_key(public: bytes, *, owner: str) -> None:
    """Refuse a public key that no honest participant makes.

    Raises:
        AuthenticationError: not 32 bytes, of low order, or not the one encoding of its point: RFC 7748 §5 ignores the
            top bit and reduces the rest, so two keys that look different could be the same.
    """
    if len(public) != KEY_SIZE or not is_reduced(public):
        raise AuthenticationError(f"public key of {owner} is not {KEY_SIZE} bytes of a reduced number", culprit=owner)
    _PROBE.agree(public, peer=owner)


_PROBE: Final = KeyPair.from_private(Secret(bytes(range(KEY_SIZE))))
"""Any key will do: private keys are multiples of 8, so a point of low order gives nothing with each of them."""
