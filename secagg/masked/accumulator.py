"""The running sum of masked inputs. A vector counts whole or not at all."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from secagg.config import RoundConfig
from secagg.crypto.prg import ALIGNMENT, Words
from secagg.encoding.packing import chunk_values, packed_size, unpack
from secagg.errors import DecodeError, ProtocolViolation
from secagg.masked.masks import Mask, add_masks
from secagg.messages import Index, MaskedInputChunk

Range = tuple[int, int]
Parallel = Callable[[Callable[[int, int], None], Sequence[Range]], None]
"""Calls a function for every range, in any order or side by side, and returns when all are done."""


def one_after_the_other(work: Callable[[int, int], None], ranges: Sequence[Range]) -> None:
    """The plain `Parallel`."""
    for start, stop in ranges:
        work(start, stop)


class Spool(Protocol):
    """Where the chunks of an incomplete vector wait, in order, by owner."""

    def append(self, owner: Index, payload: bytes) -> None:
        """Keep the owner's next chunk."""
        ...

    def take(self, owner: Index) -> Iterator[bytes]:
        """The owner's chunks, in order; they are forgotten."""
        ...


class MemorySpool:
    """A spool in memory."""

    def __init__(self) -> None:
        self._chunks: dict[Index, list[bytes]] = {}

    def append(self, owner: Index, payload: bytes) -> None:
        """See `Spool`."""
        self._chunks.setdefault(owner, []).append(payload)

    def take(self, owner: Index) -> Iterator[bytes]:
        """See `Spool`."""
        yield from self._chunks.pop(owner, [])


class Accumulator:
    """Σ y_u over the inputs that came in whole, mod 2^word."""

    def __init__(self, config: RoundConfig, spool: Spool, parallel: Parallel = one_after_the_other) -> None:
        self._bits = config.ring_bits
        self._len = config.vector_len
        self._size = chunk_values(self._bits)
        self._chunks = -(-self._len // self._size)
        self._spool = spool
        self._parallel = parallel
        self._received: dict[Index, int] = {}
        self._sum: Words = np.zeros(self._len, config.ring_dtype)

    def received(self, owner: Index) -> int:
        """Chunks of `owner` that arrived; a client that lost its connection goes on there."""
        return self._received.get(owner, 0)

    def complete(self, owner: Index) -> bool:
        """Whether the owner's whole vector is in the sum."""
        return self.received(owner) == self._chunks

    def add(self, owner: Index, chunk: MaskedInputChunk, *, name: str) -> bool:
        """Take the owner's next chunk; fold the vector with the last one. True once the vector is in the sum.

        Raises:
            ProtocolViolation: not the next chunk.
            DecodeError: wrong length, or bits set behind the last value.
        """
        expected = self.received(owner)
        if chunk.number != expected:
            raise ProtocolViolation(f"chunk {chunk.number} of {name} came where {expected} was expected", culprit=name)
        self._check(chunk, name)
        self._spool.append(owner, chunk.payload)
        self._received[owner] = expected + 1
        if not self.complete(owner):
            return False
        self._fold(owner)
        return True

    def discard(self, owner: Index) -> None:
        """Forget an incomplete vector."""
        for _ in self._spool.take(owner):
            pass

    def _check(self, chunk: MaskedInputChunk, name: str) -> None:
        """Lengths are fixed by the configuration, so once each chunk passed here folding cannot fail."""
        count = min(self._size, self._len - chunk.number * self._size)
        if len(chunk.payload) != packed_size(count, self._bits):
            raise DecodeError(
                f"chunk {chunk.number} of {name} has {len(chunk.payload)} bytes, not {packed_size(count, self._bits)}",
                culprit=name,
            )
        spare = -count * self._bits % 8
        if spare and chunk.payload[-1] >> (8 - spare):
            raise DecodeError(f"chunk {chunk.number} of {name} has bits set behind the last value", culprit=name)

    def _fold(self, owner: Index) -> None:
        for number, payload in enumerate(self._spool.take(owner)):
            part = self._sum[number * self._size : (number + 1) * self._size]
            np.add(part, unpack(payload, len(part), self._bits), out=part)

    def unmasked(self, masks: Sequence[Mask]) -> Words:
        """The sum plus `masks`, mod 2^b: words[vector_len]. Call once; it works in place."""

        def work(start: int, stop: int) -> None:
            add_masks(self._sum[start:stop], start, masks)

        self._parallel(work, [(low, min(low + _RANGE, self._len)) for low in range(0, self._len, _RANGE)])
        if self._bits < 8 * self._sum.itemsize:
            self._sum &= self._sum.dtype.type((1 << self._bits) - 1)
        return self._sum


_RANGE = 4096 * ALIGNMENT
"""Values unmasked as one piece of parallel work."""
