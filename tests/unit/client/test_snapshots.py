"""Snapshots of arrays: updates come out of them and means go into them, value for value, and nothing else."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from secagg_client.snapshots import Snapshot, suggest_clip
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge

from secagg.config import RoundConfig
from secagg.context import digest_model
from secagg.crypto.rng import SeededRng
from secagg.encoding.fixedpoint import FixedPoint, WeightedMean
from secagg.encoding.schema import Schema
from secagg.errors import ConfigError, InputError
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from tests.rounds import NOW, SEMI_HONEST


def arrays(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "steps": np.array(7, np.int64),
        "bias": np.array([0.5, -0.5]),
    }
    return made | changes


def floats(dtype: type[np.floating[Any]]) -> st.SearchStrategy[float]:
    return st.floats(-1e6, 1e6, width=np.finfo(dtype).bits)  # type: ignore[arg-type]


def test_it_is_a_mapping_of_read_only_copies() -> None:
    given = arrays()
    before = Snapshot(given)
    assert list(before) == ["kernel", "bias"]
    assert [array.dtype.name for array in before.values()] == ["float32", "float64"]
    for array in before.values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    given["kernel"] += 1
    given["steps"] += 1
    assert before["kernel"][0].tolist() == [0, 1, 2]
    assert before.plus({name: np.zeros_like(a) for name, a in before.items()})["steps"] == 7
    assert repr(before) == "Snapshot(2 arrays, 8 values)"


def test_an_update_shares_no_memory_with_model_or_snapshot() -> None:
    before, now = Snapshot(arrays()), arrays(kernel=np.ones((2, 3), np.float32))
    update = before.delta(now)
    moved = before.plus(update)
    for name in before:
        others = (before[name], now[name], moved[name])
        assert not any(np.shares_memory(update[name], other) for other in others)
        assert not any(np.shares_memory(moved[name], other) for other in (before[name], now[name]))
        assert moved[name].flags.writeable
    assert moved["steps"].flags.writeable


def test_a_list_is_named_by_position_and_comes_back_in_its_order() -> None:
    """As Keras gives and takes weights; a counter in the middle stays what it was."""
    weights: list[Any] = [np.ones((2, 2), np.float32), np.array([3], np.int64), np.zeros(2, np.float16)]
    before = Snapshot(weights)
    assert list(before) == ["0", "2"]
    trained = [weights[0] + 1, weights[1] + 5, weights[2] - np.float16(0.25)]
    update = before.delta(trained)
    assert {name: array.tolist() for name, array in update.items()} == {"0": [[1, 1], [1, 1]], "2": [-0.25, -0.25]}
    back = list(before.plus(update).values())
    assert [array.dtype for array in back] == [array.dtype for array in weights]
    assert [array.tolist() for array in back] == [[[2, 2], [2, 2]], [3], [-0.25, -0.25]]


def test_coefficients_of_an_estimator() -> None:
    """The lines of the guide, with an intercept that is a plain number."""
    rows, labels = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=5, warm_start=True)
    with pytest.warns(match="failed to converge"):
        model.fit(rows / 16, labels)
    before = Snapshot({"coef_": model.coef_, "intercept_": model.intercept_})
    with pytest.warns(match="failed to converge"):
        model.fit(rows / 16, labels)
    trained = model.coef_.copy()
    update = before.delta({"coef_": model.coef_, "intercept_": model.intercept_})
    for name, array in before.plus(update).items():
        setattr(model, name, array)
    assert np.abs(model.coef_ - trained).max() < 1e-15
    assert model.score(rows / 16, labels) > 0.9
    line = Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
    assert isinstance(line.intercept_, float | np.floating)
    number: Any = line.intercept_
    assert Snapshot({"intercept_": number})["intercept_"].shape == ()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_an_update_leads_back_to_the_trained_value_within_the_stated_bound(
    dtype: type[Any], data: st.DataObject
) -> None:
    pairs = data.draw(st.lists(st.tuples(floats(dtype), floats(dtype)), min_size=1, max_size=20))
    start, end = (np.array(side, dtype) for side in zip(*pairs, strict=True))
    before = Snapshot([start])
    found = before.plus(before.delta([end]))["0"]
    change = np.abs(end.astype(np.float64) - start)
    near = change <= np.abs(end.astype(np.float64)) / 2
    assert (found[near] == end[near]).all()
    bound = {np.float32: 2.0**-23, np.float64: 2.0**-52}[dtype] * (1 + 2.0**-20)
    assert (np.abs(found.astype(np.float64) - end) <= bound * change).all()


@given(st.lists(st.tuples(st.floats(width=16), st.floats(width=16)), min_size=1, max_size=20))
def test_halves_come_back_exactly(pairs: list[tuple[float, float]]) -> None:
    kept = [pair for pair in pairs if np.isfinite(pair).all() and (pair[1] == 0 or abs(pair[0]) <= 1000 * abs(pair[1]))]
    start, end = (np.array([pair[side] for pair in kept] + [0.5], np.float16) for side in (0, 1))
    before = Snapshot([start])
    found = before.plus(before.delta([end]))["0"]
    assert found.dtype == np.float16
    assert (found == end).all()


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_a_mean_of_zero_changes_no_bit(words: list[int]) -> None:
    """Not the sign of a zero, not an infinity, not the payload of a NaN."""
    start = np.array([*words, 0x80000000, 0x7F800000, 0x7FC00001, 0x7F800001], np.uint32).view(np.float32)
    for zero in (np.float32(0), np.float32(-0.0)):
        found = Snapshot([start]).plus({"0": np.full(start.shape, zero)})["0"]
        assert (found.view(np.uint32) == start.view(np.uint32)).all()


def test_an_infinite_value_that_stays_is_no_change() -> None:
    """Masks of attention are buffers with −∞ in them."""
    mask = np.array([0, -np.inf], np.float32)
    before = Snapshot([mask])
    assert before.delta([mask.copy()])["0"].tolist() == [0, 0]
    rounded = np.array([1e-5, -1e-5], np.float32)  # what a round makes of a change of 0
    assert before.plus({"0": rounded})["0"].tolist() == [rounded[0], -np.inf]


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (np.array([[0, 1, 2], [3, np.nan, 5]], np.float32), r"'kernel' changed by nan at index \(1, 1\)"),
        (np.array([[0, 1, 2], [3, 4, np.inf]], np.float32), r"'kernel' changed by inf at index \(1, 2\)"),
        (
            np.zeros((3, 2), np.float32),
            r"'kernel' of the model is float32 of shape \(3, 2\), in the snapshot .* \(2, 3\)",
        ),
        (np.zeros((2, 3)), "'kernel' of the model is float64 .* in the snapshot it is float32"),
        (np.zeros((2, 3), np.complex64), "'kernel' is complex64, which cannot be averaged"),
        (np.zeros((2, 3), np.longdouble), "'kernel' is .*float.*, which cannot be averaged"),
        (np.array(["a"]), "'kernel' is <U1, which cannot be averaged"),
        (np.ma.zeros((2, 3)), "'kernel' has masked values"),
        ([1.0, 2.0], "'kernel' is list, not a numpy array"),
    ],
)
def test_an_array_that_does_not_fit_is_named(after: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        Snapshot(arrays()).delta(arrays(kernel=after))
    assert caught.value.array == "kernel"


def test_a_change_beyond_the_dtype_is_named() -> None:
    with pytest.raises(InputError, match="'0' changed by -inf at index"):
        Snapshot([np.array([3e38], np.float32)]).delta([np.array([-3e38], np.float32)])


def test_arrays_that_came_or_went_are_named() -> None:
    before = Snapshot(arrays())
    now = arrays(head=np.zeros(1))
    del now["bias"]
    with pytest.raises(InputError, match=r"the model has other arrays .* lacks 'bias' and has also 'head'") as caught:
        before.delta(now)
    assert caught.value.array == "bias"
    many = {f"x{number}": np.zeros(1) for number in range(9)}
    with pytest.raises(InputError, match="lacks 'kernel', 'bias' and has also 'x0', 'x1', 'x2', 'x3', 'x4' and 4 more"):
        before.delta(many)
    with pytest.raises(InputError, match="has also 'head'"):
        before.delta(arrays(head=np.zeros(1)))


def test_a_counter_that_became_a_float_is_named() -> None:
    with pytest.raises(InputError, match="has also 'steps'"):
        Snapshot(arrays()).delta(arrays(steps=np.array(7.0)))


@pytest.mark.parametrize("wrong", [np.zeros(3), "weights", 3, None, iter([])])
def test_what_is_no_collection_of_arrays_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="pass arrays by name, or a list of arrays"):
        Snapshot(wrong)


@pytest.mark.parametrize(
    ("mean", "told"),
    [
        (None, "a receipt only"),
        ({}, "the mean has other arrays .* lacks 'kernel', 'bias'"),
        ({"kernel": np.zeros((2, 3), np.float32), "bias": np.zeros(3)}, "'bias' of the mean is float64 of shape"),
        ({"kernel": np.zeros((2, 3), np.float32), "bias": np.array([0, np.nan])}, "'bias' has a mean of nan at index"),
        ({"kernel": np.full((2, 3), 1, np.float32), "bias": np.zeros(2), "x": np.zeros(1)}, "has also 'x'"),
    ],
)
def test_a_mean_that_does_not_fit_is_refused(mean: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Snapshot(arrays()).plus(mean)


@pytest.mark.parametrize(("dtype", "most"), [(np.float16, 65504), (np.float32, 3.4e38), (np.float64, 1.7e308)])
def test_a_mean_that_leaves_the_range_is_refused(dtype: type[Any], most: float) -> None:
    before = Snapshot({"w": np.array([0, most], dtype)})
    with pytest.raises(InputError, match=f"'w' leaves the range of {np.dtype(dtype)}: it would be inf"):
        before.plus({"w": np.array([0, most], before["w"].dtype)})


def test_a_configuration_is_about_the_snapshot() -> None:
    before = Snapshot(arrays())
    config = before.config(
        task="t", clip=0.5, max_participants=5, max_weight=99, value_bits=12, ranges={"bias": 2.0}, purpose="tune"
    )
    assert config == RoundConfig(
        task="t",
        schema=Schema.of({name: before[name] for name in before}, ranges={"bias": 2.0}),
        encoding=FixedPoint(clip=0.5, value_bits=12, max_weight=99),
        max_participants=5,
        model_digest=digest_model(dict(before)),
        purpose="tune",
    )
    with pytest.raises(ConfigError, match="no array 'steps'"):
        before.config(task="t", clip=0.5, max_participants=5, ranges={"steps": 2.0})


def test_a_whole_round() -> None:
    """Three participants train the same model; the FL server's copy moves by the weighted mean of their changes."""
    server = Snapshot(arrays())
    config = server.config(
        task="t", clip=1.0, max_participants=3, max_weight=10, max_colluding=0, threat_model=SEMI_HONEST
    )
    names, brought, expected = participant_names(3), {}, 0.0
    for name, weight in zip(names, (2, 3, 5), strict=True):
        mine = Snapshot(arrays())
        trained = arrays(kernel=arrays()["kernel"] + np.float32(weight / 10))
        brought[name] = Contribution(mine.delta(trained), weight)
        expected += weight / 10 * weight / 10
    aggregate = set_up(config, brought, rng=SeededRng(bytes(32)), now=NOW, deployment=None).play().aggregate
    assert aggregate is not None
    mean = aggregate.mean(config)
    assert isinstance(mean, WeightedMean)
    moved = server.plus(mean)
    assert np.abs(moved["kernel"] - arrays()["kernel"] - expected).max() <= mean.error_bound + 1e-6
    assert moved["steps"] == 7


