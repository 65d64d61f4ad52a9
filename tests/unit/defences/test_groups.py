"""Robust combinations of group sums: what they stand, what they refuse, and how groups come about."""

import numpy as np
import pytest

from secagg.errors import ConfigError
from secagg.messages import ParticipantId
from secagg.robust.groups import GroupMean, Vector, anomalies, assign, median, trimmed_mean
from secagg.simulation.cohort import participant_names

NAMES = participant_names(31)
DIGEST = bytes(range(32))


def means(poisoned: int, groups: int = 7, size: int = 200) -> list[GroupMean]:
    rng = np.random.default_rng(0)
    honest = [1 + 0.01 * rng.normal(size=size) for _ in range(groups)]
    return [GroupMean(v + (1e6 if i < poisoned else 0), 4) for i, v in enumerate(honest)]


def worst(values: Vector) -> float:
    return float(np.abs(values - 1).max())


@pytest.mark.parametrize("poisoned", range(4))
def test_the_median_stands_less_than_half(poisoned: int) -> None:
    assert worst(median(means(poisoned))) < 0.05


def test_the_median_does_not_stand_half() -> None:
    assert worst(median(means(4))) > 1e5


@pytest.mark.parametrize("trim", [1, 2, 3])
def test_a_trimmed_mean_stands_as_many_as_it_trims(trim: int) -> None:
    assert worst(trimmed_mean(means(trim), trim)) < 0.05
    assert worst(trimmed_mean(means(trim + 1), trim)) > 1e4


def test_a_plain_mean_stands_nobody() -> None:
    assert worst(trimmed_mean(means(0), 0)) < 0.05
    assert worst(trimmed_mean(means(1), 0)) > 1e5


def test_groups_are_of_one_size_and_everyone_is_in_one() -> None:
    groups = assign(DIGEST, NAMES, 7)
    assert sorted(len(group) for group in groups) == [4, 4, 4, 4, 5, 5, 5]
    assert sorted(name for group in groups for name in group) == NAMES
    assert groups == assign(DIGEST, NAMES[::-1], 7)


def test_groups_follow_the_roster() -> None:
    """Another roster digest gives other groups; each pair meets about as often as chance has it."""
    together = sum(
        any({NAMES[0], NAMES[1]} <= set(group) for group in assign(i.to_bytes(32, "big"), NAMES, 7))
        for i in range(2000)
    )
    assert 0.09 < together / 2000 < 0.15  # 1 in 7 or 8


@pytest.mark.parametrize("groups", [1, 2, 11, 40])
def test_groups_that_are_refused(groups: int) -> None:
    with pytest.raises(ConfigError, match="groups"):
        assign(DIGEST, NAMES, groups)


def test_combinations_that_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 groups or more"):
        median(means(0)[:2])
    with pytest.raises(ConfigError, match="a group of 4 survivors is below the minimum cohort 5"):
        median(means(0), min_cohort=5)
    with pytest.raises(ConfigError, match="below the minimum cohort 3"):
        median([*means(0), GroupMean(np.ones(200), 2)], min_cohort=0)
    with pytest.raises(ConfigError, match="different lengths"):
        median([*means(0), GroupMean(np.ones(199), 4)])
    with pytest.raises(ConfigError, match="leaves nothing of 7"):
        trimmed_mean(means(0), 4)
    with pytest.raises(ConfigError, match="leaves nothing"):
        trimmed_mean(means(0), -1)


def test_long_means_are_reported() -> None:
    found = anomalies(dict(enumerate(means(2))))
    assert [anomaly.group for anomaly in found] == [0, 1]
    assert found[0].norm > 1e5 * found[0].typical
    assert anomalies(dict(enumerate(means(0)))) == []
    assert anomalies({}) == []


def test_assignment_takes_ids_as_they_are() -> None:
    names = [ParticipantId(f"p{i}") for i in range(9)]
    assert {len(g) for g in assign(DIGEST, names, 3)} == {3}
