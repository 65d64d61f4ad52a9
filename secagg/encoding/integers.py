"""Exact sums of integers, for counts and histograms (proto/PROTOCOL.md, "Integers"). There is no float anywhere.

A value x of an array with bounds [min, max] travels as x − min. The ring holds n_max·(max − min), so no sum wraps, and
what comes out is Σ x to the last digit: no clip, no rounding, no weight. Nor is there noise. The sums are released as
they are, and a count of few participants may tell much about one of them.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from secagg.crypto.prg import Words, word_dtype
from secagg.crypto.secret import Secret
from secagg.encoding.arrays import FloatArray
from secagg.encoding.fixedpoint import WeightedMean
from secagg.encoding.schema import STRIDE, ArraySpec, FlatUpdate, NewArrays, Schema, Sink, Values, check_bounds
from secagg.encoding.sources import index_of
from secagg.encoding.vector import Sums, readable
from secagg.errors import ConfigError, InputError, LocalError, ProtocolViolation
from secagg.scalars import as_integer, settle

IntegerArray = np.ndarray[Any, np.dtype[np.int64]]
_MOST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Integers:
    """Whole numbers are summed exactly: no clip, no rounding, no weight. A value outside of the bounds is an error.

    Attributes:
        max: largest value of an array that has no `bounds` of its own; at most 2^62, and the sum over all participants
            must stay below 2^63.
        min: smallest value of such an array; −2^62 to `max` − 1.
    """

    max: int
    min: int = 0

    def __post_init__(self) -> None:
        settle(self, integers=("max", "min"))
        check_bounds(self.min, self.max)

    @property
    def max_weight(self) -> int:
        """Always 1: every participant counts once."""
        return 1

    def bounds(self, spec: ArraySpec) -> tuple[int, int]:
        """The smallest and the largest value of an array: its own bounds, or those of the encoding."""
        return spec.bounds or (self.min, self.max)


@dataclass(frozen=True, slots=True)
class IntegerSums:
    """The exact sums of a round of integers.

    Attributes:
        arrays: Σ x over the participants in the sum, int64, in the schema's shapes.
        summands: number of participants in the sum.
    """

    arrays: dict[str, IntegerArray]
    summands: int


@dataclass(frozen=True, slots=True)
class IntegerCode:
    """What `Integers` come to in a round; see `secagg.encoding.code.Code`."""

    integers: Integers
    schema: Schema
    summands: int

    def __post_init__(self) -> None:
        for spec in self.schema.arrays:
            if not spec.whole:
                raise ConfigError(
                    f"array {spec.name!r} is {spec.dtype}, and this encoding is of integers; "
                    "cast it to int64, or use FixedPoint"
                )
        self.check_total(self.summands)

    def check_total(self, summands: int) -> None:
        """Refuse bounds of which so many integers, those of all groups together, can add up beyond 64-bit integers.

        Raises:
            ConfigError: they can; names the array.
        """
        for spec in self.schema.arrays:
            low, high = self.integers.bounds(spec)
            if summands * max(-low, high) > _MOST:
                raise ConfigError(
                    f"{summands} integers from {low} to {high} can add up to more than 2^63 − 1; "
                    f"narrow the bounds of array {spec.name!r}"
                )

    @property
    def vector_len(self) -> int:
        """The values. There is no weight."""
        return self.schema.size

    @property
    def value_bits(self) -> int:
        """v: those of the widest array."""
        return max((high - low).bit_length() for low, high in map(self.integers.bounds, self.schema.arrays))

    @property
    def ring_bits(self) -> int:
        """Room for the sum of all."""
        return self.value_bits + (self.summands - 1).bit_length()

    @property
    def feedback(self) -> bool:
        """No: nothing is lost that could be carried over."""
        return False

    @property
    def calibration(self) -> None:
        """None: nothing is calibrated where there is no noise."""
        return None

    def encode(
        self, update: Values, weight: int, seed: Secret, context: bytes = b"", carried: FloatArray | None = None
    ) -> "IntegerUpdate":
        """One participant's vector. `seed` and `context` are not needed: nothing is rounded.

        Raises:
            InputError: a value out of its array's bounds; names both. Or a weight that is not 1.
            LocalError: something is carried.
        """
        if as_integer(weight, "weight", InputError) != 1:
            raise InputError(f"integers are added up as they are, so every participant has weight 1, not {weight}")
        if carried is not None:
            raise LocalError("something is carried over from earlier rounds, and this round has no feedback")
        if not isinstance(update, FlatUpdate):
            raise LocalError("integers are read from what Schema.check gives: anything else here is made of floats")
        return IntegerUpdate(self, update)

    def decode_mean(
        self, sums: Words | Sums, summands: int, context: bytes = b"", sink: Sink | None = None
    ) -> WeightedMean:
        """Raises LocalError: there is no mean."""
        raise LocalError("this round adds up integers: read the sums with totals(config) instead of a mean")

    def decode_totals(self, sums: Words | Sums, summands: int, sink: Sink | None = None) -> IntegerSums:
        """The exact sums behind a sum of `summands` vectors, int64, in arrays that `sink` makes.

        Raises:
            ProtocolViolation: no such vectors add up to this.
        """
        sums, sink = readable(sums), sink or NewArrays()
        first = 0
        for spec in self.schema.arrays:
            low, high = self.integers.bounds(spec)
            sink.begin(spec.name, spec.shape, np.dtype(np.int64))
            for start in range(first, first + spec.size, STRIDE):
                part = sums.read(start, min(start + STRIDE, first + spec.size))
                if int(part.max()) > summands * (high - low):  # check: C97
                    raise ProtocolViolation(
                        f"array {spec.name!r} has a sum beyond what {summands} integers from {low} to {high} have"
                    )
                # Modulo 2^64, in which a negative number is its two's complement.
                sink.write((part.astype(np.uint64) + np.uint64(summands * low % 2**64)).view(np.int64))
            first += spec.size
        return IntegerSums(sink.end(), summands)


class IntegerUpdate:
    """One participant's integers, read range by range."""

    def __init__(self, code: IntegerCode, update: FlatUpdate) -> None:
        self.vector_len = code.vector_len
        self.dtype = word_dtype(code.value_bits)
        self._update = update
        self._lows: list[int] = []  # the smallest value of each array
        at = 0
        for spec in code.schema.arrays:
            low, high = code.integers.bounds(spec)
            _check(spec, update, at, low, high)
            self._lows.append(low)
            at += spec.size

    def read(self, start: int, stop: int, dtype: np.dtype[np.unsignedinteger[Any]] | None = None) -> Words:
        """Integers in [0, 2^v) of the coordinates [start, stop), as `dtype`."""
        out = np.empty(stop - start, dtype or self.dtype)
        for number, at, values in self._update.parts(start, stop):
            low = self._lows[number]
            # Modulo 2^64, so that no difference of int64 is too large.
            out[at - start : at - start + len(values)] = values.astype(np.uint64) - np.uint64(low % 2**64)
        return out

    def lost(self) -> FloatArray:
        """Zeros, float32: integers are sent as they are."""
        return np.zeros(self.vector_len, np.float32)


def _check(spec: ArraySpec, update: FlatUpdate, first: int, low: int, high: int) -> None:
    """Refuse values of an array, which begins at coordinate `first`, that are out of its bounds."""
    least, most = (high, 0), (low, 0)  # the value and its place
    for _, at, values in update.parts(first, first + spec.size):
        smallest, greatest = int(values.argmin()), int(values.argmax())
        least = min(least, (int(values[smallest]), at - first + smallest))
        most = max(most, (int(values[greatest]), first - at - greatest))
    for value, at in ((least[0], least[1]), (most[0], -most[1])):
        if not low <= value <= high:
            index = index_of(at, spec.shape)
            raise InputError(
                f"array {spec.name!r} is {value} at index {index}, the task takes {low} to {high}",
                array=spec.name,
                index=index,
            )
