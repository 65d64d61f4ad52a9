"""The masked round as a whole: deadlines, dropouts, repeats and leaving, from the coordinator's side."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from secagg.config import ThreatModel
from secagg.encoding.fixedpoint import FixedPoint
from secagg.errors import (
    AbortReason,
    ConfigError,
    DecodeError,
    NotInRoundError,
    ProtocolViolation,
    RemoteError,
    RoundAborted,
)
from secagg.events import DropReason, MessageAccepted, ParticipantDropped, PhaseStarted, RoundFailed, SumReady
from secagg.masked import scheme as masked
from secagg.messages import (
    MASKED_PHASES,
    AdvertiseKeys,
    Leave,
    LeaveReason,
    MaskedInputChunk,
    ParticipantId,
    Phase,
    SurvivorSet,
)
from secagg.phases import time_limit
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Down, Envelope, Hook, Run, Up
from tests.rounds import ACTIVE, SEMI_HONEST, flat_schema, make_config, start, true_sum

NAMES = participant_names(7)
ORDER = MASKED_PHASES[ACTIVE]
INPUT = ORDER.index(Phase.MASKED_INPUT)


def stopping(stops: dict[ParticipantId, Phase]) -> Hook:
    """Each named participant sends nothing from its phase on."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        stop = stops.get(envelope.participant)
        gone = stop is not None and isinstance(envelope, Up) and ORDER.index(envelope.phase) >= ORDER.index(stop)
        return () if gone else (envelope,)

    return hook


def assert_sum(run: Run, survivors: list[ParticipantId]) -> None:
    assert run.coordinator.aggregate is not None
    assert list(run.coordinator.aggregate.survivors) == survivors
    assert np.array_equal(run.coordinator.aggregate.sums, true_sum(run, survivors))


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
def test_a_round_with_everyone(threat_model: ThreatModel) -> None:
    run = start(make_config(7, threat_model))
    run.play()
    assert_sum(run, NAMES)
    assert not run.errors
    assert not run.refused
    phases = [e.phase for e in run.events if isinstance(e, PhaseStarted)]
    assert phases == [*MASKED_PHASES[threat_model]]
    assert isinstance(run.events[-1], SumReady)
    accepted = [e for e in run.events if isinstance(e, MessageAccepted)]
    assert len(accepted) == 7 * len(phases)
    assert run.coordinator.over


@pytest.mark.parametrize("phase", ORDER)
def test_two_of_seven_may_drop_in_any_phase(phase: Phase) -> None:
    run = start(make_config(7), hook=stopping({NAMES[0]: phase, NAMES[4]: phase}))
    run.play()
    gone = set() if ORDER.index(phase) > INPUT else {NAMES[0], NAMES[4]}
    assert_sum(run, [name for name in NAMES if name not in gone])
    dropped = [e for e in run.events if isinstance(e, ParticipantDropped)]
    if phase is Phase.ADVERTISE_KEYS:
        assert not dropped, "whoever never came has not dropped"
    else:
        expected = [ParticipantDropped(phase, name, DropReason.DEADLINE) for name in (NAMES[0], NAMES[4])]
        assert dropped == expected


@pytest.mark.parametrize("phase", ORDER)
def test_three_of_seven_end_the_round_by_name(phase: Phase) -> None:
    run = start(make_config(7), hook=stopping(dict.fromkeys(NAMES[:3], phase)))
    run.play()
    coordinator = run.coordinator
    assert coordinator.aggregate is None
    assert coordinator.failure is not None
    assert coordinator.failure.reason is AbortReason.BELOW_THRESHOLD
    setting, limit_s = time_limit(phase, coordinator.round.config.deadlines)
    assert str(coordinator.failure).startswith(
        f"4 participants delivered in {phase}, fewer than the threshold 5 "
        f"when its deadline passed ({setting} is {limit_s:g} s)"
    )
    assert isinstance(run.events[-1], RoundFailed)
    for name in NAMES:
        with pytest.raises(RoundAborted):
            coordinator.answer(name, Phase.ADVERTISE_KEYS)
        with pytest.raises(RoundAborted):
            coordinator.receive(name, Leave(LeaveReason.CANCELLED), run.now)


def test_one_drops_in_each_phase_of_one_round() -> None:
    names = participant_names(12)
    stops = {names[i]: phase for i, phase in enumerate(ORDER)}
    run = start(make_config(12, threshold=7, max_colluding=1), hook=stopping(stops))
    run.play()
    assert_sum(run, names[INPUT + 1 :])


