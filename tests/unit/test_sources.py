"""Updates in memory, in mapped files and in pieces: the same values, the same bytes, and nothing that changed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secagg.crypto.secret import Secret
from secagg.encoding import sources
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import Code, code_for
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.integers import Integers
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.encoding.sources import BLOCK, Pieces, SteadyArray, steady
from secagg.errors import InputError
from secagg.tools.redteam.self_test.patches import without_check

CONTEXT = bytes(32)
SIZES = (3, BLOCK - 1, 2 * BLOCK + 17)
SCHEMA = Schema(tuple(ArraySpec(f"a{size}", (size,)) for size in SIZES))
ENCODINGS: dict[str, FixedPoint | Pipeline] = {
    "plain": FixedPoint(1.0, 16, 10),
    "clipped": Pipeline.parse("clip(l2=1.0) | quantise(bits=8, range=1.0)"),
    "sampled": Pipeline.parse("feedback | sample(rate=0.1) | rotate | quantise(bits=8, range=1.0)"),
    "noisy": Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=20) | noise(law=skellam, z=0.01)"),
}


def update() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(3)
    return {spec.name: rng.uniform(-1, 1, spec.size).astype(np.float32) for spec in SCHEMA.arrays}


class Passes:
    """Gives an array in pieces of changing sizes, and counts how often it is passed over."""

    def __init__(self, array: np.ndarray[Any, Any], sizes: tuple[int, ...] = (1, 70_000, 0, 12_345)) -> None:
        self.array = array
        self.sizes = sizes
        self.begun = 0

    def __call__(self) -> Iterator[np.ndarray[Any, Any]]:
        self.begun += 1
        at, number = 0, 0
        while at < len(self.array):
            size = self.sizes[number % len(self.sizes)]
            yield self.array[at : at + size]
            at, number = at + size, number + 1


def mapped(folder: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    for name, array in arrays.items():
        np.save(folder / name, array)
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in arrays}


def code_of(encoding: FixedPoint | Pipeline) -> Code:
    return code_for(encoding, SCHEMA, Cohort(5, 3), wraps=True)


def encoded(code: Code, given: Any, step: int) -> np.ndarray[Any, Any]:
    vector = code.encode(SCHEMA.check(given), 1, Secret(bytes(32)), CONTEXT)
    starts = range(0, code.vector_len, step)
    parts = [vector.read(at, min(at + step, code.vector_len), np.dtype("<u8")) for at in starts]
    return np.concatenate(parts)


@pytest.mark.parametrize("name", ENCODINGS)
def test_arrays_files_and_pieces_give_the_same_vector(name: str, tmp_path: Path) -> None:
    code, arrays = code_of(ENCODINGS[name]), update()
    whole = encoded(code, arrays, code.vector_len)
    assert np.array_equal(encoded(code, mapped(tmp_path, arrays), 64 * 1000), whole)
    passes = {key: Passes(array) for key, array in arrays.items()}
    pieces: dict[str, Any] = {key: Pieces(begin) for key, begin in passes.items()}
    assert np.array_equal(encoded(code, steady(pieces), 64 * 999), whole)
    # The first value, the check, norms (twice where the values are rotated and clipped), roundings, and the chunks.
    assert max(one.begun for one in passes.values()) <= 6


def test_an_upload_in_order_passes_over_pieces_once() -> None:
    """Also where chunks end within blocks: what is read last is kept."""
    for name, encoding in ENCODINGS.items():
        code, passes = code_of(encoding), {key: Passes(array) for key, array in update().items()}
        pieces: dict[str, Any] = {key: Pieces(begin) for key, begin in passes.items()}
        vector = code.encode(SCHEMA.check(pieces), 1, Secret(bytes(32)), CONTEXT)
        before = [one.begun for one in passes.values()]
        for at in range(0, code.vector_len, 64 * 999):
            vector.read(at, min(at + 64 * 999, code.vector_len), np.dtype("<u8"))
        assert [one.begun - was for one, was in zip(passes.values(), before, strict=True)] <= [1, 1, 1], name


def test_any_range_of_a_multiple_of_64_can_be_read_again() -> None:
    code, arrays = code_of(ENCODINGS["sampled"]), update()
    vector = code.encode(
        SCHEMA.check({key: Pieces(Passes(array)) for key, array in arrays.items()}), 1, Secret(bytes(32)), CONTEXT
    )
    whole = vector.read(0, code.vector_len, np.dtype("<u8"))
    for start in (64 * 300, 0, 64 * 150, 64):
        again = vector.read(start, start + 777, np.dtype("<u8"))
        assert np.array_equal(again, whole[start : start + 777])


def test_integers_come_in_pieces_too() -> None:
    schema = Schema((ArraySpec("a", (BLOCK + 5,), "int16"), ArraySpec("b", (7,), "uint8")))
    code = code_for(Integers(max=100, min=-100), schema, Cohort(5, 3), wraps=True)
    values = np.random.default_rng(1).integers(-100, 101, BLOCK + 5).astype(np.int16)
    given: dict[str, Any] = {"a": values, "b": np.arange(7, dtype=np.uint8)}
    whole = code.encode(schema.check(given), 1, Secret(bytes(32))).read(0, schema.size, np.dtype("<u8"))
    assert whole.tolist() == [*(values.astype(int) + 100), *range(100, 107)]
    pieces: dict[str, Any] = {name: Pieces(Passes(array)) for name, array in given.items()}
    again = code.encode(schema.check(pieces), 1, Secret(bytes(32)))
    assert np.array_equal(again.read(64 * 1000, schema.size, np.dtype("<u8")), whole[64 * 1000 :])
    values[BLOCK + 2] = 101
    with pytest.raises(InputError, match=rf"'a' is 101 at index \({BLOCK + 2},\), the task takes -100 to 100"):
        code.encode(schema.check({**given, "a": Pieces(Passes(values))}), 1, Secret(bytes(32)))


@pytest.mark.parametrize(
    ("begin", "says"),
    [
        (lambda: iter([np.zeros(2, np.float32), np.zeros(2, np.float64)]), "are float32 and float64; give one dtype"),
        (lambda: iter([[0.0]]), "is list, not a numpy array"),
        (lambda: iter([np.zeros(2, np.float16)]), "is float16; cast it"),
        (lambda: iter([np.zeros(0, np.float32)]), "hold no values"),
        (lambda: iter([np.array([0, np.inf], np.float32)]), r"is inf at index \(1,\)"),
        (lambda: iter([np.zeros(3, np.float32)]), "hold 3 values, the task wants 4"),
        (lambda: iter([np.zeros(4, np.float64)]), "is float64, the task wants float32"),
    ],
)
def test_pieces_that_do_not_fit_are_named(begin: Callable[[], Iterator[Any]], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Schema((ArraySpec("v", (4,)),)).check({"v": Pieces(begin)})
    assert caught.value.array == "v"


def test_an_iterator_alone_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"an update is an array or a mapping .*Pieces\(function\)"):
        steady(iter([np.zeros(3, np.float32)]))
    with pytest.raises(InputError, match="takes a function that begins a new pass"):
        Pieces(iter([np.zeros(3, np.float32)]))  # type: ignore[arg-type]


def test_a_pass_that_gives_other_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more value, one less, or another one: in whatever block."""
    array = np.zeros(2 * BLOCK, np.float32)
    passes = Passes(array)
    flat = SCHEMA_OF_TWO.check({"v": Pieces(passes)})
    flat.read(0, 2 * BLOCK)
    passes.array = np.zeros(2 * BLOCK, np.float32)
    passes.array[-1] = -0.0  # equal, and other bytes
    with pytest.raises(InputError, match="array 'v' was changed while it was being sent"):
        flat.read(0, 2 * BLOCK)
    passes.array = np.zeros(2 * BLOCK - 1, np.float32)
    with pytest.raises(InputError, match="was changed"):
        flat.read(0, 2 * BLOCK)
    without_check(monkeypatch, SteadyArray, "block", "same-update")
    assert len(flat.read(0, 2 * BLOCK)) == 2 * BLOCK


def test_blocks_of_one_array_may_not_change_places() -> None:
    array = np.concatenate([np.zeros(BLOCK, np.float32), np.ones(BLOCK, np.float32)])
    flat = SCHEMA_OF_TWO.check({"v": array})
    assert flat.read(BLOCK, BLOCK + 1)[0] == 1
    array[:] = array[::-1].copy()
    with pytest.raises(InputError, match="was changed"):
        flat.read(0, 1)


def test_an_update_that_was_looked_at_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = steady({"v": np.zeros(2 * BLOCK, np.float32)})
    monkeypatch.setattr(sources.SteadyArray, "block", None)
    assert steady(known)["v"] is known["v"]
    assert SCHEMA_OF_TWO.check(known).size == 2 * BLOCK


SCHEMA_OF_TWO = Schema((ArraySpec("v", (2 * BLOCK,)),))
