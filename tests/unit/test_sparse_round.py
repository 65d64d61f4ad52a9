"""Rounds on a ring, in both threat models: who drops out, what is left, and how a round ends that lost too many."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from secagg import roster as rosters
from secagg.config import RoundConfig, ThreatModel
from secagg.crypto.certificates import MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH
from secagg.crypto.rng import SeededRng
from secagg.errors import AbortReason, ConfigError, DecodeError, NotInRoundError, ProtocolViolation
from secagg.events import DropReason, ParticipantDropped
from secagg.masked.share_keys import ShareKeysPhase
from secagg.messages import (
    MASKED_PHASES,
    AdvertiseKeys,
    Index,
    Leave,
    LeaveReason,
    Listing,
    Member,
    ParticipantId,
    Phase,
    Roster,
    ShareDelivery,
    ShareKeys,
    Unmask,
)
from secagg.rounds.finished import FinishedRound
from secagg.rounds.graph import CompleteGraph, RingGraph, isolated, ring_of
from secagg.rounds.shared_state import SharedState
from secagg.sparse.ring import Ring
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Down, Envelope, Hook, Run, Up
from secagg.wire.keys import decode_roster, encode_roster
from secagg.wire.limits import PART_COST, roster_bytes
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.conversing import Conversation
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, make_config, start, true_sum
from tests.saving import Rebirths

PEOPLE = 20
NAMES = participant_names(PEOPLE)
ORDER = MASKED_PHASES[ACTIVE]
INPUT = ORDER.index(Phase.MASKED_INPUT)
RINGS = {
    ACTIVE: Ring(degree=12, neighbour_threshold=8, committee=9, committee_threshold=5, min_participants=14),
    SEMI_HONEST: Ring(degree=8, neighbour_threshold=4, min_participants=14),
}
BOTH = pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])


def sparse(threat_model: ThreatModel = ACTIVE, *, threshold: int = 13) -> RoundConfig:
    return make_config(PEOPLE, threat_model, threshold=threshold, max_colluding=0, graph=RINGS[threat_model])


def stopping(stops: dict[ParticipantId, Phase]) -> Hook:
    """Each named participant sends nothing from its phase on."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        stop = stops.get(envelope.participant)
        gone = stop is not None and isinstance(envelope, Up) and ORDER.index(envelope.phase) >= ORDER.index(stop)
        return () if gone else (envelope,)

    return hook


def graph_of(config: RoundConfig) -> RingGraph:
    """The ring of an undisturbed round of seed 0: the same names and keys give the same ring."""
    found = start(config).play()._state.graph
    assert isinstance(found, RingGraph)
    return found


def assert_sum(run: Run, survivors: Iterable[ParticipantId]) -> None:
    made = run.coordinator.aggregate
    assert made is not None, run.coordinator.failure
    names = list(survivors)
    assert list(made.survivors) == names
    assert np.array_equal(made.sums, true_sum(run, names))


@BOTH
def test_a_round_with_everyone(threat_model: ThreatModel) -> None:
    run = start(sparse(threat_model))
    run.play()
    assert_sum(run, NAMES)
    assert not run.errors
    assert not run.refused


@BOTH
def test_the_round_is_that_of_the_neighbours(threat_model: ThreatModel) -> None:
    """Everyone gets the entries of its neighbours and of the committee, and deals and reveals to neighbours alone."""
    seen: list[Envelope] = []

    def look(envelope: Envelope) -> Iterable[Envelope]:
        seen.append(envelope)
        return (envelope,)

    run = start(sparse(threat_model), hook=look)
    run.play()
    graph = run.coordinator._state.graph
    assert len(graph.committee) == RINGS[threat_model].committee
    for envelope in seen:
        index = Index(NAMES.index(envelope.participant) + 1)
        around = graph.of(index)
        assert len(around) == RINGS[threat_model].degree
        match envelope.message:
            case Roster() as shown:
                assert {m.index for m in shown.members} == {index, *around, *graph.committee}
                assert rosters.names_of(shown) == tuple(NAMES)
            case ShareKeys() | ShareDelivery() as dealt:
                assert tuple(sorted(dealt.sealed)) == around
            case Unmask() as revealed:
                assert set(revealed.shares) == {index, *around}
            case _:
                pass


