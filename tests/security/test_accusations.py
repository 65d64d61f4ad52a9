"""A member that deals shares which do not open: who finds it out says so, and one word excludes nobody."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from secagg.config import RoundConfig
from secagg.errors import AbortReason, AuthenticationError
from secagg.events import Accused, ParticipantDropped, Verdict
from secagg.messages import Leave, LeaveReason, ParticipantId, Phase, ShareKeys
from secagg.rounds.accusations import Accusations
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope, Hook, Up
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, start

NAMES = participant_names(8)
LIAR = NAMES[3]
CONFIGS = {"active": make_config(8), "semi-honest": make_config(8, SEMI_HONEST)}
everyone = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def sealing_garbage_to(victims: Iterable[int]) -> Hook:
    """The liar's seals to the members at these places of the roster do not open."""
    chosen = set(victims)

    def hook(envelope: Envelope) -> tuple[Envelope, ...]:
        message = envelope.message
        if not isinstance(message, ShareKeys) or envelope.participant != LIAR or not isinstance(envelope, Up):
            return (envelope,)
        sealed = {i: bytes(len(seal)) if i in chosen else seal for i, seal in message.sealed.items()}
        return (replace(envelope, message=replace(message, sealed=sealed)),)

    return hook


@everyone
def test_a_member_that_spoils_the_round_is_named(config: RoundConfig) -> None:
    """Where members sign, the coordinator sees that the liar did not sign what it sent: proof. Else it is hearsay."""
    run = start(config, hook=sealing_garbage_to(range(1, 9)))
    run.play()
    signed = config.threat_model is ACTIVE
    assert run.coordinator.failure is not None
    assert run.coordinator.failure.reason is AbortReason.BELOW_THRESHOLD
    assert run.coordinator.failure.culprits == ((LIAR,) if signed else ())
    assert run.coordinator.failure.accused == (() if signed else (LIAR,))
    told = [event for event in run.events if isinstance(event, Accused)]
    verdict = Verdict.PROVEN if signed else Verdict.HEARSAY
    assert told == [Accused(LIAR, name, verdict) for name in NAMES if name != LIAR]
    assert [event.proven for event in told] == [signed] * 7
    assert {type(error) for name, error in run.errors.items() if name != LIAR} == {AuthenticationError}


@everyone
def test_one_accusation_costs_the_accuser_its_place_and_nobody_else(config: RoundConfig) -> None:
    run = start(config, hook=sealing_garbage_to([1]))
    aggregate = run.play().aggregate
    assert aggregate is not None
    assert set(aggregate.survivors) == set(NAMES[1:])
    assert [(e.accused, e.accuser) for e in run.events if isinstance(e, Accused)] == [(LIAR, NAMES[0])]


def accusing(victim: ParticipantId, liars: Iterable[ParticipantId], others_leave: Iterable[ParticipantId]) -> Hook:
    """Instead of an input the liars accuse the victim; the others leave without a word."""
    blames, silent = set(liars), set(others_leave)

    def hook(envelope: Envelope) -> tuple[Envelope, ...]:
        if not isinstance(envelope, Up) or envelope.phase is not Phase.MASKED_INPUT:
            return (envelope,)
        if envelope.participant in blames:
            return (replace(envelope, message=Leave(LeaveReason.REFUSED, victim)),)
        if envelope.participant in silent:
            return (replace(envelope, message=Leave(LeaveReason.FAILED)),)
        return (envelope,)

    return hook


def falsely_named(config: RoundConfig, liars: int) -> tuple[str, ...]:
    """Whom the failed round says to be accused by many; by word alone nobody becomes a culprit."""
    run = start(config, hook=accusing(NAMES[7], NAMES[:liars], NAMES[liars:6]))
    run.play()
    assert run.coordinator.failure is not None
    assert ParticipantDropped not in {type(e) for e in run.events if getattr(e, "participant", "") == NAMES[7]}
    assert run.coordinator.failure.culprits == ()
    return run.coordinator.failure.accused


def test_as_many_liars_as_may_collude_cannot_have_an_honest_member_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(8)
    assert config.max_colluding == 2
    assert falsely_named(config, 2) == ()

    def whoever(self: Accusations) -> list[ParticipantId]:
        return sorted({told.accused for told in self._by_accuser.values()})

    monkeypatch.setattr(Accusations, "_accused_by_many", whoever)
    assert falsely_named(config, 2) == (NAMES[7],)


STRANGE: dict[str, Callable[[ParticipantId], ParticipantId]] = {
    "nobody of the round": lambda _: ParticipantId("stranger"),
    "itself": lambda sender: sender,
}


@pytest.mark.parametrize("whom", STRANGE)
def test_accusations_that_mean_nothing_are_not_kept(whom: str) -> None:
    run = start(make_config(8, ACTIVE), hook=accusing(STRANGE[whom](NAMES[0]), NAMES[:1], ()))
    assert run.play().aggregate is not None
    assert not any(isinstance(event, Accused) for event in run.events)


def test_repeating_an_accusation_does_not_make_it_two() -> None:
    def twice(envelope: Envelope) -> tuple[Envelope, ...]:
        sent = tuple(accusing(NAMES[7], NAMES[:1], ())(envelope))
        return (*sent, *sent) if isinstance(sent[0].message, Leave) else sent

    run = start(make_config(8), hook=twice)
    run.play()
    assert [event for event in run.events if isinstance(event, Accused)] == [
        Accused(NAMES[7], NAMES[0], Verdict.HEARSAY)
    ]


def test_a_member_accuses_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accuses one, and then another, while what it delivered still counts: only the first is looked at."""
    judged: list[ParticipantId] = []
    judge = Accusations._judge

    def counting(self: Accusations, accused: ParticipantId, accuser: ParticipantId, refused: bytes) -> Verdict:
        judged.append(accused)
        return judge(self, accused, accuser, refused)

    def afterwards(envelope: Envelope) -> tuple[Envelope, ...]:
        if not isinstance(envelope, Up) or not isinstance(envelope.message, ShareKeys) or envelope.participant != LIAR:
            return (envelope,)
        blames = [replace(envelope, message=Leave(LeaveReason.REFUSED, NAMES[i])) for i in (6, 7)]
        return (envelope, *blames)

    monkeypatch.setattr(Accusations, "_judge", counting)
    run = start(make_config(8), hook=afterwards)
    run.play()
    assert judged == [NAMES[6]]
    assert [event.accused for event in run.events if isinstance(event, Accused)] == [NAMES[6]]
