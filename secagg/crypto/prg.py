"""The mask stream: AES-CTR as a seekable pseudo-random sequence of little-endian words.

Element i is word i, so any range can be computed alone: vectors are masked in chunks, and unmasked in ranges side by
side.
"""

from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from secagg.crypto.secret import Secret

AES_BLOCK: Final = 16
ALIGNMENT: Final = 64
"""Ranges start at a multiple of this many elements, so that a range of any word size starts on an AES block."""

STRIDE_BYTES: Final = 1 << 18
"""Expanded at a time: small enough to stay in the L2 cache, and large enough that threads seldom wait for the
interpreter: with 64 KiB two of them were hardly faster than one, with 256 KiB 1.8 times as fast.
"""

_ZEROS: Final = memoryview(bytes(STRIDE_BYTES))

Words = np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]
"""A contiguous vector of uint8, uint16, uint32 or uint64."""


def word_dtype(bits: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The smallest unsigned little-endian word of 8, 16, 32 or 64 bits that holds `bits` bits."""
    for size in (1, 2, 4, 8):
        if bits <= 8 * size:
            return np.dtype(f"<u{size}")
    raise ValueError(f"{bits} bits do not fit a 64-bit word")


class MaskStream:
    """Words of one key, from a given element on. Zero IV: a key has exactly one stream."""

    __slots__ = ("_bytes", "_cipher", "_words", "_zeros")

    def __init__(
        self,
        key: Secret,
        dtype: np.dtype[np.unsignedinteger[Any]],
        start: int = 0,
        buffer: bytearray | None = None,
    ) -> None:
        """Args:
        key: 16 or 32 bytes.
        start: the first element, a multiple of `ALIGNMENT`.
        buffer: memory that `next` writes to, whole words, at most `STRIDE_BYTES` used; streams that are read in turn
            share one, so that it stays in the cache. Its own `STRIDE_BYTES` if None. Filling all of it is fastest.
        """
        if start % ALIGNMENT:
            raise ValueError(f"a stream starts at a multiple of {ALIGNMENT}, not at {start}")
        counter = (start * dtype.itemsize // AES_BLOCK).to_bytes(AES_BLOCK, "big")
        self._cipher: CipherContext = Cipher(algorithms.AES(key.expose()), modes.CTR(counter)).encryptor()
        self._bytes = memoryview(bytearray(STRIDE_BYTES) if buffer is None else buffer)[:STRIDE_BYTES]
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


def stride(dtype: np.dtype[np.unsignedinteger[Any]]) -> int:
    """Elements expanded at a time."""
    return STRIDE_BYTES // dtype.itemsize
