"""The coordinator's state machine: the phases of one round, in order, for every scheme.

It does no input or output. `receive`, `tick` and the FL server's calls return what happened, as events; `answer` gives
the message that closed a phase, as often as it is asked, so a lost connection loses nothing.

The text below is about two modules. This one has what the shell asks and tells, and the taking of messages;
`secagg.rounds.opening_and_closing`, its base, has how phases close and open, who drops out, and how the round ends.

**Phases.** A round is a sequence of phases (`secagg.messages`). In each, every member sends one message, or one vector
in chunks; the coordinator answers everyone once the phase is closed. What a message must be, what follows from all of
them and what is answered is different in each phase, and stands in the phase's unit (`CoordinatorPhase`). The engine
knows what is the same in all of them, and that is what follows.

**Opening.** The first phase, ADVERTISE_KEYS, is open from the beginning. Its end fixes the roster: only members of the
roster take part from then on. Every other phase opens when the one before it closes, unless it is not needed: a phase's
unit may say that the round ends with it (`ends_the_round`). An open phase has a deadline, which its time limit in the
configuration sets, and the event `PhaseStarted` tells it. Where the configuration leaves the model for later, the input
phase waits for `name_model`: until then it has no deadline, takes nothing, and nobody is given its shares. Where the
configuration has a `join_s`, the first phase waits that long for its first participant, and its own time limit begins
when that one comes.

**Who is expected.** In the first phase: whoever comes, or those whom the FL server names. In every other one: the
members that delivered in the phase before and have not left since. Nobody else may speak in it.

**Taking a message.** A message of a later phase is an error of its sender. A message of an earlier one, or of somebody
who is not expected, is too late (`NotInRoundError`), which is nobody's fault. The very message that was accepted before
is accepted again and changes nothing, in whatever phase it is repeated: a client repeats what it is not sure has
arrived. Another message in place of an accepted one is refused. A refused message leaves no trace, and its sender may
send a correct one while the phase is open.

**Closing.** A phase closes as soon as all have delivered who are expected, or at its deadline. The engine has no clock,
so nothing closes by itself at a deadline: the shell calls `tick(now)` when it has come. A shell that was away calls
`resume(now)`, which gives the open phase its time anew. The first phase closes early
once all have come whom the FL server names or, if it names nobody, as many as the round admits, where whoever left
again is not waited for; if fewer than t can still come, the round fails at once. Whoever has not delivered when a phase
closes has dropped out. If fewer than t (`RoundConfig.threshold`) are left, the round fails. Else the unit draws its
conclusions, and the next phase opens. When the phase closes in which updates go up, the coordinator first asks its
memory of other rounds whether the sum of those who are left may be released at all, and records that it may be.

**Dropping out.** A member that leaves, or that the FL server excludes, counts as dropped at once. If it has delivered
in the open phase, that stands, and it is missed from the next phase on. Nobody who dropped out comes back.

**Other doors.** A vector may be taken and added up elsewhere (`secagg.rounds.doors`): `hold` confirms it, which is its
delivery. When the phase is about to close, all doors are asked for their sums. What a lost door held was not delivered:
the phase stays open for its owners until the deadline.

**One delivery is enough.** In RELEASE_SUM the members hold the same sum, and one of them hands it in. They are asked
one after another, in the order of the roster: each has the time limit of the phase for itself, and the next one is
asked as soon as the one before has failed, left or handed in something else. The others wait meanwhile.

**The end.** A round ends with a sum (`SumReady`), with a sum that only the participants know (`SumDelivered`), or
without one (`RoundFailed`). After that nothing is taken any more, except repeats; answers are given until `forget`, and
some also after it, so that everyone who delivered can still learn how the round went on.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from secagg.config import RoundConfig
from secagg.errors import AbortReason, ConfigError, NotInRoundError, ProtocolViolation, RoundAborted
from secagg.events import DropReason, Event, MessageAccepted, ParticipantDropped, PhaseStarted, WrongShares
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
)
from secagg.phases import input_phase, time_limit, time_limit_s
from secagg.rounds.coordinator_phase import UploadPhase
from secagg.rounds.doors import Door, HeldVectors
from secagg.rounds.dropouts import DROP_REASONS
from secagg.rounds.finished import LastAnswers
from secagg.rounds.members import shown_to
from secagg.rounds.opening_and_closing import OpeningAndClosing


class Engine(OpeningAndClosing):
    """One round at the coordinator: what the shell asks it, and what it tells it."""

    # --- what the shell asks ------------------------------------------------------------------------------------------

    def started(self) -> PhaseStarted:
        """The first event of the round."""
        return PhaseStarted(Phase.ADVERTISE_KEYS, self.deadline, self._joining.awaited)

    def received_chunks(self, participant: ParticipantId) -> int:
        """Chunks of the latest upload of `participant` that arrived: where a broken upload goes on."""
        index = self._members.index.get(participant)
        if index is None:
            return 0
        for unit in reversed(self._uploading):
            received = unit.received_chunks(index)
            if received or unit.phase is self.phase:
                return received
        return 0

    def ready(self, participant: ParticipantId, phase: Phase) -> bool:
        """Whether `answer` can be asked for: `phase` is over. Until then the participant waits.

        While members are asked in turn, only the one whose turn it is hears so; the others may have to take over.
        """
        if self.awaits_model and phase is Phase.SHARE_KEYS:
            return False
        current = self.phase  # read once: asked from the event loop, while a step may end the round in a thread
        if current is None:
            return True
        number, open_now = self._order.index(phase), self._order.index(current)
        if number == open_now - 1 and self._units[current].one_is_enough:
            asked = self._going_on[:1]  # nobody, while the last one is let go
            return [self._members.index.get(participant)] == asked
        return number < open_now

    def answer(self, participant: ParticipantId, phase: Phase) -> CoordinatorMessage:
        """The message that closed `phase` for `participant`. `phase` must be over, and not the last.

        Raises:
            RoundAborted: the round is over without a sum.
            NotInRoundError: the participant did not deliver in that phase.
            LocalError: the answer names the model, and the model is not named yet (`name_model`).
        """
        index = self.check_member(participant)
        if phase is Phase.ADVERTISE_KEYS:
            return shown_to(index, self._state.graph, self.roster)
        unit = self._units[phase]
        if not unit.delivered(index):
            raise self._too_late(participant, phase)
        if self._forgotten and unit.answer_is_large:
            raise NotInRoundError(f"the round is over: {participant} comes too late for what closed {phase}")
        return unit.answer(index)

    def check_member(self, participant: ParticipantId) -> Index:
        """The place of `participant` on the list of members.

        Raises:
            RoundAborted: the round is over without a sum.
            NotInRoundError: it has none, or was excluded.
        """
        if self.failure is not None:
            raise self.failure
        self._dropouts.check_not_excluded(participant)
        index = self._members.index.get(participant)
        if index is None:
            raise self._too_late(participant, Phase.ADVERTISE_KEYS)
        return index

    def replaces(self, sender: ParticipantId, keys: AdvertiseKeys) -> bool:
        """Whether `keys` are others than those that the sender advertised in the open phase."""
        return self.phase is Phase.ADVERTISE_KEYS and self._joining.advertised.get(sender, keys) != keys

    def last_answers(self) -> LastAnswers:
        """What participants may still ask of a round that ended with a sum. It must not be forgotten yet."""
        if self._last is None or not self._going_on:
            raise ValueError("the round did not end with a sum")
        closed = [self._units[p] for p in self._order[1 : self._order.index(self._last) + 1]]
        small = [unit for unit in closed if unit.is_answered and not unit.answer_is_large]
        answers: dict[Phase, CoordinatorMessage] = {unit.phase: unit.answer(self._going_on[0]) for unit in small}
        return LastAnswers(
            answers={Phase.ADVERTISE_KEYS: self.roster, **answers},
            chunks={unit.phase: unit.uploads.chunks for unit in self._uploading},
            finishers=self.finishers,
        )

    @property
    def wrong_holders(self) -> Mapping[ParticipantId, WrongShares]:
        """Who revealed another share than it was dealt, and was refused; the round names them if it fails."""
        return self._state.wrong_holders

    # --- what the shell tells -----------------------------------------------------------------------------------------

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
            return self._leave(sender, message, now)
        phase = SENT_IN[type(message)]
        if self._seen(sender, phase, message):
            return []
        self._check_turn(sender, phase)
        if isinstance(message, AdvertiseKeys):
            self._joining.take(sender, message, datetime.fromtimestamp(now, UTC))
            return [*self._begin(now), MessageAccepted(phase, sender), *self._close_if_complete(now)]
        index, unit = self._members.index_of(sender), self._units[phase]
        if not unit.take(index, message):
            return []
        self._lost.discard(index)
        self.may_be_open |= phase in self._after_input
        self._missing.discard(index)
        if unit.delivered(index):
            return [MessageAccepted(phase, sender), *self._close_if_complete(now)]
        self._expected.discard(index)  # whole, but not what the sender had promised
        dropped = ParticipantDropped(phase, sender, DropReason.REFUSED)
        return [dropped, *self._close_if_complete(now)]

    def hold(self, sender: ParticipantId, door: Door, now: float) -> list[Event]:
        """Take it that the sender's whole vector of the open phase is at `door`, which may add it up from now on.
        Confirming the same again changes nothing.

        Raises as `receive`; then the vector counts for nothing, and the door must not add it up.
        """
        if self.failure is not None:
            raise self.failure
        unit, held = self._holding(sender)
        if self.held_at(sender) == door:
            return []
        self._check_turn(sender, unit.phase)
        owner = self._members.index_of(sender)
        held.hold(owner, door, name=sender, whole=unit.uploads.complete(owner))
        unit.uploads.restart(owner)
        self._lost.discard(owner)
        self._missing.discard(owner)
        return [MessageAccepted(unit.phase, sender), *self._close_if_complete(now)]

    def lose(self, door: Door, now: float) -> list[Event]:
        """The door is gone. Whose vectors it held has delivered nothing: they may come again while the phase is open.
        A door that held nothing of this round is no loss.
        """
        held = next((unit.held for unit in self._uploading if unit.held is not None), None)
        if held is None or self.phase is None:
            return []
        lost = held.lose(door)
        return [*self._return(lost), *self._close_if_complete(now)] if lost else []

    def held_at(self, participant: ParticipantId) -> Door | None:
        """The door that holds the participant's vector of the open phase; None if there is none."""
        index = self._members.index.get(participant)
        found = [unit.held.doors[index] for unit in self._uploading if unit.held and index in unit.held.doors]
        return found[0] if found and index is not None else None

    def index_of(self, participant: ParticipantId) -> Index:
        """Its number in the roster. Raise `NotInRoundError` if it is not on it."""
        return self._members.index_of(participant)

    @property
    def doors(self) -> frozenset[Door]:
        """The doors that hold vectors of the open phase."""
        return frozenset(door for unit in self._uploading if unit.held for door in unit.held.doors.values())

    @property
    def lost(self) -> frozenset[ParticipantId]:
        """Whose vectors were lost with their doors, and have not come again."""
        return frozenset(self._members.name(index) for index in self._lost)

    def _holding(self, sender: ParticipantId) -> tuple[UploadPhase[Any], HeldVectors]:
        for unit in self._uploading:
            if unit.held is not None:
                return unit, unit.held
        raise ProtocolViolation(f"{sender} brought a vector to a door; this round's come to us", culprit=sender)

    def remember_wrong_share(self, owner: ParticipantId, holder: ParticipantId) -> None:
        """The holder was refused for such a share before, as `wrong_holders` says."""
        self._state.refuse_wrong_share(owner, holder)

    def take_again(
        self, sender: ParticipantId, phase: Phase, payloads: Iterable[bytes], now: float, *, seed: bytes = b""
    ) -> list[Event]:
        """Take chunks that were taken before, from where they were kept, from the vector's first on.

        Args:
            sender: whose they are.
            phase: the open phase.
            payloads: of the chunks, in order.
            now: when the last one came.
            seed: that of chunk 0, where it carries one.

        Raises as `receive`: then they are not what was taken before.
        """
        unit = next((unit for unit in self._uploading if unit.phase is phase), None)
        index = self._members.index.get(sender)
        if unit is None or index is None:
            raise ProtocolViolation(f"{sender} uploads nothing in {phase}", culprit=sender)
        events: list[Event] = []
        for number, payload in enumerate(payloads):
            events += self.receive(sender, unit.rebuilt(index, number, payload, seed), now)
        return events

    def uploads_under_way(self) -> tuple[int, dict[ParticipantId, Index]]:
        """How many chunks a vector of the open phase has, and whose is not whole yet; nobody's in other phases."""
        unit = next((unit for unit in self._uploading if unit.phase is self.phase), None)
        if unit is None:
            return 0, {}
        return unit.uploads.chunks, {self._members.name(index): index for index in sorted(self._missing)}

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
        names = frozenset(participants)
        check_expected(names, self.round.config)
        if names == self._joining.expected:
            return []
        self._joining.expect(names)
        return [self.started(), *self._close_if_complete(now)]

    def name_model(self, model_digest: bytes, now: float) -> list[Event]:
        """Say which model the round is about, where the configuration leaves that for later. It can be said at any time
        before inputs are in; the time limit of the input phase begins when it is said. To say the same again changes
        nothing.

        Args:
            model_digest: 32 bytes, from `digest_model`.
            now: seconds since 1970.

        Raises:
            ConfigError: the configuration names the model, another one was named before, or this is no digest.
            RoundAborted: the round is over without a sum.
        """
        if self.failure is not None:
            raise self.failure
        if not self.round.config.model_later:
            raise ConfigError(
                "the configuration names this round's model; open the round with model_later to name it now"
            )
        if self.round.named and self.round.named != model_digest:  # check: model-named-again
            raise ConfigError(
                f"this round is about model {self.round.named.hex()[:16]}…; open another round for another model"
            )
        waited = self.awaits_model
        self._state.round = self.round.about(model_digest)
        return self._begin_phase(input_phase(self.round.config), now) if waited else []

    def exclude(self, participants: Collection[ParticipantId], now: float) -> list[Event]:
        """Do without these from now on. What one has delivered in the open phase stands.

        Raises:
            RoundAborted: the round is over without a sum.
        """
        if self.failure is not None:
            raise self.failure
        if self.phase is None:
            return []
        names = self._dropouts.exclude(participants)
        events = [event for name in names for event in self._miss(name, DropReason.EXCLUDED)]
        left, config = self._left_over(), self.round.config
        if left < (config.fewest_members if self.phase is Phase.ADVERTISE_KEYS else config.threshold):
            return events + self._fail(self._below_threshold(self.phase, left, "are left"))
        return events + self._close_if_complete(now)

    def tick(self, now: float) -> list[Event]:
        """Close the phase if its deadline has passed."""
        if self.phase is None or now < self.deadline:
            return []
        setting, limit_s = self._limit(self.phase)
        self._dropouts.timed_out[self.phase] = f"{setting} is {limit_s:g} s"
        return self._close(self.phase, now)

    def abort(self, reason: AbortReason, message: str) -> list[Event]:
        """End the round without a sum."""
        return [] if self.phase is None else self._fail(RoundAborted(reason, message))

    def resume(self, now: float) -> list[Event]:
        """The coordinator was away: give the open phase its time anew. A clock that was set back meanwhile, or ran far
        ahead, shortens nobody's time.
        """
        if self.phase is None or self.awaits_model:
            return []
        _, limit_s = self._limit(self.phase)
        self.deadline = now + limit_s
        return [PhaseStarted(self.phase, self.deadline, self._to_come)]

    def _limit(self, phase: Phase) -> tuple[str, float]:
        """Which setting says how long the open phase may stay open as things are, and its seconds."""
        deadlines = self.round.config.deadlines
        return ("join_s", deadlines.join_s) if self._awaits_first else time_limit(phase, deadlines)

    @property
    def _to_come(self) -> int:
        return self._joining.awaited if self.phase is Phase.ADVERTISE_KEYS else len(self._expected)

    def forget(self) -> None:
        """The round is over and its result kept elsewhere: keep no more than repeats and the last answers need."""
        if self.phase is not None:
            raise ValueError("the round is not over")
        self._forgotten = True
        self.aggregate = None
        for unit in self._units.values():
            unit.forget()

    # --- taking messages ----------------------------------------------------------------------------------------------

    def _seen(self, sender: ParticipantId, phase: Phase, message: ParticipantMessage) -> bool:
        if isinstance(message, AdvertiseKeys):
            return self._joining.advertised.get(sender) == message
        index, unit = self._members.index.get(sender), self._units.get(phase)
        if index is None or unit is None:
            return False
        # Once large messages are forgotten they cannot be compared: what was delivered stands, whatever comes now.
        return unit.delivered(index) if self._forgotten else unit.is_repeated(index, message)

    def _check_turn(self, sender: ParticipantId, phase: Phase) -> None:
        self._dropouts.check_not_excluded(sender)  # check: C96
        if phase not in self._order:  # check: C34-of-the-round
            raise ProtocolViolation(f"{sender} sent {phase}, which this round does not have", culprit=sender)
        if self.phase is None or self._order.index(phase) < self._order.index(self.phase):  # check: C33-over
            raise self._too_late(sender, phase)
        if phase is not Phase.ADVERTISE_KEYS and self._members.index.get(sender) not in self._expected:  # check: C33
            raise self._too_late(sender, self.phase)
        if phase is not self.phase or self.awaits_model:  # check: C34
            early = " before the model was named" if self.awaits_model else ""
            raise ProtocolViolation(f"{sender} sent {phase} during {self.phase}{early}", culprit=sender)

    def _too_late(self, sender: ParticipantId, phase: Phase) -> NotInRoundError:
        return self._dropouts.too_late(sender, phase, self.phase)

    def _begin(self, now: float) -> list[Event]:
        """The first participant has come: if the round waited for it, the first phase begins."""
        if not self._awaits_first:
            return []
        self._awaits_first = False
        self.deadline = now + time_limit_s(Phase.ADVERTISE_KEYS, self.round.config.deadlines)
        return [self.started()]

    # --- dropping out -------------------------------------------------------------------------------------------------

    def shown(self, sender: ParticipantId, message: Leave) -> Dealt | None:
        """What answers a participant's `Leave`: if it refuses an entry that passed through us as it says, what the
        sender of the entry signed. None before shares came; and after the round, if nobody else asked before it ended.
        """
        return self._accusations.shown(sender, message)

    def _leave(self, sender: ParticipantId, message: Leave, now: float) -> list[Event]:
        events: list[Event] = []
        if self._members.index.get(sender) in self._expected:
            events += self._accusations.hear(sender, message)
        if self.phase is None:
            return events
        if self.phase is not Phase.ADVERTISE_KEYS:
            self._members.index_of(sender)  # a stranger to the round
        return [*events, *self._miss(sender, DROP_REASONS[message.reason]), *self._close_if_complete(now)]


def check_expected(participants: Collection[ParticipantId], config: RoundConfig) -> None:
    """Whether a round with `config` can wait for `participants`.

    Raises:
        ConfigError: fewer than the threshold, or more than the round admits.
    """
    if not config.fewest_members <= len(participants) <= config.max_participants:
        raise ConfigError(
            f"{len(participants)} participants are expected; the round needs {config.fewest_members} and admits "
            f"{config.max_participants}"
        )
