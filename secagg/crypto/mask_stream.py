"""Mask streams: the pseudo-random words that a key stands for, made in strides of 256 KiB (proto/PROTOCOL.md, "Mask
stream").

A stride is made from the key and the number of the stride, and from nothing else. So strides can be made in any order,
in any process, and a vector can be masked and unmasked in ranges. A stream is not entered within a stride.
"""

import importlib
import sys
from enum import Enum
from typing import Any, Final, Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secagg.crypto.prg import Words
from secagg.crypto.secret import Secret
from secagg.errors import MissingExtraError

STRIDE_BYTES: Final = 1 << 18
"""Bytes of a stride. The words of a stride and the part of the vector that they are added to stay in the L2 cache
together, and a call of the cipher is long enough that its own cost does not count.
"""

_TAG_BYTES: Final = 16
_LINE_BYTES: Final = 64
_AEGIS: Final = "aeg.aegis128x4"
_ZEROS: Final = memoryview(bytes(STRIDE_BYTES))

Dtype = np.dtype[np.unsignedinteger[Any]]


class MaskCipher(Enum):
    """What makes the strides of mask streams. The value is its name in the literature."""

    AES_128 = "AES-128"
    AES_256 = "AES-256"
    AEGIS_128X4 = "AEGIS-128X4"

    @property
    def key_size(self) -> int:
        """Bytes of a key."""
        return 32 if self is MaskCipher.AES_256 else 16

    def require(self) -> None:
        """Refuse a cipher that is not installed here.

        Raises:
            MissingExtraError: it is AEGIS-128X4, and the package `aeg` is missing or cannot be loaded.
        """
        if self is MaskCipher.AEGIS_128X4:
            _aegis()


class StrideMemory:
    """Memory for the words of one stride. Streams that are read in turn share it, so that it stays in the cache.

    Attributes:
        raw: the bytes, and behind them as many as the tag has that AES-GCM writes.
        words: the same memory as words.
        count: how many words there are.
    """

    __slots__ = ("count", "raw", "words")

    def __init__(self, count: int, dtype: Dtype) -> None:
        """Args:
        count: words, at most a stride of them.
        dtype: of the words.
        """
        size = count * dtype.itemsize
        room: np.ndarray[Any, np.dtype[np.uint8]] = np.empty(size + _TAG_BYTES + _LINE_BYTES, np.uint8)
        begin = -room.ctypes.data % _LINE_BYTES  # adding is faster where words do not straddle lines of the cache
        self.raw = room.data[begin : begin + size + _TAG_BYTES]
        self.words: Words = np.frombuffer(self.raw[:size], dtype)
        self.count = count


class _Expand(Protocol):
    def __call__(self, number: int, out: memoryview) -> None:
        """Write stride `number`, as much of it as there is room for in `out`; under AES before its last 16 bytes."""
        ...


class MaskStream:
    """The stream of one key, by stride. A key has one stream, so no other nonce is ever used under it."""

    __slots__ = ("_behind", "_expand", "_memory", "_whole")

    def __init__(self, cipher: MaskCipher, key: Secret, memory: StrideMemory) -> None:
        """Args:
        cipher: of the round's suite.
        key: 16 bytes, or 32 for AES-256; for this stream alone.
        memory: where `stride` writes to.

        Raises:
            ValueError: the key has another size than the cipher's.
            MissingExtraError: as `MaskCipher.require`.
        """
        if len(key) != cipher.key_size:  # check: mask-key-size
            raise ValueError(f"a key of {cipher.value} has {cipher.key_size} bytes, not {len(key)}")
        self._expand: _Expand
        self._behind: int  # bytes that are written behind the words
        self._expand, self._behind = (
            (_aegis_under(key), 0) if cipher is MaskCipher.AEGIS_128X4 else (_aes(key), _TAG_BYTES)
        )
        self._memory = memory
        self._whole = memory.raw[: memory.words.nbytes + self._behind]

    def stride(self, number: int, count: int) -> Words:
        """The first `count` words of stride `number`, 0 or more. The next call on the same memory overwrites them."""
        memory = self._memory
        if count == memory.count:
            self._expand(number, self._whole)
            return memory.words
        self._expand(number, memory.raw[: count * memory.words.itemsize + self._behind])
        return memory.words[:count]


def stride_words(dtype: Dtype) -> int:
    """Words in a stride."""
    return STRIDE_BYTES // dtype.itemsize


def _aes(key: Secret) -> _Expand:
    """AES in counter mode, by way of GCM: on processors with VAES, GCM is the faster of the two in OpenSSL.

    A ciphertext of zeros is the key stream. The tag is overwritten with the next stride and never leaves.
    """
    encrypt = AESGCM(key.expose()).encrypt_into

    def expand(number: int, out: memoryview) -> None:
        size = len(out) - _TAG_BYTES
        encrypt(number.to_bytes(12, "big"), _ZEROS if size == STRIDE_BYTES else _ZEROS[:size], None, out)

    return expand


def _aegis_under(key: Secret) -> _Expand:
    stream, exposed = _aegis().stream, key.expose()

    def expand(number: int, out: memoryview) -> None:
        stream(exposed, number.to_bytes(16, "big"), into=out)

    return expand


def _aegis() -> Any:
    """The binding of libaegis."""
    try:
        # Looked up first: import_module takes longer than a short stream.
        return sys.modules.get(_AEGIS) or importlib.import_module(_AEGIS)
    except ImportError:
        raise MissingExtraError("the suite X25519_SHA256_AEGIS128X4", "fast") from None
