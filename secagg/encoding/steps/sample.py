"""Shared-seed random coordinates: everyone sends the same ones, so their sum is theirs (proto/PROTOCOL.md, "Sampling").

Of every 2^16 coordinates the same share is kept, those with the smallest random keys. Each coordinate is kept with
the same probability, and any range can be found without the others.
"""

from math import ceil
from typing import Any, Final

import numpy as np

from secagg.crypto import labels
from secagg.crypto.kdf import derive
from secagg.crypto.prg import KeyStream
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.encoding.arrays import FloatArray
from secagg.encoding.schema import Values
from secagg.encoding.steps.rotate import read_blocks
from secagg.encoding.steps.text import Arguments, real
from secagg.errors import ConfigError

BLOCK: Final = 1 << 16
_KEY: Final = np.dtype("<u4")
_INDEX_BITS: Final = 16

Indices = np.ndarray[Any, np.dtype[np.int64]]


def read(given: Arguments) -> dict[str, object]:
    """The fields of a pipeline that the text of this step says."""
    if given.get("per", "group") != "group":
        raise ConfigError("sample knows per=group only; leave per out for the same coordinates in the whole round")
    return {"rate": real(given, "rate"), "per_group": "per" in given}


def written(rate: float, *, per_group: bool) -> list[str]:
    """The parameters of this step as they stand in a pipeline's text; nothing if it does not have the step."""
    return [f"rate={rate!r}{', per=group' if per_group else ''}"] if rate != 1 else []


def kept_of(count: int, rate: float) -> int:
    """How many of `count` coordinates of a block are kept: at least one."""
    return min(count, max(1, ceil(count * rate)))


def kept_size(size: int, rate: float) -> int:
    """How many of `size` coordinates are kept, over all blocks."""
    whole, rest = divmod(size, BLOCK)
    return whole * kept_of(BLOCK, rate) + (kept_of(rest, rate) if rest else 0)


class Selection:
    """Which coordinates of a vector a round is about."""

    def __init__(self, size: int, rate: float, context: bytes) -> None:
        """Args:
        size: coordinates to choose from.
        rate: share to keep, in (0, 1].
        context: of the round; or the id of the grouped round, for the same coordinates in all of its groups.
        """
        self.size = size
        self.per_block = kept_of(BLOCK, rate)
        self.kept = kept_size(size, rate)
        self._key = derive(Secret(context), salt=b"", info=frame(labels.COORDINATE_SAMPLING), size=16)

    @property
    def blocks(self) -> int:
        """How many blocks of coordinates the vector has; the last may be shorter."""
        return -(-self.size // BLOCK)

    def bounds(self, number: int) -> tuple[int, int]:
        """Where block `number` starts and stops among the kept coordinates."""
        return number * self.per_block, min((number + 1) * self.per_block, self.kept)

    def block(self, number: int) -> Indices:
        """The kept coordinates of block `number` in ascending order: those whose (u32 key, index) are smallest."""
        first = number * BLOCK
        count = min(BLOCK, self.size - first)
        low, high = self.bounds(number)
        keys = KeyStream(self._key, _KEY, first, bytearray(count * _KEY.itemsize)).next(count).astype(np.uint64)
        keys <<= np.uint64(_INDEX_BITS)
        keys |= np.arange(count, dtype=np.uint64)
        keys.partition(high - low - 1)
        chosen = (keys[: high - low] & np.uint64(BLOCK - 1)).astype(np.int64)
        chosen.sort()
        chosen += first
        return chosen

    def scale(self, number: int) -> float:
        """What makes block `number` unbiased: coordinates there over coordinates kept."""
        low, high = self.bounds(number)
        return min(BLOCK, self.size - number * BLOCK) / (high - low)


class Sampled:
    """The kept coordinates of a source. Keeps those of the block that it read last."""

    def __init__(self, source: Values, selection: Selection) -> None:
        self.size = selection.kept
        self._source = source
        self._selection = selection
        self._last: tuple[int, FloatArray] | None = None

    def read(self, start: int, stop: int) -> FloatArray:
        """The kept values, gathered block by block."""
        out = np.empty(stop - start, np.float64)
        selection = self._selection
        for number in range(start // selection.per_block, -(-stop // selection.per_block)):
            low, high = selection.bounds(number)
            chosen = self._gather(number)[max(0, start - low) : stop - low]
            out[max(0, low - start) : min(high, stop) - start] = chosen
        return out

    def _gather(self, number: int) -> FloatArray:
        last = self._last
        if last is None or last[0] != number:
            first = number * BLOCK
            values = self._source.read(first, min(first + BLOCK, self._source.size))
            last = self._last = number, values[self._selection.block(number) - first]
        return last[1]


class Spread:
    """Kept coordinates where they belong, and zeros elsewhere. Keeps the block that it read last."""

    def __init__(self, source: Values, selection: Selection, *, unbiased: bool) -> None:
        """Args: unbiased: whether they are scaled up, so that their mean is that of all coordinates."""
        self.size = selection.size
        self._source = source
        self._selection = selection
        self._unbiased = unbiased
        self._last: tuple[int, FloatArray] | None = None

    def read(self, start: int, stop: int) -> FloatArray:
        """The values, cut out of whole blocks."""
        return read_blocks(self._block, BLOCK, start, stop)

    def _block(self, start: int) -> FloatArray:
        last, number = self._last, start // BLOCK
        if last is None or last[0] != number:
            kept = self._source.read(*self._selection.bounds(number))
            values = np.zeros(min(BLOCK, self.size - start), np.float64)
            scale = self._selection.scale(number) if self._unbiased else 1.0
            values[self._selection.block(number) - start] = kept * scale
            last = self._last = number, values
        return last[1]
