"""What every scheme sums: non-negative integers, read by range."""

from typing import Any, Protocol

import numpy as np

from secagg.crypto.prg import Words
from secagg.encoding.schema import FloatArray


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
