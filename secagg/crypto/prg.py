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

STRIDE_BYTES: Final = 1 << 16
"""Expanded at a time: large enough to amortise the call, small enough to stay in the L2 cache."""

_ZEROS: Final = bytes(STRIDE_BYTES)

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

    __slots__ = ("_bytes", "_cipher", "_words")

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
            share one, so that it stays in the cache. Its own `STRIDE_BYTES` if None.
        """
        if start % ALIGNMENT:
            raise ValueError(f"a stream starts at a multiple of {ALIGNMENT}, not at {start}")
        counter = (start * dtype.itemsize // AES_BLOCK).to_bytes(AES_BLOCK, "big")
        self._cipher: CipherContext = Cipher(algorithms.AES(key.expose()), modes.CTR(counter)).encryptor()
        self._bytes = bytearray(STRIDE_BYTES) if buffer is None else buffer
        self._words: Words = np.frombuffer(self._bytes, dtype)

    def next(self, count: int) -> Words:
        """The next `count` words, at most `stride(dtype)`. The array is overwritten by the next call on its buffer."""
        size = count * self._words.itemsize
        self._cipher.update_into(memoryview(_ZEROS)[:size], memoryview(self._bytes)[:size])
        return self._words[:count]


def stride(dtype: np.dtype[np.unsignedinteger[Any]]) -> int:
    """Elements expanded at a time."""
    return STRIDE_BYTES // dtype.itemsize
