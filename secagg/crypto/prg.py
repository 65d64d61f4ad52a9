"""Key streams that are entered anywhere: AES-CTR as a pseudo-random sequence of little-endian words.

Element i is word i, so any range can be computed alone. Rounding, noise, sampling and rotation draw from them. Mask
streams are made in strides: `secagg.crypto.mask_stream`.
"""

from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from secagg.crypto.secret import Secret

AES_BLOCK: Final = 16
ALIGNMENT: Final = 64
"""Ranges start at a multiple of this many elements, so that a range of any word size starts on an AES block."""

_MOST_BYTES: Final = 1 << 18
_ZEROS: Final = memoryview(bytes(_MOST_BYTES))

Words = np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]
"""A contiguous vector of uint8, uint16, uint32 or uint64."""


def word_dtype(bits: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The smallest unsigned little-endian word of 8, 16, 32 or 64 bits that holds `bits` bits."""
    for size in (1, 2, 4, 8):
        if bits <= 8 * size:
            return np.dtype(f"<u{size}")
    raise ValueError(f"{bits} bits do not fit a 64-bit word")


class KeyStream:
    """Words of one key, from a given element on. Zero IV: a key has exactly one stream."""

    __slots__ = ("_bytes", "_cipher", "_words", "_zeros")

    def __init__(
        self,
        key: Secret,
        dtype: np.dtype[np.unsignedinteger[Any]],
        start: int,
        buffer: bytearray,
    ) -> None:
        """Args:
        key: 16 or 32 bytes.
        start: the first element, a multiple of `ALIGNMENT`.
        buffer: memory that `next` writes to: whole words, at most 256 KiB. Filling all of it is fastest.
        """
        if start % ALIGNMENT:
            raise ValueError(f"a stream starts at a multiple of {ALIGNMENT}, not at {start}")
        counter = (start * dtype.itemsize // AES_BLOCK).to_bytes(AES_BLOCK, "big")
        self._cipher: CipherContext = Cipher(algorithms.AES(key.expose()), modes.CTR(counter)).encryptor()
        self._bytes = memoryview(buffer)
        self._words: Words = np.frombuffer(self._bytes, dtype)
        self._zeros = _ZEROS[: len(self._bytes)]

    def next(self, count: int) -> Words:
        """The next `count` words, at most as many as the buffer holds. The next call on the buffer overwrites them."""
        if count == len(self._words):
            self._cipher.update_into(self._zeros, self._bytes)
            return self._words
        size = count * self._words.itemsize
        self._cipher.update_into(self._zeros[:size], self._bytes[:size])
        return self._words[:count]
