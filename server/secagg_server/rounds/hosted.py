"""One round in the running server: the steps of its engine, its clock, and everyone who waits for it.

The engine is not thread-safe and may work for long (folding, unmasking, verifying signatures), so each of its steps
runs in a thread, one at a time. This is what becomes of a message:

1. Its call hands it to `receive`, and it waits until no other step is under way. Messages that wait at the same time
   are taken together, in the order in which they came: passing one to a thread costs more than most steps.
2. `_perform` makes the step in a thread. What it took is in the journal before anyone is told, and safe as far as
   anybody hears of it. If it ends the round, the cost of the sum is charged, the receipt is signed, what other rounds
   must know of the sum is settled, and the end is in the journal too, in this order: a process that dies in between
   builds the round again, ends it again, and finds what it did before.
3. `_publish`, on the event loop again, tells the observer of the events, wakes the calls that wait for them, and sets
   the timer for the deadline of the phase that is open now. When the timer goes off, closing the phase is a step like
   any other.

Calls see the round as it was published, never as a step that is under way left its engine: they ask for the lock of
steps, or read what `_publish` wrote.

A step that has begun is carried to its end, even if the call that began it is cancelled. A message that is refused
changes nothing. Any other error in a step is a bug or a full disk: nobody knows the engine's state then, so the round
is broken off, which outlives the process where the store does, and ends without a sum, unless it had released one
before. If not even that can be kept, nobody is told anything: the calls are suspended.

**Suspension.** With a store that outlives the process, a coordinator that stops suspends its rounds: their calls end,
to be made again, and the next process goes on with the rounds.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, cast

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.identity import CoordinatorIdentity
from secagg.errors import (
    AbortReason,
    LedgerError,
    NotInRoundError,
    ProtocolViolation,
    RemoteError,
    RoundAborted,
    StoreError,
)
from secagg.events import Event, MasksRemoved, MessageAccepted, PhaseStarted, RoundFailed, SumDelivered, SumReady
from secagg.masked.ranges import one_after_the_other
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyProof,
    CoordinatorMessage,
    Dealt,
    Index,
    Leave,
    ParticipantId,
    ParticipantMessage,
    Phase,
)
from secagg.phases import input_phase, phases
from secagg.programs.ledgers.budgets import OPENED_IN, Charge
from secagg.receipts import Receipt
from secagg.robust.combining import Anomaly
from secagg.rounds.doors import Door
from secagg.rounds.engine import Engine, check_expected
from secagg.rounds.finished import FinishedRound
from secagg.schemes import Chunk
from secagg.wire.keys import RosterEncoder
from secagg.wire.progress import CohortEvent, InGroup, watched
from secagg_server.audit.rounds import RoundAudit
from secagg_server.ingress.keeper import DoorKeeper, NoDoors
from secagg_server.limits.quota import Quota, no_quota
from secagg_server.notifier import Notifier
from secagg_server.observability.facts import RoundBroken, RoundEvent, RoundLost, RoundName, RoundOpened, RoundResumed
from secagg_server.observability.logs import plain_traceback
from secagg_server.observability.observer import Observer
from secagg_server.rounds.certifying import Certifying
from secagg_server.rounds.journalled import JournalledEngine, RoundSpool
from secagg_server.rounds.processes import Processes
from secagg_server.rounds.suspension import Suspended
from secagg_server.rounds.unmasking import Interrupted, Unmasking
from secagg_server.rounds.uploads import Uploads
from secagg_server.rounds.waiting import Waiting
from secagg_server.storage.records import (
    Certified,
    Combined,
    Ended,
    Entry,
    Expected,
    Outcome,
    Received,
    Rejoined,
    Released,
    RoundRecord,
    Withheld,
)
from secagg_server.storage.store import Journal

Clock = Callable[[], float]
"""Gives the seconds since 1970."""

Settle = Callable[..., None]
"""`Store.settle_release` for one round."""

Step = Callable[[float], list[Event]]
"""What to do with the engine at a time; runs in a thread."""

Made = tuple[float, list[Event], Outcome | None]
"""When a step was made, what it brought about, and how the round ended, if it is over."""

REFUSED: Final = (RemoteError, NotInRoundError, RoundAborted, Suspended, Interrupted)
"""What a step raises that left the state as it was."""

TOLD_EVERY_S: Final = 0.05
"""Seconds for which events wait for others: a message each would cost as much as the calls that they tell of."""

INTERNAL = "internal error of the coordinator; its log says more"


class HostedRound:
    """A round that participants take part in, and their calls that wait for it.

    Attributes:
        outcome: how the round ended; None while it runs.
        receipt: signed once, when the round ended with a sum.
        certifying: the survivors' signatures under the result.
        events: what happened, with times in seconds since 1970.
        encoded: answers that are the same for every participant, by phase.
        rosters: writes what closes the first phase, for one member after the other.
        expected: who will come, as the FL server says; empty if it does not say.
    """

    def __init__(
        self,
        record: RoundRecord,
        engine: Engine | FinishedRound,
        journal: Journal,
        clock: Clock,
        *,
        on_end: Callable[[], None],
        on_room: Callable[[ParticipantId], None],
        identity: Callable[[], CoordinatorIdentity],
        observer: Observer,
        settle: Settle,
        audit: RoundAudit,
        charge: Charge | None = None,
        durable: bool = False,
        spool: RoundSpool | None = None,
        unmasking: Unmasking | None = None,
        quota: Quota | None = None,
        doors: DoorKeeper | None = None,
    ) -> None:
        """What is made needs one of `start`, `recover`, `restore` and `lose` before anything else.

        Args:
        record: its opening.
        engine: in the first phase, or over.
        journal: of the round.
        clock: seconds since 1970.
        on_end: called when the round is over.
        on_room: called when another process of a participant may join in place of one that is gone.
        identity: gives the certificate and key that are in force; the receipt is signed with them.
        observer: hears what happens.
        settle: tells the memory of released sums how the round ended.
        audit: writes into the audit log.
        charge: of its noise, in the task's privacy ledger; None without noise.
        durable: whether the journal outlives the process.
        spool: that of the journal, as it was given to the engine of a round that is to be recovered.
        unmasking: as it was given to the engine; None for one that makes no threads, or is over.
        quota: of organisations in a cohort; no limit if None.
        doors: other doors of the coordinator; none if None.
        """
        self.record = record
        self.config = engine.round.config
        self.outcome: Outcome | None = None
        self.receipt: Receipt | None = None
        self.certifying = Certifying(journal, clock)
        self.events: list[tuple[float, CohortEvent]] = []
        self._tellable: list[
            tuple[float, CohortEvent]
        ] = []  # those that happen again, whatever becomes of this process
        self.encoded: dict[Phase, Sequence[bytes]] = {}
        self.rosters = RosterEncoder()
        self.expected: frozenset[ParticipantId] = frozenset()
        self._engine = cast("Engine", engine)  # a finished round answers as an engine
        self._journalled = JournalledEngine(engine, journal, audit, spool or RoundSpool(journal.spool, writes=True))
        self._audit = audit
        self._clock = clock
        self._on_end = on_end
        self._identity = identity
        self._charge = charge
        self._settle = settle
        self._durable = durable
        self._suspended = False
        self._phase: Phase | None = None  # the open phase, as it was published
        self._state = asyncio.Lock()  # who holds it may use the engine
        self._turned, self._news = Notifier(), Notifier()  # a phase opened or the round ended; anything happened
        self._delivered: set[tuple[Phase, ParticipantId]] = set()
        self._quota = quota or no_quota()
        self._organisations: dict[ParticipantId, str | None] = {}  # of those who joined in this process
        self._processes = Processes(on_room)
        self._uploads = Uploads()
        self._unmasking = unmasking or Unmasking(one_after_the_other)
        self._doors = doors or NoDoors()
        self._inputs_open = True
        self._steps: set[asyncio.Task[None]] = set()
        self._messages: Waiting[Step] = Waiting()
        self._timer: asyncio.TimerHandle | None = None
        self._observer = observer
        self._name = name_of(record, self.config)

    # --- how it begins here -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The round is new."""
        self._observer.tell(RoundOpened(self._name, self.record.opened_s, self.config))
        self._publish(self.record.opened_s, [self._engine.started()])

    async def recover(self, entries: Callable[[], Iterable[Entry]]) -> None:
        """The round was open when an earlier process ended: make its steps again, and go on. It fails by name if they
        cannot be made.

        Args:
            entries: reads what the journal has, oldest first; may raise `StoreError`.
        """
        async with self._state:
            try:
                at, events, outcome = await asyncio.to_thread(self._recover, entries)
            except Interrupted:
                return  # it is about to be suspended, as it was found
            except Exception as error:  # damage, no memory, or a bug: the other rounds go on
                if isinstance(error, StoreError | MemoryError):
                    self._observer.tell(RoundLost(self.record.round_id, str(error) or "no memory is left for it"))
                else:
                    self._observer.tell(RoundBroken(self._name, plain_traceback()))
                self.events.clear()
                with suppress(Suspended):
                    await self._break(_told(error))
                return
            self.outcome = outcome
            self._publish(at, events)

    def restore(self, ended: Ended, entries: Iterable[Entry]) -> None:
        """The round was over when an earlier process ended: answer as that did.

        Args:
            ended: how it ended.
            entries: what was taken after that.
        """
        if isinstance(ended.outcome, Combined):
            raise StoreError("the round of one cohort is said to have ended as one in groups")
        self.outcome, self.receipt = ended.outcome, ended.receipt
        for at, event in ended.events:
            if isinstance(event, InGroup | Anomaly):
                raise StoreError("the round of one cohort is said to have groups")
            self._remember(at, event)
        if not isinstance(ended.outcome, RoundAborted):
            self.certifying.certification = self._journalled.certification(ended.outcome)
            for entry in entries:
                if isinstance(entry, Certified):
                    self.certifying.restore(entry.proof)
        self._tell_safe()
        self._over()

    def lose(self, why: str) -> None:
        """Nobody can go on with the round; that is kept already."""
        self._observer.tell(RoundLost(self.record.round_id, why))
        self.outcome = lost_round(why)
        self._publish(self._clock(), [RoundFailed(self.outcome)])

    def _recover(self, entries: Callable[[], Iterable[Entry]]) -> tuple[float, list[Event], Outcome | None]:
        """In a thread. What was told before is in `events` then; when the latest happened, what, and the end."""
        engine, journalled = self._engine, self._journalled
        at, phase = self.record.opened_s, engine.phase
        events: list[Event] = [engine.started()]
        told: list[tuple[float, Event]] = []
        for entry in entries():
            told += [(at, event) for event in events]
            if engine.phase is None:
                raise StoreError("its journal goes on behind its end")
            at, phase = entry.time_s, engine.phase
            events = journalled.replay(entry)
            self._take_up(entry)
        outcome = journalled.outcome()
        if outcome is None:
            told += [(at, event) for event in events]
            journalled.catch_up(at)
            journalled.go_on()
            at = self._clock()
            events = [event for door in sorted(engine.doors) for event in journalled.lose_door(door, at)]
            if engine.phase is not None:
                events += journalled.resume(at)
            journalled.flush()
        for time_s, event in told:
            self._remember(time_s, self._watched_event(event, None))
        self._observer.tell(RoundResumed(self._name, self._clock(), self.config, self.record.opened_s, tuple(told)))
        if outcome is not None:
            outcome = self._end(at, phase, events, outcome)
        return at, events, outcome

    def _take_up(self, entry: Entry) -> None:
        """Know again what is known beside the engine."""
        match entry:
            case Received(_, sender, Leave(reason)):
                self._processes.left[sender] = reason
            case Received(_, sender, AdvertiseKeys()) | Rejoined(_, sender):
                self._processes.came_back(sender)
            case Expected(_, participants):
                self.expected = participants
            case _:
                pass

    def _remember(self, at: float, event: CohortEvent) -> None:
        self.events.append((at, event))
        if isinstance(event, MessageAccepted):
            self._delivered.add((event.phase, event.participant))

    # --- what may be asked at any time --------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase | None:
        """The open phase; None once the round is over."""
        return None if self.outcome is not None else self._phase

    def offered_to(self, participant: ParticipantId) -> bool:
        """Whether the participant could still join: the round is open for keys, and no process of it waits there nor
        refused it. One that crashed or was interrupted may come again.
        """
        there = self.phase is Phase.ADVERTISE_KEYS and self._processes.may_join(participant)
        return there and self._quota.has_place(participant, self._joined)

    def check_place(self, participant: ParticipantId) -> None:
        """Check that its organisation may have one more participant in this cohort, unless it is in it.

        Raises:
            NotInRoundError: it may not.
        """
        if self.phase is Phase.ADVERTISE_KEYS:
            self._quota.check(participant, self._joined)

    def _joined(self) -> Mapping[ParticipantId, str | None]:
        """Who sent keys and did not leave again, each with its organisation, or None if it joined before a restart."""
        sent = {name for phase, name in self._delivered if phase is Phase.ADVERTISE_KEYS}
        return {name: self._organisations.get(name) for name in sent - self._processes.left.keys()}

    def delivered(self, participant: ParticipantId, phase: Phase) -> bool:
        """Whether the participant's message of `phase` was accepted."""
        return (phase, participant) in self._delivered

    async def ended(self) -> Released | Withheld:
        """Wait for the end; how the round ended.

        Raises:
            RoundAborted: the round ended without a sum.
        """
        while self.outcome is None:
            self._check_running()
            await self._turned.wait()
        if isinstance(self.outcome, RoundAborted):
            raise self._failure(self.outcome)
        return self.outcome

    async def signed_receipt(self) -> Receipt:
        """Wait for the end; what the coordinator signed.

        Raises:
            RoundAborted: the round ended without a sum.
        """
        await self.ended()
        if self.receipt is None:
            raise ValueError("a round with a sum has a receipt")
        return self.receipt

    async def released(self) -> Released:
        """Wait for the end; the sum, as everyone who may have it gets it.

        Raises:
            RoundAborted: the round ended without a sum.
            ProtocolViolation: the coordinator does not know the sum.
        """
        outcome = await self.ended()
        if isinstance(outcome, Withheld):
            raise ProtocolViolation("only the participants know this round's sum: release_to_coordinator is off")
        return outcome

    async def over(self, participant: ParticipantId, phase: Phase) -> None:
        """Wait until `phase` is over for the participant."""
        if phase not in phases(self.config):  # check: phase-of-the-round
            raise ProtocolViolation(f"{phase} is not a phase of this round", culprit=participant)
        while not await self._is_over(participant, phase):
            await self._turned.wait()

    async def _is_over(self, participant: ParticipantId, phase: Phase) -> bool:
        if self.outcome is not None:
            return True
        async with self._state:  # no step is under way: what the engine says now is safe
            self._check_suspended()
            return self._engine.ready(participant, phase)

    async def answer(self, participant: ParticipantId, phase: Phase) -> CoordinatorMessage:
        """Wait until `phase` is over; what closed it for the participant.

        Raises:
            RoundAborted: the round ended without a sum.
            NotInRoundError: the participant did not deliver in that phase.
        """
        await self.over(participant, phase)
        async with self._state:
            self._check_running()
            return self._engine.answer(participant, phase)

    async def check_member(self, participant: ParticipantId) -> None:
        """Check that the participant is on the roster.

        Raises:
            RoundAborted: the round ended without a sum.
            NotInRoundError: it is not, or was declared dropped.
        """
        async with self._state:
            self._check_running()
            self._engine.check_member(participant)

    @property
    def may_be_open(self) -> bool:
        """Whether somebody may know the sum of a round that was aborted."""
        return self._engine.may_be_open

    def watch(self, known: int = 0) -> AsyncIterator[Sequence[tuple[float, CohortEvent]]]:
        """All events, from the first to the last, without the first `known`; those that come shortly one after the
        other together. Each is told once it is safe: where rounds outlive the process, a message that merely waits is
        told when its phase turns.
        """
        return self._news.several(self._tellable, self._watched, known, TOLD_EVERY_S)

    def follow(self, known: int = 0) -> AsyncIterator[tuple[float, CohortEvent]]:
        """As `watch`, but each event as it happens, safe or not."""
        return self._news.each(self.events, self._watched, known)

    def _watched(self) -> bool:
        """Whether nothing more will happen."""
        if self.outcome is None:
            self._check_suspended()
        return self.outcome is not None

    # --- what changes the round ---------------------------------------------------------------------------------------

    async def receive(self, sender: ParticipantId, message: ParticipantMessage) -> None:
        """Take a message; return when it is safe.

        Raises:
            RoundAborted: the round is over without a sum.
            NotInRoundError: the sender was declared dropped, left, or comes too late.
            RemoteError: the message is refused; the sender may send a correct one.
        """
        await self._take(sender, partial(self._receive, sender, message))

    async def certify(self, sender: ParticipantId, signature: bytes) -> ConsistencyProof:
        """Take a survivor's signature under the result; all of them, once those who are waited for have signed or the
        time is over.

        Raises:
            RoundAborted: the round ended without a sum.
            NotInRoundError: the sender is no survivor.
            ProtocolViolation: nobody signs the result of this round.
            AuthenticationError: the signature is under something else.
        """
        await self.ended()
        return await self.certifying.sign(sender, signature)

    @asynccontextmanager
    async def joining(self, sender: ParticipantId, keys: AdvertiseKeys) -> AsyncIterator[None]:
        """Take the sender's keys; inside, its process is known to be there, so no other can take its place.

        Raises as `receive`.
        """
        with self._processes.waiting(sender) as alone:
            # Who is in it is counted when a step is published, so where places are few, each waits for that.
            take = self._carry_out if self._quota.limits else partial(self._take, sender)
            await take(partial(self._join, sender, keys, alone))
            yield

    async def shown(self, sender: ParticipantId, message: Leave) -> Dealt | None:
        """What answers the sender's `Leave`: see `Engine.shown`."""
        if not message.refused_entry:
            return None
        async with self._state:
            return self._engine.shown(sender, message)

    async def leave(self, sender: ParticipantId, message: Leave) -> None:
        """The sender gives up. Saying so again changes nothing.

        Under load a step waits long for its turn. Somebody who leaves has no time for that, and needs no answer that
        follows from it: whoever is known to have joined is let go at once. Where the store outlives the process, the
        answer says that the leave is safe, so it waits.

        Raises:
            ProtocolViolation: a process of the sender waits for the roster: it is another one that gives up.
        """
        self.certifying.without((sender,))
        processes = self._processes
        if self.outcome is not None or processes.has_left(sender):
            return await self._safe()
        await processes.check_hung_up(sender)  # check: C95
        if self.outcome is not None or processes.has_left(sender):
            return await self._safe()
        processes.leaving.add(sender)
        leaving = asyncio.create_task(self._leave(sender, message))
        self._steps.add(leaving)
        leaving.add_done_callback(self._made)
        if self._durable or not self.delivered(sender, Phase.ADVERTISE_KEYS):
            await asyncio.shield(leaving)
        return None

    async def _safe(self) -> None:
        """Return when everything that was taken before is safe, where that can be."""
        if self._durable and self.outcome is None:
            await self._carry_out(self._flush)

    async def _leave(self, sender: ParticipantId, message: Leave) -> None:
        with self._processes.leaving_for(sender, message.reason):
            await self._alone(partial(self._receive, sender, message))

    def _made(self, step: asyncio.Task[None]) -> None:
        self._steps.discard(step)
        if not step.cancelled():
            step.exception()  # refused, or the round is over: perhaps nobody waits to be told

    async def expect(self, participants: frozenset[ParticipantId]) -> None:
        """Take from the FL server who will come. The phase of keys ends when all of them are there."""
        check_expected(participants, self.config)  # in a step the FL server's mistake would be taken for our own
        await self._carry_out(partial(self._journalled.expect, participants))
        self.expected = participants

    async def exclude(self, participants: frozenset[ParticipantId]) -> None:
        """Take from the FL server who is gone. Nobody waits for them any more."""
        self.certifying.without(participants)
        await self._carry_out(partial(self._journalled.exclude, participants))

    def claim_upload(self, sender: ParticipantId) -> int:
        """A number for a new upload of the sender. Whatever still arrives of an older one is refused from now on."""
        return self._uploads.begin(sender)

    async def taken_over(self, sender: ParticipantId, claim: int) -> None:
        """Wait until a newer upload is claimed than the one with the number `claim`, and refuse that one."""
        await self._uploads.taken_over(sender, claim)

    async def receive_chunk(self, sender: ParticipantId, claim: int, chunk: Chunk) -> None:
        """Take a chunk of the upload with the number `claim`. Raises as `receive`."""
        await self._take(sender, partial(self._receive_chunk, sender, claim, chunk))

    async def terms_at_door(self, sender: ParticipantId) -> tuple[Index, int, bool]:
        """What a door needs to take the sender's vector: its index, the number of this upload, and whether its vector
        counts already, at whichever door; then it is no new upload, and the numbers say nothing.

        Raises:
            RoundAborted: the round ended without a sum.
            NotInRoundError: the sender is not on the roster, or was declared dropped; or the round is over.
        """
        await self.check_member(sender)
        async with self._state:
            self._check_running()
            if self.delivered(sender, Phase.MASKED_INPUT):
                return Index(0), 0, True
            return self._engine.index_of(sender), self.claim_upload(sender), False

    async def hold(self, sender: ParticipantId, claim: int, door: Door) -> None:
        """Confirm that the vector of the upload with the number `claim`, which is whole at that door, counts there.
        Raises as `receive`.
        """
        await self._carry_out(partial(self._hold, sender, claim, door))

    async def lose_door(self, door: Door) -> None:
        """That door is gone, with all that it held of this round."""
        if self.outcome is None:
            await self._carry_out(partial(self._journalled.lose_door, door))

    async def upload_progress(self, sender: ParticipantId) -> int:
        """Chunks that arrived. An upload that seems to be under way is over: its connection broke."""
        await self.check_member(sender)
        self.claim_upload(sender)
        await self._safe()
        async with self._state:
            self._check_suspended()
            return self._engine.received_chunks(sender)

    async def abort(self, reason: AbortReason, message: str) -> None:
        """End the round without a sum, unless it is over. An unmasking that is under way is stopped."""
        if self.outcome is None:
            self._unmasking.stop()
            await self._carry_out(partial(self._journalled.abort, reason, message))

    async def suspend(self) -> None:
        """The process stops, and the next one goes on: end the calls that wait. The step that is under way is made,
        but for an unmasking: the next process makes that anew.
        """
        self.certifying.suspend()
        self._unmasking.stop()
        async with self._state:
            if self.outcome is None:
                self._let_go()

    # --- steps, each in a thread --------------------------------------------------------------------------------------

    def _join(self, sender: ParticipantId, keys: AdvertiseKeys, alone: bool, now: float) -> list[Event]:
        if self._engine.phase is Phase.ADVERTISE_KEYS:  # else it is too late, or the same keys again
            self._quota.check(sender, self._joined)  # others may have come since it was offered the round
        organisation = self._quota.organisation_of(sender)  # of now: another certificate later takes no place away
        events = self._journalled.join(sender, keys, now, alone=alone)
        self._organisations[sender] = organisation
        if events:
            self._processes.came_back(sender)
        return events

    def _receive(self, sender: ParticipantId, message: ParticipantMessage, now: float) -> list[Event]:
        self._processes.check_there(sender)
        return self._journalled.receive(sender, message, now)

    def _receive_chunk(self, sender: ParticipantId, claim: int, chunk: Chunk, now: float) -> list[Event]:
        self._uploads.check_newest(sender, claim)
        return self._receive(sender, chunk, now)

    def _hold(self, sender: ParticipantId, claim: int, door: Door, now: float) -> list[Event]:
        if not self._doors.attends(door):  # check: attending-door
            raise NotInRoundError("this door is lost: its participants go on at another one")
        if self._engine.held_at(sender) != door:  # else it asks again: it did not hear the answer
            self._uploads.check_newest(sender, claim)
        self._processes.check_there(sender)
        return self._journalled.hold(sender, door, now)

    def _perform_each(self, steps: Iterable[Step], made: list[Made | Exception]) -> None:
        """Make the steps in order, and end with one that turns a phase: what it brings about is told before the next
        one. Put what came of each into `made`. An error that is no refusal is raised, and belongs to the step behind.
        """
        for step in steps:
            try:
                done = self._perform(step)
            except REFUSED as error:
                made.append(error.with_traceback(None))  # it would keep this frame, and so the messages
                continue
            made.append(done)
            _, events, outcome = done
            if outcome is not None or not all(isinstance(event, MessageAccepted) for event in events):
                return

    def _perform(self, step: Step) -> Made:
        self._check_running()
        now, phase = self._clock(), self._engine.phase
        events = step(now)
        if self.outcome is not None:
            return now, events, self.outcome
        outcome = self._journalled.outcome()
        if outcome is None:
            self._journalled.flush_due()
            return now, events, None
        return now, events, self._end(now, phase, events, outcome)

    def _flush(self, now: float) -> list[Event]:
        del now
        self._journalled.flush()
        return []

    def _end(self, now: float, phase: Phase | None, events: list[Event], outcome: Outcome) -> Outcome:
        """Keep the end; the outcome as it is served. `phase` was open when the step began.

        The step itself is safe before anything else is: whoever makes it again comes to the same end.
        """
        self._journalled.flush()
        if self._charge is not None:
            self._charge.settle(outcome, phase)
        released = not isinstance(outcome, RoundAborted)
        if not isinstance(outcome, RoundAborted):
            self.receipt = Receipt.sign(self._journalled.statement(outcome), self._identity(), now)
            self.certifying.certification = self._journalled.certification(outcome)
        self._settle(released=released, may_be_open=self.may_be_open)
        happened = [*self._kept(), *((now, self._watched_event(event, outcome)) for event in events)]
        last, opened = self._journalled.last_answers(outcome), phase in OPENED_IN
        kept = self._journalled.finish(Ended(now, outcome, self.receipt, tuple(happened), last, opened)).outcome
        if isinstance(kept, Combined):
            raise TypeError("a round of one cohort ends with an outcome of its own")
        return kept

    def _kept(self) -> list[tuple[float, CohortEvent]]:
        """What happened and is told again after a restart. How far the work was is of no use then."""
        return [(at, event) for at, event in self.events if not isinstance(event, MasksRemoved)]

    @staticmethod
    def _watched_event(event: Event, outcome: Outcome | None) -> CohortEvent:
        return watched(event, outcome.digest if isinstance(outcome, Released) else b"")

    # --- on the event loop --------------------------------------------------------------------------------------------

    async def _carry_out(self, step: Step) -> None:
        task = asyncio.create_task(self._alone(step))
        self._steps.add(task)
        task.add_done_callback(self._made)
        await asyncio.shield(task)

    async def _take(self, sender: ParticipantId, step: Step) -> None:
        """As `_carry_out`, for the step of a message, together with those of others that wait for their turn, too."""
        taken = self._messages.add(sender, step)
        if len(self._messages) == 1:  # else somebody takes them already
            self._start_taking()
        try:
            await taken
        except Interrupted:
            await self.ended()

    def _start_taking(self) -> None:
        task = asyncio.create_task(self._take_waiting())
        self._steps.add(task)
        task.add_done_callback(self._made)

    async def _take_waiting(self) -> None:
        async with self._state:
            try:
                self._messages.done(await self._make(self._messages.first()))
            except BaseException as error:  # the process ends
                self._messages.fail(error)
                raise
        if len(self._messages):
            self._start_taking()  # behind the steps that wait for the lock

    async def _alone(self, step: Step) -> None:
        try:
            async with self._state:
                (error,) = await self._make([step])
                if error is not None:
                    raise error
        except Interrupted:
            await self.ended()  # who stops an unmasking ends the round, or suspends it

    async def _make(self, steps: Sequence[Step]) -> list[Exception | None]:
        """Make the first of the steps, and tell what they brought about; why each of them was refused, if it was.
        Whoever calls has the lock.
        """
        self._unmasking.tells(partial(self._advanced, asyncio.get_running_loop()))
        made: list[Made | Exception] = []
        broken: Exception | None = None
        try:
            await asyncio.to_thread(self._perform_each, steps, made)
        except Exception as error:  # a bug or a full disk: what the state is now, nobody knows
            self._observer.tell(RoundBroken(self._name, plain_traceback()))
            broken = error
        came = [self._told_of(each) for each in made]
        return came if broken is None else [*came, await self._broken(broken)]

    def _told_of(self, made: Made | Exception) -> Exception | None:
        if isinstance(made, Exception):
            return made  # refused: the state is what it was
        now, events, self.outcome = made
        self._publish(now, events)
        return None

    async def _broken(self, error: Exception) -> Exception:
        """End the round for this error, unless it is over; what its sender is told."""
        if self.outcome is None:  # what was released stays released
            try:
                await self._break(_told(error))
            except Suspended as suspended:
                return suspended
        failure = self._failure(RoundAborted(AbortReason.INTERNAL, _told(error)))
        failure.__cause__ = error
        return failure

    def _advanced(self, loop: asyncio.AbstractEventLoop, done: int, total: int) -> None:
        """In the thread of a step that goes on. All that was taken before it is told with this, so it must be safe."""
        self._journalled.flush()
        loop.call_soon_threadsafe(self._tell_advance, self._clock(), MasksRemoved(done, total))

    def _tell_advance(self, at: float, event: MasksRemoved) -> None:
        self._remember(at, event)
        self._observer.tell(RoundEvent(self._name, at, event))
        self._tell_safe()

    async def _break(self, told: str = INTERNAL) -> None:
        failure = RoundAborted(AbortReason.INTERNAL, told)
        try:
            await asyncio.to_thread(self._break_off, failure)
        except (StoreError, OSError):
            self._observer.tell(RoundBroken(self._name, plain_traceback()))
            self._let_go()
            raise Suspended from None
        self._engine.abort(failure.reason, told)
        self.outcome = failure
        self._publish(self._clock(), [RoundFailed(failure)])

    def _break_off(self, failure: RoundAborted) -> None:
        """Whoever is told that the round failed must never learn later that it went on."""
        self._journalled.break_off()
        with suppress(StoreError, OSError):  # else the claim stays as it is: as of a round that is under way
            self._settle(released=False, may_be_open=self.may_be_open)
        self._audit.broke(self._clock(), failure, known=self.may_be_open)

    def _let_go(self) -> None:
        """End the calls that wait; take nothing more."""
        self._suspended = True
        self._set_timer()
        self._turned.notify()
        self._news.notify()

    def _publish(self, now: float, events: list[Event]) -> None:
        """Tell everyone who waits, and set the timer for the phase that is open now."""
        self._phase = self._engine.phase
        self._delivered -= {(Phase.MASKED_INPUT, name) for name in self._engine.lost}
        for event in events:
            self._remember(now, self._watched_event(event, self.outcome))
            self._observer.tell(RoundEvent(self._name, now, event))
        if not self._durable or self._journalled.safe or self.outcome is not None:
            self._tell_safe()
        if not events:
            return
        self._news.notify()
        if any(isinstance(event, PhaseStarted | SumReady | SumDelivered | RoundFailed) for event in events):
            self._close_doors()
            self._turned.notify()
            self._set_timer()
        if self.outcome is not None:
            self._over()

    def _close_doors(self) -> None:
        """Nobody brings inputs any more: let the doors forget what they have of the round."""
        order = phases(self.config)
        after = self.phase is None or order.index(self.phase) > order.index(input_phase(self.config))
        if self._inputs_open and after:
            self._inputs_open = False
            self._doors.forget(self.record.round_id)

    def _tell_safe(self) -> None:
        """Everything that happened may be told."""
        if len(self._tellable) < len(self.events):
            self._tellable += self.events[len(self._tellable) :]
            self._news.notify()

    def _over(self) -> None:
        self.encoded.clear()
        self.rosters = RosterEncoder()
        if self.certifying.certification is not None:
            time_limit = self.config.deadlines.consistency_check_s
            asyncio.get_running_loop().call_later(time_limit, self.certifying.close)
        self._on_end()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.outcome is None and not self._suspended:
            delay = max(0.0, self._engine.deadline - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._deadline_came)

    def _deadline_came(self) -> None:
        task = asyncio.create_task(self._on_deadline())
        self._steps.add(task)
        task.add_done_callback(self._steps.discard)

    async def _on_deadline(self) -> None:
        try:
            await self._alone(self._journalled.tick)
        except (RoundAborted, Suspended):
            return  # over already, or broken: told and logged
        except (RemoteError, NotInRoundError):
            # Nobody sent anything, so nobody is refused: this is a bug, and nobody else would notice it.
            self._observer.tell(RoundBroken(self._name, plain_traceback()))
            with suppress(Suspended):
                await self._break()
            return
        self._set_timer()  # the wall clock may lag behind the loop's

    def _check_running(self) -> None:
        if isinstance(self.outcome, RoundAborted):
            raise self._failure(self.outcome)
        if self.outcome is None:
            self._check_suspended()

    def _check_suspended(self) -> None:
        if self._suspended:
            raise Suspended

    @staticmethod
    def _failure(failure: RoundAborted) -> RoundAborted:
        """A copy: an exception that is raised again and again would collect tracebacks without end."""
        return RoundAborted(failure.reason, str(failure), culprits=failure.culprits).accusing(failure.accused)


def name_of(record: RoundRecord, config: RoundConfig) -> RoundName:
    """What the observer hears of which round this is."""
    parent = RoundId(config.groups.parent) if config.groups is not None and config.groups.number else None
    return RoundName(record.round_id, config.task, config.scheme, parent)


def lost_round(why: str) -> RoundAborted:
    """The end of a round that an earlier process left and nobody can go on with."""
    return RoundAborted(AbortReason.INTERNAL, f"the round is lost: {why}")


def _told(error: Exception) -> str:
    """What everybody may know of an error in a step."""
    if isinstance(error, StoreError):
        return f"the round cannot be kept: {error}"
    return f"the sum is not released: {error}" if isinstance(error, LedgerError) else INTERNAL
