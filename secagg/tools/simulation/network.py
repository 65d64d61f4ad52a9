"""A network in memory with one hook that can drop, delay, reorder, repeat, tamper with or observe every message."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar, assert_never

from secagg.encoding.vector import IntegerVector
from secagg.errors import NotInRoundError, RemoteError, RoundAborted, SecAggError
from secagg.events import Event, MessageAccepted
from secagg.messages import SENT_IN, CoordinatorMessage, Dealt, Leave, ParticipantId, ParticipantMessage, Phase
from secagg.roster import refusal
from secagg.rounds import dealing
from secagg.rounds.engine import Engine
from secagg.schemes import Participant
from secagg.tools.simulation.stopwatch import Side, Stopwatch


@dataclass(frozen=True, slots=True)
class Up:
    """A participant's message on its way to the coordinator, sent in `phase`."""

    participant: ParticipantId
    message: ParticipantMessage
    phase: Phase


@dataclass(frozen=True, slots=True)
class Down:
    """The coordinator's message on its way to a participant; it closes `phase`."""

    participant: ParticipantId
    message: CoordinatorMessage
    phase: Phase


Envelope = Up | Down
EnvelopeT = TypeVar("EnvelopeT", Up, Down)
Hook = Callable[[Envelope], Iterable[Envelope]]
"""Called for every message; what it returns is delivered instead, in that order."""


MODEL: Final = hashlib.sha256(b"simulated model").digest()
"""The digest of the model of simulated rounds, where it is named later."""


def pass_on(envelope: Envelope) -> Iterable[Envelope]:
    """The hook of an honest network: every message arrives as it was sent."""
    return (envelope,)


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A participant refused the coordinator's message, which closed `phase`."""

    participant: ParticipantId
    error: RemoteError
    phase: Phase


class Crowd(Protocol):
    """The participants of a round, wherever they are."""

    def first(self) -> Iterator[Up]:
        """What each of them sends first."""
        ...

    def awaiting(self) -> Iterator[tuple[ParticipantId, Phase]]:
        """Who waits for the end of which phase."""
        ...

    def deliver(self, downs: Sequence[Down], now: float) -> Iterator[Up | GaveUp]:
        """Give them these messages. What they send is made as it is asked for.

        Args:
            downs: in the order in which they arrive.
            now: seconds since 1970.
        """
        ...

    def abort(self, name: ParticipantId) -> None:
        """The round is over for this one."""
        ...


