"""Unmasking in pieces: together they are all masks over the whole vector, each exactly once, wherever they are made."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import pytest

from secagg.config import Suite
from secagg.crypto.prg import Words, word_dtype
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.errors import DecodeError
from secagg.masked import ranges
from secagg.masked.accumulator import Accumulator
from secagg.masked.masks import Mask, add_masks
from secagg.masked.ranges import RANGE, MaskRange, Workers, cut, one_after_the_other
from secagg.rounds.uploads import MemorySpool
from secagg.tools.bench.cohort import bench_config
from tests.rounds import SEMI_HONEST

SUITE = Suite.X25519_SHA256_AES128
LENGTH = 2 * RANGE + 77


def some_masks(count: int) -> list[Mask]:
    rng = SeededRng(bytes(32))
    return [Mask(Secret(rng.token(SUITE.key_size)), negative=i % 3 == 0) for i in range(count)]


def accumulator(workers: Workers, length: int = LENGTH - 1) -> Accumulator:
    """Of the vectors of `length` values and a weight."""
    return Accumulator(bench_config(5, length, threat_model=SEMI_HONEST), MemorySpool(), workers)


def directly(masks: list[Mask], bits: int, length: int = LENGTH) -> Words:
    whole: Words = np.zeros(length, word_dtype(bits))
    add_masks(whole, 0, masks, SUITE)
    return whole


@pytest.mark.parametrize("bits", [7, 16, 23, 40])
def test_the_pieces_together_are_all_masks(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "_PIECE_VALUES", 3 * RANGE)
    masks = some_masks(7)
    pieces = list(cut(SUITE, bits, LENGTH, masks))
    assert [len(piece.masks) for piece in pieces[::3]] == [3, 3, 1]
    assert sum(piece.work for piece in pieces) == len(masks) * (LENGTH + ranges.KEY_WORK)
    total: Words = np.zeros(LENGTH, word_dtype(bits))
    for piece in reversed(pieces):
        total[piece.start : piece.stop] += MaskRange.decode(piece.encode()).sum()
    assert np.array_equal(total, directly(masks, bits))


def test_pieces_of_short_vectors_have_many_keys_and_not_too_many() -> None:
    masks = some_masks(2 * ranges.MAX_KEYS + 1)
    assert [len(piece.masks) for piece in cut(SUITE, 16, 8, masks)] == [ranges.MAX_KEYS, ranges.MAX_KEYS, 1]


def test_masks_are_drawn_as_pieces_are() -> None:
    drawn = []

    def masks() -> Iterator[Mask]:
        for mask in some_masks(3 * ranges.MAX_KEYS):
            drawn.append(mask)
            yield mask

    assert len(list(islice(cut(SUITE, 16, 8, masks()), 1))) == 1
    assert len(drawn) == ranges.MAX_KEYS


def test_a_piece_does_not_show_its_keys() -> None:
    (piece,) = cut(SUITE, 16, 8, some_masks(1))
    assert piece.masks[0].key.expose().hex() not in repr(piece)
    assert "redacted" in repr(piece)


@pytest.mark.parametrize(
    "changed",
    [
        {0: 9},  # another suite
        {1: 0},
        {1: 65},
        {9: 1, 17: 2},  # the start is within a range
        {17: 0},  # an empty range
        {15: 4},  # a range that is too long
        {21: 3},  # more keys to add than there are
    ],
    ids=str,
)
def test_bytes_that_are_no_piece(changed: dict[int, int]) -> None:
    data = bytearray(MaskRange(SUITE, 16, 0, 1, tuple(some_masks(2))).encode())
    MaskRange.decode(bytes(data))
    for at, value in changed.items():
        data[at] = value
    with pytest.raises(DecodeError):
        MaskRange.decode(bytes(data))


@pytest.mark.parametrize("size", [0, 21, 30])
def test_cut_off_pieces_are_none(size: int) -> None:
    data = MaskRange(SUITE, 16, 0, 1, tuple(some_masks(1))).encode()
    with pytest.raises(DecodeError):
        MaskRange.decode(data[:size])


# --- what workers hand in ---------------------------------------------------------------------------------------------


def spoilt(kind: str) -> Workers:
    """Workers that do one thing wrong."""

    def workers(pieces: Iterable[MaskRange], total: int) -> Iterator[tuple[MaskRange, Words]]:
        made = list(one_after_the_other(pieces, total))
        if kind == "skipped":
            del made[1]
        elif kind == "twice":
            made.append(made[0])
        elif kind == "short":
            made[-1] = (made[-1][0], made[-1][1][:-1])
        elif kind == "of another width":
            made[-1] = (made[-1][0], made[-1][1].astype(np.uint64))
        elif kind == "made up":
            piece = made[0][0]
            made[0] = (MaskRange(piece.suite, piece.bits, piece.start, piece.stop, piece.masks), made[0][1])
        yield from made

    return workers


def test_the_sum_has_every_mask_once() -> None:
    masks = some_masks(4)
    one = accumulator(one_after_the_other)
    bits = bench_config(5, 8, threat_model=SEMI_HONEST).ring_bits
    found = one.unmasked(masks, len(masks))
    assert np.array_equal(found, directly(masks, bits, len(found)) & ((1 << bits) - 1))


@pytest.mark.parametrize("kind", ["skipped", "twice", "short", "of another width", "made up"])
def test_there_is_no_sum_if_workers_err(kind: str) -> None:
    with pytest.raises(ValueError, match="unmasking"):
        accumulator(spoilt(kind)).unmasked(some_masks(4), 4)


def test_workers_are_told_how_much_there_is() -> None:
    told = []

    def workers(pieces: Iterable[MaskRange], total: int) -> Iterator[tuple[MaskRange, Words]]:
        made = list(one_after_the_other(pieces, total))
        told.append((total, sum(piece.work for piece, _ in made)))
        yield from made

    accumulator(workers).unmasked(some_masks(4), 4)
    assert told[0][0] == told[0][1]
