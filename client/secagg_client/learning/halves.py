"""Half precision: float16 and bfloat16 are averaged as float32, and cast back."""

from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
BFLOAT16: Final = "bfloat16"


def widened(array: Array, dtype: str) -> Array | None:
    """A fresh array of float32 or float64 with the values of `array`; None if they are no floats.

    Args:
        array: the values. Those of bfloat16, which numpy does not have, may come as two bytes each, of any dtype.
        dtype: name of what they are, such as "float16" or "bfloat16".
    """
    if dtype == BFLOAT16:
        return np.asarray(_bits(array).astype(np.uint32) << 16).view(np.float32)  # `<<` makes a scalar of shape ()
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array.copy() if array.dtype in (np.float32, np.float64) else None


def narrowed(array: Array, dtype: str) -> Array:
    """`array` as values of `dtype`, rounded to the nearest. For bfloat16 a uint16 array of their bits."""
    if dtype != BFLOAT16:
        return array.astype(dtype)
    bits = array.astype(np.float32).view(np.uint32)
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    return np.where(np.isnan(array), np.uint32(0x7FC0), rounded).astype(np.uint16)


def _bits(array: Array) -> Array:
    return np.ascontiguousarray(array).view(np.uint16).reshape(array.shape)
