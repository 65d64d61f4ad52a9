"""What goes with rounds on a framework's channel: ledgers and noise at the coordinator; memory and feedback at the
participants; several rounds at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import structlog
from secagg_client.carried.coordinator import CarriedRound
from secagg_client.carried.groups import CarriedGroups
from secagg_client.carried.participant import CarriedParticipant
from secagg_client.carried.steps import Step, over_step
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.results import Offer
from secagg_client.participation.terms import Contribution

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.secret import Secret
from secagg.encoding.integers import Integers
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import AbortReason, BudgetExceeded, ConfigError, LedgerError, NotInRoundError, RoundAborted
from secagg.messages import Phase
from secagg.privacy.ledger import Budget
from secagg.programs.ledgers.budgets import Budgets, Summed
from secagg.programs.ledgers.memory import MemoryLedgers
from secagg.robust.grouping import Groups
from secagg.rounds.engine import Engine
from secagg.rounds.releases import ReleaseMemory
from secagg.schemes import coordinate
from secagg.tools.simulation.cohort import participant_names
from tests.carrying import (
    ANYTHING,
    MODEL,
    Channel,
    Peers,
    carried,
    contribute_as,
    contribution_to,
    participants,
    play,
    small_round,
    terms_of,
)
from tests.recording import RecordingRng
from tests.rounds import ACTIVE, SEMI_HONEST

NAMES = list[str](participant_names(5))
NOISY = small_round(
    5, SEMI_HONEST, encoding=Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=4.0)")
)


def budgets_of(epsilon: float = 8.0) -> Budgets:
    return Budgets(MemoryLedgers(), Budget(epsilon), {}, structlog.get_logger())


def spent(budgets: Budgets) -> list[bool]:
    """Of each round that is planned or charged, whether its sum was released."""
    ledger = budgets.read("digits")
    return [round_id in ledger.released for round_id in ledger.charges]


# --- ledgers and noise ------------------------------------------------------------------------------------------------


class Recorder:
    """A charge that records what the round knew when it was settled."""

    def __init__(self, error: LedgerError | None = None) -> None:
        self.told: list[str] = []
        self.round: CarriedRound | CarriedGroups | None = None
        self._error = error

    def plan(self, _round_id: RoundId, _config: RoundConfig) -> Any:
        self.told.append("plan")
        return self

    def settle(self, outcome: Summed | RoundAborted, phase: Phase | None) -> None:
        assert self.round is not None
        assert self.round.outcome is None
        assert self.round.endings() == {}
        self.told.append(f"{type(outcome).__name__} in {phase}")
        if self._error is not None:
            raise self._error

    def withdraw(self) -> None:
        self.told.append("withdraw")


def played_with(recorder: Recorder, config: RoundConfig, people: int = 5, **faults: Any) -> Channel:
    peers = participants(people)
    recorder.round = carried(config, peers, charge=recorder.plan)
    channel = Channel(recorder.round, peers, **faults)
    assert recorder.told == ["plan"]  # before anybody hears of the round
    channel.play()
    return channel


def test_a_round_is_settled_before_anybody_hears_of_its_end() -> None:
    recorder = Recorder()
    assert isinstance(played_with(recorder, NOISY).round.outcome, Aggregate)
    assert recorder.told == ["plan", "Aggregate in Unmask"]


def test_a_round_that_fails_is_settled_with_the_phase_that_was_open() -> None:
    recorder = Recorder()
    played_with(recorder, NOISY, lose_down=lambda _, step: step.kind == "AdvertiseKeys")
    assert recorder.told == ["plan", "RoundAborted in ShareKeys"]


def test_a_sum_that_cannot_be_charged_is_not_released() -> None:
    channel = played_with(Recorder(LedgerError("the disk is full")), NOISY)
    assert isinstance(channel.round.outcome, RoundAborted)
    assert "the sum is not released: the disk is full" in str(channel.round.outcome)
    assert channel.round.outcome.reason is AbortReason.INTERNAL


GROUPED = replace(NOISY, max_participants=3, threshold=3, max_colluding=0, groups=Groups.parse(3, "median"))


@pytest.mark.parametrize(("config", "people"), [(replace(NOISY, threshold=4), 5), (GROUPED, 9)])
def test_a_round_that_cannot_be_made_costs_nothing(config: RoundConfig, people: int) -> None:
    recorder = Recorder()
    with pytest.raises(ConfigError, match="CA's certificate"):
        carried(replace(config, threat_model=ACTIVE), participant_names(people), charge=recorder.plan, trust=None)
    assert recorder.told == ["plan", "withdraw"]


def test_rounds_with_noise_spend_the_budget_of_their_task() -> None:
    budgets = budgets_of()
    assert isinstance(play(NOISY, charge=budgets.plan).round.outcome, Aggregate)
    play(NOISY, charge=budgets.plan, lose_down=lambda _, step: step.kind == "AdvertiseKeys")
    assert spent(budgets) == [True]
    with pytest.raises(ConfigError, match="has a privacy budget"):
        carried(small_round(5, SEMI_HONEST), NAMES, charge=budgets.plan)
    with pytest.raises(BudgetExceeded):
        carried(NOISY, NAMES, charge=budgets_of(1e-3).plan)


def test_the_groups_of_a_round_are_charged_once() -> None:
    config, recorder = GROUPED, Recorder()
    assert isinstance(played_with(recorder, config, 9).round.outcome, GroupedAggregate)
    assert recorder.told == ["plan"] + ["Aggregate in Unmask"] * 3
    budgets = budgets_of()
    assert isinstance(play(config, 9, charge=budgets.plan).round.outcome, GroupedAggregate)
    assert spent(budgets) == [True]


def test_the_coordinators_noise_has_a_seed_of_its_own_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=4.0, by=coordinator)"
    config, recorder, seeds = replace(NOISY, encoding=Pipeline.parse(text)), RecordingRng(), []

    def watching(*args: Any, noise_seed: Secret, **named: Any) -> Engine:
        seeds.append(noise_seed.expose())
        return coordinate(*args, noise_seed=noise_seed, **named)

    monkeypatch.setattr("secagg_client.carried.coordinator.coordinate", watching)
    for _ in range(2):
        assert isinstance(play(config, rng=recorder).round.outcome, Aggregate)
    assert len(set(seeds)) == 2
    assert set(seeds) <= recorder.drawn


# --- sums of one model ------------------------------------------------------------------------------------------------


def test_sums_that_would_show_somebody_are_not_released() -> None:
    """The coordinator remembers, and so does each participant."""
    releases, config = ReleaseMemory(10), small_round(5, SEMI_HONEST, threshold=3)
    assert isinstance(play(config, releases=releases).round.outcome, Aggregate)
    four = play(config, 5, releases=releases, lose_down=lambda peer, _: peer == NAMES[0])
    assert isinstance(four.round.outcome, RoundAborted)
    assert four.round.outcome.reason is AbortReason.DIFFERENCING
    peers = participants(5)
    Channel(carried(config, peers), peers).play()
    second = Channel(carried(config, peers), peers, lose_down=lambda peer, _: peer == NAMES[0])
    second.play()
    assert isinstance(second.round.outcome, RoundAborted)
    assert all("would show" in second.round.dropped[name] for name in NAMES[1:])


def test_a_participant_that_wants_one_sum_of_a_model_gives_one() -> None:
    once = participants(5, policy=replace(ANYTHING, once_per_model=True))
    assert isinstance(_played(once).round.outcome, Aggregate)
    again = _played(once)
    assert isinstance(again.round.outcome, RoundAborted)
    assert "an update of this model is in a released sum already" in again.round.dropped[NAMES[0]]
    assert {step.kind for _, step in again.sent} == {"open", "leave"}  # before anything of the round leaves


def test_and_none_to_others_before_it_heard_that_the_first_came_out() -> None:
    """Every cell of the two cohorts is large enough, so the memory alone would allow the second sum."""
    for once, says in ((True, "an update of this model may be in a sum of other participants already"), (False, None)):
        peers = participants(6, policy=replace(ANYTHING, once_per_model=once))
        first = carried(small_round(3, SEMI_HONEST, threshold=3), NAMES[:3])
        channel = Channel(first, peers)
        while first.steps():
            channel.exchange()
        assert isinstance(first.outcome, Aggregate)
        second = _played(peers, small_round(6, SEMI_HONEST, threshold=3)).round
        if says is None:
            assert second.dropped == {}
        else:
            assert all(says in second.dropped[name] for name in NAMES[:3])


def test_so_does_one_whose_model_is_named_later() -> None:
    """It is asked about no model before it is named: then it leaves, before its input."""
    peers = participants(5, policy=replace(ANYTHING, once_per_model=True))
    _played(peers)
    made = carried(small_round(5, SEMI_HONEST, model_digest=bytes(32), model_later=True), NAMES)
    channel = Channel(made, peers)
    while not made.awaits_model:
        channel.exchange()
    assert made.dropped == {}
    made.name_model(MODEL)
    channel.play()
    assert isinstance(made.outcome, RoundAborted)
    assert all("in a released sum already" in reason for reason in made.dropped.values())
    assert {step.kind for _, step in channel.sent} <= {"open", "AdvertiseKeys", "ShareKeys", "leave", "over"}


def test_a_claim_is_void_when_nobody_can_have_opened_its_sum() -> None:
    """Nobody heard who survived. A round that might be open stays on record."""
    config, releases = small_round(5, SEMI_HONEST, threshold=4), ReleaseMemory(10)
    play(config, releases=releases, lose_down=lambda _, step: step.kind == "MaskedInput")
    assert list(releases.rounds) == []
    play(config, releases=releases, lose_up=lambda peer, step: step.kind == "Unmask" and peer > NAMES[0])
    assert len(releases.rounds) == 1


def _played(peers: Peers, config: RoundConfig | None = None, **faults: Any) -> Channel:
    channel = Channel(carried(config or small_round(5, SEMI_HONEST), peers), peers, **faults)
    channel.play()
    return channel


# --- feedback ---------------------------------------------------------------------------------------------------------

ONE_BIT = small_round(5, SEMI_HONEST, encoding=Pipeline.parse("feedback | rotate | quantise(bits=1, range=1.0)"))


def people_with_feedback() -> tuple[Peers, dict[str, Feedback]]:
    kept = {name: Feedback() for name in NAMES}
    return {name: CarriedParticipant(terms_of(name, feedback=kept[name]), None) for name in NAMES}, kept


def test_what_a_round_lost_is_carried_to_the_next() -> None:
    peers, kept = people_with_feedback()
    channel = _played(peers, ONE_BIT)
    assert isinstance(channel.round.outcome, Aggregate)
    for name in NAMES:
        assert np.abs(kept[name].arrays("digits")["values"]).max() > 0


def test_nothing_is_carried_of_a_round_without_a_sum() -> None:
    peers, kept = people_with_feedback()
    _played(peers, ONE_BIT, lose_down=lambda _, step: step.kind == "MaskedInput")
    assert all(kept[name].arrays("digits") == {} for name in NAMES)


def test_who_was_dropped_before_the_sum_carries_what_it_carried() -> None:
    peers, kept = people_with_feedback()
    _played(peers, ONE_BIT)
    before = {name: kept[name].arrays("digits")["values"] for name in NAMES}
    config = replace(ONE_BIT, model_digest=bytes(31) + b"\x01", threshold=3)
    _played(peers, config, lose_up=lambda peer, step: peer == NAMES[0] and step.kind == "MaskedInput")
    assert np.array_equal(kept[NAMES[0]].arrays("digits")["values"], before[NAMES[0]])
    assert not np.array_equal(kept[NAMES[1]].arrays("digits")["values"], before[NAMES[1]])


def test_who_is_in_the_sum_carries_what_it_lost_though_it_never_heard_who_survived() -> None:
    peers, kept = people_with_feedback()
    config = replace(ONE_BIT, threshold=3)
    channel = _played(peers, config, lose_down=lambda peer, step: peer == NAMES[0] and step.kind == "MaskedInput")
    assert isinstance(channel.round.outcome, Aggregate)
    assert NAMES[0] in channel.round.outcome.survivors
    assert NAMES[0] in channel.round.dropped
    assert np.abs(kept[NAMES[0]].arrays("digits")["values"]).max() > 0


def test_nothing_is_carried_where_a_coordinator_says_two_things() -> None:
    """It showed that the update is in the sum, and then says that it is not."""
    peers, kept = people_with_feedback()
    _played(peers, ONE_BIT)
    made = carried(replace(ONE_BIT, model_digest=bytes(31) + b"\x01"), peers)
    channel = Channel(made, peers)
    while made.steps():
        channel.exchange()
    for name, peer in peers.items():
        peer.answer([over_step(made.round_id, NotInRoundError("you are not in it"))], contribute_as(name))
    assert all(kept[name].arrays("digits") == {} for name in NAMES)


# --- several rounds ---------------------------------------------------------------------------------------------------


def test_several_rounds_advance_in_one_exchange_and_one_that_fails_costs_the_others_nothing() -> None:
    """An update, exact metrics beside it, a round that one participant refuses, and the keys of the next round."""
    update = small_round(5, SEMI_HONEST)
    metrics = small_round(
        5,
        SEMI_HONEST,
        purpose="metrics",
        schema=Schema((ArraySpec("correct", (2,), "int64"),)),
        encoding=Integers(1000),
    )
    other_task = small_round(5, SEMI_HONEST, task="other", threshold=3, model_digest=bytes(31) + b"\x02")
    peers = participants(5)
    peers[NAMES[2]] = CarriedParticipant(
        terms_of(NAMES[2], policy=replace(ANYTHING, tasks=frozenset({"digits"}))), None
    )
    rounds = [carried(config, NAMES) for config in (update, metrics, other_task)]
    following = carried(replace(update, model_digest=bytes(32)), NAMES)
    calls: list[list[str]] = []

    def contribute_to(name: str) -> Any:
        def contribute(offers: Sequence[Offer]) -> Mapping[RoundId, Contribution]:
            calls.append([f"{offer.config.task} {offer.config.purpose}" for offer in offers])
            return {offer.round_id: _of(offer, name) for offer in offers}

        return contribute

    exchanges = 0
    while any(one.outcome is None for one in rounds if one is not following):
        if exchanges == 2:
            rounds.append(following)
        exchanges += 1
        down: dict[str, list[Step]] = {}
        for one in rounds:
            for peer, step in one.steps().items():
                down.setdefault(peer, []).append(step)
        for peer, steps in down.items():
            for reply in peers[peer].answer(steps, contribute_to(peer)):
                next(one for one in rounds if reply.round_id in one.round_ids).take(peer, reply)
        for one in rounds:
            one.close()
    assert exchanges == 4
    assert following.phase is Phase.MASKED_INPUT
    outcomes = [one.outcome for one in rounds if one is not following]
    assert all(isinstance(outcome, Aggregate) for outcome in outcomes)
    assert (
        calls
        == [["digits train", "digits metrics", "other train"]] * 2
        + [["digits train", "digits metrics"]]
        + [["digits train", "digits metrics", "other train"]] * 2
    )
    totals = outcomes[1].totals(metrics)  # type: ignore[union-attr]
    assert list(totals.arrays["correct"]) == [sum(int(name[-1]) for name in NAMES), 500]
    assert rounds[2].dropped == {NAMES[2]: rounds[2].dropped[NAMES[2]]}
    assert "not among the allowed tasks" in rounds[2].dropped[NAMES[2]]


def _of(offer: Offer, name: str) -> Contribution:
    if not isinstance(offer.config.encoding, Integers):
        return contribution_to(offer, name)
    counts = {"correct": np.array([int(name[-1]), 100])}
    return Contribution(update=counts, weight=1, model_digest=MODEL, purpose=offer.config.purpose)
