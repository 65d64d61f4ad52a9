"""Groups: what they refuse, what their combinations stand, and how one round becomes several."""

from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest

from secagg.aggregates import Aggregate, GroupedAggregate, GroupSum, plan_of
from secagg.config import RoundConfig
from secagg.context import RoundId, bind
from secagg.encoding.pipeline import Pipeline
from secagg.errors import ConfigError, DecodeError, LocalError, PolicyViolation, ProtocolViolation
from secagg.lattice.parameters import Custody, Scheme
from secagg.policy import Policy
from secagg.robust.combining import Vector, anomalies, combined
from secagg.robust.grouping import Combine, Groups
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.results import PackedAggregate, PackedGroups, decode_groups
from tests.encrypted_rounds import encrypted_config
from tests.rounds import make_config

PARENT = RoundId(bytes(range(16)))
MEDIAN, MEAN = Groups(count=7), Groups(count=7, combine=Combine.MEAN)
POOLED = "sample(rate=0.25, per=group) | quantise(bits=8, range=1.0)"


def trimmed(k: int, count: int = 7) -> Groups:
    return Groups(count=count, combine=Combine.TRIMMED, trim=k)


def means(poisoned: int, groups: int = 7, size: int = 200) -> list[Vector]:
    rng = np.random.default_rng(0)
    honest = [1 + 0.01 * rng.normal(size=size) for _ in range(groups)]
    return [v + (1e6 if i < poisoned else 0) for i, v in enumerate(honest)]


def worst(poisoned: int, plan: Groups) -> float:
    return float(np.abs(combined(means(poisoned), [1] * 7, plan) - 1).max())


@pytest.mark.parametrize("poisoned", range(4))
def test_the_median_stands_less_than_half(poisoned: int) -> None:
    assert worst(poisoned, MEDIAN) < 0.05


def test_the_median_does_not_stand_half() -> None:
    assert worst(4, MEDIAN) > 1e5


@pytest.mark.parametrize("trim", [1, 2, 3])
def test_a_trimmed_mean_stands_as_many_as_it_trims(trim: int) -> None:
    assert worst(trim, trimmed(trim)) < 0.05
    assert worst(trim + 1, trimmed(trim)) > 1e4


def test_a_plain_mean_stands_nobody() -> None:
    assert worst(0, MEAN) < 0.05
    assert worst(1, MEAN) > 1e5


def test_a_plain_mean_goes_by_weight() -> None:
    assert combined([np.zeros(1), np.ones(1)], [1, 3], MEAN) == [0.75]


def test_long_means_are_reported() -> None:
    norms = {i: float(np.linalg.norm(mean)) for i, mean in enumerate(means(2))}
    found = anomalies(norms)
    assert [anomaly.group for anomaly in found] == [0, 1]
    assert found[0].norm > 1e5 * found[0].typical
    assert anomalies(dict(list(norms.items())[2:])) == []
    assert anomalies({}) == []
    assert [a.group for a in anomalies({1: 1.0, 2: inf, 3: 1.0})] == [2]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"count": 2}, "groups must be 3 to 1000, not 2"),
        ({"count": 1001}, "groups must be 3 to 1000"),
        ({"count": 5, "combine": Combine.TRIMMED, "trim": 3}, "trim must be 1 to 2 for 5 groups"),
        ({"count": 5, "combine": Combine.TRIMMED}, "trim must be 1 to 2"),
        ({"count": 5, "trim": 1}, "leave trim out"),
        ({"count": 5, "number": 6, "parent": PARENT}, "number is 1 to 5"),
        ({"count": 5, "number": 1}, "or neither"),
        ({"count": 5, "parent": PARENT}, "or neither"),
    ],
)
def test_groups_that_are_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Groups(**given)


@pytest.mark.parametrize("plan", [MEDIAN, trimmed(3), MEAN])
def test_a_combination_has_one_text(plan: Groups) -> None:
    assert Groups.parse(7, plan.text) == plan


@pytest.mark.parametrize("text", ["", "Median", "median:1", "trimmed", "trimmed:", "trimmed:-1", "trimmed:1:1", "max"])
def test_texts_that_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Groups.parse(7, text)


def test_sampling_per_group_needs_groups_that_are_averaged() -> None:
    config = make_config(3, encoding=Pipeline.parse("sample(rate=0.25) | quantise(bits=8, range=1.0)"))
    with pytest.raises(ConfigError, match="needs groups"):
        replace(config, encoding=Pipeline.parse(POOLED))
    with pytest.raises(ConfigError, match="combine them by mean"):
        replace(config, encoding=Pipeline.parse(POOLED), groups=MEDIAN)
    assert replace(config, encoding=Pipeline.parse(POOLED), groups=MEAN).groups == MEAN


def test_groups_need_sums_that_the_coordinator_knows() -> None:
    config = encrypted_config(Scheme.CKKS, Custody.PARTICIPANTS, release_to_coordinator=False)
    with pytest.raises(ConfigError, match="set release_to_coordinator"):
        replace(config, groups=MEDIAN)


def test_every_group_has_the_minimum_cohort() -> None:
    with pytest.raises(ConfigError, match="max_participants must be 3"):
        replace(make_config(3), groups=MEDIAN, max_participants=2)


