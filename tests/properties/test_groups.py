"""Groups as whole rounds in memory: any dropouts, any combination, and coordinates that each group chooses itself."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.aggregates import Aggregate, GroupedAggregate, GroupSum
from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ProtocolViolation
from secagg.messages import MASKED_PHASES, ParticipantId, Phase
from secagg.robust.grouping import Combine, Groups
from secagg.tools.simulation import faults
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.grouping import GroupedRoundId
from tests.rounds import NOW, SEMI_HONEST, flat_schema, make_config, random_update

SCHEMA = Schema((ArraySpec("a", (4, 3)), ArraySpec("b", (3,), "float64")))
EACH, THRESHOLD = 5, 3
Values = np.ndarray[Any, np.dtype[Any]]
TEXTS = ["median", "trimmed:1", "mean"]
PARENT = RoundId(b"a grouped round.")


def group_of(config: RoundConfig, number: int, parent: RoundId = PARENT) -> RoundConfig:
    return decode_config(GroupedRoundId(parent, encode_config(config)).group_config(number))


@settings(max_examples=15, deadline=None)
@given(
    text=st.sampled_from(TEXTS),
    count=st.integers(3, 5),
    lost=st.lists(
        st.dictionaries(st.integers(0, EACH - 1), st.sampled_from(MASKED_PHASES[SEMI_HONEST]), max_size=4), min_size=5
    ),
    later=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_the_result_is_that_of_the_plain_group_means(
    text: str, count: int, lost: list[dict[int, Phase]], later: bool, seed: int
) -> None:
    """Whoever drops out: groups below their threshold fall, and of the others numpy says the same."""
    plain = make_config(EACH, SEMI_HONEST, schema=SCHEMA, threshold=THRESHOLD, model_later=later)
    whole = replace(plain, groups=Groups.parse(count, text))
    names = participant_names(count * EACH)
    sums: dict[int, GroupSum] = {}
    for number in range(1, count + 1):
        members = names[EACH * (number - 1) : EACH * number]
        unlucky = {members[i]: phase for i, phase in lost[number - 1].items()}
        brought = {n: Contribution(random_update(SCHEMA, names.index(n)), 1 + names.index(n) % 9) for n in members}
        hook = faults.Dropouts(unlucky, MASKED_PHASES[SEMI_HONEST], chunks=1)
        rng = SeededRng((seed + number).to_bytes(32, "big"))
        run = set_up(group_of(whole, number), brought, rng=rng, now=NOW, hook=hook)
        run.play()
        if run.coordinator.aggregate is not None:
            sums[number] = GroupSum(run.coordinator.aggregate, run.coordinator.round.input_context)
    released = GroupedAggregate(PARENT, sums)
    assert whole.groups is not None
    if len(sums) < whole.groups.fewest:
        with pytest.raises(ProtocolViolation, match="groups' sums can be decoded"):
            released.mean(whole)
        return
    check(released.mean(whole).arrays, expected(sums, names, whole.groups), released.mean(whole).error_bound)


def check(got: Mapping[str, Values], wanted: Mapping[str, Values], bound: float) -> None:
    for name, values in wanted.items():
        np.testing.assert_allclose(got[name], values, atol=bound + 1e-6)


def expected(sums: Mapping[int, GroupSum], names: list[ParticipantId], plan: Groups) -> dict[str, Values]:
    """The combination of the survivors' updates, in plain numpy."""
    out = {}
    for spec in SCHEMA.arrays:
        means, totals = [], []
        for group in sums.values():
            places = [names.index(ParticipantId(n)) for n in group.aggregate.survivors]
            weights = [1 + i % 9 for i in places]
            updates = [random_update(SCHEMA, i)[spec.name] for i in places]
            means.append(np.average(updates, axis=0, weights=weights))
            totals.append(sum(weights))
        ordered = np.sort(means, axis=0)
        out[spec.name] = {
            Combine.MEDIAN: np.median(means, axis=0),
            Combine.TRIMMED: ordered[plan.trim : len(means) - plan.trim].mean(axis=0),
            Combine.MEAN: np.average(means, axis=0, weights=totals),
        }[plan.combine]
    return out


# --- which coordinates a group sends ----------------------------------------------------------------------------------

SIZE, GROUPS = 64, 4


def sampled(per_group: bool) -> RoundConfig:
    text = f"sample(rate=0.25{', per=group' if per_group else ''}) | quantise(bits=16, range=1.0)"
    config = make_config(3, SEMI_HONEST, threshold=3, schema=flat_schema(SIZE))
    return replace(config, encoding=Pipeline.parse(text), groups=Groups(count=GROUPS, combine=Combine.MEAN))


def decoded(config: RoundConfig, tag: int, values: Values) -> GroupedAggregate:
    """A round of one participant a group, whose updates are all `values`: masks are not what this is about."""
    ids = GroupedRoundId(RoundId(tag.to_bytes(16, "big")), encode_config(config))
    sums = {}
    for number in range(1, GROUPS + 1):
        group = group_of(config, number, ids.parent)
        context = ids.context(number, group.model_digest)
        seed = Secret((GROUPS * tag + number).to_bytes(32, "big"))
        vector = group.code.encode(group.schema.check({"values": values}), 1, seed, context)
        sums[number] = Aggregate(vector.read(0, group.vector_len, group.ring_dtype), (f"p{number}",))
    return ids.aggregate(sums, config.model_digest)


def kept(released: GroupedAggregate, config: RoundConfig, tag: int) -> set[tuple[int, ...]]:
    """The coordinates of each group."""
    found = set()
    for number, group in released.groups.items():
        mean = group.mean(group_of(config, number, RoundId(tag.to_bytes(16, "big"))))
        assert mean is not None
        found.add(tuple(map(int, np.flatnonzero(mean.arrays["values"]))))
    return found


def test_groups_send_the_same_coordinates_or_their_own() -> None:
    values = np.ones(SIZE, np.float32)
    for per_group, distinct in ((False, 1), (True, GROUPS)):
        config = sampled(per_group)
        assert len(kept(decoded(config, 1, values), config, 1)) == distinct
    config = sampled(False)
    assert kept(decoded(config, 1, values), config, 1) != kept(decoded(config, 2, values), config, 2)


@pytest.mark.parametrize("per_group", [False, True])
def test_sampling_is_unbiased_in_groups(per_group: bool) -> None:
    """Over many rounds the mean of the groups is the update; groups that choose for themselves get there sooner."""
    config, times = sampled(per_group), 400
    values = np.random.default_rng(1).uniform(-1, 1, SIZE).astype(np.float32)
    means = np.stack([decoded(config, tag, values).mean(config).arrays["values"] for tag in range(times)])
    spread = np.sqrt(3 / (GROUPS if per_group else 1)) * np.abs(values)  # of one round's: variance (1 - r)/r · v²
    assert (np.abs(means.mean(axis=0) - values) < 5 * spread / np.sqrt(times) + 1e-3).all()
    assert abs(means.std(axis=0).mean() / spread.mean() - 1) < 0.1
