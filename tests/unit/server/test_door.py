"""One round at several doors, without a network: what is lost, what counts, and that no sum comes out wrong."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
from secagg_server.ingress.door import DoorRound

from secagg.config import ThreatModel
from secagg.crypto.prg import Words
from secagg.errors import (
    AbortReason,
    DecodeError,
    NotInRoundError,
    ProtocolViolation,
    RemoteError,
    RoundAborted,
    StoreError,
)
from secagg.events import DropReason, MessageAccepted, ParticipantDropped
from secagg.messages import Index, Leave, LeaveReason, MaskedInputChunk, ParticipantId, Phase
from secagg.rounds.doors import Door, HeldVectors
from secagg.rounds.engine import Engine
from secagg.rounds.uploads import MemorySpool
from secagg.schemes import coordinate
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.network import Envelope, Run, Up
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, deployment, flat_schema, make_config, start, true_sum

EAST, WEST = Door(b"e" * 16), Door(b"w" * 16)
"""Two doors beside the coordinator itself."""
SIZE = 400_000
"""More than one chunk."""


@dataclass
class Doors:
    """Workers in this process. What a participant sends goes to the door that it is led to, or to the coordinator."""

    run: Run
    leads: dict[ParticipantId, Door] = field(default_factory=dict)
    rounds: dict[Door, DoorRound] = field(default_factory=dict)
    gone: set[Door] = field(default_factory=set)
    asked: list[Door] = field(default_factory=list)
    on_ask: Callable[[Door], None] = lambda _: None
    waiting: list[tuple[ParticipantId, MaskedInputChunk]] = field(default_factory=list)

    @property
    def engine(self) -> Engine:
        return self.run.coordinator

    def hand_over(self, door: Door, members: frozenset[Index]) -> Words | None:
        self.asked.append(door)
        self.on_ask(door)
        return None if door in self.gone else self.at(door).give(members)

    def at(self, door: Door) -> DoorRound:
        if door not in self.rounds:
            self.rounds[door] = DoorRound(self.engine.round.config, MemorySpool())
        return self.rounds[door]

    def index(self, name: ParticipantId) -> Index:
        return self.engine._members.index_of(name)

    def bring(self, name: ParticipantId, chunk: MaskedInputChunk, door: Door) -> None:
        """What a worker does with a chunk."""
        at, index = self.at(door), self.index(name)
        if not at.take(index, chunk.number, chunk.payload, name=name):
            return
        try:
            events = self.engine.hold(name, door, self.run.now)
        except (RemoteError, NotInRoundError, RoundAborted):
            at.refuse(index)
            raise
        at.confirm(index)
        self.run._note(events)

    def lose(self, door: Door) -> None:
        self.gone.add(door)
        self.run._note(self.engine.lose(door, self.run.now))

    def send(self, name: ParticipantId, door: Door | None = None) -> None:
        """The whole vector of a participant, the same bytes as ever."""
        for _, chunk in [each for each in self.waiting if each[0] == name]:
            if door is None:
                self.run._note(self.engine.receive(name, chunk, self.run.now))
            else:
                self.bring(name, chunk, door)


def open_round(
    threat_model: ThreatModel = SEMI_HONEST, people: int = 5, *, threshold: int = 3, size: int = 50
) -> Doors:
    """A round in which everybody has their shares, and no input has come yet."""
    config = make_config(people, threat_model, schema=flat_schema(size), threshold=threshold, max_colluding=0)
    run = start(config)
    doors = Doors(run)
    trust = deployment().trust if threat_model is ACTIVE else None
    run.coordinator = coordinate(run.coordinator.round, now=NOW, trust=trust, hand_over=doors.hand_over)
    deliver = run.hook

    def keep(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and isinstance(envelope.message, MaskedInputChunk):
            doors.waiting.append((envelope.participant, envelope.message))
            return ()
        return deliver(envelope)

    run.hook = keep
    run.events.append(run.coordinator.started())
    for name, participant in run.participants.items():
        run._send(Up(name, participant.advertisement, Phase.ADVERTISE_KEYS))
    run._drain()
    assert run.coordinator.phase is Phase.MASKED_INPUT
    return doors


def finish(doors: Doors) -> None:
    """Deliver everything else, with deadlines."""
    while doors.engine.phase is not None:
        doors.run._drain()
        if doors.engine.phase is not None:
            doors.run.now = doors.engine.deadline
            doors.run._note(doors.engine.tick(doors.run.now))


def names(doors: Doors) -> list[ParticipantId]:
    return list(doors.run.participants)


def check_sum(doors: Doors, survivors: list[ParticipantId]) -> None:
    aggregate = doors.engine.aggregate
    assert aggregate is not None, doors.engine.failure
    assert list(aggregate.survivors) == survivors
    np.testing.assert_array_equal(aggregate.sums, true_sum(doors.run, survivors))


@pytest.mark.parametrize("threat_model", [SEMI_HONEST, ACTIVE])
def test_vectors_at_three_doors_give_the_sum_of_one_door(threat_model: ThreatModel) -> None:
    doors = open_round(threat_model, size=SIZE)
    first, second, third, fourth, fifth = names(doors)
    doors.send(first, EAST)
    doors.send(second, WEST)
    doors.send(third)
    doors.send(fourth, EAST)
    assert doors.asked == []
    doors.send(fifth, WEST)
    assert sorted(doors.asked) == [EAST, WEST]
    finish(doors)
    check_sum(doors, names(doors))


def test_the_head_asks_for_the_last_vector_before_the_door_hears_that_it_counts() -> None:
    """`hold` closes the phase, so the door is asked while its own question is not answered yet."""
    doors = open_round()
    for name in names(doors):
        doors.send(name, EAST)
    assert doors.asked == [EAST]
    finish(doors)
    check_sum(doors, names(doors))


def test_owners_of_a_lost_door_go_on_at_another_one() -> None:
    doors = open_round()
    first, second, *others = names(doors)
    doors.send(first, EAST)
    doors.send(second, EAST)
    doors.lose(EAST)
    assert doors.engine.lost == {first, second}
    assert doors.engine.received_chunks(first) == 0
    for name in [first, second, *others]:
        doors.send(name, WEST)
    assert doors.engine.lost == frozenset()
    finish(doors)
    check_sum(doors, names(doors))
    accepted = [e.participant for e in doors.run.events if e == MessageAccepted(Phase.MASKED_INPUT, first)]
    assert accepted == [first, first]


def test_owners_of_a_lost_door_who_do_not_come_again_drop_out() -> None:
    doors = open_round()
    first, *others = names(doors)
    doors.send(first, EAST)
    doors.lose(EAST)
    for name in others:
        doors.send(name, WEST)
    finish(doors)
    check_sum(doors, others)
    assert ParticipantDropped(Phase.MASKED_INPUT, first, DropReason.DEADLINE) in doors.run.events


def test_a_door_that_is_lost_when_it_is_asked_leaves_the_phase_open() -> None:
    doors = open_round()
    first, *others = names(doors)
    doors.on_ask = lambda _: doors.gone.add(EAST)
    for name in others:
        doors.send(name, WEST)
    doors.send(first, EAST)
    assert doors.engine.phase is Phase.MASKED_INPUT
    assert doors.engine.lost == {first}
    doors.send(first, WEST)
    finish(doors)
    check_sum(doors, names(doors))


def test_a_door_that_is_lost_at_the_deadline_costs_its_owners_alone() -> None:
    doors = open_round()
    first, _, *others = names(doors)
    doors.send(first, EAST)
    for name in others:
        doors.send(name, WEST)
    doors.on_ask = lambda _: doors.gone.add(EAST)
    finish(doors)  # the second never came
    check_sum(doors, others)


def test_too_few_are_left_when_a_door_is_lost_at_the_deadline() -> None:
    doors = open_round(threshold=4)
    for name in names(doors)[:4]:
        doors.send(name, EAST)
    doors.on_ask = lambda _: doors.gone.add(EAST)
    finish(doors)
    assert doors.engine.aggregate is None
    assert doors.engine.failure is not None
    assert doors.engine.failure.reason is AbortReason.BELOW_THRESHOLD


@pytest.mark.parametrize("phase", [Phase.CONSISTENCY_CHECK, Phase.UNMASK])
def test_a_door_that_is_lost_after_the_inputs_costs_nothing(phase: Phase) -> None:
    doors = open_round(ACTIVE)
    for name in names(doors):
        doors.send(name, EAST)
    while doors.engine.phase is not phase:
        envelope = doors.run._queue.popleft()
        if isinstance(envelope, Up):
            doors.run._deliver_up(envelope)
        else:
            doors.run._deliver_down([envelope])
    doors.lose(EAST)
    finish(doors)
    check_sum(doors, names(doors))


def test_who_left_after_bringing_its_vector_is_not_waited_for_when_that_is_lost() -> None:
    doors = open_round()
    first, *others = names(doors)
    doors.send(first, EAST)
    doors.run._note(doors.engine.receive(first, Leave(LeaveReason.CANCELLED), doors.run.now))
    for name in others:
        doors.send(name, WEST)
    assert doors.engine.phase is not Phase.MASKED_INPUT  # what it brought stands
    doors = open_round()
    doors.send(first, EAST)
    doors.run._note(doors.engine.receive(first, Leave(LeaveReason.CANCELLED), doors.run.now))
    doors.lose(EAST)
    for name in others:
        doors.send(name, WEST)
    finish(doors)
    check_sum(doors, others)


def test_a_vector_that_began_at_the_coordinator_begins_anew_at_a_door() -> None:
    doors = open_round(size=SIZE)
    first, *others = names(doors)
    begun = next(chunk for name, chunk in doors.waiting if name == first)
    doors.engine.receive(first, begun, doors.run.now)
    doors.send(first, EAST)
    doors.lose(EAST)
    assert doors.engine.received_chunks(first) == 0
    doors.send(first)
    for name in others:
        doors.send(name)
    finish(doors)
    check_sum(doors, names(doors))


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_second_vector_at_another_door_is_refused() -> None:
    doors = open_round()
    first = names(doors)[0]
    doors.send(first, EAST)
    with pytest.raises(ProtocolViolation, match="second vector"):
        doors.send(first, WEST)


def test_without_the_check_one_participant_spoils_what_others_brought_to_its_door(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_check(monkeypatch, HeldVectors, "hold", "held-once")
    doors = open_round()
    first, second, *others = names(doors)
    doors.send(first, EAST)
    doors.send(second, EAST)
    doors.send(first, WEST)
    for name in others[:-1]:
        doors.send(name, WEST)
    with pytest.raises(StoreError, match="asked for"):  # the door has added up more than counts there
        doors.send(others[-1], WEST)


def test_a_vector_that_a_door_holds_is_not_taken_by_the_coordinator() -> None:
    doors = open_round()
    first = names(doors)[0]
    doors.send(first, EAST)
    with pytest.raises(ProtocolViolation, match="another door"):
        doors.send(first)


def test_without_the_check_the_coordinator_adds_it_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from secagg.rounds.coordinator_phase import UploadPhase

    without_check(monkeypatch, UploadPhase, "take", "held-then-sent")
    doors = open_round()
    first, *others = names(doors)
    doors.send(first, EAST)
    doors.send(first)
    for name in others:
        doors.send(name, EAST)
    finish(doors)
    with pytest.raises(AssertionError):
        check_sum(doors, names(doors))


def test_a_door_gives_the_sum_of_exactly_those_who_count() -> None:
    doors = open_round()
    first, second, *_ = names(doors)
    doors.send(first, EAST)
    doors.send(second, EAST)
    with pytest.raises(StoreError, match="asked for"):
        doors.at(EAST).give(frozenset({doors.index(first)}))


def test_without_the_check_an_unconfirmed_vector_is_in_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, DoorRound, "give", "given-set")
    doors = open_round()
    first, second, *others = names(doors)
    doors.send(first, EAST)
    index = doors.index(second)
    for name, chunk in doors.waiting:
        if name == second:
            doors.at(EAST).take(index, chunk.number, chunk.payload, name=name)
    doors.at(EAST).confirm(index)  # a worker that does not ask
    for name in others:
        doors.send(name, WEST)
    finish(doors)
    with pytest.raises(AssertionError):
        check_sum(doors, [first, *others])


def test_a_refused_vector_may_come_again() -> None:
    doors = open_round(size=SIZE)
    first = names(doors)[0]
    last = [chunk for name, chunk in doors.waiting if name == first][-1]
    index, at = doors.index(first), doors.at(EAST)
    for name, chunk in doors.waiting:
        if name == first:
            at.take(index, chunk.number, chunk.payload, name=name)
    at.refuse(index)
    assert at.received(index) == at.chunks - 1
    assert at.take(index, last.number, last.payload, name=first)


def test_a_malformed_last_chunk_is_refused_before_the_head_is_asked() -> None:
    doors = open_round(size=50)
    first = names(doors)[0]
    (chunk,) = [chunk for name, chunk in doors.waiting if name == first]
    with pytest.raises(DecodeError):
        doors.bring(first, MaskedInputChunk(0, chunk.payload[:-1]), EAST)
    assert doors.engine.received_chunks(first) == 0


def test_a_stranger_or_somebody_late_brings_nothing() -> None:
    doors = open_round()
    with pytest.raises(NotInRoundError):
        doors.engine.hold(ParticipantId("stranger"), EAST, NOW)
    for name in names(doors)[1:]:
        doors.send(name, EAST)
    finish(doors)
    with pytest.raises(NotInRoundError):
        doors.engine.hold(names(doors)[0], EAST, NOW)


def test_to_confirm_again_changes_nothing() -> None:
    doors = open_round()
    first = names(doors)[0]
    doors.send(first, EAST)
    assert doors.engine.hold(first, EAST, NOW) == []
