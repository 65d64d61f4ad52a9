"""The sum of masked inputs at the coordinator, to which each vector is added when its last chunk has come."""

from collections.abc import Callable, Sequence

import numpy as np

from secagg.config import RoundConfig
from secagg.crypto.prg import ALIGNMENT, Words
from secagg.encoding.packing import chunk_values, packed_size, unpack
from secagg.errors import DecodeError
from secagg.masked.masks import Mask, add_masks
from secagg.messages import Phase
from secagg.rounds.uploads import Spool, Uploads

Range = tuple[int, int]
Parallel = Callable[[Callable[[int, int], None], Sequence[Range]], None]
"""Calls a function for every range, in any order or side by side, and returns when all are done."""


def one_after_the_other(work: Callable[[int, int], None], ranges: Sequence[Range]) -> None:
    """Call the function for one range after another, without threads."""
    for start, stop in ranges:
        work(start, stop)


class Accumulator:
    """Σ y_u over the inputs that came in whole, mod 2^word.

    Attributes:
        uploads: the vectors under way; a whole one is added to the sum.
    """

    def __init__(self, config: RoundConfig, spool: Spool, parallel: Parallel = one_after_the_other) -> None:
        self._bits = config.ring_bits
        self._len = config.vector_len
        self._size = chunk_values(self._bits)
        self._parallel = parallel
        self._sum: Words = np.zeros(self._len, config.ring_dtype)
        self.uploads = Uploads(
            Phase.MASKED_INPUT, -(-self._len // self._size), spool, check=self._check, fold=self._fold
        )

    def _check(self, number: int, payload: bytes) -> None:
        """Lengths are fixed by the configuration, so once each chunk passed here folding cannot fail."""
        count = min(self._size, self._len - number * self._size)
        size = packed_size(count, self._bits)
        if len(payload) != size:  # check: C42-length
            raise DecodeError(f"chunk {number} has {len(payload)} bytes, not {size}")
        spare = -count * self._bits % 8
        if spare and payload[-1] >> (8 - spare):  # check: C42
            raise DecodeError(f"chunk {number} has bits set behind the last value")

    def _fold(self, number: int, payload: bytes) -> None:
        part = self._sum[number * self._size : (number + 1) * self._size]
        np.add(part, unpack(payload, len(part), self._bits), out=part)

    def unmasked(self, masks: Sequence[Mask]) -> Words:
        """The sum plus `masks`, mod 2^b: words[vector_len]. Call once; it works in place."""
        ring = self._sum.dtype.type((1 << self._bits) - 1)

        def work(start: int, stop: int) -> None:
            part = self._sum[start:stop]
            add_masks(part, start, masks)
            part &= ring

        self._parallel(work, [(low, min(low + _RANGE, self._len)) for low in range(0, self._len, _RANGE)])
        return self._sum

    def forget(self) -> None:
        """Drop the sum and what waits for the rest of its vector; who delivered stays known."""
        self._sum = self._sum[:0].copy()
        self.uploads.discard_incomplete()


_RANGE = 4096 * ALIGNMENT
"""Values unmasked as one piece of parallel work."""