def test_a_policy_on_groups() -> None:
    whole = replace(make_config(5), groups=MEDIAN)
    group = replace(whole, groups=replace(MEDIAN, parent=PARENT, number=2))
    policy = Policy(min_colluding_share=0.0)
    policy.check(group)
    with pytest.raises(PolicyViolation, match="is none of them"):
        policy.check(whole)
    with pytest.raises(PolicyViolation, match="split into groups"):
        replace(policy, allow_groups=False).check(group)
    with pytest.raises(PolicyViolation, match="minimum cohort"):
        replace(policy, min_cohort=6).check(group)


# --- from a grouped round to its groups -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 7])
def test_a_group_is_the_round_that_was_opened_and_its_name(number: int) -> None:
    config = replace(make_config(5), groups=trimmed(2))
    ids = GroupedRoundId(PARENT, encode_config(config))
    group = decode_config(ids.group_config(number))
    assert group == replace(config, groups=replace(trimmed(2), parent=PARENT, number=number))
    assert group.groups is not None
    assert GroupedRoundId.of(ids.round_id(number), ids.group_config(number), group.groups) == ids
    assert ids.context(number, bytes(32)) == bind(ids.round_id(number), ids.group_config(number), bytes(32))


def test_groups_have_ids_of_their_own() -> None:
    ids = GroupedRoundId(PARENT, b"")
    others = {ids.round_id(number) for number in range(1, 1001)}
    assert len(others) == 1000
    assert {len(i) for i in others} == {16}
    assert others.isdisjoint({GroupedRoundId(RoundId(bytes(16)), b"").round_id(n) for n in range(1, 1001)})


def test_a_group_under_another_name_is_refused() -> None:
    ids = GroupedRoundId(PARENT, encode_config(replace(make_config(5), groups=MEDIAN)))
    group = decode_config(ids.group_config(2)).groups
    assert group is not None
    with pytest.raises(ProtocolViolation, match="is not group 2"):
        GroupedRoundId.of(ids.round_id(3), ids.group_config(2), group)
    with pytest.raises(ProtocolViolation, match="is not group 2"):
        GroupedRoundId.of(ids.round_id(2), ids.group_config(3), group)


def test_a_configuration_without_groups_has_the_bytes_it_had() -> None:
    config = make_config(5)
    assert len(encode_config(replace(config, groups=MEDIAN))) > len(encode_config(config))
    assert decode_config(encode_config(config)).groups is None
    with pytest.raises(LocalError, match="no groups"):
        plan_of(config)


# --- what is released -------------------------------------------------------------------------------------------------

CONFIG: RoundConfig = replace(make_config(5, threshold=4), groups=Groups(count=5), max_colluding=0)
NAMES = participant_names(20)


def a_sum(number: int, value: int = 1 << 15) -> Aggregate:
    sums = np.full(CONFIG.vector_len, 4 * value, CONFIG.ring_dtype)
    sums[-1] = 4
    return Aggregate(sums, tuple(NAMES[4 * number - 4 : 4 * number]))


def released(*numbers: int) -> PackedGroups:
    return PackedGroups({n: PackedAggregate.of(a_sum(n), CONFIG) for n in numbers})


@pytest.mark.parametrize("numbers", [(1, 2, 3, 4, 5), (1, 3, 5), (3, 4, 5)])
def test_what_is_released_arrives(numbers: tuple[int, ...]) -> None:
    sent = released(*numbers)
    got = decode_groups(sent.parts(), CONFIG)
    assert list(got) == list(numbers)
    for number in numbers:
        np.testing.assert_array_equal(got[number].sums, a_sum(number).sums)
    assert sent.survivors == 4 * len(numbers)
    assert sent.digest != released(1, 2, 4).digest


def test_what_is_released_is_checked() -> None:
    with pytest.raises(DecodeError, match="2 groups have a sum; median needs 3"):
        decode_groups(released(1, 2).parts(), CONFIG)
    with pytest.raises(DecodeError, match="out of order"):
        decode_groups([*released(2, 3, 4).parts(), *released(1).parts()], CONFIG)
    with pytest.raises(DecodeError, match="out of order"):
        decode_groups(PackedGroups({6: PackedAggregate.of(a_sum(1), CONFIG)}).parts(), CONFIG)
    with pytest.raises(DecodeError, match="in another group too"):
        decode_groups(PackedGroups({n: PackedAggregate.of(a_sum(1), CONFIG) for n in (1, 2)}).parts(), CONFIG)


def test_a_sum_that_nobody_can_have_sent_counts_as_none() -> None:
    """A garbage input must not take the good groups with it."""
    sums = {n: GroupSum(a_sum(n), b"") for n in (1, 2, 3)}
    mean = GroupedAggregate(PARENT, sums).mean(CONFIG)
    garbage = replace(a_sum(4), sums=np.full(CONFIG.vector_len, (1 << CONFIG.ring_bits) - 1, CONFIG.ring_dtype))
    spoilt = GroupedAggregate(PARENT, {**sums, 4: GroupSum(garbage, b"")})
    assert spoilt.mean(CONFIG).weight == mean.weight == 12
    np.testing.assert_array_equal(spoilt.mean(CONFIG).arrays["values"], mean.arrays["values"])
    with pytest.raises(ProtocolViolation, match="2 groups' sums can be decoded, median needs 3"):
        GroupedAggregate(PARENT, {n: spoilt.groups[n] for n in (1, 2, 4)}).mean(CONFIG)
