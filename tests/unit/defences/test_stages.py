"""Rotation, sampling and clipping: exact where they must be, unbiased, and readable from anywhere."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard as hadamard_matrix

from secagg.encoding.schema import ArraySpec, Schema
from secagg.encoding.steps.chain import Steps
from secagg.encoding.steps.clip import Clip, Clipped, norm
from secagg.encoding.steps.rotate import MAX_BLOCK, Rotated, RotatedBack, Rotation, block_size, hadamard, padded_size
from secagg.encoding.steps.sample import BLOCK, Sampled, Selection, Spread, kept_size
from secagg.errors import ConfigError, InputError, LocalError

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
CONTEXT = bytes(range(32))


@dataclass
class Values:
    values: Floats

    @property
    def size(self) -> int:
        return len(self.values)

    def read(self, start: int, stop: int) -> Floats:
        return self.values[start:stop].copy()


def normal(count: int, seed: int = 0) -> Values:
    return Values(np.random.default_rng(seed).normal(size=count))


def rotated(source: Values, context: bytes = CONTEXT) -> tuple[Rotation, Floats]:
    rotation = Rotation(source.size, context)
    return rotation, Rotated(source, rotation).read(0, rotation.padded)


@pytest.mark.parametrize("bits", range(1, 11))
def test_the_transform_is_hadamards(bits: int) -> None:
    values = normal(1 << bits).values
    np.testing.assert_allclose(hadamard(values.copy()), hadamard_matrix(1 << bits) @ values, atol=1e-10)


@pytest.mark.parametrize("bits", [1, 6, 9])
def test_the_order_of_additions_is_the_specified_one(bits: int) -> None:
    values = normal(1 << bits, 3).values
    expected, half = values.tolist(), 1 << bits - 1
    while half:
        for start in range(0, len(expected), 2 * half):
            for i in range(start, start + half):
                a, b = expected[i], expected[i + half]
                expected[i], expected[i + half] = a + b, a - b
        half //= 2
    assert hadamard(values).tolist() == expected


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000, 4096, 4097, 70_000, 200_000])
def test_a_rotation_keeps_lengths_and_is_undone(size: int) -> None:
    source = normal(size)
    rotation, values = rotated(source)
    assert np.linalg.norm(values) == pytest.approx(np.linalg.norm(source.values), rel=1e-12)
    np.testing.assert_allclose(RotatedBack(Values(values), rotation).read(0, size), source.values, atol=1e-12)


def test_a_rotation_spreads_a_single_coordinate() -> None:
    """A coordinate that one participant alone has is spread over its whole block (T9)."""
    _, values = rotated(Values(np.eye(1, 4096, 17)[0]))
    assert np.abs(values) == pytest.approx(1 / 64)
    assert 1800 < (values > 0).sum() < 2300


def test_another_context_rotates_otherwise() -> None:
    source = normal(1000)
    assert not np.allclose(rotated(source)[1], rotated(source, bytes(32))[1])


@given(st.integers(1, 3 * MAX_BLOCK))
def test_blocks_are_powers_of_two_and_padding_is_small(size: int) -> None:
    block = block_size(size)
    assert 64 <= block <= MAX_BLOCK
    assert block & (block - 1) == 0
    assert 0 <= padded_size(size) - size < max(64, size if size <= 4096 else 4096, size // 16 + 1)


@given(st.integers(0, 150_000), st.integers(0, 150_000))
def test_stages_are_read_from_anywhere(a: int, b: int) -> None:
    start, stop = min(a, b), max(a, b)
    source = READ_FROM
    rotation = Rotation(source.size, CONTEXT)
    assert np.array_equal(Rotated(source, rotation).read(start, stop), ROTATED[start:stop])
    selection = Selection(source.size, 0.3, CONTEXT)
    part = Sampled(source, selection).read(start // 4, stop // 4)
    assert np.array_equal(part, source.values[KEPT[start // 4 : stop // 4]])


READ_FROM = normal(150_000)
ROTATED = rotated(READ_FROM)[1]
KEPT = np.concatenate([Selection(150_000, 0.3, CONTEXT).block(i) for i in range(3)])


@pytest.mark.parametrize("rate", [1e-9, 0.01, 0.3, 0.999, 1.0])
@pytest.mark.parametrize("size", [1, 10, BLOCK, BLOCK + 1, 150_000])
def test_a_selection_is_distinct_sorted_and_as_large_as_told(size: int, rate: float) -> None:
    selection = Selection(size, rate, CONTEXT)
    chosen = np.concatenate([selection.block(i) for i in range(selection.blocks)])
    assert len(chosen) == selection.kept == kept_size(size, rate)
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < size


def test_sampling_is_unbiased_over_contexts() -> None:
    """Every coordinate is kept with the same probability; scaled up, the mean over contexts is the vector."""
    source, total, rounds = normal(50), np.zeros(50), 4000
    for i in range(rounds):
        selection = Selection(50, 0.2, i.to_bytes(32, "big"))
        total += Spread(Sampled(source, selection), selection, unbiased=True).read(0, 50)
    # The standard error of a coordinate is 2|v|/√4000; five of them.
    assert (np.abs(total / rounds - source.values) < 5 * 2 * np.abs(source.values) / np.sqrt(rounds)).all()


SCHEMA = Schema((ArraySpec("a", (30, 10)), ArraySpec("b", (5,)), ArraySpec("c", (), "float64")))
SIZES = [300, 5, 1]


def clipped(source: Values, clip: Clip) -> Floats:
    return Clipped(source, clip, SIZES).read(0, source.size)


def test_clips_bound_what_they_say_and_leave_the_rest() -> None:
    source = normal(306)
    assert np.linalg.norm(clipped(source, Clip(l2=2.0))) == pytest.approx(2.0)
    assert np.array_equal(clipped(source, Clip(l2=1000.0)), source.values)
    assert np.abs(clipped(source, Clip(linf=0.5))).max() == 0.5
    parts = np.split(clipped(source, Clip(l2=0.3, per_array=True)), [300, 305])
    assert [np.linalg.norm(part) <= 0.3 * (1 + 1e-12) for part in parts] == [True] * 3
    direction = clipped(source, Clip(l2=2.0)) / source.values
    assert np.ptp(direction) < 1e-12


def test_norms_beyond_float64_are_refused() -> None:
    huge = Values(np.full(306, 1e200))
    assert norm(huge, 0, 306) == np.inf
    with pytest.raises(InputError, match="norm is beyond float64"):
        Clipped(huge, Clip(l2=1.0), SIZES)


@pytest.mark.parametrize("bound", [0.0, -1.0, np.nan, 1e-30, 1e30])
@pytest.mark.parametrize("name", ["l2", "linf"])
def test_clips_that_are_refused(name: str, bound: float) -> None:
    with pytest.raises(ConfigError, match="clip has one bound"):
        Clip(bound) if name == "l2" else Clip(linf=bound)


def test_a_clip_has_one_bound() -> None:
    with pytest.raises(ConfigError, match="one bound"):
        Clip()
    with pytest.raises(ConfigError, match="one bound"):
        Clip(l2=1.0, linf=1.0)
    with pytest.raises(ConfigError, match="leave per=array out"):
        Clip(linf=1.0, per_array=True)


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("rate", [1.0, 0.4])
@pytest.mark.parametrize("rotate", [False, True])
def test_stages_are_undone(rotate: bool, rate: float, feedback: bool) -> None:
    steps = Steps(SCHEMA, rate=rate, rotate=rotate, feedback=feedback)
    source = normal(306)
    sent = steps.transformed(source, CONTEXT).read(0, steps.size)
    back = steps.undo(Values(sent), CONTEXT).read(0, 306)
    kept = np.flatnonzero(back)
    assert len(kept) == steps.kept
    scale = 1.0 if feedback else 306 / steps.kept
    np.testing.assert_allclose(back[kept], source.values[kept] * scale, atol=1e-12)


def test_stages_that_need_the_context_ask_for_it() -> None:
    with pytest.raises(LocalError, match="pass it"):
        Steps(SCHEMA, rotate=True).transformed(normal(306), b"")
    with pytest.raises(LocalError, match="pass it"):
        Steps(SCHEMA, rate=0.5).undo(normal(153), b"")
