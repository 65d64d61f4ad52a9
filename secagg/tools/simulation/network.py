"""A network in memory with one hook that can drop, delay, reorder, repeat, tamper with or observe every message."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never

from secagg.encoding.vector import IntegerVector
from secagg.errors import NotInRoundError, RemoteError, RoundAborted, SecAggError
from secagg.events import Event, MessageAccepted
from secagg.messages import SENT_IN, CoordinatorMessage, ParticipantId, ParticipantMessage, Phase
from secagg.roster import refusal
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
Hook = Callable[[Envelope], Iterable[Envelope]]
"""Called for every message; what it returns is delivered instead, in that order."""


MODEL: Final = hashlib.sha256(b"simulated model").digest()
"""The digest of the model of simulated rounds, where it is named later."""


def pass_on(envelope: Envelope) -> Iterable[Envelope]:
    """The hook of an honest network: every message arrives as it was sent."""
    return (envelope,)


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
    _queue: deque[Envelope] = field(default_factory=deque)
    _answered: set[tuple[ParticipantId, Phase]] = field(default_factory=set)

    def play(self) -> Engine:
        """Deliver messages until the round is over. Whenever none is under way, the open phase's deadline passes."""
        self.events.append(self.coordinator.started())
        for name, participant in self.participants.items():
            self._send(Up(name, participant.advertisement, Phase.ADVERTISE_KEYS))
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

    def _drain(self) -> None:
        while self._queue:
            envelope = self._queue.popleft()
            match envelope:
                case Up():
                    self._deliver_up(envelope)
                case Down():
                    self._deliver_down(envelope)
                case _:
                    assert_never(envelope)

    def _send(self, envelope: Envelope) -> None:
        self._queue.extend(self.hook(envelope))

    def _note(self, events: list[Event]) -> None:
        self.events += events
        if any(not isinstance(event, MessageAccepted) for event in events):
            self._answer_all()

    def _answer_all(self) -> None:
        """Answer everyone whose phase is over; in a round that failed, that is everyone who still waits."""
        for name, participant in self.participants.items():
            phase = participant.awaits
            if phase is None or (name, phase) in self._answered or not self.coordinator.ready(name, phase):
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

    def _deliver_down(self, down: Down) -> None:
        name = down.participant
        self.stopwatch.start()
        if self.participants[name].needs_vector:
            self.participants[name].provide(self.vectors[name], self.models.get(name, self.model))
        try:
            reply = self.participants[name].receive(down.message, self.now)
        except RemoteError as error:
            self._give_up(name, error)
            self._send(Up(name, refusal(error), down.phase))
            return
        if reply is None:
            return
        for message in (reply,) if isinstance(reply, ParticipantMessage) else reply:
            phase = SENT_IN[type(message)]
            self.stopwatch.count(Side.PARTICIPANT, phase)
            self._send(Up(name, message, phase))
            self.stopwatch.start()

    def _give_up(self, name: ParticipantId, error: SecAggError) -> None:
        self.participants[name].abort()
        self.errors.setdefault(name, error)