def test_a_vector_counts_whole_or_not_at_all() -> None:
    """Three chunks each: whoever sends two of them is not in the sum."""
    config = make_config(7, SEMI_HONEST, schema=flat_schema(700_000), encoding=FixedPoint(1.0, 29, 1))

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        chunk = envelope.message
        last = envelope.participant == NAMES[2] and isinstance(chunk, MaskedInputChunk) and chunk.number == 2
        return () if last else (envelope,)

    run = start(config, hook=hook)
    run.play()
    assert run.coordinator.received_chunks(NAMES[0]) == 3
    assert_sum(run, [name for name in NAMES if name != NAMES[2]])


def test_chunks_come_in_order_and_in_their_length() -> None:
    bad: list[MaskedInputChunk] = []

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        chunk = envelope.message
        if not isinstance(chunk, MaskedInputChunk) or not isinstance(envelope, Up) or envelope.participant != NAMES[0]:
            return (envelope,)
        wrong = [
            MaskedInputChunk(1, chunk.payload),
            MaskedInputChunk(0, chunk.payload[:-1]),
            MaskedInputChunk(0, chunk.payload + b"\0"),
            MaskedInputChunk(0, chunk.payload[:-1] + b"\xff"),
            MaskedInputChunk(0, b""),
        ]
        bad.extend(wrong)
        return (*(Up(NAMES[0], w, envelope.phase) for w in wrong), envelope)

    run = start(make_config(7, schema=flat_schema(65)), hook=hook)
    run.play()
    assert [up.message for up, _ in run.refused] == bad
    assert isinstance(run.refused[0][1], ProtocolViolation)
    assert all(isinstance(error, DecodeError) and error.culprit == NAMES[0] for _, error in run.refused[1:])
    assert_sum(run, NAMES)


def test_repeated_messages_change_nothing() -> None:
    run = start(make_config(7), hook=lambda envelope: (envelope, envelope) if isinstance(envelope, Up) else (envelope,))
    run.play()
    assert_sum(run, NAMES)
    # A chunk has no memory to compare with: it is refused, and the sum has it once.
    assert all(isinstance(up.message, MaskedInputChunk) for up, _ in run.refused)
    assert len([e for e in run.events if isinstance(e, MessageAccepted)]) == 7 * len(ORDER)


def test_a_second_message_that_differs_is_refused() -> None:
    seen: dict[tuple[Phase, type], Up] = {}

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if not isinstance(envelope, Up):
            return (envelope,)
        other = seen.setdefault((envelope.phase, type(envelope.message)), envelope)
        forged = Up(envelope.participant, other.message, envelope.phase)
        return (envelope, forged) if other.participant != envelope.participant else (envelope,)

    run = start(make_config(7), hook=hook)
    run.play()
    assert_sum(run, NAMES)
    assert len(run.refused) >= 6 * 4
    assert all(isinstance(error, RemoteError | NotInRoundError) for _, error in run.refused)


