"""One round in the running server: its engine, its clock, and everyone who waits for it.

The engine is not thread-safe and may work for long (folding, unmasking), so each of its steps runs in a thread, one
at a time. A step once begun is carried to its end, even if the call that began it is cancelled. What it changed is in
the journal before anyone is told.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog

from secagg.errors import AbortReason, LedgerError, NotInRoundError, ProtocolViolation, RemoteError, RoundAborted
from secagg.events import Event, MessageAccepted, PhaseStarted, RoundFailed, SumDelivered, SumReady
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyProof,
    CoordinatorMessage,
    EncryptedInputChunk,
    Leave,
    LeaveReason,
    ParticipantId,
    ParticipantMessage,
)
from secagg.phases import Phase, phases
from secagg.receipts import Receipt, Statement
from secagg.rounds.certification import Certification, Result
from secagg.rounds.engine import Engine, check_expected
from secagg.schemes import Chunk
from secagg.wire.progress import CohortEvent, watched
from secagg_server.certificates.signing import ReceiptSigner
from secagg_server.notifier import Notifier
from secagg_server.observability.logs import log_event, plain_traceback
from secagg_server.rounds.budgets import Charge
from secagg_server.storage.store import (
    Aborted,
    DeadlinePassed,
    Excluded,
    Expected,
    Journal,
    Outcome,
    Received,
    Rejoined,
    Released,
    RoundRecord,
    SeedReceived,
    Withheld,
    entry_of,
)

Clock = Callable[[], float]
"""Seconds since 1970."""

Step = Callable[[float], list[Event]]
"""What to do with the engine at a time; runs in a thread."""

INTERNAL = "internal error of the coordinator; its log says more"

GOOD_BYE_PATIENCE_S: Final = 2.0
"""A good-bye may overtake the end of its sender's waiting call by so much."""


