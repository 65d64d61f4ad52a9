"""Seeded rotation: random signs, then a Walsh-Hadamard transform, block by block (proto/PROTOCOL.md, "Rotation").

An orthogonal map that everyone knows. It spreads each participant's energy evenly over a block, so that a few large
coordinates fit a narrow ring, and a coordinate that only one participant has is no longer visible as such.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from secagg.crypto import labels
from secagg.crypto.kdf import derive
from secagg.crypto.prg import KeyStream
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.encoding.arrays import FloatArray
from secagg.encoding.schema import Values
from secagg.errors import InputError

MAX_BLOCK: Final = 1 << 16
"""A block of float64 that stays in the L2 cache while it is transformed."""

MAX_ROTATED: Final = 2.0**1000
"""A block of such values does not overflow float64 while it is transformed."""

_SMALL: Final = 1 << 12  # up to here one block holds everything
_MIN_BLOCK: Final = 64
_BYTE: Final = np.dtype("<u1")


def block_size(size: int) -> int:
    """Coordinates in each block of a rotation of `size` coordinates: a power of two from 64 to 2^16.

    One block up to 4096 coordinates; beyond, the largest whose padding is at most a sixteenth, but at least 4096.
    """
    if size <= _SMALL:
        return max(_MIN_BLOCK, 1 << (size - 1).bit_length())
    block = MAX_BLOCK
    while block > _SMALL and -size % block > size // 16:
        block //= 2
    return block


def padded_size(size: int) -> int:
    """Coordinates after the rotation: whole blocks."""
    block = block_size(size)
    return -(-size // block) * block


class Rotation:
    """The rotation of one round. Its seed is public: anyone who knows the context can undo it."""

    def __init__(self, size: int, context: bytes) -> None:
        """Args: size: coordinates before padding. context: 32 bytes that bind the round."""
        self.size = size
        self.block = block_size(size)
        self.padded = padded_size(size)
        self._key = derive(Secret(context), salt=b"", info=frame(labels.ROTATION), size=16)

    def forward(self, values: FloatArray, number: int) -> FloatArray:
        """Rotate float64[block], block `number`, in place: y = H·diag(signs)·x/√block."""
        values *= self._signs(number)
        return hadamard(values)

    def inverse(self, values: FloatArray, number: int) -> FloatArray:
        """Undo `forward`, in place: H/√block is its own inverse."""
        hadamard(values)
        values *= self._signs(number)
        return values

    def _signs(self, number: int) -> FloatArray:
        """float64[block] of ±1/√block: bit i of the stream, least significant first, 1 for a negative sign."""
        size = self.block // 8
        packed = KeyStream(self._key, _BYTE, number * size, bytearray(size)).next(size)
        signs = np.unpackbits(packed.view(np.uint8), bitorder="little").astype(np.float64)
        signs *= -2 / np.sqrt(self.block)
        signs += 1 / np.sqrt(self.block)
        return signs


def check_rotatable(source: Values) -> None:
    """Refuse values that a rotation could make infinite.

    Raises:
        InputError: one is above `MAX_ROTATED`.
    """
    for start in range(0, source.size, MAX_BLOCK):
        values = source.read(start, min(start + MAX_BLOCK, source.size))
        if max(-float(values.min()), float(values.max())) > MAX_ROTATED:
            raise InputError(
                f"a value is larger than {MAX_ROTATED:.1e}, beyond what can be rotated in float64; scale the update, "
                "or let the pipeline clip it first"
            )


class Rotated:
    """A source, rotated, and zeros behind its end rotated with it. Keeps the block that it read last."""

    def __init__(self, source: Values, rotation: Rotation) -> None:
        self.size = rotation.padded
        self._source = source
        self._rotation = rotation
        self._last: tuple[int, FloatArray] | None = None

    def read(self, start: int, stop: int) -> FloatArray:
        """The rotated values: whole blocks are read and transformed, and the range is cut out of them."""
        return read_blocks(self._block, self._rotation.block, start, stop)

    def _block(self, start: int) -> FloatArray:
        last = self._last
        if last is not None and last[0] == start:
            return last[1]
        values = np.zeros(self._rotation.block, np.float64)
        stop = min(start + len(values), self._source.size)
        if start < stop:
            values[: stop - start] = self._source.read(start, stop)
        self._last = start, self._rotation.forward(values, start // len(values))
        return values


class RotatedBack:
    """A rotated source, rotated back. Keeps the block that it read last."""

    def __init__(self, source: Values, rotation: Rotation) -> None:
        self.size = rotation.size
        self._source = source
        self._rotation = rotation
        self._last: tuple[int, FloatArray] | None = None

    def read(self, start: int, stop: int) -> FloatArray:
        """The values: whole blocks are read and transformed, and the range is cut out of them."""
        return read_blocks(self._block, self._rotation.block, start, stop)

    def _block(self, start: int) -> FloatArray:
        last, block = self._last, self._rotation.block
        if last is not None and last[0] == start:
            return last[1]
        values = self._rotation.inverse(self._source.read(start, start + block), start // block)
        self._last = start, values
        return values


def read_blocks(block_at: Callable[[int], FloatArray], size: int, start: int, stop: int) -> FloatArray:
    """A fresh float64[stop − start], cut out of blocks of `size` values, which `block_at` gives by their first one."""
    out = np.empty(stop - start, np.float64)
    for first in range(start - start % size, stop, size):
        low, high = max(start, first), min(stop, first + size)
        out[low - start : high - start] = block_at(first)[low - first : high - first]
    return out


def hadamard(values: FloatArray) -> FloatArray:
    """The Walsh-Hadamard transform of float64[2^k], in place, not scaled.

    For h = 2^(k−1), …, 2, 1: (x_i, x_{i+h}) becomes (x_i + x_{i+h}, x_i − x_{i+h}). The order makes every rounding the
    same everywhere. Short distances are taken on a transposed copy, where they are long rows.
    """
    bits = len(values).bit_length() - 1
    rows = values.reshape(1 << bits // 2, -1)
    _butterflies(rows)
    columns = np.ascontiguousarray(rows.T)
    _butterflies(columns)
    rows[:] = columns.T
    return values


def _butterflies(rows: FloatArray) -> None:
    """Transform every column of float64[2^j, any]."""
    half = len(rows) // 2
    upper = np.empty((half, rows.shape[1]), np.float64)
    while half:
        pairs = rows.reshape(-1, 2, half, rows.shape[1])
        first, second = pairs[:, 0], pairs[:, 1]
        spare = upper.reshape(first.shape)
        np.subtract(first, second, out=spare)
        first += second
        second[:] = spare
        half //= 2
