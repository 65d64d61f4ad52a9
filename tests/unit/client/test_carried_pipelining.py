"""Rounds whose keys and shares travel in the exchanges of the round before them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from secagg_client.carried.coordinator import CarriedRound
from secagg_client.carried.groups import CarriedGroups
from secagg_client.carried.participant import CarriedParticipant
from secagg_client.carried.steps import LEAVE, Step
from secagg_client.carried.terms import CarriedTerms
from secagg_client.participation.results import Offer
from secagg_client.participation.terms import Contribution

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import RoundConfig, ThreatModel
from secagg.context import RoundId
from secagg.encoding.pipeline import Pipeline
from secagg.errors import ModelMismatch
from secagg.lattice.parameters import Custody, Scheme
from secagg.robust.grouping import Groups
from secagg.rounds.releases import ReleaseMemory
from secagg.tools.simulation.cohort import participant_names
from tests.carrying import (
    MODEL,
    PROCESSES,
    Answering,
    ClosableDesk,
    Peers,
    carried,
    contribution_to,
    participants,
    plain_mean,
    small_round,
    terms_of,
)
from tests.encrypted_rounds import encrypted_config
from tests.rounds import ACTIVE, SEMI_HONEST

Live = Callable[[CarriedTerms], Answering]
ROUNDS = 4
EACH = {SEMI_HONEST: 2, ACTIVE: 3}
"""Exchanges of a round whose keys and shares are there."""

NAMES = participant_names(5)


def config_of(threat_model: ThreatModel) -> RoundConfig:
    return small_round(5, threat_model, threshold=4, max_colluding=1, model_digest=bytes(32), model_later=True)


def model_of(number: int) -> bytes:
    return bytes([number + 1]) * 32


@dataclass
class Job:
    """A coordinator that prepares each round in the exchanges of the one before.

    Attributes:
        peers: who takes part.
        config: of every round.
        holds: the model that a peer holds in a round, where it is another one.
        lost: who is silent from which exchange on.
        exchanges: how many there were.
        asked: how many rounds asked for input in one exchange, for each call.
    """

    peers: Peers
    config: RoundConfig
    holds: Mapping[tuple[str, int], bytes] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    exchanges: int = 0
    asked: list[int] = field(default_factory=list)
    number: int = 0
    releases: ReleaseMemory = field(default_factory=lambda: ReleaseMemory(100))

    def opened(self) -> CarriedRound:
        made = carried(self.config, self.peers, releases=self.releases)
        assert isinstance(made, CarriedRound)
        return made

    def contribute_as(self, name: str) -> Callable[[Sequence[Offer]], Mapping[RoundId, Contribution]]:
        def contribute(offers: Sequence[Offer]) -> Mapping[RoundId, Contribution]:
            self.asked.append(len(offers))
            held = self.holds.get((name, self.number), model_of(self.number))
            return {one.round_id: replace(contribution_to(one, name), model_digest=held) for one in offers}

        return contribute

    def exchange(self, *rounds: CarriedRound) -> None:
        """One message to each peer, with its steps of all of these rounds."""
        self.exchanges += 1
        steps: dict[str, list[Step]] = {}
        for one in rounds:
            for peer, step in one.steps().items():
                steps.setdefault(peer, []).append(step)
        for peer, some in steps.items():
            if self.exchanges < self.lost.get(peer, 1000):
                replies = self.peers[peer].answer(some, self.contribute_as(peer))
                for one in rounds:
                    for reply in replies:
                        if reply.round_id == one.round_id:
                            one.take(peer, reply)
        for one in rounds:
            one.close()

    def run(self) -> list[CarriedRound]:
        """`ROUNDS` rounds, each about a model of its own."""
        done: list[CarriedRound] = []
        now = self.opened()
        while not now.awaits_model:
            self.exchange(now)
        for number in range(ROUNDS):
            self.number = number
            upcoming = self.opened()
            now.name_model(model_of(number))
            while now.outcome is None:
                # The next round goes as far as its shares; its input has to wait for its model.
                self.exchange(now, *(() if upcoming.awaits_model else (upcoming,)))
            for peer, step in now.endings().items():
                self.peers[peer].answer([step], self.contribute_as(peer))
            done.append(now)
            now = upcoming
            while now.outcome is None and not now.awaits_model:
                self.exchange(now)
        return done


@pytest.mark.parametrize("live", PROCESSES)
@pytest.mark.parametrize("threat_model", [SEMI_HONEST, ACTIVE])
def test_a_round_costs_two_exchanges_or_three(threat_model: ThreatModel, live: Live) -> None:
    """Open and shares of round r + 1 while round r is open: two kinds of secrets in one participant at a time."""
    job = Job(participants(5, live=live), config_of(threat_model))
    done = job.run()
    assert job.exchanges == 2 + ROUNDS * EACH[threat_model]
    assert set(job.asked) == {1}  # the next round never asks for input along with this one
    for number, one in enumerate(done):
        assert isinstance(one.outcome, Aggregate)
        assert one.outcome.survivors == tuple(NAMES)
        mean, expected = one.outcome.mean(one.config, one.context), plain_mean(one.config, NAMES)
        assert np.abs(mean.arrays["values"] - expected["values"]).max() <= mean.error_bounds["values"]
        assert job.releases.rounds[one.round_id].model_digest == model_of(number)


@pytest.mark.parametrize("live", PROCESSES)
@pytest.mark.parametrize("exchange", range(3, 10))
def test_who_is_lost_in_the_middle_is_out_of_both_rounds_and_costs_neither(exchange: int, live: Live) -> None:
    job = Job(participants(5, live=live), config_of(SEMI_HONEST), lost={NAMES[4]: exchange})
    done = job.run()
    for one in done:
        assert isinstance(one.outcome, Aggregate), one.outcome
        assert set(one.outcome.survivors) in ({*NAMES[:4]}, set(NAMES))
        mean, expected = one.outcome.mean(one.config, one.context), plain_mean(one.config, one.outcome.survivors)
        assert np.abs(mean.arrays["values"] - expected["values"]).max() <= mean.error_bounds["values"]
    assert set(done[-1].outcome.survivors) == set(NAMES[:4]) if isinstance(done[-1].outcome, Aggregate) else False


@pytest.mark.parametrize("live", PROCESSES)
def test_who_holds_an_old_model_leaves_that_round_and_is_in_the_next(live: Live) -> None:
    """A message that came twice, or late: the round is named one model, and this peer trained another one."""
    job = Job(participants(5, live=live), config_of(ACTIVE), holds={(NAMES[2], 1): model_of(0)})
    done = job.run()
    survivors = [one.outcome.survivors for one in done if isinstance(one.outcome, Aggregate)]
    others = tuple(name for name in NAMES if name != NAMES[2])
    assert survivors == [tuple(NAMES), others, tuple(NAMES), tuple(NAMES)]
    assert "names model 0202" in done[1].dropped[NAMES[2]]


@pytest.mark.parametrize("live", PROCESSES)
def test_what_is_rotated_is_so_for_the_model_that_is_named(live: Live) -> None:
    encoding = Pipeline.parse("clip(linf=1.0) | rotate | quantise(bits=16, range=8.0)")
    job = Job(participants(5, live=live), replace(config_of(SEMI_HONEST), encoding=encoding))
    for one in job.run():
        assert isinstance(one.outcome, Aggregate)
        mean, expected = one.outcome.mean(one.config, one.context), plain_mean(one.config, NAMES)
        np.testing.assert_allclose(mean.arrays["values"], expected["values"], atol=1e-2)


def test_each_group_is_read_for_the_model_that_is_named() -> None:
    encoding = Pipeline.parse("sample(rate=0.5, per=group) | rotate | quantise(bits=16, range=8.0)")
    config = small_round(
        3, SEMI_HONEST, threshold=3, model_digest=bytes(32), model_later=True, groups=Groups.parse(3, "mean")
    )
    config, names = replace(config, encoding=encoding), participant_names(9)
    peers, made = participants(9), carried(config, names)

    def half(offers: Sequence[Offer]) -> Mapping[RoundId, Contribution]:
        update = np.full(64, 0.5, np.float32)
        return {one.round_id: Contribution(update={"values": update}, weight=1, model_digest=MODEL) for one in offers}

    while made.outcome is None:
        if made.awaits_model:
            made.name_model(MODEL)
        for peer, step in made.steps().items():
            for reply in peers[peer].answer([step], half):
                made.take(peer, reply)
        made.close()
    assert isinstance(made.outcome, GroupedAggregate)
    for number, group in made.outcome.groups.items():
        assert isinstance(made, CarriedGroups)
        mean = group.mean(made.groups[number].config)
        assert mean is not None
        values = mean.arrays["values"]
        np.testing.assert_allclose(values[values != 0], 1.0, atol=1e-2)


def test_a_hostile_coordinator_that_names_an_old_model_again_gets_no_input() -> None:
    """Round 2 is named the model of round 1, to have a second sum of it."""
    peers = participants(5)
    job = Job(peers, config_of(ACTIVE))
    made = job.opened()
    while not made.awaits_model:
        job.exchange(made)
    made.name_model(model_of(7))
    sent = made.steps()
    replies = {peer: peers[peer].answer([step], job.contribute_as(peer)) for peer, step in sent.items()}
    assert {reply.kind for some in replies.values() for reply in some} == {LEAVE}
    assert all(isinstance(one.failed[made.round_id], ModelMismatch) for one in peers.values())


def test_a_round_that_cannot_be_joined_leaves_no_process_behind() -> None:
    """A coordinator can offer any number of rounds that need more than this participant has."""
    running: set[int] = set()

    class Counted(ClosableDesk):
        def __init__(self) -> None:
            running.add(id(self))

        def close(self) -> None:
            running.discard(id(self))

    config = encrypted_config(Scheme.BFV, Custody.PARTICIPANTS, release_to_coordinator=True)
    terms = terms_of(NAMES[0], backend=Counted, identity=None, trust=None)
    one = CarriedParticipant(terms, None)
    made = carried(config, participants(5))
    (reply,) = one.answer([made.steps()[NAMES[0]]], lambda _: {})
    assert reply.kind == LEAVE
    assert running == set()