@BOTH
@pytest.mark.parametrize("phase", ORDER)
def test_some_may_drop_in_any_phase(phase: Phase, threat_model: ThreatModel) -> None:
    """Two who are neighbours at worst."""
    if phase not in MASKED_PHASES[threat_model]:
        return
    gone = [NAMES[0], NAMES[4]]
    run = start(sparse(threat_model), hook=stopping(dict.fromkeys(gone, phase)))
    run.play()
    assert_sum(run, NAMES if ORDER.index(phase) > INPUT else [name for name in NAMES if name not in gone])


@BOTH
def test_one_drops_in_each_phase_of_one_round(threat_model: ThreatModel) -> None:
    order = MASKED_PHASES[threat_model]
    gone = {NAMES[4 * i]: phase for i, phase in enumerate(order)}
    run = start(sparse(threat_model), hook=stopping(gone))
    run.play()
    late = [name for name, phase in gone.items() if order.index(phase) > order.index(Phase.MASKED_INPUT)]
    assert_sum(run, [name for name in NAMES if name in late or name not in gone])


@BOTH
def test_everybody_may_be_saved_and_restored_before_every_message(threat_model: ThreatModel) -> None:
    run = start(replace(sparse(threat_model), model_later=True), hook=stopping({NAMES[3]: Phase.MASKED_INPUT}))
    reborn = Rebirths(run)
    run.play()
    assert_sum(run, [name for name in NAMES if name != NAMES[3]])
    assert min(len(each) for each in reborn.sealed.values()) >= 2


def test_a_result_is_certified_by_the_committee() -> None:
    round_ = Conversation(replace(sparse(), certify=True))
    round_.play()
    assert set(round_.results) == set(NAMES)
    assert all(result.certified for result in round_.results.values())


# --- who is isolated --------------------------------------------------------------------------------------------------


