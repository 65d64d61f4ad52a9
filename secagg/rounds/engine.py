"""A coordinator's round as a sequence of phases that close: what is the same in every scheme.

It does no input or output. `receive` and `tick` return what happened; `answer` gives the message that closes a phase
for a participant, as often as it is asked, so a lost connection loses nothing.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime
from typing import ClassVar

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig
from secagg.context import Round
from secagg.crypto.identity import TrustAnchors
from secagg.errors import (
    AbortReason,
    AuthenticationError,
    ConfigError,
    NotInRoundError,
    ProtocolViolation,
    RoundAborted,
)
from secagg.events import (
    Accused,
    DropReason,
    Event,
    MessageAccepted,
    ParticipantDropped,
    PhaseStarted,
    RoundFailed,
    SumDelivered,
    SumReady,
    Verdict,
    WrongShares,
)
from secagg.messages import (
    AdvertiseKeys,
    CoordinatorMessage,
    Index,
    Leave,
    LeaveReason,
    ParticipantId,
    ParticipantMessage,
    Roster,
)
from secagg.phases import INPUT_PHASES, SENT_IN, Phase, input_phase, phases, time_limit, time_limit_s
from secagg.rounds import dealing
from secagg.rounds.advertise_keys import AdvertiseKeysPhase
from secagg.rounds.dealing import Kind
from secagg.rounds.releases import Claim, Release, named
from secagg.rounds.uploads import Uploads

DROP_REASONS = {
    LeaveReason.CANCELLED: DropReason.CANCELLED,
    LeaveReason.REFUSED: DropReason.REFUSED,
    LeaveReason.FAILED: DropReason.FAILED,
}


_BY_NAME = frozenset({AbortReason.BELOW_THRESHOLD, AbortReason.WRONG_SHARES})
"""Failures that name who may have caused them."""

_LONG_ANSWERS = frozenset({Phase.SHARE_KEYS, Phase.ENCRYPTED_INPUT})
"""Nobody can do anything with these once the round is over: the phases that follow are closed."""


class Engine(ABC):
    """One round. A scheme says what it takes, what closes a phase and how the sum comes out.

    Attributes:
        phase: the open phase; None once the round is over.
        deadline: when the open phase closes at the latest, in seconds since 1970.
        aggregate: the result, once there is one. None to the end where only participants learn it.
        delivered: what is known of the result where only participants learn it.
        failure: why there will be none.
        may_be_open: whether anybody may know the sum, or counts it as opened, even if the round ends without one: under
            a dealt key once it was given out, else once a participant has accepted the survivors.
    """

    _kind: ClassVar[Kind]  # of what members deal to each other

    def __init__(self, round_: Round, *, now: float, trust: TrustAnchors | None, claim: Claim) -> None:
        """Open the round in its first phase.

        Args:
            round_: id, configuration and context.
            now: seconds since 1970.
            trust: the deployment's CA; None where keys are not signed.
            claim: the memory of what other rounds released.
        """
        self.round = round_
        deadlines = round_.config.deadlines
        self.phase: Phase | None = Phase.ADVERTISE_KEYS
        self.deadline = now + (deadlines.join_s or deadlines.advertise_keys_s)
        self.aggregate: Aggregate | None = None
        self.delivered: SumDelivered | None = None
        self.failure: RoundAborted | None = None
        self.may_be_open = False
        self._order = phases(round_.config)
        self._joining = AdvertiseKeysPhase(round_, trust)
        self._claim = claim
        self._expected: set[Index] = set()  # who may deliver in the open phase
        self._forgotten = False
        self._accusations: dict[ParticipantId, Accused] = {}  # of each member that left and accuses another
        self._wrong_holders: dict[ParticipantId, WrongShares] = {}  # whose revealed share was not the one it was dealt
        self._left: dict[Index, DropReason] = {}  # gone after delivering; missed from the next phase on
        self._awaits_first = deadlines.join_s > 0
        self._excluded: set[ParticipantId] = set()
        self._dropped: dict[ParticipantId, ParticipantDropped] = {}
        self._timed_out: dict[Phase, str] = {}  # phases that the clock closed, with the limit that passed

    # --- what a scheme provides ---------------------------------------------------------------------------------------

    @abstractmethod
    def _take(self, index: Index, message: ParticipantMessage) -> bool:
        """Keep a message of the open phase, or raise. True once the sender has sent the whole of it."""

    @abstractmethod
    def _is_repeated(self, index: Index, message: ParticipantMessage) -> bool:
        """Whether this very message was kept before."""

    @abstractmethod
    def _delivered(self, index: Index, phase: Phase) -> bool:
        """Whether the participant delivered what `phase` (not the first) asks for."""

    @abstractmethod
    def _answer(self, index: Index, phase: Phase) -> CoordinatorMessage:
        """The message that closed `phase` for someone who delivered in it."""

    @abstractmethod
    def _closed(self, phase: Phase, alive: set[Index]) -> list[Event]:
        """Draw the conclusions of a phase in which `alive` delivered; may raise `RoundAborted`."""

    @abstractmethod
    def _finish(self) -> list[Event]:
        """The last phase is over: bring out the sum; may raise `RoundAborted`."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop every vector and every large message; who delivered what stays known."""

    def _following(self, phase: Phase) -> Phase | None:
        """The phase after `phase`; None to finish."""
        position = self._order.index(phase) + 1
        return self._order[position] if position < len(self._order) else None

    @abstractmethod
    def received_chunks(self, participant: ParticipantId) -> int:
        """Chunks of the open upload of `participant` that arrived: where a broken upload goes on."""

    @abstractmethod
    def _dealt(self, owner: Index, holder: Index) -> bytes | None:
        """The entry that the owner dealt to the holder; None if there is none, or no longer."""

    # --- what the shell calls -----------------------------------------------------------------------------------------

    def started(self) -> PhaseStarted:
        """The first event of the round."""
        return PhaseStarted(Phase.ADVERTISE_KEYS, self.deadline, self._joining.awaited)

    def receive(self, sender: ParticipantId, message: ParticipantMessage, now: float) -> list[Event]:
        """Take a message of `sender`, whom the transport has authenticated.

        Repeating an accepted message changes nothing.

        Raises:
            RoundAborted: the round is over without a sum.
            NotInRoundError: the sender was declared dropped, or comes too late.
            RemoteError: the message is refused; the sender may send a correct one.
        """
        if self.failure is not None:
            raise self.failure
        if isinstance(message, Leave):
            return [*self._accuse(sender, message), *self._leave(sender, message.reason, now)]
        if self._seen(sender, message):
            return []
        phase = SENT_IN[type(message)]
        self._check_turn(sender, phase)
        if isinstance(message, AdvertiseKeys):
            self._joining.take(sender, message, datetime.fromtimestamp(now, UTC))
            return [*self._begin(now), MessageAccepted(phase, sender), *self._close_if_complete(now)]
        index = self._joining.index_of(sender)
        if not self._take(index, message):
            return []
        self.may_be_open |= self._order.index(phase) > self._order.index(input_phase(self.round.config))
        if not self._delivered(index, phase):  # whole, but not what the sender had promised
            return self._close_if_complete(now)
        return [MessageAccepted(phase, sender), *self._close_if_complete(now)]

    def _begin(self, now: float) -> list[Event]:
        """The first participant has come: if the round waited for it, the first phase begins."""
        if not self._awaits_first:
            return []
        self._awaits_first = False
        self.deadline = now + time_limit_s(Phase.ADVERTISE_KEYS, self.round.config.deadlines)
        return [self.started()]

    def replaces(self, sender: ParticipantId, keys: AdvertiseKeys) -> bool:
        """Whether `keys` are others than those that the sender advertised in the open phase."""
        return self.phase is Phase.ADVERTISE_KEYS and self._joining.advertised.get(sender, keys) != keys

    def rejoin(self, sender: ParticipantId, keys: AdvertiseKeys, now: float) -> list[Event]:
        """Take the keys of a new process in place of those of an earlier one, which the transport knows to be gone.

        Raises as `receive`; then the earlier keys stay.
        """
        if self.failure is not None:
            raise self.failure
        self._check_turn(sender, Phase.ADVERTISE_KEYS)
        self._joining.replace(sender, keys, datetime.fromtimestamp(now, UTC))
        dropped = ParticipantDropped(Phase.ADVERTISE_KEYS, sender, DropReason.FAILED)
        return [dropped, MessageAccepted(Phase.ADVERTISE_KEYS, sender), *self._close_if_complete(now)]

    def expect(self, participants: Collection[ParticipantId], now: float) -> list[Event]:
        """Wait for these in the first phase, and for nobody else; replaces whom it waited for before.

        Raises:
            ConfigError: fewer than the threshold, or more than the round admits.
            ProtocolViolation: the first phase is over.
            RoundAborted: the round is over without a sum.
        """
        if self.failure is not None:
            raise self.failure
        if self.phase is not Phase.ADVERTISE_KEYS:
            raise ProtocolViolation("the list of members is closed; say who will come right after opening the round")
        named = frozenset(participants)
        check_expected(named, self.round.config)
        if named == self._joining.expected:
            return []
        self._joining.expected = named
        return [self.started(), *self._close_if_complete(now)]

    def exclude(self, participants: Collection[ParticipantId], now: float) -> list[Event]:
        """Do without these from now on. What one has delivered in the open phase stands.

        Raises:
            RoundAborted: the round is over without a sum.
        """
        if self.failure is not None:
            raise self.failure
        named = sorted(set(participants) - self._excluded)
        if self.phase is None:
            return []
        self._excluded.update(named)
        events = [event for name in named for event in self._miss(name, DropReason.EXCLUDED)]
        if self._left_over() < self.round.config.threshold:
            return events + self._fail(self._below_threshold(self.phase, self._left_over(), "are left"))
        return events + self._close_if_complete(now)

    def tick(self, now: float) -> list[Event]:
        """Close the phase if its deadline has passed."""
        if self.phase is None or now < self.deadline:
            return []
        setting, limit_s = time_limit(self.phase, self.round.config.deadlines)
        if self._awaits_first:
            setting, limit_s = "join_s", self.round.config.deadlines.join_s
        self._timed_out[self.phase] = f"{setting} is {limit_s:g} s"
        return self._close(self.phase, now)

    def abort(self, reason: AbortReason, message: str) -> list[Event]:
        """End the round without a sum."""
        return [] if self.phase is None else self._fail(RoundAborted(reason, message))

    def forget(self) -> None:
        """The round is over and its result kept elsewhere: keep no more than repeats and the last answers need."""
        if self.phase is not None:
            raise ValueError("the round is not over")
        self._forgotten = True
        self.aggregate = None
        self._forget()

    @property
    def roster(self) -> Roster:
        """Everyone who could take part; empty until the first phase is over."""
        return self._joining.roster

    @property
    def finishers(self) -> frozenset[Index]:
        """Who delivered in the last phase and has not left: those who wait for the result."""
        return frozenset(self._expected - set(self._left))

    @property
    def over(self) -> bool:
        """Whether the round has ended, with a sum or without."""
        return self.phase is None

    def ready(self, participant: ParticipantId, phase: Phase) -> bool:
        """Whether `answer` can be asked for: `phase` is over. Until then the participant waits."""
        current = self.phase  # read once: asked from the event loop, while a step may end the round in a thread
        return current is None or self._order.index(phase) < self._order.index(current)

    def answer(self, participant: ParticipantId, phase: Phase) -> CoordinatorMessage:
        """The message that closed `phase` for `participant`. `phase` must be over, and not the last.

        Raises:
            RoundAborted: the round is over without a sum.
            NotInRoundError: the participant did not deliver in that phase.
        """
        if self.failure is not None:
            raise self.failure
        self._check_not_excluded(participant)
        index = self._joining.index.get(participant)
        if index is None:
            raise self._gone(participant, Phase.ADVERTISE_KEYS)
        if phase is Phase.ADVERTISE_KEYS:
            return self._joining.roster
        if not self._delivered(index, phase):
            raise self._gone(participant, phase)
        if self._forgotten and phase in _LONG_ANSWERS:
            raise NotInRoundError(f"the round is over: {participant} comes too late for what closed {phase}")
        return self._answer(index, phase)

    # --- taking messages ----------------------------------------------------------------------------------------------

    def _seen(self, sender: ParticipantId, message: ParticipantMessage) -> bool:
        if isinstance(message, AdvertiseKeys):
            return self._joining.advertised.get(sender) == message
        index = self._joining.index.get(sender)
        if index is None:
            return False
        if self._forgotten:  # what was delivered stands, whatever comes now
            phase = SENT_IN[type(message)]
            return phase in self._order and self._delivered(index, phase)
        return self._is_repeated(index, message)

    def _check_not_excluded(self, participant: ParticipantId) -> None:
        if participant in self._excluded:
            raise NotInRoundError(f"{participant} was excluded from this round: its FL server says that it is gone")

    def _check_turn(self, sender: ParticipantId, phase: Phase) -> None:
        self._check_not_excluded(sender)  # check: C96
        if phase not in self._order:
            raise ProtocolViolation(f"{sender} sent {phase}, which this round does not have", culprit=sender)
        if self.phase is None or self._order.index(phase) < self._order.index(self.phase):  # check: C33-over
            raise self._gone(sender, phase)
        if phase is not Phase.ADVERTISE_KEYS and self._joining.index.get(sender) not in self._expected:  # check: C33
            raise self._gone(sender, self.phase)
        if phase is not self.phase:  # check: C34
            raise ProtocolViolation(f"{sender} sent {phase} during {self.phase}", culprit=sender)

    def _accuse(self, sender: ParticipantId, message: Leave) -> list[Event]:
        """Keep and judge the word of a member that takes part; one accusation each, so it costs one verification."""
        index, accused = self._joining.index, message.accused
        member = index.get(sender) in self._expected and sender not in self._accusations
        if not member or accused is None or accused == sender or accused not in index:
            return []
        verdict = self._judge(accused, sender, message.refused_entry)
        self._accusations[sender] = Accused(accused, sender, verdict)
        return [self._accusations[sender]]

    def _judge(self, accused: ParticipantId, accuser: ParticipantId, refused: bytes) -> Verdict:
        entry = self._dealt(self._joining.index[accused], self._joining.index[accuser])
        if not refused or entry is None:
            return Verdict.HEARSAY
        if dealing.entry_digest(entry) != refused:  # check: C94
            return Verdict.UNFOUNDED
        if accused not in self._joining.identities:
            return Verdict.HEARSAY
        unsigned = entry[: self._kind.unsigned_size]
        signed = dealing.entry_to_sign(self.round.context, self._joining.digest, accused, accuser, unsigned)
        good = dealing.made_by(self._joining.identities[accused], self._kind, signed, entry)
        return Verdict.HEARSAY if good else Verdict.PROVEN

    def _refuse_wrong_share(self, owner: ParticipantId, holder: ParticipantId) -> AuthenticationError:
        """The holder revealed another share than the owner dealt to it: remember it, for the holder may send a right
        one.
        """
        self._wrong_holders.setdefault(holder, WrongShares(holder, ((owner, holder),)))
        return AuthenticationError(f"{holder} revealed another share than {owner} dealt to it", culprit=holder)

    def _leave(self, sender: ParticipantId, reason: LeaveReason, now: float) -> list[Event]:
        if self.phase is None:
            return []
        if self.phase is not Phase.ADVERTISE_KEYS:
            self._joining.index_of(sender)  # a stranger to the round
        return [*self._miss(sender, DROP_REASONS[reason]), *self._close_if_complete(now)]

    def _miss(self, name: ParticipantId, reason: DropReason) -> list[Event]:
        """Do without a participant: at once, or from the next phase on if it has delivered in this one."""
        if self.phase is None:
            return []
        if self.phase is Phase.ADVERTISE_KEYS:
            self._joining.forget(name)
            return [self._drop(name, reason)]
        index = self._joining.index.get(name)
        if index not in self._expected or index in self._left:
            return []
        if self._delivered(index, self.phase):
            self._left[index] = reason  # what it delivered stands
            return []
        self._expected.discard(index)
        return [self._drop(name, reason)]

    def _drop(self, name: ParticipantId, reason: DropReason) -> ParticipantDropped:
        assert self.phase is not None  # noqa: S101 - nobody drops out of a round that is over
        self._dropped[name] = ParticipantDropped(self.phase, name, reason)
        return self._dropped[name]

    # --- closing phases -----------------------------------------------------------------------------------------------

    def _close_if_complete(self, now: float) -> list[Event]:
        phase = self.phase
        if phase is None:
            return []
        if phase is Phase.ADVERTISE_KEYS:
            if self._joining.awaited < self.round.config.threshold:
                return self._fail(self._below_threshold(phase, self._joining.awaited, "are left"))
            complete = self._joining.complete
        else:
            complete = all(self._delivered(i, phase) for i in self._expected)
        return self._close(phase, now) if complete else []

    def _left_over(self) -> int:
        """The most that can deliver in the open phase."""
        return self._joining.awaited if self.phase is Phase.ADVERTISE_KEYS else len(self._expected)

    def _close(self, phase: Phase, now: float) -> list[Event]:
        """Declare who dropped; go on with the rest, or end the round."""
        events: list[Event] = []
        if phase is Phase.ADVERTISE_KEYS:
            expired = self._joining.expire(datetime.fromtimestamp(now, UTC))
            events += [self._drop(name, DropReason.EXPIRED) for name in expired]
            self._joining.fix()
            alive = self._expected = set(self._joining.members)
        else:
            alive = {i for i in self._expected if self._delivered(i, phase)}
        late = sorted(self._expected - alive)
        if self._following(phase) is None:
            events += [told for _, told in sorted(self._wrong_holders.items())]
        events += [self._drop(self._joining.name(i), DropReason.DEADLINE) for i in late]
        if len(alive) < self.round.config.threshold:  # check: C47
            return events + self._fail(self._below_threshold(phase, len(alive), "delivered"))
        self._expected = alive
        try:
            if phase in INPUT_PHASES:
                self._claim_release(alive)
            events += self._closed(phase, alive)
            following = self._following(phase)
            return events + (self._finish() if following is None else self._open(following, now))
        except RoundAborted as error:
            return events + self._fail(error)

    def _claim_release(self, survivors: set[Index]) -> None:
        """In one step. Nobody has seen who survived yet, and nothing can be opened without that."""
        config = self.round.config
        names = frozenset(self._joining.name(i) for i in survivors)
        if exposed := self._claim(Release(config.model_digest, names, config.threshold, config.purpose)):  # check: C85
            raise RoundAborted(
                AbortReason.DIFFERENCING,
                f"this sum and those of the same model that may have been opened before it would show the updates of "
                f"{len(exposed)} participants alone ({named(exposed)}); ask exactly the same cohort again, another one "
                "that shares nobody with it, or about another model",
            )

    def _open(self, phase: Phase, now: float) -> list[Event]:
        """Open `phase` for everyone who has not said good-bye."""
        self.phase = phase
        self.may_be_open |= phase is Phase.REPORT_SUM  # those who are asked were given the sum under their own key
        self.deadline = now + time_limit_s(phase, self.round.config.deadlines)
        gone = sorted(self._expected & set(self._left))
        self._expected -= set(gone)
        events: list[Event] = [PhaseStarted(phase, self.deadline, len(self._expected))]
        events += [self._drop(self._joining.name(i), self._left[i]) for i in gone]
        return events + self._close_if_complete(now)

    def _uploading(self, uploads: Uploads | None, participant: ParticipantId) -> int:
        """Chunks of the participant's vector that arrived."""
        index = self._joining.index.get(participant)
        return 0 if index is None or uploads is None else uploads.received(index)

    def _succeed(self, aggregate: Aggregate) -> list[Event]:
        self.phase = None
        self.aggregate = aggregate
        return [SumReady(aggregate)]

    def _fail(self, error: RoundAborted) -> list[Event]:
        if error.reason in _BY_NAME:
            proven = {told.accused for told in self._accusations.values() if told.proven} | set(self._wrong_holders)
            culprits = tuple(sorted(proven | set(error.culprits)))
            accused = tuple(name for name in self._accused_by_many() if name not in culprits)
            error = RoundAborted(error.reason, str(error), culprits=culprits).accusing(accused)
        self.phase = None
        self.failure = error
        return [RoundFailed(error)]

    def _accused_by_many(self) -> list[ParticipantId]:
        """Those whom more members accuse than may be liars: more than n_C, and two at least. No proof."""
        enough = max(self.round.config.max_colluding, 1) + 1
        heard = Counter(told.accused for told in self._accusations.values() if told.verdict is Verdict.HEARSAY)
        return sorted(name for name, count in heard.items() if count >= enough)

    def _gone(self, sender: ParticipantId, phase: Phase) -> NotInRoundError:
        """What to tell somebody who is too late in `phase`."""
        dropped = self._dropped.get(sender)
        if dropped is not None and dropped.reason is not DropReason.DEADLINE:
            return NotInRoundError(f"{sender} dropped out of this round in {dropped.phase}: {_WHY[dropped.reason]}")
        missed = phase if dropped is None else dropped.phase
        if missed is self.phase:
            return NotInRoundError(f"{sender} is not in this round")
        closed = (
            f"its deadline passed ({self._timed_out[missed]})" if missed in self._timed_out else "all had delivered"
        )
        return NotInRoundError(
            f"{sender} did not deliver in {missed} in time, or never took part in it; it closed when {closed}"
        )

    def _below_threshold(self, phase: Phase, count: int, did: str) -> RoundAborted:
        limit = self._timed_out.get(phase)
        passed = "" if limit is None else f" when its deadline passed ({limit})"
        hint = ""
        if limit is not None and phase is Phase.ADVERTISE_KEYS:
            hint = "; where participants train before they come, raise join_s or advertise_keys_s"
        return RoundAborted(
            AbortReason.BELOW_THRESHOLD,
            f"{count} participants {did} in {phase}, fewer than the threshold {self.round.config.threshold}"
            f"{passed}{hint}",
        )


def check_expected(participants: Collection[ParticipantId], config: RoundConfig) -> None:
    """Whether a round with `config` can wait for `participants`.

    Raises:
        ConfigError: fewer than the threshold, or more than the round admits.
    """
    if not config.threshold <= len(participants) <= config.max_participants:
        raise ConfigError(
            f"{len(participants)} participants are expected; the round needs {config.threshold} and admits "
            f"{config.max_participants}"
        )


_WHY = {
    DropReason.CANCELLED: "it left",
    DropReason.REFUSED: "it left because it refused what it was sent",
    DropReason.FAILED: "it left because it failed",
    DropReason.EXCLUDED: "its FL server says that it is gone",
    DropReason.EXPIRED: "its certificate expired, or was about to, when the list of members was closed",
}
