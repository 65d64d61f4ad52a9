"""Samples of a noise table as a seekable stream: sample i depends on the key and i alone."""

from typing import Any, Final

import numpy as np

from secagg.crypto import labels
from secagg.crypto.kdf import derive
from secagg.crypto.prg import ALIGNMENT, KeyStream
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.noise.table import NoiseTable

Integers = np.ndarray[Any, np.dtype[np.int64]]

STRIDE: Final = 1 << 13  # samples drawn together, so that temporaries stay in the cache
_WORD: Final = np.dtype("<u8")
_KEY_SIZE: Final = 32


class NoiseStream:
    """Noise of one participant in one round, from 32 secret bytes of the operating system's CSPRNG.

    Reading a range twice gives the same samples, so a resent chunk shows nothing new. The seed has this one use.
    """

    def __init__(self, table: NoiseTable, seed: Secret) -> None:
        self._table = table
        self._key = derive(seed, salt=b"", info=frame(labels.NOISE), size=_KEY_SIZE)
        self._fine_key = derive(seed, salt=b"", info=frame(labels.NOISE_TIES), size=_KEY_SIZE)

    def add_to(self, values: Integers, start: int) -> None:
        """Add samples start, start + 1, … to `values`. `start` is a multiple of 64."""
        buffer = bytearray(min(STRIDE, len(values)) * _WORD.itemsize)
        words = KeyStream(self._key, _WORD, start, buffer)
        for low in range(0, len(values), STRIDE):
            part = values[low : low + STRIDE]
            part += self._samples(words.next(len(part)).view(np.int64), start + low)

    def _samples(self, words: Integers, start: int) -> Integers:
        table = self._table
        columns = words & ((1 << table.column_bits) - 1)
        fractions = (words.view(np.uint64) >> np.uint64(table.column_bits)).view(np.int64)
        thresholds = table.threshold.take(columns, mode="clip")
        aliases = table.alias.take(columns, mode="clip")
        below = fractions < thresholds
        for i in np.flatnonzero(fractions == thresholds):
            below[i] = self._fine_word(start + int(i)) < int(table.fine[columns[i]])
        columns -= table.largest
        return np.where(below, columns, aliases)

    def _fine_word(self, index: int) -> int:
        """64 more uniform bits for sample `index`; needed once in 2^46 samples."""
        first = index - index % ALIGNMENT
        words = KeyStream(self._fine_key, _WORD, first, bytearray(ALIGNMENT * _WORD.itemsize))
        return int(words.next(ALIGNMENT)[index - first])
