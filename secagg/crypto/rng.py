"""Randomness as an argument, so that every run can be replayed."""

import os
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


class Rng(Protocol):
    """A source of uniform bytes."""

    def token(self, size: int) -> bytes:
        """`size` uniform random bytes."""
        ...


class SystemRng:
    """The operating system's CSPRNG. The only source used outside vectors and simulations."""

    def token(self, size: int) -> bytes:
        """`size` bytes of `os.urandom`."""
        return os.urandom(size)


class SeededRng:
    """A replayable stream: AES-256-CTR keyed by the seed. For vectors and simulations; and for a step that a
    participant may have to make again with the same bytes, where the seed is drawn from the operating system for this
    step alone.
    """

    def __init__(self, seed: bytes) -> None:
        """Args: seed: 32 bytes."""
        # Zero IV: the key is the seed and has this one use.
        self._stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()

    def token(self, size: int) -> bytes:
        """The next `size` bytes of the stream."""
        return self._stream.update(bytes(size))
