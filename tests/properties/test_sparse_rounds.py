"""The laws of rounds on a ring: who stands where, who can open what, and whoever drops out, the exact sum or a name."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.config import Graph, ThreatModel
from secagg.errors import AbortReason
from secagg.messages import Index, MaskKeyShare, ParticipantId, Phase, SelfMaskShare, Unmask
from secagg.rounds.graph import RingGraph, ring_of
from secagg.sparse.ring import Ring
from secagg.tools.redteam.adversary import true_sum
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope, Hook, Up
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, start

SAFE = Ring(degree=6, neighbour_threshold=5, committee=5, committee_threshold=3, min_participants=8)
"""For no colluder."""


@given(st.integers(4, 60), st.data())
def test_every_list_gives_a_regular_symmetric_graph_without_loops(members: int, data: st.DataObject) -> None:
    degree = 2 * data.draw(st.integers(1, (members - 2) // 2))
    size = data.draw(st.integers(0, members))
    ring = Ring(
        degree=degree,
        neighbour_threshold=degree,
        committee=size,
        committee_threshold=size,
        min_participants=members,
    )
    graph = ring_of(ring, data.draw(st.binary(min_size=32, max_size=32)), members)
    assert sorted(graph.order) == list(range(1, members + 1))
    assert len(graph.committee) == size
    around = {Index(i): graph.of(Index(i)) for i in range(1, members + 1)}
    for index, neighbours in around.items():
        assert len(neighbours) == len(set(neighbours)) == degree
        assert list(neighbours) == sorted(neighbours)
        assert index not in neighbours
        assert all(index in around[other] for other in neighbours)
    assert reached(graph, members) == members


def reached(graph: RingGraph, members: int) -> int:
    """How many can be reached from the first by going from neighbour to neighbour."""
    seen, open_ = {Index(1)}, [Index(1)]
    while open_:
        new = set(graph.of(open_.pop())) - seen
        seen |= new
        open_ += new
    return len(seen & set(map(Index, range(1, members + 1))))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_another_seed_gives_another_ring(one: bytes, other: bytes) -> None:
    ring = replace(SAFE, min_participants=30)
    if one != other:
        assert ring_of(ring, one, 30) != ring_of(ring, other, 30)


PHASES = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.CONSISTENCY_CHECK, Phase.UNMASK)
NAMES = participant_names(10)
THRESHOLD = 6


def graph_for(model: ThreatModel, *, ring: bool) -> Graph | Ring:
    if not ring:
        return Graph.COMPLETE
    return SAFE if model is ACTIVE else replace(SAFE, committee=0, committee_threshold=0)


def silent_from(gone: Mapping[ParticipantId, Phase], kept: dict[ParticipantId, Unmask]) -> Hook:
    """Nothing of these arrives from that phase on. What everybody reveals is kept, whether it arrives or not."""

    def hook(envelope: Envelope) -> tuple[Envelope, ...]:
        if not isinstance(envelope, Up):
            return (envelope,)
        if isinstance(envelope.message, Unmask):
            kept[envelope.participant] = envelope.message
        last = gone.get(envelope.participant)
        return () if last is not None and PHASES.index(envelope.phase) >= PHASES.index(last) else (envelope,)

    return hook


def no_owner_is_open_twice(revealed: Mapping[ParticipantId, Unmask]) -> None:
    """Of no owner are shares of both kinds revealed, though everything that anybody said is put together."""
    kinds: dict[Index, set[type]] = defaultdict(set)
    for message in revealed.values():
        for owner, share in message.shares.items():
            kinds[owner].add(type(share))
    assert all(len(found) == 1 for found in kinds.values())
    assert set().union(*kinds.values()) <= {MaskKeyShare, SelfMaskShare}


@pytest.mark.parametrize("ring", [False, True], ids=["complete", "ring"])
@pytest.mark.parametrize("model", [ACTIVE, SEMI_HONEST], ids=["active", "semi-honest"])
@settings(max_examples=25)
@given(gone=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(PHASES), max_size=4))
def test_whoever_drops_out_the_sum_is_exact_or_the_end_has_a_name(
    model: ThreatModel, ring: bool, gone: dict[ParticipantId, Phase]
) -> None:
    config = make_config(10, model, threshold=THRESHOLD, max_colluding=0, graph=graph_for(model, ring=ring))
    revealed: dict[ParticipantId, Unmask] = {}
    run = start(config, hook=silent_from(gone, revealed))
    coordinator = run.play()
    no_owner_is_open_twice(revealed)
    if (aggregate := coordinator.aggregate) is None:
        assert coordinator.failure is not None
        assert coordinator.failure.reason is AbortReason.BELOW_THRESHOLD
        return
    assert len(aggregate.survivors) >= THRESHOLD
    assert np.array_equal(aggregate.sums, true_sum(run, map(ParticipantId, aggregate.survivors)))


def test_one_who_drops_out_in_each_phase_ends_no_round_on_a_ring() -> None:
    gone = dict(zip(NAMES[1::3], PHASES[1:4], strict=True))
    ring = Ring(degree=8, neighbour_threshold=6, committee=7, committee_threshold=4, min_participants=10)
    run = start(
        make_config(10, ACTIVE, threshold=6, max_colluding=0, graph=ring),
        hook=silent_from(gone, {}),
    )
    aggregate = run.play().aggregate
    assert aggregate is not None
    assert len(aggregate.survivors) == 8
