"""What training changed in an array."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def change(before: Array, after: Array) -> Array:
    """after − before, a new array of the dtype of `before`. A value that stayed gives 0, even where it is infinite, as
    in masks of attention.

    Args:
        before: floats.
        after: floats of the same shape.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused when the update is encoded
        return np.where(after == before, 0, after - before).astype(before.dtype, copy=False)
