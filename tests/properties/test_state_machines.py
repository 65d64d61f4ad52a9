"""Participants and coordinators under messages in any order, true and altered: named errors and no wrong sum."""

from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from secagg.config import ThreatModel
from secagg.errors import NotInRoundError, RemoteError, RoundAborted
from secagg.masked.scheme import Participant
from secagg.masked.vector import MaskedVector
from secagg.messages import Leave, LeaveReason, ParticipantId, Phase, Unmask
from secagg.rounds.session import Ended
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope, Run, Up
from tests.chaos import alter
from tests.rounds import ACTIVE, SEMI_HONEST, flat_schema, make_config, session_of, start, true_sum

NAMES = participant_names(5)


def small_round(threat_model: ThreatModel, seed: int) -> Run:
    return start(make_config(5, threat_model, schema=flat_schema(8)), seed=seed)


class OneParticipant(RuleBasedStateMachine):
    """A participant that is sent, in any order, what coordinators of two rounds send, as it is or altered."""

    messages: Bundle[Any] = Bundle("messages")

    @initialize(target=messages, threat_model=st.sampled_from([ACTIVE, SEMI_HONEST]))
    def begin(self, threat_model: ThreatModel) -> Any:
        self.run = small_round(threat_model, seed=1)
        self.participant: Participant = session_of(self.run, NAMES[2])
        self.answers = 0
        self.over = False
        # A twin of the same randomness lives through its round: its coordinator's messages fit ours as well.
        seen: list[Any] = []

        def hook(envelope: Envelope) -> list[Envelope]:
            if not isinstance(envelope, Up) and envelope.participant == NAMES[2]:
                seen.append(envelope.message)
            return [envelope]

        twin = small_round(threat_model, seed=1)
        twin.hook = hook
        twin.play()
        other = small_round(threat_model, seed=2)
        other.hook = hook
        other.play()
        self.script = seen[: len(seen) // 2]
        return seen[-1]

    @rule(target=messages, number=st.integers(0, 3))
    def true_message(self, number: int) -> Any:
        return self.script[number % len(self.script)]

    @rule(target=messages, message=messages, seed=st.integers(0, 2**32))
    def altered_message(self, message: Any, seed: int) -> Any:
        return alter(np.random.default_rng(seed), message)

    @rule()
    def next_true_message(self) -> None:
        order = [Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.CONSISTENCY_CHECK]
        if (awaits := self.participant.awaits) is not None:
            self.deliver(self.script[order.index(awaits)])

    @rule(message=messages)
    def any_message(self, message: Any) -> None:
        self.deliver(message)

    @rule()
    def abort(self) -> None:
        self.participant.abort()
        self.over = True

    def deliver(self, message: Any) -> None:
        try:
            reply = self.participant.receive(message, self.run.now)
        except (RemoteError, RoundAborted, NotInRoundError):  # and no LocalError: nobody here misuses the interface
            self.over = True
            return
        assert not self.over, "after an error nothing leaves any more"
        if isinstance(reply, Unmask):
            self.answers += 1
            assert set(reply.shares) <= set(range(1, 6))
        if isinstance(reply, MaskedVector):
            assert list(reply) == list(reply)

    @invariant()
    def reveals_once(self) -> None:
        if hasattr(self, "answers"):
            assert self.answers <= 1
            if self.answers:
                assert isinstance(self.participant._state, Ended)


class OneCoordinator(RuleBasedStateMachine):
    """A coordinator among participants of whom anybody may send anything, at any time."""

    @initialize(threat_model=st.sampled_from([ACTIVE, SEMI_HONEST]), seed=st.integers(0, 1000))
    def begin(self, threat_model: ThreatModel, seed: int) -> None:
        self.run = small_round(threat_model, seed)
        self.now = self.run.now
        self.sent: list[tuple[ParticipantId, Any]] = []
        self.waiting: list[tuple[ParticipantId, Any]] = [
            (name, self.run.participants[name].advertisement) for name in NAMES
        ]

    @rule(number=st.integers(0, 100))
    def deliver_one(self, number: int) -> None:
        """An honest message; the first of its sender."""
        if self.waiting:
            name = self.waiting[number % len(self.waiting)][0]
            at = next(i for i, (sender, _) in enumerate(self.waiting) if sender == name)
            _, message = self.waiting.pop(at)
            self.give(name, message)

    @rule()
    def deliver_all(self) -> None:
        waiting, self.waiting = self.waiting, []
        for name, message in waiting:
            self.give(name, message)

    @rule(number=st.integers(0, 100), seed=st.integers(0, 2**32), whose=st.sampled_from(NAMES))
    def lie(self, number: int, seed: int, whose: ParticipantId) -> None:
        if self.sent:
            _, message = self.sent[number % len(self.sent)]
            self.give(whose, alter(np.random.default_rng(seed), message))

    @rule(number=st.integers(0, 100))
    def repeat(self, number: int) -> None:
        if self.sent:
            self.give(*self.sent[number % len(self.sent)])

    @rule(whose=st.sampled_from([*NAMES, ParticipantId("stranger")]), reason=st.sampled_from(LeaveReason))
    def leave(self, whose: ParticipantId, reason: LeaveReason) -> None:
        self.give(whose, Leave(reason))

    @rule(share=st.floats(0, 1.5))
    def time_passes(self, share: float) -> None:
        self.now += share * (self.run.coordinator.deadline - self.now)
        self.run.coordinator.tick(self.now)
        self.collect()

    def give(self, name: ParticipantId, message: Any) -> None:
        self.sent.append((name, message))
        with suppress(RemoteError, RoundAborted, NotInRoundError):
            self.run.coordinator.receive(name, message, self.now)
        self.collect()

    def collect(self) -> None:
        """Honest participants take what is ready for them, and have their replies waiting."""
        for name in NAMES:
            participant = session_of(self.run, name)
            awaits = participant.awaits
            while awaits is not None and self.run.coordinator.ready(name, awaits):
                try:
                    reply = participant.receive(self.run.coordinator.answer(name, awaits), self.now)
                except (RemoteError, RoundAborted, NotInRoundError):
                    participant.abort()
                    break
                self.waiting += [(name, m) for m in (reply if isinstance(reply, MaskedVector) else [reply])]
                awaits = participant.awaits

    @invariant()
    def right_or_none(self) -> None:
        if not hasattr(self, "run"):
            return
        coordinator = self.run.coordinator
        if coordinator.aggregate is not None:
            survivors = [ParticipantId(name) for name in coordinator.aggregate.survivors]
            assert len(survivors) >= coordinator.round.config.threshold
            assert np.array_equal(coordinator.aggregate.sums, true_sum(self.run, survivors))
        assert coordinator.failure is None or isinstance(coordinator.failure, RoundAborted)
        assert coordinator.failure is None or coordinator.aggregate is None
        assert coordinator.over == (coordinator.failure is not None or coordinator.aggregate is not None)


TestOneParticipant = OneParticipant.TestCase
TestOneParticipant.settings = settings(max_examples=max(40, settings().max_examples // 2), stateful_step_count=25)
TestOneCoordinator = OneCoordinator.TestCase
TestOneCoordinator.settings = settings(max_examples=max(60, settings().max_examples // 2), stateful_step_count=50)
