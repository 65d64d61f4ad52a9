"""Feedback: what rounding and sampling lost in earlier rounds is added to the next update (Seide et al. 2014)."""

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.encoding.schema import STRIDE, Values
from secagg.errors import LocalError


class Compensated:
    """An update with what earlier rounds lost added to it."""

    def __init__(self, source: Values, lost: FloatArray) -> None:
        """Args: lost: float32[size], see `EncodedUpdate.lost`."""
        self.size = source.size
        self._source = source
        self._lost = lost

    def read(self, start: int, stop: int) -> FloatArray:
        """The values, each with what was lost of it."""
        values = self._source.read(start, stop)
        values += self._lost[start:stop]
        return values


def with_carried(update: Values, carried: FloatArray | None, *, feedback: bool) -> Values:
    """The update with what is carried over added to it. Args: feedback: whether the round has this step.

    Raises:
        LocalError: something is carried and the round has no feedback, or it is of another size.
    """
    if carried is None:
        return update
    if not feedback:
        raise LocalError("something is carried over from earlier rounds, and this round has no feedback")
    if carried.shape != (update.size,):
        raise LocalError(f"what is carried over has shape {carried.shape}, the update has {update.size} values")
    return Compensated(update, carried)


def difference(source: Values, sent: Values) -> FloatArray:
    """float32[size] of `source` − `sent`. What is beyond float32 is cut off: an infinity would be carried for ever."""
    most = float(np.finfo(np.float32).max)
    out = np.empty(source.size, np.float32)
    for start in range(0, source.size, STRIDE):
        stop = min(start + STRIDE, source.size)
        out[start:stop] = np.clip(source.read(start, stop) - sent.read(start, stop), -most, most)
    return out
