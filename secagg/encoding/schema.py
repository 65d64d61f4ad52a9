"""Which arrays an update has, and how they lie one after the other in one flat vector."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final, Protocol

import numpy as np

from secagg.errors import ConfigError, InputError
from secagg.scalars import as_integer, as_number, utf8

FloatArray = np.ndarray[Any, np.dtype[np.floating[Any]]]
NumberArray = np.ndarray[Any, np.dtype[np.floating[Any] | np.integer[Any]]]
Update = Mapping[str, NumberArray]
"""Arrays by name, as a participant hands them in and as the aggregate comes back."""

FLOATS: Final = ("float32", "float64")
INTEGERS: Final = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES: Final = (*FLOATS, *INTEGERS)
MIN_CLIP: Final = 2.0**-64
MAX_CLIP: Final = 2.0**64
"""Within these no step, sum or mean leaves the range of float32."""
MAX_INTEGER: Final = 2**62
MAX_ARRAYS: Final = 100_000
MAX_NAME_BYTES: Final = 512
MAX_DIMENSIONS: Final = 32
_STRIDE: Final = 1 << 16  # values looked at together, so that temporaries stay in the cache


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One named array of the update.

    Attributes:
        name: 1 to 512 bytes of UTF-8, unique in the schema.
        shape: up to 32 sides, or `()` for a single number. An array without values is refused.
        dtype: "float32" or "float64"; in a round of exact integer sums one of "int8" to "int64", "uint8" to "uint64".
        range: for floats, 2^-64 to 2^64: values of this array are clipped to plus and minus this, and its step follows
            from it. None for the range of the encoding.
        bounds: for integers, the smallest and the largest value of this array, −2^62 to 2^62. None for those of the
            encoding.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    range: float | None = None
    bounds: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(utf8(self.name, "an array name")) <= MAX_NAME_BYTES:
            raise ConfigError(f"an array name has 1 to {MAX_NAME_BYTES} bytes; shorten {self.name[:40]!r}")
        if self.dtype not in DTYPES:
            raise ConfigError(f"array {self.name!r}: dtype {self.dtype!r} is not one of {', '.join(DTYPES)}; cast it")
        sides = (as_integer(side, f"a side of array {self.name!r}") for side in self.shape)
        object.__setattr__(self, "shape", tuple(sides))
        if len(self.shape) > MAX_DIMENSIONS:
            raise ConfigError(
                f"array {self.name!r}: {len(self.shape)} sides are more than {MAX_DIMENSIONS}; reshape it"
            )
        if any(side < 1 for side in self.shape):
            raise ConfigError(f"array {self.name!r}: shape {self.shape} holds no values; leave the array out")
        if self.range is not None:
            self._check_range(as_number(self.range, f"the range of array {self.name!r}"))
        if self.bounds is not None:
            if not isinstance(self.bounds, tuple | list) or len(self.bounds) != 2:
                raise ConfigError(f"array {self.name!r}: bounds are a pair (min, max), not {self.bounds!r}")
            self._check_bounds(*(as_integer(bound, f"a bound of array {self.name!r}") for bound in self.bounds))

    def _check_range(self, most: float) -> None:
        object.__setattr__(self, "range", most)
        if self.whole or not MIN_CLIP <= most <= MAX_CLIP:
            raise ConfigError(f"array {self.name!r}: a range is a number from 2^-64 to 2^64, for floats alone")

    def _check_bounds(self, low: int, high: int) -> None:
        object.__setattr__(self, "bounds", (low, high))
        if not self.whole:
            raise ConfigError(f"array {self.name!r}: bounds are for integers; give floats a range")
        check_bounds(low, high, f"array {self.name!r}: ")

    @property
    def whole(self) -> bool:
        """Whether the values of this array are integers."""
        return self.dtype in INTEGERS

    @property
    def size(self) -> int:
        """Number of values in this array."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Schema:
    """The arrays of an update: names, shapes and dtypes.

    Attributes:
        arrays: in the order of their values in the flat vector, with C order within each array.
    """

    arrays: tuple[ArraySpec, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.arrays) <= MAX_ARRAYS:
            raise ConfigError(f"a schema has 1 to {MAX_ARRAYS} arrays, not {len(self.arrays)}")
        names = [spec.name for spec in self.arrays]
        if len(set(names)) < len(names):
            (twice, _), *_ = Counter(names).most_common(1)
            raise ConfigError(f"array name {twice!r} stands twice in the schema; rename one")

    @classmethod
    def of(
        cls,
        update: Update | NumberArray,
        ranges: Mapping[str, float] | None = None,
        bounds: Mapping[str, tuple[int, int]] | None = None,
    ) -> "Schema":
        """The schema of an example update, such as the model itself. A lone array is called `values`.

        Args:
            update: arrays of floats by name; or of integers alone, for a round of exact integer sums.
            ranges: `ArraySpec.range` by name of the array. Arrays that are not named have the range of the encoding.
            bounds: `ArraySpec.bounds` by name of the array, likewise.

        Raises:
            InputError: something is no NumPy array of these dtypes. The error names the array and says what to do.
            ConfigError: a schema cannot have a name or shape, or there is no array to give a range or bounds to.
        """
        ranges, bounds = ranges or {}, bounds or {}
        arrays = dict(_number_arrays(update))
        if strange := next((name for name in (*ranges, *bounds) if name not in arrays), None):
            raise ConfigError(
                f"there is no array {strange!r} to give a range or bounds; arrays are {', '.join(arrays)}"
            )
        return cls(
            tuple(
                ArraySpec(name, array.shape, array.dtype.name, ranges.get(name), bounds.get(name))
                for name, array in arrays.items()
            )
        )

    @property
    def size(self) -> int:
        """Number of values in all arrays together, m."""
        return sum(spec.size for spec in self.arrays)

    def check(self, update: Update | NumberArray) -> "FlatUpdate":
        """`update` as one flat vector, every value looked at.

        Raises:
            InputError: an array is missing or unknown, has another shape or dtype, or holds NaN or infinity.
        """
        arrays = named(update)
        known = {spec.name for spec in self.arrays}
        if unknown := next((name for name in arrays if name not in known), None):
            raise InputError(f"array {unknown!r} is not in the task's schema; leave it out", array=unknown)
        return FlatUpdate(tuple(_checked(spec, arrays) for spec in self.arrays))

    def arrays_from(self, read: Callable[[int, int], FloatArray]) -> dict[str, FloatArray]:
        """The named arrays, each in its own dtype, filled by strides from `read(start, stop)` of the flat vector."""
        arrays: dict[str, FloatArray] = {}
        first = 0
        for spec in self.arrays:
            flat = np.empty(spec.size, spec.dtype)
            for start in range(0, spec.size, _STRIDE):
                stop = min(start + _STRIDE, spec.size)
                flat[start:stop] = read(first + start, first + stop)
            arrays[spec.name] = flat.reshape(spec.shape)
            first += spec.size
        return arrays

    def split(self, flat: FloatArray) -> dict[str, FloatArray]:
        """The named arrays of a flat float64[size] vector, each in its own dtype."""
        return self.arrays_from(lambda start, stop: flat[start:stop])