def test_the_clip_is_a_power_of_two_with_a_margin() -> None:
    clips = {
        most: suggest_clip([{"a": np.array([most / 9, -most])}, {"a": np.zeros(2)}]) for most in (0.4, 0.5, 3, 1e-9)
    }
    assert clips == {0.4: 0.5, 0.5: 1.0, 3: 4.0, 1e-9: 2.0**-29}
    rng = np.random.default_rng(1)
    for most in np.exp(rng.uniform(-40, 40, 1000)):
        clip = suggest_clip([{"a": np.zeros(0), "b": np.array([[most]], np.float32)}])
        assert 1.25 <= clip / np.float32(most) < 2.5
        assert np.log2(clip) % 1 == 0


def test_the_clip_looks_at_every_array_of_every_update() -> None:
    def updates(array: str, at: int) -> list[dict[str, Any]]:
        return [{name: np.array(5.0 * (name == array and n == at) + 0.1) for name in "ab"} for n in range(3)]

    assert {suggest_clip(updates(array, at)) for array in "ab" for at in range(3)} == {8.0}
    assert suggest_clip(iter(updates("a", 2))) == 8.0


@pytest.mark.parametrize(
    ("deltas", "told"),
    [
        ([], "nothing changed"),
        ([{"a": np.zeros(3)}], "nothing changed"),
        ([{"a": np.zeros(3), "b": np.array([1, np.nan])}], r"'b' changed by nan at index \(1,\)"),
        ({"a": np.ones(3)}, r"pass a list of updates, as in suggest_clip\(\[update\]\)"),
        (None, r"pass a list of updates, as in suggest_clip\(\[update\]\)"),
        ([np.ones(3)], "pass arrays by name"),
        ([{"a": 3}], "array 'a' is int, not a numpy array"),
    ],
)
def test_no_clip_comes_of_nothing(deltas: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        suggest_clip(deltas)


def test_a_configuration_with_the_suggested_clip_cuts_nothing_off() -> None:
    before = Snapshot(arrays())
    steps = [before.delta(arrays(kernel=arrays()["kernel"] * (1 + size))) for size in (0.5, 0.25)]
    config = before.config(task="t", clip=suggest_clip(steps), max_participants=3)
    assert isinstance(config.encoding, FixedPoint)
    assert config.encoding.clip >= max(np.abs(update["kernel"]).max() for update in steps)
    assert all(a >= b for a, b in pairwise([suggest_clip(steps), suggest_clip(steps[1:])]))
