"""The sum of masked inputs at the coordinator, to which each vector is added when its last chunk has come."""

from collections.abc import Iterable, Iterator

import numpy as np

from secagg.config import RoundConfig
from secagg.crypto.prg import Words
from secagg.encoding.packing import add_packed, chunk_values, packed_size
from secagg.errors import DecodeError
from secagg.masked.masks import Mask
from secagg.masked.ranges import KEY_WORK, MaskRange, Workers, cut, one_after_the_other
from secagg.messages import Index, Phase
from secagg.rounds.uploads import Spool, Uploads


class Accumulator:
    """Σ y_u over the inputs that came in whole, mod 2^b. Higher bits of its words mean nothing.

    Attributes:
        uploads: the vectors under way; a whole one is added to the sum.
    """

    def __init__(self, config: RoundConfig, spool: Spool, workers: Workers = one_after_the_other) -> None:
        self._suite = config.suite
        self._bits = config.ring_bits
        self._len = config.vector_len
        self._size = chunk_values(self._bits)
        self._workers = workers
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
        add_packed(self._sum[number * self._size : (number + 1) * self._size], payload, self._bits)

    def take(self, members: Iterable[Index], partial: Words) -> None:
        """Add the sum of the members' whole vectors, words[vector_len], which were added up elsewhere."""
        np.add(self._sum, partial, out=self._sum)
        self.uploads.folded_elsewhere(members)

    def give(self) -> Words:
        """The sum of the vectors that came in whole since the last time, words[vector_len]; the next begins at 0."""
        given, self._sum = self._sum, np.zeros_like(self._sum)
        return given

    def unmasked(self, masks: Iterable[Mask], count: int) -> Words:
        """The sum plus `masks`, mod 2^b: words[vector_len]. Call once; it works in place. After an error of a worker
        nothing is left that could be used.

        Args:
            masks: drawn while the work goes on.
            count: how many they are.
        """
        outstanding: set[MaskRange] = set()

        def handed_out() -> Iterator[MaskRange]:
            for piece in cut(self._suite, self._bits, self._len, masks):
                outstanding.add(piece)
                yield piece

        for piece, words in self._workers(handed_out(), count * (self._len + KEY_WORK)):
            part = self._sum[piece.start : piece.stop]
            if piece not in outstanding or words.shape != part.shape or words.dtype != part.dtype:  # check: piece-once
                raise ValueError("a worker handed in a piece of unmasking that nobody waits for")
            outstanding.remove(piece)
            np.add(part, words, out=part)
        if outstanding:  # check: every-piece
            raise ValueError(f"workers left {len(outstanding)} pieces of unmasking undone")
        self._sum &= self._sum.dtype.type((1 << self._bits) - 1)
        return self._sum

    def forget(self) -> None:
        """Drop the sum and what waits for the rest of its vector; who delivered stays known."""
        self._sum = self._sum[:0].copy()
        self.uploads.discard_incomplete()