class Values(Protocol):
    """A float64 vector that is read by range and is the same on every call: an update, or what a step made of it. Each
    reads the one before it, so that nothing is copied whole.
    """

    @property
    def size(self) -> int:
        """Number of coordinates."""
        ...

    def read(self, start: int, stop: int) -> FloatArray:
        """A fresh float64[stop − start] of the coordinates [start, stop)."""
        ...


class FlatUpdate:
    """The arrays of a checked update as one vector of `Values`."""

    __slots__ = ("flats", "size")

    def __init__(self, flats: tuple[NumberArray, ...]) -> None:
        self.flats = flats
        self.size = sum(len(flat) for flat in flats)

    def read(self, start: int, stop: int) -> FloatArray:
        """A fresh float64[stop − start] of the values in [start, stop)."""
        out = np.empty(stop - start, np.float64)
        first = 0
        for flat in self.flats:
            low, high = max(start, first), min(stop, first + len(flat))
            if low < high:
                out[low - start : high - start] = flat[low - first : high - first]
            first += len(flat)
        return out


def check_bounds(low: int, high: int, where: str = "") -> None:
    """Refuse bounds that no exact sum of integers has.

    Raises:
        ConfigError: they are beyond 2^62, or leave no choice.
    """
    if not -MAX_INTEGER <= low < high <= MAX_INTEGER:
        raise ConfigError(
            f"{where}integers lie between a min and a larger max, within -2^62 to 2^62, not {low} to {high}"
        )


