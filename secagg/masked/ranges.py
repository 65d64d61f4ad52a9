"""Unmasking cut into pieces: each is the sum of a few streams over one range of the vector, and can be made anywhere.

A piece is a small value: keys, signs and a range. Its sum does not depend on any other piece, so pieces are made in any
order, side by side, in threads of this process or in processes elsewhere (`encode`). Pieces are cut as they are asked
for, and the keys of masks are derived with them: what is held at a time does not grow with the number of masks.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from secagg.config import Suite
from secagg.crypto.prg import Words, word_dtype
from secagg.crypto.secret import Secret
from secagg.errors import DecodeError
from secagg.masked.masks import Mask, add_masks

RANGE: Final = 1 << 18
"""Values of a range: a whole number of strides of every stream, whatever the width of a word."""

KEY_WORK: Final = 1 << 16
"""To agree and derive a key takes as long as so many mask values, about."""

MAX_KEYS: Final = 4096
"""Streams of a piece at most."""

_PIECE_VALUES: Final = 1 << 26
"""Mask values of a piece, about: some 30 ms of one core. So soon does a worker stop that is told to."""

_HEAD: Final = struct.Struct(">BBQQI")


@dataclass(frozen=True, slots=True, eq=False)
class MaskRange:
    """One piece of unmasking. Two pieces are the same only if they are the same object.

    Attributes:
        suite: of the round; it says what a key's stream is.
        bits: of the ring, 1 to 64; its words are the smallest that hold them.
        start: first value of the range, a multiple of `RANGE`.
        stop: the value behind its last.
        masks: streams to add or to subtract, at most `MAX_KEYS`.
    """

    suite: Suite
    bits: int
    start: int
    stop: int
    masks: tuple[Mask, ...]

    @property
    def work(self) -> int:
        """How much it is, in mask values: one for each stream and value. With its first range a stream's key counts."""
        return len(self.masks) * (self.stop - self.start + (KEY_WORK if self.start == 0 else 0))

    def sum(self) -> Words:
        """Σ ± streams over the range, mod 2^word: words[stop − start]."""
        total: Words = np.zeros(self.stop - self.start, word_dtype(self.bits))
        add_masks(total, self.start, self.masks, self.suite)
        return total

    def encode(self) -> bytes:
        """The piece for a worker in another process. It holds keys: it travels only where these may be read."""
        added = [mask.key.expose() for mask in self.masks if not mask.negative]
        taken = [mask.key.expose() for mask in self.masks if mask.negative]
        head = _HEAD.pack(self.suite.value, self.bits, self.start, self.stop, len(added))
        return head + b"".join(added + taken)

    @classmethod
    def decode(cls, data: bytes) -> "MaskRange":
        """The piece in these bytes.

        Raises:
            DecodeError: it is none.
        """
        try:
            number, bits, start, stop, added = _HEAD.unpack_from(data)
            suite = Suite(number)
        except (struct.error, ValueError):
            raise DecodeError("that is no piece of unmasking") from None
        size, keys = suite.key_size, data[_HEAD.size :]
        count, rest = divmod(len(keys), size)
        if (
            rest
            or not added <= count <= MAX_KEYS
            or not 1 <= bits <= 64
            or start % RANGE
            or not start < stop <= start + RANGE
        ):  # check: piece-of-unmasking
            raise DecodeError("that is no piece of unmasking: keys or range are not as they must be")
        masks = (Mask(Secret(keys[i * size : (i + 1) * size]), negative=i >= added) for i in range(count))
        return cls(suite, bits, start, stop, tuple(masks))


Workers = Callable[[Iterable[MaskRange], int], Iterator[tuple[MaskRange, Words]]]
"""Makes the sum of every piece and gives each with its sum, in any order. It takes the next piece only when it has
room for it. The number is Σ `MaskRange.work` over all pieces, by which a caller tells how far the work is.
"""


def one_after_the_other(pieces: Iterable[MaskRange], total: int) -> Iterator[tuple[MaskRange, Words]]:
    """Workers without threads: make each piece when its sum is asked for."""
    del total
    for piece in pieces:
        yield piece, piece.sum()


def cut(suite: Suite, bits: int, length: int, masks: Iterable[Mask]) -> Iterator[MaskRange]:
    """The pieces that together are all `masks` over a vector of `length` values. Masks are drawn as pieces are."""
    waiting = iter(masks)
    most = max(1, min(MAX_KEYS, _PIECE_VALUES // min(RANGE, length)))
    while batch := tuple(islice(waiting, most)):
        for start in range(0, length, RANGE):
            yield MaskRange(suite, bits, start, min(start + RANGE, length), batch)
