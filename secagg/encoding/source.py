"""Stages between an update and its integers: each reads the one before it, range by range, and copies nothing whole."""

from typing import Protocol

from secagg.encoding.schema import FloatArray


class Source(Protocol):
    """A float64 vector that is read by range; the same on every call."""

    @property
    def size(self) -> int:
        """Number of coordinates."""
        ...

    def read(self, start: int, stop: int) -> FloatArray:
        """A fresh float64[stop − start] of the coordinates [start, stop)."""
        ...
