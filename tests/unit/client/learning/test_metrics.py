"""Metrics as exact sums: their means are those of the values in the clear, and a configuration binds their ranges."""

from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from secagg_client.learning.metrics import STEPS, Metrics

from secagg.encoding.integers import IntegerSums
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError, DecodeError, InputError

RANGES = {"loss": (0.0, 10.0), "gain": (-2.0, 3.0)}
METRICS = Metrics(RANGES, 500)


def summed(updates: list[dict[str, np.ndarray]]) -> IntegerSums:
    return IntegerSums(
        {name: np.sum([update[name] for update in updates], axis=0) for name in updates[0]}, len(updates)
    )


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(-2, 3), st.integers(1, 500)), min_size=1, max_size=20))
def test_means_are_weighted_and_off_by_half_a_step_at_most(reports: list[tuple[float, float, int]]) -> None:
    updates = [METRICS.update({"loss": loss, "gain": gain}, weight) for loss, gain, weight in reports]
    found = METRICS.read(summed(updates))
    total = sum(weight for *_, weight in reports)
    assert found.weight == total
    for name, at in (("loss", 0), ("gain", 1)):
        low, high = RANGES[name]
        mean = sum(report[at] * report[2] for report in reports) / total
        assert abs(found.means[name] - mean) <= (high - low) / STEPS / 2 * (1 + 1e-6)
    assert found.outside == {"loss": 0, "gain": 0}


def test_a_metric_that_some_do_not_report_is_the_mean_of_the_others() -> None:
    found = METRICS.read(summed([METRICS.update({"loss": 4.0}, 10), METRICS.update({}, 30)]))
    assert found.means == {"loss": pytest.approx(4.0, abs=1e-5)}
    assert found.weight == 40


@pytest.mark.parametrize(
    ("value", "counted"), [(11.0, 10.0), (-1.0, 0.0), (nan, None), ("x", None), (True, None), (10**400, None)]
)
def test_what_lies_outside_is_clipped_or_left_out_and_counted(value: object, counted: float | None) -> None:
    found = METRICS.read(summed([METRICS.update({"loss": value}, 10)]))
    assert found.outside["loss"] == 1
    assert found.means.get("loss") == counted


def test_every_contribution_fits_the_schema() -> None:
    for values in ({}, {"loss": 10.0, "gain": 3.0}, {"loss": nan}):
        for weight in (0, 1, 500):
            METRICS.schema.check(METRICS.update(values, weight))
    with pytest.raises(InputError):
        METRICS.update({}, 501)


def test_metrics_are_read_back_from_the_schema_that_binds_them() -> None:
    assert Metrics.of(METRICS.schema) == METRICS
    assert Metrics.of(Metrics({}, 3).schema) == Metrics({}, 3)


@pytest.mark.parametrize("ranges", [{"loss": (0.0, 10.1)}, {"lost": (0.0, 10.0)}, {"loss": (-1.0, 10.0)}])
def test_another_range_or_name_is_another_schema(ranges: dict[str, tuple[float, float]]) -> None:
    assert Metrics(ranges, 500).schema != Metrics({"loss": (0.0, 10.0)}, 500).schema


@pytest.mark.parametrize(
    "schema",
    [
        Schema((ArraySpec("values", (3,)),)),
        Schema((ArraySpec("weight", (), "int64", bounds=(0, 5)), ArraySpec("other", (), "int64", bounds=(0, 1)))),
        Schema((*METRICS.schema.arrays[:-1], ArraySpec("outside\ngain", (), "int64", bounds=(0, 2)))),
        Schema(METRICS.schema.arrays[:-1]),
    ],
)
def test_other_schemas_are_refused(schema: Schema) -> None:
    with pytest.raises(DecodeError):
        Metrics.of(schema)


@pytest.mark.parametrize(
    ("name", "bounds"),
    [("", (0, 1)), ("a\nb", (0, 1)), ("loss", (1, 1)), ("loss", (2, 1)), ("loss", 3), ("loss", (0, nan)), ("x", (0,))],
)
def test_a_range_that_is_none_is_refused(name: str, bounds: object) -> None:
    with pytest.raises(ConfigError):
        Metrics({name: bounds}, 5)  # type: ignore[dict-item]
