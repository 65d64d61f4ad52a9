"""The coordinator's side: collects each phase's messages, decides who dropped, and unmasks the sum.

It does no input or output. `receive` and `tick` return what happened; `answer` gives the message that closes a phase
for a participant, as often as it is asked, so a lost connection loses nothing.
"""

from datetime import UTC, datetime

from secagg.config import Aggregate, ThreatModel
from secagg.context import Round
from secagg.crypto.identity import TrustAnchors
from secagg.errors import AbortReason, ConfigError, NotInRoundError, ProtocolViolation, RoundAborted
from secagg.masked.accumulator import Accumulator, MemorySpool, Parallel, Spool, one_after_the_other
from secagg.masked.events import (
    DropReason,
    Event,
    MessageAccepted,
    ParticipantDropped,
    PhaseStarted,
    RoundFailed,
    SumReady,
)
from secagg.masked.intake import Intake
from secagg.masked.phases import PHASE_OF, Phase, following, time_limit_s
from secagg.masked.unmasking import Unmasking
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyProof,
    CoordinatorMessage,
    Index,
    Leave,
    LeaveReason,
    MaskedInputChunk,
    ParticipantId,
    ParticipantMessage,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
    Unmask,
)

_DROP_REASONS = {
    LeaveReason.CANCELLED: DropReason.CANCELLED,
    LeaveReason.REFUSED: DropReason.REFUSED,
    LeaveReason.FAILED: DropReason.FAILED,
}


