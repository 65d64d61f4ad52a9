"""Which arrays an update has, and how they lie one after the other in one flat vector."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any, Final, Protocol

import numpy as np

from secagg.encoding.arrays import (
    FLOATS,
    INTEGERS,
    AnyArray,
    FloatArray,
    NumberArray,
    check_array,
    described_type,
    instead,
)
from secagg.encoding.sources import BLOCK, Pieces, SteadyArray, SteadyUpdate, by_name, check_dtypes
from secagg.errors import ConfigError, InputError
from secagg.scalars import as_integer, as_number, utf8

Update = Mapping[str, NumberArray]
"""Arrays by name, as a participant hands them in and as the aggregate comes back."""

GivenUpdate = Mapping[str, NumberArray | Pieces] | NumberArray | Pieces | SteadyUpdate
"""What stands for an update: arrays or pieces by name, or one of them alone, which is called `values`."""

DTYPES: Final = (*FLOATS, *INTEGERS)
MIN_CLIP: Final = 2.0**-64
MAX_CLIP: Final = 2.0**64
"""Within these no step, sum or mean leaves the range of float32."""
MAX_INTEGER: Final = 2**62
MAX_ARRAYS: Final = 100_000
MAX_NAME_BYTES: Final = 512
MAX_DIMENSIONS: Final = 32
STRIDE: Final = 1 << 16  # values worked on together, so that temporaries stay in the cache


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
        arrays = by_name(update)
        check_dtypes(arrays)
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

    def check(self, update: GivenUpdate) -> "FlatUpdate":
        """`update` as one flat vector, every value looked at.

        Raises:
            InputError: an array is missing or unknown, has another shape or dtype, or holds NaN or infinity.
        """
        arrays = by_name(update)
        known = {spec.name for spec in self.arrays}
        if unknown := next((name for name in arrays if name not in known), None):
            raise InputError(f"array {unknown!r} is not in the task's schema; leave it out", array=unknown)
        return FlatUpdate(tuple(_checked(spec, arrays) for spec in self.arrays))

    def fill(self, sink: "Sink", values: "Values") -> dict[str, AnyArray]:
        """The named arrays, each in its own dtype, read by strides and written one after the other."""
        first = 0
        for spec in self.arrays:
            sink.begin(spec.name, spec.shape, np.dtype(spec.dtype))
            for start in range(0, spec.size, STRIDE):
                sink.write(values.read(first + start, first + min(start + STRIDE, spec.size)))
            first += spec.size
        return sink.end()

    def split(self, flat: FloatArray) -> dict[str, AnyArray]:
        """The named arrays of a flat float64[size] vector, each in its own dtype."""
        return self.fill(NewArrays(), Flat(flat))


class Sink(Protocol):
    """Where the arrays of an aggregate go: one after the other, and the values of each in C order."""

    def begin(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """The next array."""
        ...

    def write(self, values: AnyArray) -> None:
        """Its next values, to be cast to its dtype."""
        ...

    def end(self) -> dict[str, AnyArray]:
        """All arrays are whole: give them."""
        ...


class NewArrays:
    """A `Sink` that makes the arrays."""

    def __init__(self) -> None:
        self._arrays: dict[str, AnyArray] = {}
        self._rest: AnyArray = np.empty(0)

    def begin(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """The next array."""
        array: AnyArray = np.empty(shape, dtype)
        self._arrays[name], self._rest = array, array.reshape(-1)

    def write(self, values: AnyArray) -> None:
        """Its next values."""
        self._rest[: len(values)] = values
        self._rest = self._rest[len(values) :]

    def end(self) -> dict[str, AnyArray]:
        """The arrays by name."""
        return self._arrays


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


class Flat:
    """A vector in memory as `Values`."""

    __slots__ = ("_values", "size")

    def __init__(self, values: FloatArray) -> None:
        self._values = values
        self.size = len(values)

    def read(self, start: int, stop: int) -> FloatArray:
        """A fresh float64[stop − start]."""
        return np.array(self._values[start:stop], np.float64)


class FlatUpdate:
    """The arrays of a checked update as one vector of `Values`. Keeps the block that it read last."""

    __slots__ = ("_arrays", "_last", "_starts", "size")

    def __init__(self, arrays: tuple[SteadyArray, ...]) -> None:
        self._arrays = arrays
        self._starts = [0, *accumulate(array.size for array in arrays)]
        self.size = self._starts[-1]
        self._last: tuple[SteadyArray, int, NumberArray] | None = None

    def read(self, start: int, stop: int) -> FloatArray:
        """A fresh float64[stop − start] of the values in [start, stop); raises as `parts`."""
        out = np.empty(stop - start, np.float64)
        for _, at, values in self.parts(start, stop):
            out[at - start : at - start + len(values)] = values
        return out

    def parts(self, start: int, stop: int) -> Iterator[tuple[int, int, NumberArray]]:
        """The values in [start, stop) in their own dtypes: the number of the array that each part is of, where the part
        starts, and its values.

        Raises:
            InputError: they are not those that were checked.
        """
        number = bisect_right(self._starts, start) - 1
        while start < stop:
            first, end = self._starts[number], self._starts[number + 1]
            while start < min(stop, end):
                block, offset = divmod(start - first, BLOCK)
                count = min(min(stop, end) - start, BLOCK - offset)
                yield number, start, self._block(self._arrays[number], block)[offset : offset + count]
                start += count
            number += 1

    def _block(self, array: SteadyArray, number: int) -> NumberArray:
        last = self._last
        if last is None or last[0] is not array or last[1] != number:
            last = self._last = (array, number, array.block(number))
        return last[2]


def check_bounds(low: int, high: int, where: str = "") -> None:
    """Refuse bounds that no exact sum of integers has.

    Raises:
        ConfigError: they are beyond 2^62, or leave no choice.
    """
    if not -MAX_INTEGER <= low < high <= MAX_INTEGER:
        raise ConfigError(
            f"{where}integers lie between a min and a larger max, within -2^62 to 2^62, not {low} to {high}"
        )


def _checked(spec: ArraySpec, update: Mapping[str, Any]) -> SteadyArray:
    array = update.get(spec.name)
    if array is None:
        raise InputError(f"array {spec.name!r} of the task's schema is missing", array=spec.name)
    if isinstance(array, Pieces):
        array = SteadyArray(spec.name, array)
    if not isinstance(array, SteadyArray | np.ndarray):
        raise InputError(f"array {spec.name!r} is {described_type(array)}", array=spec.name)
    if array.dtype.name != spec.dtype or not array.dtype.isnative:
        raise InputError(
            f"array {spec.name!r} is {array.dtype}, the task wants {spec.dtype}; {instead(array.dtype, spec.dtype)}",
            array=spec.name,
        )
    if isinstance(array, np.ndarray):
        check_array(spec.name, array)
    if isinstance(array, SteadyArray) and array.in_pieces:
        if array.size != spec.size:
            raise InputError(
                f"the pieces of array {spec.name!r} hold {array.size} values, the task wants {spec.size}",
                array=spec.name,
            )
        return array
    if array.shape != spec.shape:
        raise InputError(f"array {spec.name!r} has shape {array.shape}, the task wants {spec.shape}", array=spec.name)
    return array if isinstance(array, SteadyArray) else SteadyArray(spec.name, array)
