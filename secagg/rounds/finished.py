"""A round that ended with a sum, after its coordinator's process is gone: what its participants may still ask of it.

Who delivered in the last phase and lost its connection repeats its message, and must learn that the round is over. So
what an engine still answers after `forget` is kept beside the sum, and answered from here.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from secagg.aggregates import Aggregate
from secagg.context import Round
from secagg.errors import AbortReason, NotInRoundError, ProtocolViolation, RoundAborted
from secagg.events import Event, MessageAccepted, ParticipantDropped, PhaseStarted, SumDelivered, WrongShares
from secagg.messages import (
    SENT_IN,
    AdvertiseKeys,
    CoordinatorMessage,
    Dealt,
    Index,
    Leave,
    ParticipantId,
    ParticipantMessage,
    Phase,
    Roster,
)
from secagg.roster import names_of, roster_digest
from secagg.rounds.doors import Door
from secagg.rounds.graph import neighbourhoods
from secagg.rounds.members import shown_to


@dataclass(frozen=True, slots=True)
class LastAnswers:
    """What participants may still ask of a round with a sum.

    Attributes:
        answers: what closed each phase, the same for everyone who delivered in it; large messages are left out.
        chunks: how many chunks a vector has, by the phase in which it is sent.
        finishers: who delivered in the last phase and had not left: those who wait for the result.
    """

    answers: Mapping[Phase, CoordinatorMessage]
    chunks: Mapping[Phase, int]
    finishers: frozenset[Index]

    @property
    def roster(self) -> Roster:
        """Everyone who could take part."""
        roster = self.answers[Phase.ADVERTISE_KEYS]
        if not isinstance(roster, Roster):
            raise TypeError("the roster closes ADVERTISE_KEYS")
        return roster


class FinishedRound:
    """Answers as the engine of the round would. It takes nothing but repeats.

    Attributes:
        round: which one.
        phase: None: the round is over.
        deadline: that of no phase.
        failure: why the round has no sum; None if it has one.
        may_be_open: settled when the round ended.
        aggregate: kept elsewhere.
        delivered: kept elsewhere.
        doors: none holds anything of the round.
        lost: nobody's vector is missing.
    """

    phase: Phase | None = None
    deadline = 0.0
    may_be_open = False
    aggregate: Aggregate | None = None
    delivered: SumDelivered | None = None
    doors: frozenset[Door] = frozenset()
    lost: frozenset[ParticipantId] = frozenset()

    def __init__(
        self, round_: Round, last: LastAnswers | None, events: Iterable[object], failure: RoundAborted | None
    ) -> None:
        """Args:
        round_: which one.
        last: what was kept of it; None if it failed.
        events: what happened in it.
        failure: why it has no sum.
        """
        self.round = round_ if last is None else round_.of_members(roster_digest(last.roster))
        self.failure = failure
        self._last = last
        known = list(events)
        self._delivered: set[tuple[ParticipantId, Phase]] = set()
        for event in known:
            if isinstance(event, MessageAccepted):
                self._delivered.add((event.participant, event.phase))
            elif isinstance(event, ParticipantDropped):  # what it had delivered may have gone with a door
                self._delivered.discard((event.participant, event.phase))
        self._dropped = {e.participant: e for e in known if isinstance(e, ParticipantDropped)}
        self._members = frozenset(names_of(last.roster)) if last else frozenset()

    @property
    def roster(self) -> Roster:
        """Everyone who could take part; empty if the round failed."""
        return Roster(()) if self._last is None else self._last.roster

    @property
    def finishers(self) -> frozenset[Index]:
        """Who waits for the result."""
        return frozenset() if self._last is None else self._last.finishers

    def last_answers(self) -> LastAnswers:
        """What this round was made of."""
        if self._last is None:
            raise ValueError("the round did not end with a sum")
        return self._last

    def held_at(self, participant: ParticipantId) -> Door | None:
        """No door holds anything of the round."""
        del participant
        return None

    def shown(self, sender: ParticipantId, message: Leave) -> Dealt | None:
        """Nothing that was dealt is kept."""
        del sender, message
        return None

    def index_of(self, participant: ParticipantId) -> Index:
        """Nobody needs it to bring anything: the round is over."""
        raise NotInRoundError(f"the round is over: {participant} comes too late")

    def hold(self, sender: ParticipantId, door: Door, now: float) -> list[Event]:
        """No vector counts any more: the round is over."""
        del door, now
        raise NotInRoundError(f"the round is over: {sender} comes too late")

    def lose(self, door: Door, now: float) -> list[Event]:
        """Nothing of the round is lost with a door."""
        del door, now
        return []

    def ready(self, participant: ParticipantId, phase: Phase) -> bool:
        """Every phase is over."""
        del participant, phase
        return True

    def answer(self, participant: ParticipantId, phase: Phase) -> CoordinatorMessage:
        """The message that closed `phase`.

        Raises:
            RoundAborted: the round is over without a sum.
            NotInRoundError: the participant did not deliver in that phase, or comes too late for its answer.
        """
        last = self._check_delivered(participant, phase)
        if phase is Phase.ADVERTISE_KEYS:
            index = self.check_member(participant)
            return shown_to(index, neighbourhoods(self.round, len(self._members)), last.roster)
        if phase not in last.answers:
            raise NotInRoundError(f"the round is over: {participant} comes too late for what closed {phase}")
        return last.answers[phase]

    def check_member(self, participant: ParticipantId) -> Index:
        """The place of `participant` on the list of members; errors as of `answer`."""
        last = self._check_delivered(participant, Phase.ADVERTISE_KEYS)
        return Index(names_of(last.roster).index(participant) + 1)

    def received_chunks(self, participant: ParticipantId) -> int:
        """Chunks of the latest vector that the participant delivered."""
        chunks = [] if self._last is None else list(self._last.chunks.items())
        return next((n for phase, n in reversed(chunks) if (participant, phase) in self._delivered), 0)

    def receive(self, sender: ParticipantId, message: ParticipantMessage, now: float) -> list[Event]:
        """Take the repetition of what was delivered; errors as of `answer`."""
        del now
        if isinstance(message, Leave):
            if self.failure is not None:
                raise self.failure
        else:
            self._check_delivered(sender, SENT_IN[type(message)])
        return []

    def rejoin(self, sender: ParticipantId, keys: AdvertiseKeys, now: float) -> list[Event]:
        """Nobody joins any more; errors as of `answer`."""
        return self.receive(sender, keys, now)

    def replaces(self, sender: ParticipantId, keys: AdvertiseKeys) -> bool:
        """No keys are replaced any more."""
        del sender, keys
        return False

    def expect(self, participants: Collection[ParticipantId], now: float) -> list[Event]:
        """Nobody is waited for any more.

        Raises:
            RoundAborted: the round is over without a sum.
            ProtocolViolation: it is over.
        """
        del participants, now
        if self.failure is not None:
            raise self.failure
        raise ProtocolViolation("the list of members is closed; say who will come right after opening the round")

    def exclude(self, participants: Collection[ParticipantId], now: float) -> list[Event]:
        """Nobody is waited for any more. Raises `RoundAborted` if the round is over without a sum."""
        del participants, now
        if self.failure is not None:
            raise self.failure
        return []

    @property
    def wrong_holders(self) -> Mapping[ParticipantId, WrongShares]:
        """Nobody can reveal anything any more."""
        return {}

    def remember_wrong_share(self, owner: ParticipantId, holder: ParticipantId) -> None:
        """Nobody can reveal anything any more."""
        raise ValueError("the round is over")

    def take_again(
        self, sender: ParticipantId, phase: Phase, payloads: Iterable[bytes], now: float, *, seed: bytes = b""
    ) -> list[Event]:
        """Every vector is in the sum."""
        raise ValueError("the round is over")

    def uploads_under_way(self) -> tuple[int, dict[ParticipantId, Index]]:
        """No vector is under way."""
        return 0, {}

    def tick(self, now: float) -> list[Event]:
        """No phase is open."""
        del now
        return []

    def resume(self, now: float) -> list[Event]:
        """No phase is open."""
        del now
        return []

    def abort(self, reason: AbortReason, message: str) -> list[Event]:
        """The round is over."""
        del reason, message
        return []

    def started(self) -> PhaseStarted:
        """Nothing starts here."""
        raise ValueError("the round is over")

    def forget(self) -> None:
        """Nothing large is kept here."""

    def _check_delivered(self, participant: ParticipantId, phase: Phase) -> LastAnswers:
        if self._last is None:
            raise self.failure or ValueError("a round without last answers has failed")
        dropped = self._dropped.get(participant)
        if participant not in self._members:
            raise NotInRoundError(f"{participant} is not in this round, which is over")
        if phase is Phase.ADVERTISE_KEYS:
            return self._last
        if (participant, phase) not in self._delivered or (dropped is not None and dropped.phase is phase):
            raise NotInRoundError(f"{participant} did not deliver in {phase} in time; the round is over")
        return self._last