@dataclass(slots=True)
class Run:
    """One round of a coordinator and participants that share a clock.

    Attributes:
        errors: what each participant that gave up gave up for.
        refused: messages that the coordinator turned away, and why.
        events: everything that the coordinator told.
        vectors: what each participant puts in, before masking.
        model: digest of the model that the coordinator names, where it is named later.
        models: digest of the model that each participant holds, where that is another one.
        stopwatch: where the time goes.
        prompt: whether what a participant sends arrives before the next one gets its message. Then vectors do not wait
            for each other in memory.
        crowd: the participants; None stands for `participants`, which are in this process.
        showing: what the coordinator answers to a participant that leaves; None for what an honest one does.
    """

    coordinator: Engine
    participants: dict[ParticipantId, Participant]
    hook: Hook = pass_on
    now: float = 0.0
    errors: dict[ParticipantId, SecAggError] = field(default_factory=dict)
    refused: list[tuple[Up, SecAggError]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    vectors: Mapping[ParticipantId, IntegerVector] = field(default_factory=dict)
    model: bytes = MODEL
    models: Mapping[ParticipantId, bytes] = field(default_factory=dict)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    prompt: bool = False
    crowd: Crowd | None = None
    showing: Callable[[ParticipantId, Leave], Dealt | None] | None = None
    _queue: deque[Envelope] = field(default_factory=deque)
    _answered: set[tuple[ParticipantId, Phase]] = field(default_factory=set)

    def play(self) -> Engine:
        """Deliver messages until the round is over. Whenever none is under way, the open phase's deadline passes."""
        self.events.append(self.coordinator.started())
        for up in self._crowd.first():
            self._send(up)
        while True:
            self._drain()
            phase = self.coordinator.phase
            if phase is None:
                return self.coordinator
            if self.coordinator.awaits_model:
                self._note(self.coordinator.name_model(self.model, self.now))
                continue
            self.now = self.coordinator.deadline
            self.stopwatch.start()
            events = self.coordinator.tick(self.now)
            self.stopwatch.count(Side.COORDINATOR, phase)
            self._note(events)

    @property
    def _crowd(self) -> Crowd:
        return self.crowd or Here(self)

    def _drain(self) -> None:
        while self._queue:
            envelope = self._queue.popleft()
            match envelope:
                case Up():
                    self._deliver_up(envelope)
                case Down():
                    self._deliver_down([envelope, *self._next(Down)])
                case _:
                    assert_never(envelope)

    def _next(self, kind: type[EnvelopeT]) -> Iterator[EnvelopeT]:
        """The next envelopes of the queue, as long as they are of one kind."""
        while self._queue and isinstance(found := self._queue[0], kind):
            self._queue.popleft()
            yield found

    def _send(self, envelope: Envelope) -> None:
        self._queue.extend(self.hook(envelope))

    def _note(self, events: list[Event]) -> None:
        self.events += events
        if any(not isinstance(event, MessageAccepted) for event in events):
            self._answer_all()

    def _answer_all(self) -> None:
        """Answer everyone whose phase is over; in a round that failed, that is everyone who still waits."""
        for name, phase in self._crowd.awaiting():
            if (name, phase) in self._answered or not self.coordinator.ready(name, phase):
                continue
            self._answered.add((name, phase))
            try:
                self.stopwatch.start()
                message = self.coordinator.answer(name, phase)
                self.stopwatch.count(Side.COORDINATOR, phase)
                self._send(Down(name, message, phase))
            except (RemoteError, NotInRoundError, RoundAborted) as error:
                self._give_up(name, error)

    def _deliver_up(self, up: Up) -> None:
        try:
            self.stopwatch.start()
            events = self.coordinator.receive(up.participant, up.message, self.now)
            self.stopwatch.count(Side.COORDINATOR, up.phase)
            self._note(events)
        except (RemoteError, NotInRoundError, RoundAborted) as error:
            self.refused.append((up, error))

    def _deliver_down(self, downs: Sequence[Down]) -> None:
        for sent in self._crowd.deliver(downs, self.now):
            if isinstance(sent, GaveUp):
                leave = refusal(sent.error)
                if isinstance(sent.error, RemoteError):
                    dealing.judge(sent.error, (self.showing or self.coordinator.shown)(sent.participant, leave))
                self._give_up(sent.participant, sent.error)
                self._send(Up(sent.participant, leave, sent.phase))
            else:
                self._send(sent)
            if self.prompt:
                for up in self._next(Up):
                    self._deliver_up(up)

    def _give_up(self, name: ParticipantId, error: SecAggError) -> None:
        self._crowd.abort(name)
        self.errors.setdefault(name, error)


def answers(
    participant: Participant, down: Down, now: float, stopwatch: Stopwatch, provide: Callable[[], None]
) -> Iterator[Up | GaveUp]:
    """What a participant makes of the coordinator's message.

    Args:
        participant: whose message it is.
        down: the message.
        now: seconds since 1970.
        stopwatch: measures the participant's work.
        provide: hands in its vector, where it is made without one.
    """
    stopwatch.start()
    if participant.needs_vector:
        provide()
    try:
        reply = participant.receive(down.message, now)
    except RemoteError as error:
        yield GaveUp(down.participant, error, down.phase)
        return
    if reply is None:
        return
    for message in (reply,) if isinstance(reply, ParticipantMessage) else reply:
        phase = SENT_IN[type(message)]
        stopwatch.count(Side.PARTICIPANT, phase)
        yield Up(down.participant, message, phase)
        stopwatch.start()


@dataclass(frozen=True, slots=True)
class Here:
    """The participants of a run that are in its own process: a `Crowd`."""

    run: Run

    def first(self) -> Iterator[Up]:
        """See `Crowd`."""
        for name, participant in self.run.participants.items():
            yield Up(name, participant.advertisement, Phase.ADVERTISE_KEYS)

    def awaiting(self) -> Iterator[tuple[ParticipantId, Phase]]:
        """See `Crowd`."""
        for name, participant in self.run.participants.items():
            if participant.awaits is not None:
                yield name, participant.awaits

    def deliver(self, downs: Sequence[Down], now: float) -> Iterator[Up | GaveUp]:
        """See `Crowd`."""
        for down in downs:
            participant = self.run.participants[down.participant]

            def provide(name: ParticipantId = down.participant, participant: Participant = participant) -> None:
                participant.provide(self.run.vectors[name], self.run.models.get(name, self.run.model))

            yield from answers(participant, down, now, self.run.stopwatch, provide)

    def abort(self, name: ParticipantId) -> None:
        """See `Crowd`."""
        self.run.participants[name].abort()
