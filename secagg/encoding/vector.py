"""What every scheme sums, and what a round gives: non-negative integers, read by range."""

from typing import Any, Protocol

import numpy as np

from secagg.crypto.prg import ALIGNMENT, Words
from secagg.encoding.arrays import FloatArray
from secagg.encoding.schema import STRIDE


class IntegerVector(Protocol):
    """Non-negative integers to be summed, read by range."""

    @property
    def vector_len(self) -> int:
        """Number of coordinates."""
        ...

    def read(self, start: int, stop: int, dtype: np.dtype[np.unsignedinteger[Any]]) -> Words:
        """A fresh array of the coordinates [start, stop); the same on every call. `start` is a multiple of 64."""
        ...


class EncodedUpdate(IntegerVector, Protocol):
    """One participant's update under the code of a round: integers in [0, 2^value_bits)."""

    def lost(self) -> FloatArray:
        """float32[schema.size]: what clipping left of the update minus what these integers say of it, noise aside."""
        ...


class Sums(Protocol):
    """The sum of a round, read by range: in memory, or kept elsewhere."""

    @property
    def vector_len(self) -> int:
        """Number of coordinates."""
        ...

    def read(self, start: int, stop: int) -> Words:
        """The coordinates [start, stop); the same on every call."""
        ...


class WordSums:
    """A sum in memory."""

    __slots__ = ("_words", "vector_len")

    def __init__(self, words: Words) -> None:
        self._words = words
        self.vector_len = len(words)

    def read(self, start: int, stop: int) -> Words:
        """A view of the coordinates."""
        return self._words[start:stop]


class SumOfOne:
    """What a sum would be if this vector were alone in it."""

    __slots__ = ("_dtype", "_vector", "vector_len")

    def __init__(self, vector: IntegerVector, dtype: np.dtype[np.unsignedinteger[Any]]) -> None:
        self._vector = vector
        self._dtype = dtype
        self.vector_len = vector.vector_len

    def read(self, start: int, stop: int) -> Words:
        """The coordinates, from any one on."""
        before = start % ALIGNMENT
        return self._vector.read(start - before, stop, self._dtype)[before:]


def readable(sums: Words | Sums) -> Sums:
    """A sum that is read by range, wherever it is."""
    return WordSums(sums) if isinstance(sums, np.ndarray) else sums


def largest(sums: Sums, stop: int) -> int:
    """The largest of the coordinates [0, stop)."""
    return max(int(sums.read(start, min(start + STRIDE, stop)).max()) for start in range(0, stop, STRIDE))
