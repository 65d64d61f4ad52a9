"""What every scheme sums."""

from typing import Any, Protocol

import numpy as np

from secagg.crypto.prg import Words


class IntegerVector(Protocol):
    """Non-negative integers to be summed, read by range."""

    @property
    def vector_len(self) -> int:
        """Number of coordinates."""
        ...

    def read(self, start: int, stop: int, dtype: np.dtype[np.unsignedinteger[Any]]) -> Words:
        """A fresh array of the coordinates [start, stop); the same on every call. `start` is a multiple of 64."""
        ...
