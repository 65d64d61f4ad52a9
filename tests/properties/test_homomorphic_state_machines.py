"""Homomorphic participants and coordinators under messages in any order, true, altered and replayed: named errors, no
wrong sum, bounded memory.
"""

from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from secagg.errors import NotInRoundError, RemoteError, RoundAborted
from secagg.homomorphic.vectors import OnceVector
from secagg.lattice.parameters import Custody, Scheme
from secagg.messages import Leave, LeaveReason, ParticipantId, ParticipantMessage, Phase
from secagg.rounds.session import Ended
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope, Run, Up
from tests.chaos_encrypted import alter, check_disorder, disorderly_round, spooled_bytes
from tests.encrypted_rounds import CASES, chunk_counts, encrypted_config, machine, prepare
from tests.rounds import true_sum

NAMES = participant_names(4)
OURS = NAMES[2]
cases = st.sampled_from(CASES)


def small_round(case: tuple[Scheme, Custody], seed: int, release: bool = True) -> Run:
    config = encrypted_config(*case, 4, threshold=3, release_to_coordinator=release or case[1] is Custody.THRESHOLD)
    return prepare(config, seed=seed)


class OneParticipant(RuleBasedStateMachine):
    """A participant that is sent, in any order, what coordinators of two rounds send, as it is or altered."""

    messages: Bundle[Any] = Bundle("messages")

    @initialize(target=messages, case=cases)
    def begin(self, case: tuple[Scheme, Custody]) -> Any:
        self.run = small_round(case, 1)
        self.participant = machine(self.run, OURS)
        self.over = False
        self.uploads: list[Phase] = []
        # Twins live through their rounds. What the coordinator of the first sends fits ours as well.
        first, self.order = self.told(small_round(case, 1))
        second, _ = self.told(small_round(case, 2))
        self.script = first
        return second[-1]

    def told(self, twin: Run) -> tuple[list[Any], list[Phase]]:
        """What one participant of a round was sent, and what each message closed."""
        seen: list[Any] = []
        order: list[Phase] = []

        def hook(envelope: Envelope) -> list[Envelope]:
            if not isinstance(envelope, Up) and envelope.participant == OURS:
                seen.append(envelope.message)
                order.append(envelope.phase)
            return [envelope]

        twin.hook = hook
        twin.play()
        return seen, order

    @rule(target=messages, number=st.integers(0, 6))
    def true_message(self, number: int) -> Any:
        return self.script[number % len(self.script)]

    @rule(target=messages, message=messages, seed=st.integers(0, 2**32))
    def altered_message(self, message: Any, seed: int) -> Any:
        return alter(np.random.default_rng(seed), message)

    @rule()
    def next_true_message(self) -> None:
        if (awaits := self.participant.awaits) in self.order:
            self.deliver(self.script[self.order.index(awaits)])

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
        if isinstance(reply, OnceVector):
            self.uploads.append(reply.phase)
            assert list(reply) == list(reply)

    @invariant()
    def every_vector_leaves_once(self) -> None:
        if hasattr(self, "uploads"):
            assert len(set(self.uploads)) == len(self.uploads)

    @invariant()
    def nothing_is_kept_after_the_end(self) -> None:
        if hasattr(self, "over") and self.over:
            assert isinstance(self.participant._state, Ended)

    @invariant()
    def what_it_decrypts_is_the_sum(self) -> None:
        if hasattr(self, "uploads") and self.participant.aggregate is not None:
            assert np.array_equal(self.participant.aggregate.sums, true_sum(self.run, NAMES))


class OneCoordinator(RuleBasedStateMachine):
    """A coordinator among participants of whom anybody may send anything, at any time."""

    @initialize(case=cases, seed=st.integers(0, 1000), release=st.booleans())
    def begin(self, case: tuple[Scheme, Custody], seed: int, release: bool) -> None:
        self.run = small_round(case, seed, release)
        self.now = self.run.now
        self.sent: list[tuple[ParticipantId, Any]] = []
        self.waiting: list[tuple[ParticipantId, Any]] = [
            (name, self.run.participants[name].advertisement) for name in NAMES
        ]
        profile = self.run.coordinator.round.config.homomorphic
        assert profile is not None
        self.most = 4 * sum(chunk_counts(self.run.coordinator.round.config).values()) << 20

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

    @rule(number=st.integers(0, 100), whose=st.sampled_from(NAMES))
    def repeat(self, number: int, whose: ParticipantId) -> None:
        """What was sent before, in its own or another's name."""
        if self.sent:
            name, message = self.sent[number % len(self.sent)]
            self.give(whose if number % 2 else name, message)

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
            participant = machine(self.run, name)
            while (awaits := participant.awaits) is not None and self.run.coordinator.ready(name, awaits):
                try:
                    reply = participant.receive(self.run.coordinator.answer(name, awaits), self.now)
                except (RemoteError, RoundAborted, NotInRoundError):
                    participant.abort()
                    break
                if reply is not None:
                    self.waiting += [(name, m) for m in ([reply] if isinstance(reply, ParticipantMessage) else reply)]

    @invariant()
    def right_or_none(self) -> None:
        if not hasattr(self, "run"):
            return
        coordinator = self.run.coordinator
        for aggregate in (coordinator.aggregate, *(machine(self.run, name).aggregate for name in NAMES)):
            if aggregate is not None:
                survivors = [ParticipantId(name) for name in aggregate.survivors]
                assert len(survivors) >= coordinator.round.config.threshold
                assert np.array_equal(aggregate.sums, true_sum(self.run, survivors))
        ends = [coordinator.aggregate, coordinator.delivered, coordinator.failure]
        assert coordinator.over == (sum(end is not None for end in ends) == 1)

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "most"):
            assert spooled_bytes(self.run.coordinator) <= self.most


TestOneParticipant = OneParticipant.TestCase
TestOneParticipant.settings = settings(max_examples=max(30, settings().max_examples // 2), stateful_step_count=20)
TestOneCoordinator = OneCoordinator.TestCase
TestOneCoordinator.settings = settings(max_examples=max(30, settings().max_examples // 2), stateful_step_count=40)


@given(st.integers(0, 2**32), st.booleans(), st.booleans())
@settings(max_examples=max(40, settings().max_examples))
def test_rounds_in_disorder(seed: int, lies: bool, coordinator_lies: bool) -> None:
    check_disorder(*disorderly_round(np.random.default_rng(seed), lies=lies, coordinator_lies=coordinator_lies))
