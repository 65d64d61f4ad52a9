"""Statistics of a column over sites: what pooled rows give, to the last digit, in a round as anybody plays it."""

from math import isnan
from typing import Any

import numpy as np
import pytest
from secagg_client.statistics import Column, Summary

from secagg.crypto.rng import SeededRng
from secagg.encoding.integers import IntegerSums
from secagg.errors import ConfigError, InputError, ProtocolViolation
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.variants import EVERY_VARIANT, MASKED, Variant
from tests.rounds import NOW, SEMI_HONEST, deployment

AGES = Column(name="age", low=0, high=120, max_rows=1000, bins=12)
COLUMN: dict[str, Any] = {"name": "x", "low": 0, "high": 10, "max_rows": 100}


def asked(column: Column, sites: list[Any], variant: Variant = MASKED) -> Summary:
    """The whole way: configuration, updates, a round, the result."""
    masked = column.config(
        task="t", max_participants=len(sites), threshold=3, max_colluding=0, threat_model=SEMI_HONEST
    )
    config = variant.encrypting(masked, give_sum=True)
    assert config.model_digest == column.digest
    names = participant_names(len(sites))
    brought = {name: Contribution(column.update(rows)) for name, rows in zip(names, sites, strict=True)}
    made = deployment() if config.signed else None
    run = set_up(config, brought, rng=SeededRng(bytes(32)), now=NOW, deployment=made).play()
    assert run.aggregate is not None
    return column.read(run.aggregate.totals(config))


@pytest.mark.parametrize("variant", [MASKED, *EVERY_VARIANT], ids=lambda variant: variant.name)
def test_whole_numbers_give_exactly_what_the_pooled_rows_give(variant: Variant) -> None:
    """One site has no rows, and one a single row at the very end of the range."""
    rng = np.random.default_rng(1)
    sites = [rng.integers(0, 121, 1000), [], [120], rng.integers(30, 50, 333).tolist()]
    pooled = np.concatenate([np.asarray(rows, np.float64) for rows in sites])
    found = asked(AGES, sites, variant)
    histogram, edges = np.histogram(pooled, 12, (0, 120))
    assert (found.sites, found.count) == (4, len(pooled))
    assert found.mean == pytest.approx(pooled.mean(), rel=1e-15)
    assert found.variance == pytest.approx(pooled.var(), rel=1e-13)
    assert found.deviation == pytest.approx(pooled.std(), rel=1e-13)
    assert np.array_equal(found.histogram, histogram)
    assert np.array_equal(found.edges, edges)


def test_other_numbers_are_within_half_a_step() -> None:
    column = Column(name="loss", low=-3.5, high=12.25, max_rows=10_000, step=0.001)
    rng = np.random.default_rng(2)
    sites = [rng.uniform(-3.5, 12.25, 10_000).astype(np.float32) for _ in range(3)]
    pooled = np.concatenate(sites).astype(np.float64)
    found = asked(column, sites)
    assert 0 < abs(found.mean - pooled.mean()) <= 0.0005
    assert found.variance == pytest.approx(pooled.var(), abs=0.0005 * 16)
    assert (found.histogram.size, found.edges.size) == (0, 0)


def test_numbers_are_rounded_to_the_nearest_step() -> None:
    assert int(Column(**COLUMN).update([0.4, 0.6, 9.9])["sum"]) == 0 + 1 + 10


def test_no_rows_at_all() -> None:
    found = asked(AGES, [[], [], []])
    assert (found.sites, found.count, found.histogram.tolist()) == (3, 0, [0] * 12)
    assert isnan(found.mean)
    assert isnan(found.variance)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([1.0, float("nan")], "is nan at index 1, .*leave the row out"),
        ([float("inf")], "is inf at index 0"),
        ([5, -0.1], "is -0.1 at index 1"),
        ([0, 10.0001], "is 10.0001 at index 1"),
        (["7"], "pass one row of numbers"),
        ([[1, 2]], r"of shape \(1, 2\)"),
        ([1] * 101, "101 rows, more than max_rows, 100"),
        ([[1], [1, 2]], "is no row of numbers"),
        (np.ma.masked_array([1, 2], mask=[False, True]), r"masked values; leave them out, as values.compressed\(\)"),
    ],
)
def test_rows_that_are_refused(rows: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Column(**COLUMN).update(rows)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"low": 10}, "low below high"),
        ({"high": 2.0**54}, r"within ±2\^53"),
        ({"low": float("nan")}, "low and high"),
        ({"step": 0}, "step is a number above 0"),
        ({"step": 10.5}, "at most high"),
        ({"step": 5e-324}, "not so small that no float counts the steps"),
        ({"bins": -1}, "bins must be"),
        ({"low": 2.0**52, "high": 2.0**52 + 1, "bins": 10}, "ask for fewer"),
        ({"max_rows": 0}, "lower max_rows"),
        ({"step": 1e-9}, "lower max_rows, or widen step"),
        ({"name": "\ud800"}, "lone surrogate"),
    ],
)
def test_columns_that_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Column(**COLUMN | changes)


def test_more_sites_than_64_bits_hold_are_refused() -> None:
    wide = Column(name="x", low=0, high=2**20, max_rows=2**20)
    wide.config(task="t", max_participants=7)
    with pytest.raises(ConfigError, match="narrow the bounds of array 'squares'"):
        wide.config(task="t", max_participants=8)


def test_another_agreement_is_another_question() -> None:
    """Whoever asks otherwise meets nobody: the digests differ, and participants compare them (C4)."""
    others: list[dict[str, Any]] = [{"name": "y"}, {"low": 1}, {"high": 11}, {"max_rows": 99}, {"step": 2}, {"bins": 3}]
    digests = {Column(**COLUMN | change).digest for change in ({}, *others)}
    assert len(digests) == 7


def test_sums_that_contradict_each_other_are_refused() -> None:
    good = {name: array.copy() for name, array in AGES.update([1, 2, 3]).items()}
    assert AGES.read(IntegerSums(dict(good), 3)).mean == 2
    for name, value in (("squares", 11), ("count", 4)):
        with pytest.raises(ProtocolViolation, match="contradict each other"):
            AGES.read(IntegerSums(good | {name: np.array(value)}, 3))
    with pytest.raises(InputError, match="receipt only"):
        AGES.read(None)


@pytest.mark.parametrize(
    ("count", "steps", "squares"),
    [(2, 21, 300), (2, 20, 201), (100, 5, 4), (0, 0, 1)],
    ids=["mean above high", "squares above high", "squares below the sum", "squares without rows"],
)
def test_sums_that_no_rows_within_the_bounds_have_are_refused(count: int, steps: int, squares: int) -> None:
    """They fit the bounds of their arrays, for these are of a site with all rows."""
    sums = {"count": np.array(count), "sum": np.array(steps), "squares": np.array(squares)}
    with pytest.raises(ProtocolViolation, match="contradict each other"):
        Column(**COLUMN).read(IntegerSums(sums, 3))
    ends = {"count": np.array(2), "sum": np.array(20), "squares": np.array(200)}
    assert Column(**COLUMN).read(IntegerSums(ends, 3)).mean == 10
