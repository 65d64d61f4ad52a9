"""Floats to integers that add up exactly, and the sum back to floats (proto/PROTOCOL.md, "Encoding").

A value v of a participant with weight w becomes the integer floor((clip(v)·w/w_max + c)·s + u), s = (2^q − 1)/2c,
with u uniform in [0, 1): an unbiased q-bit number. Behind the values the weight itself travels as an exact integer, in
one coordinate: the ring is wide enough for the sum of all weights, so that nothing comes out but that sum.
"""

from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np

from secagg.crypto import labels
from secagg.crypto.kdf import derive
from secagg.crypto.prg import MaskStream, Words, word_dtype
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.encoding.schema import FloatArray, Schema
from secagg.encoding.source import Source
from secagg.errors import ConfigError, InputError, ProtocolViolation
from secagg.scalars import as_integer, settle

MIN_VALUE_BITS: Final = 1
MAX_VALUE_BITS: Final = 32
MAX_WEIGHT: Final = 2**32 - 1
MIN_CLIP: Final = 2.0**-64
MAX_CLIP: Final = 2.0**64
"""Within these no step, sum or mean leaves the range of float32."""
_STRIDE: Final = 1 << 14  # values encoded together, so that float64 temporaries stay in the cache
_UNIFORM_DTYPE: Final = np.dtype("<u4")
_ARITHMETIC: Final = 1 + 2.0**-20
"""More than what float64 adds to the magnitude of a mean on the way."""


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """The fixed-point code of a round.

    Attributes:
        clip: c, 2^-64 to 2^64; values are clipped to [−c, c].
        value_bits: q, 1 to 32; the step is 2c/(2^q − 1). One bit is a sign, flipped at random so that it is unbiased.
        max_weight: w_max, 1 to 2^32 − 1; a participant's weight is an integer in [1, w_max]. Values are scaled by
            w/w_max, so the relative precision of a participant falls as its weight does: choose w_max no larger than
            needed. Below 2^q it costs no bits; from there on every coordinate travels as wide as w_max is.
    """

    clip: float
    value_bits: int = 16
    max_weight: int = 1

    def __post_init__(self) -> None:
        settle(self, integers=("value_bits", "max_weight"), numbers=("clip",))
        if not MIN_CLIP <= self.clip <= MAX_CLIP:
            raise ConfigError(f"clip must be a number from 2^-64 to 2^64, not {self.clip}; scale the update")
        if not MIN_VALUE_BITS <= self.value_bits <= MAX_VALUE_BITS:
            raise ConfigError(f"value_bits must be {MIN_VALUE_BITS} to {MAX_VALUE_BITS}, not {self.value_bits}")
        if not 1 <= self.max_weight <= MAX_WEIGHT:
            raise ConfigError(f"max_weight must be 1 to {MAX_WEIGHT}, not {self.max_weight}")

    @property
    def levels(self) -> int:
        """The largest encoded integer: 2^q − 1."""
        return (1 << self.value_bits) - 1

    @property
    def step(self) -> float:
        """Distance of two neighbouring encoded numbers, in the values' own unit."""
        return 2 * self.clip / self.levels

    @property
    def coordinate_bits(self) -> int:
        """v: bits that hold a value as well as a weight. More than q where `max_weight` is 2^q or more."""
        return max(self.value_bits, self.max_weight.bit_length())

    def vector_len(self, schema: Schema) -> int:
        """Coordinates of the encoded vector: the values, then the weight."""
        return schema.size + 1

    def ring_bits(self, summands: int) -> int:
        """b with 2^b > summands·(2^v − 1): the sum of that many encoded vectors cannot wrap."""
        return self.coordinate_bits + (summands - 1).bit_length()


