"""Which NumPy arrays have values that can be summed, and what is said of those that do not."""

from typing import Any, Final

import numpy as np

from secagg.errors import InputError

FloatArray = np.ndarray[Any, np.dtype[np.floating[Any]]]
NumberArray = np.ndarray[Any, np.dtype[np.floating[Any] | np.integer[Any]]]
AnyArray = np.ndarray[Any, np.dtype[Any]]

FLOATS: Final = ("float32", "float64")
INTEGERS: Final = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def check_array(name: str, array: object) -> None:
    """Refuse what is no NumPy array of plain numbers; raises as `check_dtypes`."""
    if not isinstance(array, np.ndarray):
        raise InputError(f"array {name!r} is {described_type(array)}", array=name)
    if array.dtype.name not in (*FLOATS, *INTEGERS):
        raise InputError(f"array {name!r} is {array.dtype}; {instead(array.dtype)}", array=name)
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"array {name!r} has masked values; fill them in", array=name)


def instead(dtype: np.dtype[Any], wanted: str = "float32") -> str:
    """What to do about an array of another dtype."""
    if wanted in INTEGERS:
        return f"hand in whole numbers as array.astype('{wanted}')"
    if dtype.kind == "f" or dtype.name == "bfloat16":
        return f"cast it with array.astype('{wanted}')"
    leave = "leave it out (secagg_client.minimised drops the arrays that a task does not name)"
    if dtype.kind not in "iub":
        return leave
    return (
        f"if it is a counter or an index, {leave}; if its mean is meant, hand in array.astype('{wanted}'); exact sums "
        "of integers need a task of their own (secagg.Integers)"
    )


def described_type(value: object) -> str:
    """The type of what stands where an array should, and for a PyTorch tensor how to make a numpy array of it."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if not callable(getattr(value, "detach", None)):
        return f"{name}, not a numpy array"
    widened = ".float()" if "bfloat16" in str(getattr(value, "dtype", "")) else ""  # which numpy does not have
    return f"{name}, not a numpy array; pass tensor.detach().cpu(){widened}.numpy()"
