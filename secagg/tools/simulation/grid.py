"""Updates whose encoding leaves nothing to chance, so that the exact sum of a real round is known beforehand.

Values lie on the grid of the fixed-point code: with a step of a power of two, each is a float32 and encodes to its own
integer whatever the stochastic rounding draws.
"""

from typing import Any, Final

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.encoding.fixedpoint import FixedPoint

VALUE_BITS: Final = 16
CODE: Final = FixedPoint(clip=(2**VALUE_BITS - 1) / 2**VALUE_BITS, value_bits=VALUE_BITS)
"""Its step is 2^-15."""


def on_grid(values: FloatArray) -> FloatArray:
    """The nearest number of the grid for each value, as float32; beyond the clip the last one."""
    clipped = np.clip(values.astype(np.float64), -CODE.clip, CODE.clip)
    return (np.rint((clipped + CODE.clip) / CODE.step) * CODE.step - CODE.clip).astype(np.float32)


Levels = np.ndarray[Any, np.dtype[np.uint16]]


def levels(participant: str, values: int) -> Levels:
    """uint16[values], different for everyone: what the update of `participant` must encode to."""
    rng = np.random.default_rng(list(participant.encode()))
    return rng.integers(0, 2**VALUE_BITS, values, dtype=np.uint16)


def update_of(participant: str, values: int) -> FloatArray:
    """float32[values] that encodes to `levels`."""
    return decoded(levels(participant, values))


def decoded(drawn: Levels) -> FloatArray:
    """float32 values that encode to these levels."""
    update = drawn.astype(np.float32)
    update *= np.float32(CODE.step)  # every number here is a float32, so nothing is rounded
    update -= np.float32(CODE.clip)
    return update