def named(update: Update | NumberArray) -> Update:
    """The update as a mapping: a lone array is the special case of one array called `values`."""
    return {"values": update} if isinstance(update, np.ndarray) else update


def owned(update: Update | NumberArray) -> dict[str, NumberArray]:
    """Copies of the arrays of an update, so that it does not matter what the caller does to its own afterwards.

    Raises:
        InputError: something in it is no numpy array of floats, or of integers where all are; names the array and says
            what to do.
    """
    return {name: np.array(array, order="C") for name, array in _number_arrays(update)}


def described_type(value: object) -> str:
    """The type of what stands where an array should, and for a PyTorch tensor how to make a numpy array of it."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if not callable(getattr(value, "detach", None)):
        return f"{name}, not a numpy array"
    widened = ".float()" if "bfloat16" in str(getattr(value, "dtype", "")) else ""  # which numpy does not have
    return f"{name}, not a numpy array; pass tensor.detach().cpu(){widened}.numpy()"


def _number_arrays(update: object) -> Iterator[tuple[str, NumberArray]]:
    """Arrays of floats; or of integers, where there are no others."""
    if not isinstance(update, np.ndarray | Mapping):
        raise InputError(f"an update is an array or a mapping of arrays by name; this is {described_type(update)}")
    arrays = named(update)
    counts = all(isinstance(array, np.ndarray) and array.dtype.name in INTEGERS for array in arrays.values())
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"array {name!r} is {described_type(array)}", array=name)
        if array.dtype.name not in (INTEGERS if counts else FLOATS):
            raise InputError(f"array {name!r} is {array.dtype}; {_instead(array.dtype)}", array=name)
        if isinstance(array, np.ma.MaskedArray):
            raise InputError(f"array {name!r} has masked values; fill them in", array=name)
        yield name, array


def _instead(dtype: np.dtype[Any], wanted: str = "float32") -> str:
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


def _checked(spec: ArraySpec, update: Update) -> NumberArray:
    array = update.get(spec.name)
    if array is None:
        raise InputError(f"array {spec.name!r} of the task's schema is missing", array=spec.name)
    if not isinstance(array, np.ndarray):
        raise InputError(f"array {spec.name!r} is {described_type(array)}", array=spec.name)
    if array.dtype.name != spec.dtype or not array.dtype.isnative:
        raise InputError(
            f"array {spec.name!r} is {array.dtype}, the task wants {spec.dtype}; {_instead(array.dtype, spec.dtype)}",
            array=spec.name,
        )
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"array {spec.name!r} has masked values; fill them in", array=spec.name)
    if array.shape != spec.shape:
        raise InputError(f"array {spec.name!r} has shape {array.shape}, the task wants {spec.shape}", array=spec.name)
    flat: NumberArray = np.asarray(array).reshape(-1)  # a subclass such as np.matrix would not become flat
    for start in range(0, 0 if spec.whole else len(flat), _STRIDE):
        finite = np.isfinite(flat[start : start + _STRIDE])
        if not finite.all():
            at = start + int(np.argmin(finite))
            index = tuple(int(i) for i in np.unravel_index(at, spec.shape))
            raise InputError(f"array {spec.name!r} is {flat[at]} at index {index}", array=spec.name, index=index)
    return flat
