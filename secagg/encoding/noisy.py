"""Updates as integers that noise hides: scaled, rounded within the norm bound, noise added; or, where the coordinator
adds noise, to their sum.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from secagg.crypto import labels
from secagg.crypto.kdf import derive
from secagg.crypto.prg import KeyStream, Words, word_dtype
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.encoding.arrays import FloatArray
from secagg.encoding.calibration import Calibration
from secagg.encoding.schema import Values
from secagg.encoding.steps.rotate import read_blocks
from secagg.encoding.vector import Sums
from secagg.errors import InputError
from secagg.noise.stream import Integers, NoiseStream
from secagg.noise.table import noise_table

MAX_ATTEMPTS: Final = 160
"""Each rounding is within the bound with probability 0.39 at least, so all of these fail once in 2^115 updates."""

_UNIFORM: Final = np.dtype("<u4")


@dataclass(frozen=True, slots=True)
class Grid:
    """Non-negative integers for signed ones, and back from their sum.

    Masked rounds take everything mod 2^b: −1 is 2^b − 1. The sum in a homomorphic round does not wrap, and would show
    how many of the summands did; there every integer is raised by the largest that can be, and none ever wraps.

    Attributes:
        bits: of an encoded integer.
        raised_by: what every integer is raised by; 0 where they wrap.
    """

    bits: int
    raised_by: int = 0

    @classmethod
    def raised(cls, calibration: Calibration) -> "Grid":
        """Wide enough for every rounded value with every noise that the table has."""
        largest = calibration.largest_value + noise_table(calibration.law, calibration.variance).largest
        return cls((2 * largest).bit_length(), largest)

    def encode(self, values: Integers) -> Integers:
        """Integers in [0, 2^bits), in place."""
        if self.raised_by:
            values += self.raised_by
        else:
            values &= (1 << self.bits) - 1
        return values

    def decode(self, sums: Words, summands: int) -> FloatArray:
        """The signed sums as float64."""
        if self.raised_by:
            return sums.astype(np.float64) - summands * self.raised_by
        signed = sums.astype(np.int64)
        signed -= (signed >> (self.bits - 1)) << self.bits
        return signed.astype(np.float64)


class NoisyUpdate:
    """One participant's noisy vector, computed block by block and always the same for the same range."""

    def __init__(self, source: Values, block: int, calibration: Calibration, grid: Grid, seed: Secret) -> None:
        """Args:
        source: rotated values, whole blocks.
        block: coordinates worked on together, a multiple of 64.
        calibration: scale, noise and norm bound.
        grid: how signed integers are sent.
        seed: see `Code.encode`.
        """
        self.vector_len = source.size
        self.dtype = word_dtype(grid.bits)
        self._source = source
        self.block = block
        self._calibration = calibration
        self._grid = grid
        self._noise = None if calibration.central else _noise(calibration, seed)
        self._rounding_key = self._accepted(seed)

    def _accepted(self, seed: Secret) -> Secret:
        """The key of the first rounding within the norm bound (conditional stochastic rounding)."""
        for attempt in range(MAX_ATTEMPTS):
            key = derive(seed, salt=b"", info=frame(labels.ROUNDING, attempt.to_bytes(4, "big")), size=16)
            if self._squared_norm(key) <= self._calibration.norm_bound:
                return key
        raise InputError("no rounding of the update is within the norm bound")

    def _squared_norm(self, key: Secret) -> int:
        total = 0
        for start in range(0, self.vector_len, self.block):
            values = self._rounded(key, start)
            total += int(np.dot(values, values))
        return total

    def _rounded(self, key: Secret, start: int) -> Integers:
        """int64[block] of the block that starts at `start`: floor(v·s + u), u uniform in [0, 1)."""
        values = self._source.read(start, start + self.block)
        values *= self._calibration.scale
        buffer = bytearray(self.block * _UNIFORM.itemsize)
        values += KeyStream(key, _UNIFORM, start, buffer).next(self.block) * 2.0**-32
        return np.floor(values, out=values).astype(np.int64)

    def rounded(self) -> Values:
        """What is sent, without noise and in the values' own unit; `vector_len` of them."""
        return _Rounded(self)

    def rounded_block(self, start: int) -> FloatArray:
        """float64[block] of `rounded`, of the block that starts at `start`."""
        return self._rounded(self._rounding_key, start) / self._calibration.scale

    def read(self, start: int, stop: int, dtype: np.dtype[np.unsignedinteger[Any]] | None = None) -> Words:
        """Integers in [0, 2^bits) of the coordinates [start, stop), as `dtype`."""
        out = np.empty(stop - start, dtype or self.dtype)
        for first in range(start - start % self.block, stop, self.block):
            values = self._rounded(self._rounding_key, first)
            if self._noise is not None:
                self._noise.add_to(values, first)
            low, high = max(start, first), min(stop, first + self.block)
            out[low - start : high - start] = self._grid.encode(values[low - first : high - first])
        return out


class _Rounded:
    """The rounded values of an update, as `Values`."""

    def __init__(self, update: NoisyUpdate) -> None:
        self.size = update.vector_len
        self._update = update

    def read(self, start: int, stop: int) -> FloatArray:
        """Cut out of whole blocks."""
        return read_blocks(self._update.rounded_block, self._update.block, start, stop)


class GridMeans:
    """The means behind the sum of `summands` vectors on a grid, as `Values`."""

    def __init__(self, grid: Grid, sums: Sums, summands: int, scale: float) -> None:
        self.size = sums.vector_len
        self._grid = grid
        self._sums = sums
        self._summands = summands
        self._scale = scale

    def read(self, start: int, stop: int) -> FloatArray:
        """float64 of the sums in [start, stop)."""
        means = self._grid.decode(self._sums.read(start, stop), self._summands)
        means /= self._scale * self._summands
        return means


def add_noise(sums: Words, calibration: Calibration, bits: int, seed: Secret) -> None:
    """Add the coordinator's noise to a sum mod 2^bits, in place.

    Args:
        sums: unsigned words[d], the exact sum of the survivors' integers.
        calibration: with `central`.
        bits: b.
        seed: 32 fresh bytes of the operating system's CSPRNG, for this sum alone.
    """
    noise, stride = _noise(calibration, seed), 1 << 16
    for start in range(0, len(sums), stride):
        part = sums[start : start + stride].astype(np.int64)
        noise.add_to(part, start)
        part &= (1 << bits) - 1
        sums[start : start + stride] = part


def _noise(calibration: Calibration, seed: Secret) -> NoiseStream:
    return NoiseStream(noise_table(calibration.law, calibration.variance), seed)