@pytest.mark.parametrize("phase", ORDER)
@pytest.mark.parametrize("delivered", [False, True])
def test_saying_goodbye_is_dropping_at_once(phase: Phase, delivered: bool) -> None:
    """What was delivered stands; the rest of the round goes on without waiting for the deadline."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and envelope.participant == NAMES[3] and envelope.phase is phase:
            leave = Up(NAMES[3], Leave(LeaveReason.CANCELLED), phase)
            return (envelope, leave) if delivered else (leave,)
        gone = envelope.participant == NAMES[3] and ORDER.index(envelope.phase) >= ORDER.index(phase)
        return () if gone else (envelope,)

    run = start(make_config(7), hook=hook)
    run.play()
    inside = ORDER.index(phase) > INPUT or (delivered and phase is Phase.MASKED_INPUT)
    assert_sum(run, [name for name in NAMES if inside or name != NAMES[3]])
    if phase is not Phase.ADVERTISE_KEYS and not (delivered and phase is Phase.UNMASK):
        drops = [e for e in run.events if isinstance(e, ParticipantDropped)]
        assert [(e.participant, e.reason) for e in drops] == [(NAMES[3], DropReason.CANCELLED)]
        assert run.now < run.coordinator.deadline or run.coordinator.over


def test_late_messages_are_refused_by_name() -> None:
    late: list[Up] = []

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        held = envelope.participant == NAMES[2] and isinstance(envelope.message, MaskedInputChunk)
        if held and isinstance(envelope, Up):
            late.append(envelope)
            return ()
        return (envelope, *late) if isinstance(envelope.message, SurvivorSet) else (envelope,)

    run = start(make_config(7), hook=hook)
    run.play()
    assert_sum(run, [name for name in NAMES if name != NAMES[2]])
    assert run.refused
    assert all(isinstance(error, NotInRoundError) for _, error in run.refused)
    assert isinstance(run.errors[NAMES[2]], NotInRoundError)


def test_messages_of_another_phase_are_refused() -> None:
    run = start(make_config(7))
    coordinator = run.coordinator
    with pytest.raises(NotInRoundError):
        coordinator.receive(NAMES[0], MaskedInputChunk(0, b""), run.now)
    for name in NAMES:
        coordinator.receive(name, run.participants[name].advertisement, run.now)
    with pytest.raises(ProtocolViolation, match="sent MaskedInput during ShareKeys") as caught:
        coordinator.receive(NAMES[0], MaskedInputChunk(0, b""), run.now)
    assert caught.value.culprit == NAMES[0]
    with pytest.raises(NotInRoundError):
        coordinator.receive(ParticipantId("stranger"), MaskedInputChunk(0, b""), run.now)
    with pytest.raises(NotInRoundError):
        coordinator.answer(ParticipantId("stranger"), Phase.ADVERTISE_KEYS)


def test_a_full_round_takes_nobody_more() -> None:
    run = start(make_config(7), people=7)
    stranger = start(make_config(8), people=8).participants[participant_names(8)[7]]
    for name in NAMES[:6]:
        run.coordinator.receive(name, run.participants[name].advertisement, run.now)
    run.coordinator.receive(NAMES[6], run.participants[NAMES[6]].advertisement, run.now)
    with pytest.raises(NotInRoundError):
        run.coordinator.receive(participant_names(8)[7], stranger.advertisement, run.now)


def test_the_clock_closes_a_phase_and_nothing_else() -> None:
    run = start(make_config(7))
    coordinator = run.coordinator
    assert coordinator.tick(coordinator.deadline - 0.001) == []
    for name in NAMES[:5]:
        coordinator.receive(name, run.participants[name].advertisement, run.now)
    events = coordinator.tick(coordinator.deadline)
    assert [type(e) for e in events] == [PhaseStarted]
    assert coordinator.phase is Phase.SHARE_KEYS
    assert coordinator.deadline > run.now


def test_an_aborted_round_tells_everyone() -> None:
    run = start(make_config(7))
    [event] = run.coordinator.abort(AbortReason.CANCELLED, "the FL server cancelled")
    assert isinstance(event, RoundFailed)
    assert event.error.reason is AbortReason.CANCELLED
    assert run.coordinator.abort(AbortReason.CANCELLED, "again") == []
    with pytest.raises(RoundAborted, match="the FL server cancelled"):
        run.coordinator.receive(NAMES[0], run.participants[NAMES[0]].advertisement, run.now)


def test_an_active_round_needs_the_ca() -> None:
    round_ = start(make_config(7)).coordinator.round
    with pytest.raises(ConfigError, match="needs the CA's certificate"):
        masked.coordinator(round_, now=0.0)


def test_messages_can_come_in_any_order_within_a_phase() -> None:
    held: list[Envelope] = []

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        """Seven messages a phase and one chunk each: hold them until all are there, and pass them on last one first."""
        if isinstance(envelope, Down):
            return (envelope,)
        held.append(envelope)
        if len(held) < 7:
            return ()
        out, held[:] = held[::-1], []
        return out

    run = start(make_config(7), hook=hook)
    run.play()
    assert_sum(run, NAMES)


def test_junk_in_place_of_signatures_is_turned_away_at_the_door() -> None:
    """In a round that signs nothing nobody checks them; passed on, they would make a roster that no client takes."""

    def swell(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and isinstance(envelope.message, AdvertiseKeys) and envelope.participant < NAMES[2]:
            yield replace(envelope, message=replace(envelope.message, certificates=(bytes(16_384),) * 8))
        else:
            yield envelope

    run = start(make_config(5, SEMI_HONEST), hook=swell)
    run.play()
    assert [type(error) for _, error in run.refused] == [DecodeError] * 2
    assert run.coordinator.aggregate is not None
    assert run.coordinator.aggregate.survivors == tuple(NAMES[2:5])