class HostedRound:
    """A round and its calls.

    Attributes:
        outcome: how the round ended; None while it runs.
        receipt: signed once, when the round ended with a sum.
        certification: the survivors' signatures under the result, once there is one, where the round asks for them.
        events: what happened, with times in seconds since 1970.
        encoded: answers that are the same for every participant, by phase.
    """

    def __init__(
        self,
        record: RoundRecord,
        engine: Engine,
        journal: Journal,
        clock: Clock,
        *,
        on_end: Callable[[], None],
        on_room: Callable[[ParticipantId], None],
        signer: ReceiptSigner,
        charge: Charge | None = None,
    ) -> None:
        self.record = record
        self.config = engine.round.config
        self.outcome: Outcome | None = None
        self.receipt: Receipt | None = None
        self.certification: Certification | None = None
        self._certified = Notifier()
        self.events: list[tuple[float, CohortEvent]] = []
        self.encoded: dict[Phase, Sequence[bytes]] = {}
        self._engine = engine
        self._journal = journal
        self._clock = clock
        self._on_end = on_end
        self._on_room = on_room  # for another process of this participant, in place of one that is gone
        self._signer = signer
        self._charge = charge  # in the task's privacy ledger; None without noise
        self._state = asyncio.Lock()  # who holds it may use the engine
        self._turned, self._news = Notifier(), Notifier()  # a phase opened or the round ended; anything happened
        self._delivered: set[tuple[Phase, ParticipantId]] = set()
        self._left: dict[ParticipantId, LeaveReason] = {}
        self._leaving: set[ParticipantId] = set()  # whose good-byes wait for their turn
        self._joining: Counter[ParticipantId] = Counter()  # calls that wait for the roster, or are about to
        self._hung_up = Notifier()  # one of them ended
        self._uploads: dict[ParticipantId, int] = {}
        self._claims: dict[ParticipantId, Notifier] = {}  # notified when a newer upload is claimed
        self._steps: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._log = structlog.get_logger().bind(round_id=record.round_id.hex(), task=self.config.task)
        self._publish(record.opened_s, [engine.started()])

    # --- what may be asked at any time --------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase | None:
        """The open phase; None once the round is over."""
        return None if self.outcome is not None else self._engine.phase

    def offered_to(self, participant: ParticipantId) -> bool:
        """Whether the participant could still join: the round is open for keys, and no process of it waits there nor
        refused it. One that crashed or was interrupted may come again.
        """
        there = self._joining[participant] > 0 or participant in self._leaving
        refused = self._left.get(participant, LeaveReason.CANCELLED) is not LeaveReason.CANCELLED
        return self.phase is Phase.ADVERTISE_KEYS and not (there or refused)

    def delivered(self, participant: ParticipantId, phase: Phase) -> bool:
        """Whether the participant's message of `phase` was accepted."""
        return (phase, participant) in self._delivered

    async def ended(self) -> Released | Withheld:
        """Wait for the end.

        Raises:
            RoundAborted: the round ended without a sum.
        """
        while self.outcome is None:
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
        """Wait for the sum.

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
        if phase not in phases(self.config):
            raise ProtocolViolation(f"{phase} is not a phase of this round", culprit=participant)
        while self.outcome is None and not self._engine.ready(participant, phase):
            await self._turned.wait()

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
        """Refuse who is not on the roster.

        Raises:
            RoundAborted: the round ended without a sum.
            NotInRoundError: as it says.
        """
        async with self._state:
            self._check_running()
            self._engine.answer(participant, Phase.ADVERTISE_KEYS)

    @property
    def may_be_open(self) -> bool:
        """See `Engine.may_be_open`."""
        return self._engine.may_be_open

    def watch(self) -> AsyncIterator[tuple[float, CohortEvent]]:
        """All events, from the first to the last."""
        return self._news.each(self.events, lambda: self.outcome is not None)

    # --- what changes the round ---------------------------------------------------------------------------------------

    async def receive(self, sender: ParticipantId, message: ParticipantMessage) -> None:
        """Take a message; return when it is safe.

        Raises:
            RoundAborted: the round is over without a sum.
            NotInRoundError: the sender was declared dropped, left, or comes too late.
            RemoteError: the message is refused; the sender may send a correct one.
        """
        await self._carry_out(partial(self._receive, sender, message))

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
        certification = self.certification
        if certification is None:
            raise ProtocolViolation("this round's configuration does not say certify", culprit=sender)
        certification.receive(sender, signature)
        if certification.closed:
            self._certified.notify()
        while not certification.closed:
            await self._certified.wait()
        return certification.proof()

    @asynccontextmanager
    async def joining(self, sender: ParticipantId, keys: AdvertiseKeys) -> AsyncIterator[None]:
        """Take the sender's keys; inside, its process is known to be there, so no other can take its place.

        Raises as `receive`.
        """
        others = self._joining[sender]
        self._joining[sender] += 1
        try:
            await self._carry_out(partial(self._join, sender, keys, others))
            yield
        finally:
            self._joining[sender] -= 1
            self._hung_up.notify()
            self._on_room(sender)

    async def leave(self, sender: ParticipantId, message: Leave) -> None:
        """The sender gives up. Saying so again changes nothing.

        Under load a step waits long for its turn. Somebody who leaves has no time for that, and needs no answer that
        follows from it: whoever is known to have joined is let go at once.

        Raises:
            ProtocolViolation: a process of the sender waits for the roster: it is another one that gives up.
        """
        if self.certification is not None:
            self.certification.leave(sender)
            self._certified.notify()
        if self.outcome is not None or sender in self._left or sender in self._leaving:
            return
        await self._check_hung_up(sender)
        if self.outcome is not None or sender in self._left or sender in self._leaving:
            return
        self._leaving.add(sender)
        leaving = asyncio.create_task(self._leave(sender, message))
        self._steps.add(leaving)
        leaving.add_done_callback(self._left_or_not)
        if not self.delivered(sender, Phase.ADVERTISE_KEYS):
            await asyncio.shield(leaving)

    async def _leave(self, sender: ParticipantId, message: Leave) -> None:
        try:
            await self._alone(partial(self._receive, sender, message))
            self._left[sender] = message.reason
        finally:
            self._leaving.discard(sender)
            self._on_room(sender)

    def _left_or_not(self, leaving: asyncio.Task[None]) -> None:
        self._steps.discard(leaving)
        if not leaving.cancelled():
            leaving.exception()  # refused, or the round is over: nobody waits to be told

    async def _check_hung_up(self, sender: ParticipantId) -> None:
        try:
            async with asyncio.timeout(GOOD_BYE_PATIENCE_S):
                while self._joining[sender]:
                    await self._hung_up.wait()
        except TimeoutError:
            raise ProtocolViolation(
                f"another process with the certificate of {sender} waits in this round, so it stays in it",
                culprit=sender,
            ) from None

    async def expect(self, participants: frozenset[ParticipantId]) -> None:
        """See `Engine.expect`."""
        check_expected(participants, self.config)  # in a step the FL server's mistake would be taken for our own
        await self._carry_out(partial(self._expect, participants))

    async def exclude(self, participants: frozenset[ParticipantId]) -> None:
        """See `Engine.exclude`."""
        if self.certification is not None:
            for name in participants:
                self.certification.leave(name)
            self._certified.notify()
        await self._carry_out(partial(self._exclude, participants))

    def claim_upload(self, sender: ParticipantId) -> int:
        """A number for a new upload of the sender. Whatever still arrives of an older one is refused from now on."""
        self._uploads[sender] = self._uploads.get(sender, 0) + 1
        if sender in self._claims:
            self._claims[sender].notify()
        self._claims[sender] = Notifier()
        return self._uploads[sender]

    async def taken_over(self, sender: ParticipantId, claim: int) -> None:
        """Wait until a newer upload is claimed than the one with the number `claim`, and refuse that one."""
        if self._uploads[sender] == claim:
            await self._claims[sender].wait()
        raise ProtocolViolation("another call took over this upload", culprit=sender)

    async def receive_chunk(self, sender: ParticipantId, claim: int, chunk: Chunk) -> None:
        """`receive` for a chunk of the upload with the number `claim`."""
        await self._carry_out(partial(self._receive_chunk, sender, claim, chunk))

    async def upload_progress(self, sender: ParticipantId) -> int:
        """Chunks that arrived. An upload that seems to be under way is over: its connection broke."""
        await self.check_member(sender)
        self.claim_upload(sender)
        async with self._state:
            return self._engine.received_chunks(sender)

    async def abort(self, reason: AbortReason, message: str) -> None:
        """End the round without a sum, unless it is over."""
        if self.outcome is None:
            await self._carry_out(partial(self._abort, reason, message))

    # --- steps, each in a thread --------------------------------------------------------------------------------------

    def _join(self, sender: ParticipantId, keys: AdvertiseKeys, others: int, now: float) -> list[Event]:
        again = not others and self._engine.replaces(sender, keys)
        events = (self._engine.rejoin if again else self._engine.receive)(sender, keys, now)
        if events:
            self._left.pop(sender, None)
            self._journal.append((Rejoined if again else Received)(now, sender, keys))
        return events

    def _expect(self, participants: frozenset[ParticipantId], now: float) -> list[Event]:
        events = self._engine.expect(participants, now)
        if events:
            self._journal.append(Expected(now, participants))
        return events

    def _exclude(self, participants: frozenset[ParticipantId], now: float) -> list[Event]:
        events = self._engine.exclude(participants, now)
        if self.outcome is None:
            self._journal.append(Excluded(now, participants))
        return events

    def _receive(self, sender: ParticipantId, message: ParticipantMessage, now: float) -> list[Event]:
        if sender in self._left:
            raise NotInRoundError(f"{sender} left this round")
        events = self._engine.receive(sender, message, now)
        if isinstance(message, EncryptedInputChunk) and message.seed:  # accepted, so it is the first of its vector
            self._journal.append(SeedReceived(now, sender, message.seed))
        # Else a repeat, or a chunk that the spool has; or a good-bye after the end.
        if events or (isinstance(message, Leave) and self.outcome is None):
            self._journal.append(entry_of(now, sender, message))
        return events

    def _receive_chunk(self, sender: ParticipantId, claim: int, chunk: Chunk, now: float) -> list[Event]:
        if self._uploads[sender] != claim:
            raise ProtocolViolation("another call took over this upload", culprit=sender)
        return self._receive(sender, chunk, now)

    def _tick(self, now: float) -> list[Event]:
        events = self._engine.tick(now)
        if events:
            self._journal.append(DeadlinePassed(now))
        return events

    def _abort(self, reason: AbortReason, message: str, now: float) -> list[Event]:
        events = self._engine.abort(reason, message)
        if events:  # else the round ended while this step waited for its turn
            self._journal.append(Aborted(now, reason, message))
        return events

    def _perform(self, step: Step) -> tuple[float, list[Event], Outcome | None]:
        self._check_running()
        now, phase = self._clock(), self._engine.phase
        events = step(now)
        if self.outcome is not None:
            return now, events, self.outcome
        outcome = self._conclude()
        if outcome is not None:
            if self._charge is not None:
                self._charge.settle(outcome, phase)
            if not isinstance(outcome, RoundAborted):
                self.receipt = self._signer.sign(self._statement(outcome), now)
                self.certification = self._certification(outcome)
            self._journal.finish(outcome)
            self._engine.forget()
        return now, events, outcome

    def _conclude(self) -> Outcome | None:
        engine = self._engine
        if engine.failure is not None:
            return engine.failure
        if engine.aggregate is not None:
            return Released.of(engine.aggregate, self.config)
        if engine.delivered is not None:
            return Withheld(engine.delivered.survivors, engine.delivered.sums_digest)
        return None

    def _statement(self, outcome: Released | Withheld) -> Statement:
        return Statement.of(self._engine.round, self._engine.roster, outcome.survivors, outcome.digest)

    def _certification(self, outcome: Released | Withheld) -> Certification | None:
        if not self.config.certify:
            return None
        result = Result.of(self._engine.round, self._engine.roster, outcome.survivors, outcome.digest)
        return Certification(result, self._engine.finishers)

    # --- on the event loop --------------------------------------------------------------------------------------------

    async def _carry_out(self, step: Step) -> None:
        task = asyncio.create_task(self._alone(step))
        self._steps.add(task)
        task.add_done_callback(self._steps.discard)
        await asyncio.shield(task)

    async def _alone(self, step: Step) -> None:
        async with self._state:
            try:
                now, events, outcome = await asyncio.to_thread(self._perform, step)
            except (RemoteError, NotInRoundError, RoundAborted):
                raise  # refused: the state is what it was
            except Exception as error:  # a bug or a full disk: what the state is now, nobody knows
                self._log.error("round_broken", exception=plain_traceback())
                if self.outcome is None:  # what was released stays released
                    self._break(_told(error))
                raise self._failure(RoundAborted(AbortReason.INTERNAL, _told(error))) from error
            self.outcome = outcome
            self._publish(now, events)

    def _break(self, told: str = INTERNAL) -> None:
        failure = RoundAborted(AbortReason.INTERNAL, told)
        self._engine.abort(failure.reason, told)
        self.outcome = failure
        self._publish(self._clock(), [RoundFailed(failure)])

    def _publish(self, now: float, events: list[Event]) -> None:
        """Tell everyone, and set the clock for the phase that is open now."""
        digest = self.outcome.digest if isinstance(self.outcome, Released) else b""
        for event in events:
            self.events.append((now, watched(event, digest)))
            if isinstance(event, MessageAccepted):
                self._delivered.add((event.phase, event.participant))
            log_event(self._log, event)
        if not events:
            return
        self._news.notify()
        if any(isinstance(event, PhaseStarted | SumReady | SumDelivered | RoundFailed) for event in events):
            self._turned.notify()
            self._set_timer()
        if self.outcome is not None:
            self.encoded.clear()
            if self.certification is not None:
                time_limit = self.config.deadlines.consistency_check_s
                asyncio.get_running_loop().call_later(time_limit, self._close_certification, self.certification)
            self._on_end()

    def _close_certification(self, certification: Certification) -> None:
        certification.close()
        self._certified.notify()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.outcome is None:
            delay = max(0.0, self._engine.deadline - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._deadline_came)

    def _deadline_came(self) -> None:
        task = asyncio.create_task(self._on_deadline())
        self._steps.add(task)
        task.add_done_callback(self._steps.discard)

    async def _on_deadline(self) -> None:
        try:
            await self._alone(self._tick)
        except RoundAborted:
            return  # over already, or broken: told and logged
        except (
            RemoteError,
            NotInRoundError,
        ):  # nobody sent anything, so nobody is refused: a bug, and nobody would know
            self._log.error("round_broken", exception=plain_traceback())
            self._break()
            return
        self._set_timer()  # the wall clock may lag behind the loop's

    def _check_running(self) -> None:
        if isinstance(self.outcome, RoundAborted):
            raise self._failure(self.outcome)

    @staticmethod
    def _failure(failure: RoundAborted) -> RoundAborted:
        """A copy: an exception that is raised again and again would collect tracebacks without end."""
        return RoundAborted(failure.reason, str(failure), culprits=failure.culprits).accusing(failure.accused)


def _told(error: Exception) -> str:
    """What everybody may know of it."""
    return f"the sum is not released: {error}" if isinstance(error, LedgerError) else INTERNAL
