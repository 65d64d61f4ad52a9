"""Whole rounds over a framework's channel."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from secagg_client.carried.coordinator import CarriedRound
from secagg_client.carried.groups import CarriedGroups
from secagg_client.carried.participant import MAX_ROUNDS, CarriedParticipant, Contribute
from secagg_client.carried.steps import Step, read_over
from secagg_client.carried.terms import CarriedTerms
from secagg_client.participation.terms import Contribution
from secagg_client.released_sums.memory import Memory

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import RoundConfig, ThreatModel
from secagg.context import RoundId
from secagg.errors import ConfigError, RoundAborted
from secagg.lattice.parameters import Custody, Scheme
from secagg.robust.grouping import Groups
from secagg.sparse.ring import Ring
from secagg.tools.simulation.cohort import participant_names
from tests.carrying import (
    MODEL,
    PROCESSES,
    Answering,
    Channel,
    ClosableDesk,
    carried,
    contribute_as,
    participants,
    plain_mean,
    play,
    small_round,
    terms_of,
)
from tests.encrypted_rounds import encrypted_config
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, deployment

in_processes = pytest.mark.parametrize("live", PROCESSES)
Live = Callable[[CarriedTerms], Answering]
EXCHANGES = {SEMI_HONEST: 4, ACTIVE: 5}


@in_processes
@pytest.mark.parametrize("threat_model", [SEMI_HONEST, ACTIVE])
def test_a_round_has_the_mean_of_all(threat_model: ThreatModel, live: Live) -> None:
    config = small_round(5, threat_model)
    channel = play(config, live=live)
    outcome = channel.round.outcome
    assert isinstance(outcome, Aggregate)
    assert outcome.survivors == tuple(channel.peers)
    assert channel.exchanges == EXCHANGES[threat_model]
    assert channel.round.dropped == {}
    assert isinstance(channel.round, CarriedRound)
    assert channel.round._engine.aggregate is None  # nothing of it is kept twice
    mean = outcome.mean(config)
    expected = plain_mean(config, channel.peers)
    assert np.abs(mean.arrays["values"] - expected["values"]).max() <= mean.error_bounds["values"]


@pytest.mark.parametrize("kind", ["open", "AdvertiseKeys", "ShareKeys"])
@pytest.mark.parametrize("threat_model", [SEMI_HONEST, ACTIVE])
def test_the_sum_is_that_of_the_others_when_one_is_lost(threat_model: ThreatModel, kind: str) -> None:
    config = small_round(5, threat_model, threshold=4, max_colluding=1)

    def lose(peer: str, step: Step) -> bool:
        return peer.endswith("2") and step.kind == kind

    channel = play(config, lose_down=lose)
    outcome = channel.round.outcome
    assert isinstance(outcome, Aggregate)
    assert len(outcome.survivors) == 4
    assert list(channel.round.dropped) == ["participant-00002"]


def test_too_few_is_no_sum() -> None:
    channel = play(small_round(5, SEMI_HONEST, threshold=4), lose_up=lambda peer, _: peer > "participant-00003")
    assert isinstance(channel.round.outcome, RoundAborted)
    assert "threshold" in str(channel.round.outcome)


@in_processes
@pytest.mark.parametrize("custody", list(Custody))
@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_homomorphic_round_takes_the_same_way(scheme: Scheme, custody: Custody, live: Live) -> None:
    config = encrypted_config(scheme, custody, release_to_coordinator=True, model_digest=MODEL)
    channel = play(config, live=live)
    outcome = channel.round.outcome
    assert isinstance(outcome, Aggregate)
    assert outcome.survivors == tuple(channel.peers)
    mean = outcome.mean(config)
    expected = plain_mean(config, channel.peers)
    assert np.abs(mean.arrays["values"] - expected["values"]).max() <= mean.error_bounds["values"]


GROUPED = small_round(3, SEMI_HONEST, threshold=3, groups=Groups.parse(3, "median"))


@in_processes
def test_a_round_in_groups_has_the_sum_of_each(live: Live) -> None:
    channel = play(GROUPED, 9, live=live)
    outcome = channel.round.outcome
    assert isinstance(outcome, GroupedAggregate)
    assert outcome.survivors == tuple(sorted(channel.peers))
    assert channel.exchanges == 4
    for group in outcome.groups.values():
        mean, expected = group.mean(GROUPED), plain_mean(GROUPED, group.aggregate.survivors)
        assert mean is not None
        assert np.abs(mean.arrays["values"] - expected["values"]).max() <= mean.error_bounds["values"]


def test_groups_are_dealt_at_random() -> None:
    def members(_run: int) -> frozenset[frozenset[str]]:
        groups = carried(GROUPED, participant_names(9))
        assert isinstance(groups, CarriedGroups)
        return frozenset(frozenset(group.steps()) for group in groups.groups.values())

    assert len({members(run) for run in range(20)}) > 10
    assert all(len(group) == 3 for group in members(0))


def test_too_few_groups_is_no_result_for_anybody() -> None:
    channel = play(GROUPED, 9, lose_up=lambda peer, _: peer == "participant-00005")
    assert isinstance(channel.round.outcome, RoundAborted)
    assert "2 of 3 groups" in str(channel.round.outcome)
    assert channel.exchanges == 1
    ended = [read_over(step) for step in channel.round.endings().values()]
    assert len(ended) == 9
    assert all(isinstance(error, RoundAborted) for error in ended)


def test_a_group_whose_sum_cannot_be_decoded_counts_as_none() -> None:
    """A median of three needs all three. Whoever sends a vector of its own choice spoils the sum of its group."""

    class Poisoner:
        def __init__(self, inner: Answering) -> None:
            self.inner, self.failed = inner, inner.failed

        def answer(self, steps: Sequence[Step], contribute: Contribute) -> list[Step]:
            replies = self.inner.answer(steps, contribute)
            return [replace(one, parts=tuple(map(spoilt, one.parts))) if is_input(one) else one for one in replies]

    def is_input(step: Step) -> bool:
        return step.kind == "MaskedInput"

    def spoilt(part: bytes) -> bytes:
        return part[:-40] + bytes(byte ^ 0x55 for byte in part[-40:-1]) + part[-1:]  # whose high bits are none

    peers = participants(9)
    peers["participant-00005"] = Poisoner(peers["participant-00005"])
    channel = Channel(carried(GROUPED, peers), peers)
    while channel.round.steps():
        channel.exchange()
    assert isinstance(channel.round.outcome, RoundAborted)
    assert "its sum cannot be decoded" in str(channel.round.outcome)
    ended = [read_over(step) for step in channel.round.endings().values()]
    assert all(isinstance(error, RoundAborted) for error in ended)


@pytest.mark.parametrize("groups", [None, Groups(count=3)])
def test_what_still_comes_after_a_round_failed_is_not_heard(groups: Groups | None) -> None:
    config = small_round(3, SEMI_HONEST, threshold=3, max_colluding=1, groups=groups)
    peers = participants(3 if groups is None else 9)
    made = carried(config, peers)
    channel = Channel(made, peers)
    channel.exchange()
    replies = {peer: peers[peer].answer([step], contribute_as(peer)) for peer, step in made.steps().items()}
    made.lost(min(peers), "it is gone")
    assert isinstance(made.outcome, RoundAborted)
    for peer, steps in replies.items():
        for step in steps:
            made.take(peer, step)
    made.close()


LATER = small_round(5, SEMI_HONEST, model_digest=bytes(32), model_later=True)


@in_processes
@pytest.mark.parametrize("config", [LATER, replace(LATER, threat_model=ACTIVE, threshold=4, max_colluding=1)])
def test_the_model_can_be_named_once_keys_and_shares_are_exchanged(config: RoundConfig, live: Live) -> None:
    peers = participants(5, live=live)
    made = carried(config, peers)
    channel = Channel(made, peers)
    while not made.awaits_model:
        channel.exchange()
    assert channel.exchanges == 2
    assert made.steps() == {}
    made.close()
    assert (made.dropped, made.outcome) == ({}, None)
    made.name_model(MODEL)
    channel.play()
    assert channel.exchanges == EXCHANGES[config.threat_model]
    assert isinstance(made.outcome, Aggregate)
    mean, expected = made.outcome.mean(config), plain_mean(config, peers)
    assert np.abs(mean.arrays["values"] - expected["values"]).max() <= mean.error_bounds["values"]


@in_processes
def test_who_holds_another_model_than_the_one_that_is_named_leaves(live: Live) -> None:
    peers = participants(5, live=live)
    made = carried(LATER, peers)
    channel = Channel(made, peers)
    while not made.awaits_model:
        channel.exchange()
    made.name_model(bytes(31) + b"\x07")
    channel.play()
    assert isinstance(made.outcome, RoundAborted)
    assert all("names model 00000000" in reason for reason in made.dropped.values())


def test_the_groups_of_a_round_have_their_model_named_together() -> None:
    config = replace(GROUPED, model_digest=bytes(32), model_later=True)
    peers = participants(9)
    made = carried(config, peers)
    channel = Channel(made, peers)
    while not made.awaits_model:
        channel.exchange()
    made.name_model(MODEL)
    channel.play()
    assert isinstance(made.outcome, GroupedAggregate)
    assert made.outcome.survivors == tuple(sorted(peers))


def test_a_model_that_is_named_already_is_not_named_again() -> None:
    with pytest.raises(ConfigError, match="model_later"):
        carried(small_round(3, SEMI_HONEST), participant_names(3)).name_model(MODEL)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (small_round(5, ACTIVE, certify=True), "leave certify out"),
        (GROUPED, "use CarriedGroups"),
        (small_round(3, SEMI_HONEST), "5 peers are asked; the round needs 3 and admits 3"),
        (
            encrypted_config(Scheme.BFV, Custody.PARTICIPANTS, release_to_coordinator=False),
            "set release_to_coordinator",
        ),
    ],
)
def test_what_does_not_fit_a_frameworks_channel_is_refused_with_what_to_change(config: RoundConfig, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        CarriedRound(config, participant_names(5), clock=lambda: NOW, trust=deployment().trust)


def test_peers_are_named_once_and_as_participants_where_nothing_is_signed() -> None:
    for config, peers in ((LATER, ["a", "b", "b"]), (GROUPED, ["x", *participant_names(8)[1:], "x"])):
        with pytest.raises(ConfigError, match="stands twice"):
            carried(config, peers)
    with pytest.raises(ConfigError, match="its participant id"):
        carried(LATER, ["a b", "c", "d"])
    with pytest.raises(ConfigError, match="are 2 to 3 in a group"):
        carried(GROUPED, participant_names(8))


def test_an_answer_for_everyone_is_serialised_once() -> None:
    config = small_round(5, ACTIVE)
    peers = participants(5)
    made = carried(config, peers)
    channel = Channel(made, peers)
    shared = set()
    while steps := made.steps():
        if len({id(step.parts) for step in steps.values()}) == 1:
            shared.add(next(iter(steps.values())).kind)
        channel.exchange()
    assert shared == {"open", "AdvertiseKeys", "MaskedInput", "ConsistencyCheck"}


def test_a_group_with_a_sum_is_told_of_the_whole() -> None:
    """Its sum is not released either, so what it lost is not carried on."""
    channel = play(GROUPED, 9, lose_up=lambda peer, step: peer == "participant-00009" and step.kind == "Unmask")
    made = channel.round
    assert isinstance(made, CarriedGroups)
    assert isinstance(made.outcome, RoundAborted)
    assert any(isinstance(group.outcome, Aggregate) for group in made.groups.values())
    assert all(isinstance(read_over(step), RoundAborted) for step in made.endings().values())


ON_A_RING = small_round(
    10,
    ACTIVE,
    threshold=7,
    max_colluding=0,
    graph=Ring(degree=6, neighbour_threshold=6, committee=5, committee_threshold=4, min_participants=8),
)


@in_processes
def test_a_round_on_a_ring_has_the_mean_of_all(live: Live) -> None:
    channel = play(ON_A_RING, 10, live=live)
    outcome = channel.round.outcome
    assert isinstance(outcome, Aggregate)
    mean, expected = outcome.mean(ON_A_RING), plain_mean(ON_A_RING, channel.peers)
    assert np.abs(mean.arrays["values"] - expected["values"]).max() <= mean.error_bounds["values"]


def test_a_ring_is_not_begun_with_fewer_peers_than_it_is_made_for() -> None:
    """The threshold is 7 of survivors; the ring needs 8 members."""
    with pytest.raises(ConfigError, match="7 peers are asked; the round needs 8"):
        carried(ON_A_RING, participant_names(7))
    grouped = replace(ON_A_RING, groups=Groups.parse(3, "median"))
    with pytest.raises(ConfigError, match="each group needs 8"):
        carried(grouped, participant_names(23))
    silent = set(participant_names(10)[:3])
    channel = play(ON_A_RING, 10, lose_up=lambda peer, _: peer in silent)
    assert isinstance(channel.round.outcome, RoundAborted)
    assert "7 of 10 participants came, fewer than the threshold 8" in str(channel.round.outcome)


@in_processes
def test_where_messages_are_signed_a_participant_has_the_name_of_its_certificate(live: Live) -> None:
    nodes = {f"node {number}": name for number, name in enumerate(participant_names(5))}  # no participant ids
    peers = {node: live(replace(terms_of(name), name=node)) for node, name in nodes.items()}
    config = small_round(5, ACTIVE)
    channel = Channel(carried(config, peers), peers)
    channel.play()
    assert isinstance(channel.round.outcome, Aggregate)
    assert channel.round.outcome.survivors == tuple(nodes.values())


class Counted(ClosableDesk):
    """Counts how many are there."""

    there = 0
    most = 0

    def __init__(self) -> None:
        super().__init__()
        Counted.there += 1
        Counted.most = max(Counted.most, Counted.there)

    def close(self) -> None:
        Counted.there -= 1


@in_processes
@pytest.mark.parametrize("custody", list(Custody))
@pytest.mark.parametrize("crash", [False, True])
def test_what_encrypts_is_given_back(
    monkeypatch: pytest.MonkeyPatch, custody: Custody, crash: bool, live: Live
) -> None:
    """Once all that is asked for was sent, or when the training fails."""
    monkeypatch.setattr(Counted, "there", 0)
    config = encrypted_config(Scheme.BFV, custody, 3, release_to_coordinator=True, model_digest=MODEL)
    peers = participants(3, live=live, backend=Counted)
    channel = Channel(carried(config, peers), peers)
    if crash:
        before_input = "ShareKeys" if custody is Custody.THRESHOLD else "ConfirmKey"
        while next(iter(channel.round.steps().values())).kind != before_input:
            channel.exchange()

        def fail(_offers: object) -> dict[RoundId, Contribution]:
            raise ZeroDivisionError

        for name, step in channel.round.steps().items():
            with pytest.raises(ZeroDivisionError):
                peers[name].answer([step], fail)
    else:
        while channel.round.steps():
            channel.exchange()
        assert isinstance(channel.round.outcome, Aggregate)
        for name, step in channel.round.endings().items():
            peers[name].answer([step], fail_never)
    assert Counted.there == 0


def test_rounds_that_are_opened_together_start_no_more_than_may_be_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "there", 0)
    monkeypatch.setattr(Counted, "most", 0)
    config = encrypted_config(Scheme.BFV, Custody.PARTICIPANTS, 3, release_to_coordinator=True)
    names = list[str](participant_names(3))
    one = CarriedParticipant(terms_of(names[0], backend=Counted), None)
    one.answer([carried(config, names).steps()[names[0]] for _ in range(MAX_ROUNDS + 5)], fail_never)
    assert Counted.there == MAX_ROUNDS
    assert Counted.most == MAX_ROUNDS + 1


def fail_never(_offers: object) -> dict[RoundId, Contribution]:
    return {}


def test_a_memory_of_another_participant_is_refused(tmp_path: Path) -> None:
    first, second = (terms_of(name, memory=Memory(tmp_path / "sums")) for name in participant_names(2))
    CarriedParticipant(first, None)
    with pytest.raises(ConfigError, match="memory is that of participant-00001"):
        CarriedParticipant(replace(second, memory=first.memory), None)