class Coordinator:
    """One round.

    Attributes:
        phase: the open phase; None once the round is over.
        deadline: when the open phase closes at the latest, in seconds since 1970.
        aggregate: the result, once there is one.
        failure: why there will be none.
    """

    def __init__(
        self,
        round_: Round,
        *,
        now: float,
        trust: TrustAnchors | None = None,
        spool: Spool | None = None,
        parallel: Parallel = one_after_the_other,
    ) -> None:
        """Open the round in its first phase.

        Args:
            round_: id, configuration and context.
            now: seconds since 1970.
            trust: the deployment's CA; needed in the active threat model, to turn away unsigned keys at the door.
            spool: where incomplete vectors wait; in memory if None.
            parallel: runs unmasking over ranges.

        Raises:
            ConfigError: an active round without `trust`.
        """
        active = round_.config.threat_model is ThreatModel.ACTIVE
        if active and trust is None:
            raise ConfigError("the active threat model needs the CA's certificate at the coordinator")
        self.round = round_
        self.phase: Phase | None = Phase.ADVERTISE_KEYS
        self.deadline = now + time_limit_s(self.phase, round_.config.deadlines)
        self.aggregate: Aggregate | None = None
        self.failure: RoundAborted | None = None
        self._intake = Intake(round_, trust if active else None)
        self._accumulator = Accumulator(round_.config, spool or MemorySpool(), parallel)
        self._expected: set[Index] = set()  # who may deliver in the open phase
        self._left: dict[Index, DropReason] = {}  # said good-bye after delivering; missed from the next phase on

    def started(self) -> PhaseStarted:
        """The first event of the round."""
        return PhaseStarted(Phase.ADVERTISE_KEYS, self.deadline, self.round.config.max_participants)

    def receive(self, sender: ParticipantId, message: ParticipantMessage, now: float) -> list[Event]:
        """Take a message of `sender`, whom the transport has authenticated. Repeating an accepted message changes
        nothing.

        Raises:
            RoundAborted: the round is over without a sum.
            NotInRoundError: the sender was declared dropped, or comes too late.
            RemoteError: the message is refused; the sender may send a correct one.
        """
        if self.failure is not None:
            raise self.failure
        if isinstance(message, Leave):
            return self._leave(sender, message.reason, now)
        phase = PHASE_OF[type(message)]
        if self._is_repeated(sender, message):
            return []
        self._check_turn(sender, phase)
        if self._take(sender, message, now):
            return [MessageAccepted(phase, sender), *self._close_if_complete(now)]
        return []

    def tick(self, now: float) -> list[Event]:
        """Close the phase if its deadline has passed."""
        return [] if self.phase is None or now < self.deadline else self._close(self.phase, now)

    def abort(self, reason: AbortReason, message: str) -> list[Event]:
        """End the round without a sum."""
        return [] if self.phase is None else self._fail(RoundAborted(reason, message))

    def answer(self, participant: ParticipantId, phase: Phase) -> CoordinatorMessage:
        """The message that closed `phase` for `participant`. `phase` must be over, and not the last.

        Raises:
            RoundAborted: the round is over without a sum.
            NotInRoundError: the participant did not deliver in that phase.
        """
        if self.failure is not None:
            raise self.failure
        kept = self._intake
        index = kept.index_of(participant)
        if not kept.delivered(index, phase):
            raise _gone(participant, phase)
        match phase:
            case Phase.ADVERTISE_KEYS:
                return kept.roster
            case Phase.SHARE_KEYS:
                return ShareDelivery({i: m.sealed[index] for i, m in kept.shared.items() if index in m.sealed})
            case Phase.MASKED_INPUT:
                return kept.sets
            case Phase.CONSISTENCY_CHECK:
                return ConsistencyProof({i: m.signature for i, m in kept.signed.items()})
            case Phase.UNMASK:
                raise ValueError("the last phase is not closed by a message; fetch the aggregate")

    def received_chunks(self, participant: ParticipantId) -> int:
        """Chunks of the participant's input that arrived: where a broken upload goes on."""
        index = self._intake.index.get(participant)
        return 0 if index is None else self._accumulator.received(index)

    # --- taking messages ----------------------------------------------------------------------------------------------

    def _is_repeated(self, sender: ParticipantId, message: ParticipantMessage) -> bool:
        """Whether this very message was accepted before."""
        kept, index = self._intake, self._intake.index.get(sender)
        if isinstance(message, AdvertiseKeys):
            return kept.advertised.get(sender) == message
        if index is None:
            return False
        accepted = (kept.shared.get(index), kept.signed.get(index), kept.answers.get(index))
        return message in [m for m in accepted if m is not None]

    def _check_turn(self, sender: ParticipantId, phase: Phase) -> None:
        if self.phase is None or phase.value < self.phase.value:
            raise _gone(sender, phase)
        if phase is not Phase.ADVERTISE_KEYS and self._intake.index_of(sender) not in self._expected:
            raise _gone(sender, self.phase)
        if phase is not self.phase:
            raise ProtocolViolation(f"{sender} sent {phase.name} during {self.phase.name}", culprit=sender)

    def _take(self, sender: ParticipantId, message: ParticipantMessage, now: float) -> bool:
        """True once the sender has delivered the whole of what the phase asks for."""
        if isinstance(message, AdvertiseKeys):
            if len(self._intake.advertised) >= self.round.config.max_participants:
                raise _gone(sender, Phase.ADVERTISE_KEYS)
            self._intake.take_keys(sender, message, datetime.fromtimestamp(now, UTC))
            return True
        index = self._intake.index_of(sender)
        match message:
            case ShareKeys():
                self._intake.take_shares(index, message)
            case MaskedInputChunk():
                return self._accumulator.add(index, message, name=sender)
            case ConsistencyCheck():
                self._intake.take_signature(index, message)
            case Unmask():
                self._intake.take_revealed(index, message)
        return True

    def _leave(self, sender: ParticipantId, reason: LeaveReason, now: float) -> list[Event]:
        if self.phase is None:
            return []
        dropped = ParticipantDropped(self.phase, sender, _DROP_REASONS[reason])
        if self.phase is Phase.ADVERTISE_KEYS:
            self._intake.forget(sender)
            return [dropped]
        index = self._intake.index_of(sender)
        if index not in self._expected or index in self._left:
            return []
        if self._delivered(index, self.phase):
            self._left[index] = dropped.reason  # what it delivered stands
            return []
        self._expected.discard(index)
        return [dropped, *self._close_if_complete(now)]

    # --- closing phases -----------------------------------------------------------------------------------------------

    def _delivered(self, index: Index, phase: Phase) -> bool:
        if phase is Phase.MASKED_INPUT:
            return self._accumulator.complete(index)
        return self._intake.delivered(index, phase)

    def _close_if_complete(self, now: float) -> list[Event]:
        phase = self.phase
        if phase is None:
            return []
        if phase is Phase.ADVERTISE_KEYS:
            complete = len(self._intake.advertised) == self.round.config.max_participants
        else:
            complete = all(self._delivered(i, phase) for i in self._expected)
        return self._close(phase, now) if complete else []

    def _close(self, phase: Phase, now: float) -> list[Event]:
        """Declare who dropped; go on with the rest, or end the round."""
        events: list[Event] = []
        if phase is Phase.ADVERTISE_KEYS:
            self._intake.fix_roster()
            self._expected = set(self._intake.members)
        late = sorted(i for i in self._expected if not self._delivered(i, phase))
        events += [ParticipantDropped(phase, self._intake.name(i), DropReason.DEADLINE) for i in late]
        alive = self._expected - set(late)
        if len(alive) < self.round.config.threshold:
            return events + self._fail(_below_threshold(phase, len(alive), self.round.config.threshold))
        self._expected = alive
        if phase is Phase.MASKED_INPUT:
            self._fix_survivors(alive)
        next_phase = following(phase, self.round.config.threat_model)
        return events + (self._finish() if next_phase is None else self._open(next_phase, now))

    def _fix_survivors(self, alive: set[Index]) -> None:
        """U3, and U2 without U3; a vector that came in part is forgotten."""
        dropped = sorted(set(self._intake.shared) - alive)
        for index in dropped:
            self._accumulator.discard(index)
        self._intake.sets = SurvivorSet(tuple(sorted(alive)), tuple(dropped))

    def _open(self, phase: Phase, now: float) -> list[Event]:
        """Open `phase` for everyone who has not said good-bye."""
        self.phase = phase
        self.deadline = now + time_limit_s(phase, self.round.config.deadlines)
        gone = sorted(self._expected & set(self._left))
        self._expected -= set(gone)
        events: list[Event] = [PhaseStarted(phase, self.deadline, len(self._expected))]
        events += [ParticipantDropped(phase, self._intake.name(i), self._left[i]) for i in gone]
        return events + self._close_if_complete(now)

    def _finish(self) -> list[Event]:
        """Unmask (Bonawitz et al. 2017, figure 4, round 4)."""
        kept = self._intake
        commitments = {i: m.commitment for i, m in kept.shared.items()}
        unmasking = Unmasking(self.round, kept.members, kept.graph, commitments, kept.answers)
        try:
            masks = unmasking.masks(kept.sets)
        except RoundAborted as error:
            return self._fail(error)
        sums = self._accumulator.unmasked(masks)
        self.phase = None
        self.aggregate = Aggregate(sums, tuple(kept.name(i) for i in kept.sets.survivors))
        return [*unmasking.wrong_shares(), SumReady(self.aggregate)]

    def _fail(self, error: RoundAborted) -> list[Event]:
        self.phase = None
        self.failure = error
        return [RoundFailed(error)]


def _gone(sender: ParticipantId, phase: Phase) -> NotInRoundError:
    return NotInRoundError(f"{sender} did not deliver in {phase.name} in time, or never took part in it")


def _below_threshold(phase: Phase, alive: int, threshold: int) -> RoundAborted:
    return RoundAborted(
        AbortReason.BELOW_THRESHOLD,
        f"{alive} participants delivered in {phase.name}, fewer than the threshold {threshold}",
    )