def ring_in_order(members: int, degree: int) -> RingGraph:
    everyone = tuple(map(Index, range(1, members + 1)))
    return RingGraph(degree // 2, everyone, range(members), frozenset())


def test_neighbours_are_the_nearest_on_both_sides() -> None:
    graph = ring_in_order(9, 4)
    assert graph.of(Index(1)) == (2, 3, 8, 9)
    assert graph.of(Index(5)) == (3, 4, 6, 7)
    assert graph.of(Index(5)) is graph.of(Index(5))  # the coordinator asks with every message


def test_a_ring_is_symmetric_and_drawn_again_for_every_seed() -> None:
    ring = Ring(degree=6, neighbour_threshold=5, committee=7, committee_threshold=5, min_participants=12)
    graphs = [ring_of(ring, bytes([seed]) * 32, 15) for seed in range(8)]
    for graph in graphs:
        assert sorted(graph.order) == list(range(1, 16))
        assert [graph.order[place] for place in graph.places] == list(range(1, 16))
        assert len(graph.committee) == 7
        for index in graph.order:
            assert len(graph.of(index)) == graph.degree == 6
            assert all(index in graph.of(other) for other in graph.of(index))
    assert all(one.order != other.order and one.committee != other.committee for one, other in pairwise(graphs))


def test_who_lost_too_many_neighbours_is_isolated_and_counts_as_gone_for_the_rest() -> None:
    graph = ring_in_order(12, 4)
    everyone = set(graph.order)

    def left(gone: set[int], threshold: int) -> set[Index]:
        return isolated(graph, everyone - gone, map(Index, gone), threshold)

    assert left({1, 3}, 3) == set()
    assert left({1, 3, 4}, 3) == {2}
    assert left({1, 3, 4, 10}, 3) == {2, 11, 12}, "12 lost 1, 10 and then 2; 11 lost 1, 10 and then 12"
    complete = CompleteGraph(5)
    assert isolated(complete, {Index(1), Index(2)}, map(Index, (3, 4, 5)), 3) == {1, 2}


def one_alone(threat_model: ThreatModel) -> tuple[Run, ParticipantId, list[ParticipantId]]:
    """A round in which too few are left about one member alone, and its name, and who dropped around it."""
    config = sparse(threat_model)
    graph = graph_of(config)
    around = (-6, -5, -1, 1, 5, 6) if threat_model is ACTIVE else (-4, -3, -2, -1, 1, 2)

    def lost(place: int) -> set[Index]:
        return {graph.order[(place + step) % PEOPLE] for step in (0, *around)}

    place = min(range(PEOPLE), key=lambda place: len(lost(place) & graph.committee))  # enough are left to sign
    alone = graph.order[place]
    gone = [NAMES[i - 1] for i in sorted(lost(place) - {alone})]
    run = start(config, hook=stopping(dict.fromkeys(gone, Phase.SHARE_KEYS)))
    return run, NAMES[alone - 1], gone


def test_who_is_isolated_drops_out_before_shares_are_delivered() -> None:
    run, alone, gone = one_alone(ACTIVE)
    run.play()
    told = [e for e in run.events if isinstance(e, ParticipantDropped) and e.reason is DropReason.ISOLATED]
    assert told == [ParticipantDropped(Phase.SHARE_KEYS, alone, DropReason.ISOLATED)]
    assert_sum(run, [name for name in NAMES if name not in {alone, *gone}])
    with pytest.raises(NotInRoundError, match="too few of its neighbours shared keys"):
        run.coordinator.answer(alone, Phase.SHARE_KEYS)


def test_without_it_they_would_refuse_what_they_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg.masked.share_keys.isolated", lambda *_: set())
    monkeypatch.setattr(ShareKeysPhase, "close", lambda *_: [])
    run, alone, _ = one_alone(ACTIVE)
    run.play()
    refusal = run.errors[alone]
    assert isinstance(refusal, ProtocolViolation)
    assert "below threshold 8" in str(refusal)


def test_a_semi_honest_round_ends_rather_than_go_on_without_one_that_is_isolated() -> None:
    """Whom the ring isolates would be gone because of the ring, and the bound of *cut* counts others alone."""
    run, alone, _ = one_alone(SEMI_HONEST)
    run.play()
    failure = run.coordinator.failure
    assert failure is not None
    assert failure.reason is AbortReason.BELOW_THRESHOLD
    assert f"secrets of 1 participants: 3 of 9 do for {alone}" in str(failure)
    assert not any(isinstance(e, ParticipantDropped) and e.reason is DropReason.ISOLATED for e in run.events)


# --- how it ends otherwise --------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("phase", ORDER[INPUT:])
def test_a_round_ends_that_lost_too_many_shares(threat_model: ThreatModel, phase: Phase) -> None:
    """Enough for t are left, but not about one owner. The error says of how many the shares are missing."""
    if phase not in MASKED_PHASES[threat_model]:
        return
    config = sparse(threat_model)
    graph = graph_of(config)
    lost = graph.degree + 2 - config.share_threshold
    gone = [NAMES[graph.order[place] - 1] for place in range(6, 6 + lost)]
    run = start(config, hook=stopping(dict.fromkeys(gone, phase)))
    run.play()
    failure = run.coordinator.failure
    assert failure is not None
    assert failure.reason is AbortReason.BELOW_THRESHOLD
    alive = {i for i, name in enumerate(NAMES, start=1) if name not in gone}
    few = [i for i in graph.order if len(alive & {i, *graph.of(i)}) < config.share_threshold]
    assert f"shares of the secrets of {len(few)} participants" in str(failure)


def test_without_the_check_recovery_fails_at_the_first_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    config = sparse()
    graph = graph_of(config)
    without_check(monkeypatch, SharedState, "check_shares", "C109-shares")
    gone = [NAMES[graph.order[place] - 1] for place in range(6, 12)]
    run = start(config, hook=stopping(dict.fromkeys(gone, Phase.UNMASK)))
    run.play()
    assert "'s secret are below threshold 8" in str(run.coordinator.failure)


def test_a_round_ends_when_too_few_of_the_committee_signed() -> None:
    few = Ring(degree=12, neighbour_threshold=8, committee=5, committee_threshold=3, min_participants=14)
    config = replace(sparse(), graph=few)
    gone = sorted(graph_of(config).committee)[:3]
    run = start(config, hook=stopping({NAMES[i - 1]: Phase.CONSISTENCY_CHECK for i in gone}))
    run.play()
    assert "2 members of the committee signed who survived, fewer than the 3" in str(run.coordinator.failure)


@pytest.mark.parametrize("people", [13, 14])
def test_a_round_needs_as_many_members_as_the_ring_is_made_for(people: int) -> None:
    run = start(sparse(), people=people)
    run.play()
    assert (run.coordinator.failure is None) is (people >= 14)
    if people < 14:
        assert "13 participants delivered in AdvertiseKeys, fewer than the threshold 14" in str(run.coordinator.failure)


# --- what is kept of it -----------------------------------------------------------------------------------------------


def test_a_ring_does_not_wait_for_fewer_members_than_it_is_made_for() -> None:
    """13 may survive, and 14 must begin: so the round does not wait for others once 13 are left."""
    with pytest.raises(ConfigError, match="13 participants are expected; the round needs 14"):
        start(sparse()).coordinator.expect(NAMES[:13], NOW)
    for excluded in (True, False):
        engine = start(sparse()).coordinator
        engine.expect(NAMES[:14], NOW)
        if excluded:
            engine.exclude([NAMES[0]], NOW)
        else:
            engine.receive(NAMES[0], Leave(LeaveReason.CANCELLED), NOW)
        assert engine.failure is not None
        assert "13 participants are left in AdvertiseKeys, fewer than the threshold 14" in str(engine.failure)


def test_a_finished_round_still_shows_everyone_their_own_part_of_the_roster() -> None:
    shown: dict[ParticipantId, Roster] = {}

    def look(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Down) and isinstance(envelope.message, Roster):
            shown[envelope.participant] = envelope.message
        return (envelope,)

    run = start(sparse(), hook=look)
    engine = run.play()
    for round_ in (engine.round, replace(engine.round, roster_digest=b"")):
        kept = FinishedRound(round_, engine.last_answers(), run.events, None)
        for name in NAMES:
            assert kept.answer(name, Phase.ADVERTISE_KEYS) == shown[name]


def test_the_same_keys_give_the_same_ring_and_others_another() -> None:
    first, again = start(sparse()), start(sparse())
    other = start(sparse(), rng=SeededRng(b"x" * 32))
    orders = [run.play()._state.graph for run in (first, again, other)]
    assert orders[0] == orders[1] != orders[2]


# --- on the wire ------------------------------------------------------------------------------------------------------


def longest_roster(config: RoundConfig, entries: int) -> Roster:
    """Of as many members as there may be, with names and certificates as long as they may be."""
    names = tuple(ParticipantId(f"{i:064d}") for i in range(1, config.max_participants + 1))
    chain = (bytes(MAX_CERTIFICATE_BYTES),) * MAX_CHAIN_LENGTH
    keys = AdvertiseKeys(bytes(32), bytes(32), bytes(72), chain)
    members = tuple(Member(Index(i), name, keys) for i, name in enumerate(names[:entries], start=1))
    return Roster(members, Listing(names, bytes(32 * len(names))))


@pytest.mark.parametrize("spare", [0, 6])
def test_the_bound_of_a_roster_is_that_of_the_ring(spare: int) -> None:
    """A coordinator that sends the entries of everyone is not read to the end."""
    config = make_config(1000, threshold=13, max_colluding=0, graph=RINGS[ACTIVE])
    made = longest_roster(config, 13 + 9 + spare)
    size = sum(part.ByteSize() + PART_COST for part in encode_roster(made))
    assert (size <= roster_bytes(config)) is (spare == 0)
    assert decode_roster(encode_roster(made)) == made


def test_a_list_of_members_is_decoded_within_bounds() -> None:
    too_many = [pb.RosterPart(listed=["a"] * 10_001, entry_digests=bytes(32 * 10_001))]
    with pytest.raises(DecodeError, match="more than 10000 members"):
        decode_roster(too_many)
    with pytest.raises(DecodeError, match="entry_digests has 31 bytes, not 32"):
        decode_roster([pb.RosterPart(listed=["a"], entry_digests=bytes(31))])
    with pytest.raises(DecodeError, match="is no participant id"):
        decode_roster([pb.RosterPart(listed=[" "], entry_digests=bytes(32))])
    with pytest.raises(DecodeError, match="entry_digests"):
        decode_roster([pb.RosterPart(entry_digests=bytes(32))])