class Encoder:
    """One participant's encoded vector, computed range by range and always the same for the same range."""

    def __init__(self, code: FixedPoint, source: Source, weight: int, rounding_seed: Secret) -> None:
        """Args:
            source: the update's values.
            rounding_seed: 32 fresh random bytes; they fix the stochastic rounding, so that a resent chunk is the same.

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
        self._code = code
        self._source = source
        self._factor = weight / code.max_weight
        self._weight = weight
        self._rounding_key = derive(rounding_seed, salt=b"", info=frame(labels.ROUNDING), size=16)

    def read(self, start: int, stop: int, dtype: np.dtype[np.unsignedinteger] | None = None) -> Words:
        """Integers in [0, 2^v) of the coordinates [start, stop), as `dtype`. `start` is a multiple of 64."""
        out = np.empty(stop - start, dtype or self.dtype)
        uniform = MaskStream(self._rounding_key, _UNIFORM_DTYPE, start, bytearray(_STRIDE * _UNIFORM_DTYPE.itemsize))
        last = min(stop, self._source.size)
        for low in range(start, last, _STRIDE):
            high = min(low + _STRIDE, last)
            out[low - start : high - start] = self._encode(self._source.read(low, high), uniform.next(high - low))
        if stop > self._source.size:
            out[self._source.size - start] = self._weight
        return out

    def _encode(self, values: FloatArray, uniform: Words) -> FloatArray:
        """Rounded numbers as float64; `values` is overwritten."""
        code = self._code
        np.clip(values, -code.clip, code.clip, out=values)
        values *= self._factor
        values += code.clip
        values *= 1 / code.step
        values += uniform * 2.0**-32
        np.floor(values, out=values)
        # (c + c)/step can exceed 2^q − 1 by a rounding error of float64; the code has no such number.
        return np.minimum(values, code.levels, out=values)


@dataclass(frozen=True, slots=True)
class WeightedMean:
    """What the sum says.

    Attributes:
        arrays: Σ w·v / Σ w over the summands, in the schema's shapes and dtypes.
        weight: Σ w, exact.
        error_bound: no value is further than this from the weighted mean of the clipped inputs (before the cast to
            the dtype).
    """

    arrays: dict[str, FloatArray]
    weight: int
    error_bound: float


def decode_mean(code: FixedPoint, schema: Schema, sums: Words, summands: int) -> WeightedMean:
    """The weighted mean behind an exact sum of `summands` encoded vectors.

    Raises:
        ProtocolViolation: no such vectors add up to these sums or this weight, or no inputs within the clip have this
            mean: a participant or the coordinator made it up.
    """
    weight = total_weight(code, schema.size, sums, summands)
    arrays = schema.arrays_from(lambda start, stop: _means(code, sums[start:stop], summands, weight))
    return WeightedMean(arrays, weight, error_bound(code, summands, weight))


def decode_flat(code: FixedPoint, size: int, sums: Words, summands: int) -> tuple[FloatArray, int]:
    """float64[size] of weighted means, and the weight; see `decode_mean`."""
    weight = total_weight(code, size, sums, summands)
    return _means(code, sums[:size], summands, weight), weight


def total_weight(code: FixedPoint, size: int, sums: Words, summands: int) -> int:
    """Σ w, which stands behind the sums of `size` values; refuses impossible ones as `decode_mean` says."""
    if int(sums[:size].max()) > summands * code.levels:
        raise ProtocolViolation(f"the sum is beyond what {summands} participants can encode")
    weight = int(sums[size])
    if not summands <= weight <= summands * code.max_weight:
        raise ProtocolViolation(f"the sum's weight {weight} is not one that {summands} participants can have")
    return weight


def _means(code: FixedPoint, sums: Words, summands: int, weight: int) -> FloatArray:
    """float64 of each sum; refuses impossible ones as `decode_mean` says."""
    mean: FloatArray = sums.astype(np.float64)
    mean *= code.step
    mean -= summands * code.clip
    mean *= code.max_weight / weight
    check_magnitude(mean, code.clip + error_bound(code, summands, weight))
    return mean


def check_magnitude(mean: FloatArray, bound: float) -> None:
    """Refuse a mean that no clipped inputs have.

    Args:
        mean: float64, not empty.
        bound: what none of its values can exceed in magnitude.

    Raises:
        ProtocolViolation: as above. Nobody can tell who made it up.
    """
    most = max(-float(mean.min()), float(mean.max()))
    if not most <= bound * _ARITHMETIC:
        raise ProtocolViolation(
            f"the mean has a value of magnitude {most:.6g}; no inputs within the clip exceed {bound:.6g}"
        )


def check_length(mean: FloatArray, bound: float) -> None:
    """As `check_magnitude`, for the Euclidean norm of the whole."""
    length = float(np.linalg.norm(mean)) if bound < inf else 0.0
    if not length <= bound * _ARITHMETIC:
        raise ProtocolViolation(f"the mean has norm {length:.6g}; no inputs within the clip exceed {bound:.6g}")


def error_bound(code: FixedPoint, summands: int, weight: int) -> float:
    """The largest error of a mean: every summand is rounded by less than a step."""
    return summands * code.step * code.max_weight / weight
