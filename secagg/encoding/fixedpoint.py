"""Floats to integers that add up exactly, and the sum back to floats (proto/PROTOCOL.md, "Encoding").

A value v of a participant with weight w becomes the integer floor((clip(v)·w/w_max + c)·s + u), s = (2^q − 1)/2c,
with u uniform in [0, 1): an unbiased q-bit number. Behind the values the weight itself travels as an exact integer, in
one coordinate: the ring is wide enough for the sum of all weights, so that nothing comes out but that sum.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import Final

import numpy as np

from secagg.crypto import labels
from secagg.crypto.kdf import derive
from secagg.crypto.prg import KeyStream, Words, word_dtype
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.encoding.arrays import FloatArray
from secagg.encoding.schema import MAX_CLIP, MIN_CLIP, ArraySpec, NewArrays, Schema, Values
from secagg.encoding.steps.clip import norm
from secagg.encoding.vector import Sums, largest, readable
from secagg.errors import ConfigError, InputError, ProtocolViolation
from secagg.scalars import as_integer, settle

MIN_VALUE_BITS: Final = 1
MAX_VALUE_BITS: Final = 32
MAX_WEIGHT: Final = 2**32 - 1
_STRIDE: Final = 1 << 15  # values encoded together, so that float64 temporaries stay in the cache
_UNIFORM_DTYPE: Final = np.dtype("<u4")
_ARITHMETIC: Final = 1 + 2.0**-20
"""More than what float64 adds to the magnitude of a mean on the way."""


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """The plain way to turn floats into integers: each value is clipped, and rounded without bias to one of 2^q levels.

    Attributes:
        clip: c, 2^-64 to 2^64; values are clipped to [−c, c]. An array with a `range` of its own is clipped to that
            range, and has a step of its own.
        value_bits: q, 1 to 32; the step is 2c/(2^q − 1). One bit is a sign, flipped at random so that it is unbiased.
        max_weight: w_max, 1 to 2^32 − 1; a participant's weight is an integer in [1, w_max]. Values are scaled by
            w/w_max, so the smaller the weight of a participant, the coarser its values: choose w_max no larger than
            needed. Below 2^q it costs no bits; from there on every coordinate is as wide as w_max.
    """

    clip: float
    value_bits: int = 16
    max_weight: int = 1

    def __post_init__(self) -> None:
        settle(self, integers=("value_bits", "max_weight"), numbers=("clip",))
        if not MIN_CLIP <= self.clip <= MAX_CLIP:  # check: clip
            raise ConfigError(f"clip must be a number from 2^-64 to 2^64, not {self.clip}; scale the update")
        if not MIN_VALUE_BITS <= self.value_bits <= MAX_VALUE_BITS:  # check: value-bits
            raise ConfigError(f"value_bits must be {MIN_VALUE_BITS} to {MAX_VALUE_BITS}, not {self.value_bits}")
        if not 1 <= self.max_weight <= MAX_WEIGHT:
            raise ConfigError(f"max_weight must be 1 to {MAX_WEIGHT}, not {self.max_weight}")

    @property
    def levels(self) -> int:
        """The largest integer that a value is encoded as: 2^q − 1."""
        return (1 << self.value_bits) - 1

    @property
    def step(self) -> float:
        """Distance of two neighbouring encoded numbers, in the values' own unit."""
        return 2 * self.clip / self.levels

    @property
    def coordinate_bits(self) -> int:
        """Bits that hold a value as well as a weight, v. More than q where `max_weight` is 2^q or more."""
        return max(self.value_bits, self.max_weight.bit_length())

    def vector_len(self, schema: Schema) -> int:
        """Number of coordinates of the encoded vector: the values, then the weight."""
        return schema.size + 1

    def ring_bits(self, summands: int) -> int:
        """The b for which 2^b > summands·(2^v − 1): the sum of so many encoded vectors cannot wrap around."""
        return self.coordinate_bits + (summands - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Span:
    """Coordinates [start, stop), which share a range, and the code with that range."""

    start: int
    stop: int
    code: FixedPoint


def spans_of(code: FixedPoint, schema: Schema) -> tuple[Span, ...]:
    """What holds where; neighbouring arrays of one range are one span."""
    spans: list[Span] = []
    at = 0
    for spec in schema.arrays:
        own, start = ranged(code, spec), at
        at += spec.size
        if spans and spans[-1].code == own:
            start = spans.pop().start
        spans.append(Span(start, at, own))
    return tuple(spans)


def ranged(code: FixedPoint, spec: ArraySpec) -> FixedPoint:
    """The code of one array."""
    return code if spec.range is None else replace(code, clip=spec.range)


def _cut(spans: tuple[Span, ...], start: int, stop: int) -> Iterator[Span]:
    """The parts of [start, stop), which is not empty."""
    at = bisect_right(spans, start, key=lambda span: span.stop)
    while start < stop:
        end = min(spans[at].stop, stop)
        yield Span(start, end, spans[at].code)
        start, at = end, at + 1


class FixedPointUpdate:
    """One participant's encoded vector, computed range by range and always the same for the same range."""

    def __init__(
        self, code: FixedPoint, source: Values, weight: int, rounding_seed: Secret, spans: tuple[Span, ...] = ()
    ) -> None:
        """Args:
            source: the update's values.
            rounding_seed: 32 fresh random bytes; they fix the stochastic rounding, so that a resent chunk is the same.
            spans: what holds where, if not `code` everywhere.

        Raises:
            InputError: the weight is not an integer in [1, w_max].
        """
        weight = as_integer(weight, "weight", InputError)
        if not 1 <= weight <= code.max_weight:
            raise InputError(
                f"weight must be an integer from 1 to the task's max_weight {code.max_weight}, not {weight}"
            )
        self.vector_len = source.size + 1
        self.dtype = word_dtype(code.coordinate_bits)
        self._spans = spans or (Span(0, source.size, code),)
        self._source = source
        self._factor = weight / code.max_weight
        self._weight = weight
        self._rounding_key = derive(rounding_seed, salt=b"", info=frame(labels.ROUNDING), size=16)

    def read(self, start: int, stop: int, dtype: np.dtype[np.unsignedinteger] | None = None) -> Words:
        """Integers in [0, 2^v) of the coordinates [start, stop), as `dtype`. `start` is a multiple of 64."""
        out = np.empty(stop - start, dtype or self.dtype)
        uniform = KeyStream(self._rounding_key, _UNIFORM_DTYPE, start, bytearray(_STRIDE * _UNIFORM_DTYPE.itemsize))
        fractions: FloatArray = np.empty(min(_STRIDE, stop - start))  # for one stride after the other
        last = min(stop, self._source.size)
        for low in range(start, last, _STRIDE):
            high = min(low + _STRIDE, last)
            values = self._source.read(low, high)
            drawn = np.multiply(uniform.next(high - low), 2.0**-32, out=fractions[: high - low])
            for part in _cut(self._spans, low, high):
                here = slice(part.start - low, part.stop - low)
                self._encode(part.code, values[here], drawn[here])
            _truncate(values, self._spans[0].code.levels, out[low - start : high - start])
        if stop > self._source.size:
            out[self._source.size - start] = self._weight
        return out

    def _encode(self, code: FixedPoint, values: FloatArray, drawn: FloatArray) -> None:
        """Overwrite `values` by numbers in [0, 2^q), of which the integer part counts, as float64.

        As many numbers are in `drawn`, uniform in [0, 1).
        """
        np.clip(values, -code.clip, code.clip, out=values)
        if self._factor != 1:
            values *= self._factor
        values += code.clip
        values *= 1 / code.step
        values += drawn
        # (c + c)/step can exceed 2^q − 1 by a rounding error of float64; the code has no such number.
        np.minimum(values, code.levels, out=values)


def _truncate(values: FloatArray, largest: int, out: Words) -> None:
    """The integer parts of float64 values from 0 to `largest`."""
    signed = out.view(np.int32) if out.itemsize == 4 and largest < 2**31 else out
    np.copyto(signed, values, casting="unsafe")  # to signed words of 32 bits this is twice as fast


@dataclass(frozen=True, slots=True)
class WeightedMean:
    """The weighted mean of the updates in a sum, and how exact it is.

    Attributes:
        arrays: Σ w·v / Σ w over the updates in the sum, in the schema's shapes and dtypes.
        weight: total weight Σ w, exact.
        error_bounds: by array: no value of it is further than this from the weighted mean of the clipped updates
            (before the cast to the dtype). Infinite where nothing can be promised: with noise; with coordinates left
            out (`sample`); and with `rotate`, unless a clip keeps the norm of every update within `range`, because
            rotated values may have been cut off, and nobody knows by how much.
        relative_error: the largest rounding error of a quantised value, in units of its range. Above 1 it is larger
            than any value may be. 0 with noise, whose size has nothing to do with rounding.
    """

    arrays: dict[str, FloatArray]
    weight: int
    error_bounds: dict[str, float]
    relative_error: float = 0.0

    @property
    def error_bound(self) -> float:
        """The largest of `error_bounds`."""
        return max(self.error_bounds.values())

    @property
    def precise(self) -> bool:
        """Whether `relative_error` is at most 1. If not, a single value of the mean says nothing: `max_weight` is far
        above the weights that came, or values have one bit, of which only many together say something.
        """
        return self.relative_error <= 1


def decode_mean(code: FixedPoint, schema: Schema, sums: Words | Sums, summands: int) -> WeightedMean:
    """The weighted mean behind an exact sum of `summands` encoded vectors.

    Raises:
        ProtocolViolation: no such vectors add up to these sums or this weight, or no inputs within the clip have this
            mean: a participant or the coordinator made it up.
    """
    sums = readable(sums)
    weight = total_weight(code, schema.size, sums, summands)
    arrays = schema.fill(NewArrays(), Means(spans_of(code, schema), sums, summands, weight))
    return WeightedMean(
        arrays, weight, error_bounds(code, schema, summands, weight), relative_error(code, summands, weight)
    )


def total_weight(code: FixedPoint, size: int, sums: Sums, summands: int) -> int:
    """Σ w, which stands behind the sums of `size` values; refuses impossible ones as `decode_mean` says."""
    if largest(sums, size) > summands * code.levels:  # check: C32-range
        raise ProtocolViolation(f"the sum is beyond what {summands} participants can encode")
    weight = int(sums.read(size, size + 1)[0])
    if not summands <= weight <= summands * code.max_weight:  # check: C32
        raise ProtocolViolation(f"the sum's weight {weight} is not one that {summands} participants can have")
    return weight


class Means:
    """The weighted means behind the sum of `summands` vectors of a total weight, as `Values`."""

    def __init__(self, spans: tuple[Span, ...], sums: Sums, summands: int, weight: int) -> None:
        self.size = spans[-1].stop
        self._spans = spans
        self._sums = sums
        self._summands = summands
        self._weight = weight

    def read(self, start: int, stop: int) -> FloatArray:
        """float64 of each sum in [start, stop); refuses impossible ones as `decode_mean` says."""
        means: FloatArray = self._sums.read(start, stop).astype(np.float64)
        for part in _cut(self._spans, start, stop):
            code, mean = part.code, means[part.start - start : part.stop - start]
            mean *= code.step
            mean -= self._summands * code.clip
            mean *= code.max_weight / self._weight
            check_magnitude(mean, code.clip + error_bound(code, self._summands, self._weight))
        return means


def check_magnitude(mean: FloatArray, bound: float) -> None:
    """Refuse a mean that no clipped inputs have.

    Args:
        mean: float64, not empty.
        bound: what none of its values can exceed in magnitude.

    Raises:
        ProtocolViolation: as above. Nobody can tell who made it up.
    """
    most = max(-float(mean.min()), float(mean.max()))
    if not most <= bound * _ARITHMETIC:  # check: C32
        raise ProtocolViolation(
            f"the mean has a value of magnitude {most:.6g}; no inputs within the clip exceed {bound:.6g}"
        )


def check_length(mean: Values, bound: float) -> None:
    """Refuse a mean whose Euclidean norm no clipped inputs have. Errors as in `check_magnitude`."""
    length = norm(mean, 0, mean.size) if bound < inf else 0.0
    if not length <= bound * _ARITHMETIC:  # check: C32
        raise ProtocolViolation(f"the mean has norm {length:.6g}; no inputs within the clip exceed {bound:.6g}")


def error_bound(code: FixedPoint, summands: int, weight: int) -> float:
    """The largest error of a mean: every summand is rounded by less than a step."""
    return summands * code.step * code.max_weight / weight


def error_bounds(code: FixedPoint, schema: Schema, summands: int, weight: int, factor: float = 1.0) -> dict[str, float]:
    """The largest error of the mean of each array, which has its own range, times `factor`."""
    return {spec.name: factor * error_bound(ranged(code, spec), summands, weight) for spec in schema.arrays}


def relative_error(code: FixedPoint, summands: int, weight: int) -> float:
    """The largest error of a mean in units of its range, so that it is one number for all arrays."""
    return 2 * summands * code.max_weight / (code.levels * weight)
