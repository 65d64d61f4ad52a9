"""The steps of a round's engine, each written into the journal before anyone is told of it.

What the journal holds is enough to make the same steps again: every message and event that changed the engine, in order
and with times. Steps run in threads, one at a time.

**What is safe when.** A step appends what it took, and `flush` makes that safe. A message that merely waits for its
phase to close is not flushed: its sender has no answer, and sends the same bytes again after a crash. Whatever else a
step took, `flush_due` flushes before anybody hears of the step. Who answers something that follows from a waiting
message calls `flush` itself. What the audit log says of a step is written once the journal has the step, and before
anybody hears of it.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import assert_never

from secagg.errors import AbortReason, LocalError, NotInRoundError, RemoteError, RoundAborted, StoreError
from secagg.events import Event, MessageAccepted
from secagg.messages import (
    AdvertiseKeys,
    EncryptedInputChunk,
    Index,
    Leave,
    ParticipantId,
    ParticipantMessage,
    Phase,
)
from secagg.receipts import Statement
from secagg.rounds.certification import Certification, Result
from secagg.rounds.doors import Door
from secagg.rounds.engine import Engine
from secagg.rounds.finished import FinishedRound, LastAnswers
from secagg.rounds.uploads import Spool
from secagg_server.audit.rounds import RoundAudit
from secagg_server.storage.records import (
    Aborted,
    Assigned,
    Certified,
    DeadlinePassed,
    DoorLost,
    Ended,
    Entry,
    Excluded,
    Expected,
    InputHeld,
    Outcome,
    Received,
    Rejoined,
    Released,
    Resumed,
    SeedReceived,
    UploadCompleted,
    Withheld,
    WrongShareRefused,
    entry_of,
)
from secagg_server.storage.store import Journal


def waits(entry: Entry, events: Iterable[Event]) -> bool:
    """Whether nothing follows from what was taken, for anybody, before its phase is closed."""
    message = isinstance(entry, Received | UploadCompleted | SeedReceived | InputHeld)
    leaves = isinstance(entry, Received) and isinstance(entry.message, Leave)
    return message and not leaves and all(isinstance(event, MessageAccepted) for event in events)


def _may_be_silent(entry: Entry) -> bool:
    """Whether the step may have been written down although no event came of it."""
    leaves = isinstance(entry, Received) and isinstance(entry.message, Leave)
    return leaves or isinstance(entry, SeedReceived | Excluded | WrongShareRefused | Resumed | DoorLost)


class RoundSpool:
    """The spool of a journal as the engine sees it. While steps are made again, what it is given is there already.

    Attributes:
        writes: whether chunks are new.
    """

    def __init__(self, spool: Spool, *, writes: bool) -> None:
        self.writes = writes
        self._spool = spool

    def append(self, phase: Phase, owner: Index, payload: bytes) -> None:
        """Keep the chunk, if it is new."""
        if self.writes:
            self._spool.append(phase, owner, payload)

    def take(self, phase: Phase, owner: Index) -> Iterator[bytes]:
        """The owner's chunks, in order."""
        return self._spool.take(phase, owner)

    def cut(self, phase: Phase, owner: Index, chunks: int) -> None:
        """Forget what the owner has behind the first `chunks`."""
        self._spool.cut(phase, owner, chunks)


class JournalledEngine:
    """An engine together with its journal and its audit. Times are in seconds since 1970."""

    def __init__(self, engine: Engine | FinishedRound, journal: Journal, audit: RoundAudit, spool: RoundSpool) -> None:
        """Args:
        engine: with the spool.
        journal: of the round.
        audit: writes into the audit log.
        spool: that of the journal, as the engine sees it.
        """
        self._engine = engine
        self._journal = journal
        self._audit = audit
        self._spool = spool
        self._seeds: dict[ParticipantId, bytes] = {}  # of the first chunks of inputs, while steps are made again
        self._due = False  # something was appended that must be safe before anyone hears of it
        self._safe = True  # everything that was appended
        self._over = False  # the end is in the journal

    def join(self, sender: ParticipantId, keys: AdvertiseKeys, now: float, *, alone: bool) -> list[Event]:
        """Take keys. Those of a new process replace earlier ones if `alone`: no other process of the sender waits."""
        again = alone and self._engine.replaces(sender, keys)
        events = (self._engine.rejoin if again else self._engine.receive)(sender, keys, now)
        if events:
            self._append((Rejoined if again else Received)(now, sender, keys), events)
        return events

    def receive(self, sender: ParticipantId, message: ParticipantMessage, now: float) -> list[Event]:
        """Take any other message, or a chunk of a vector."""
        known = sender in self._engine.wrong_holders
        try:
            events = self._engine.receive(sender, message, now)
        except RemoteError:
            if not known and sender in self._engine.wrong_holders:  # all that a refused message leaves behind
                owner, _ = self._engine.wrong_holders[sender].conflicts[0]
                self._append(WrongShareRefused(now, sender, owner), ())
                self.flush()
            raise
        if isinstance(message, EncryptedInputChunk) and message.seed:  # accepted, so it is the first of its vector
            self._append(SeedReceived(now, sender, message.seed), ())
        # Without an event it was a repeat, a chunk that the spool has, or a Leave. A Leave after the end is not kept.
        if events or (isinstance(message, Leave) and not self._over):
            self._append(entry_of(now, sender, message), events)
        return events

    def hold(self, sender: ParticipantId, door: Door, now: float) -> list[Event]:
        """Take it that the sender's whole vector is at that door."""
        events = self._engine.hold(sender, door, now)
        if events:
            self._append(InputHeld(now, sender, door), events)
        return events

    def lose_door(self, door: Door, now: float) -> list[Event]:
        """Do without what that door holds."""
        if door not in self._engine.doors:
            return []
        events = self._engine.lose(door, now)
        self._append(DoorLost(now, door), events)
        return events

    def expect(self, participants: frozenset[ParticipantId], now: float) -> list[Event]:
        """Take from the FL server who will come."""
        events = self._engine.expect(participants, now)
        if events:
            self._append(Expected(now, participants), events)
        return events

    def exclude(self, participants: frozenset[ParticipantId], now: float) -> list[Event]:
        """Take from the FL server who is gone."""
        events = self._engine.exclude(participants, now)
        if not self._over:
            self._append(Excluded(now, participants), events)
        return events

    def tick(self, now: float) -> list[Event]:
        """Close the open phase if its time is over."""
        events = self._engine.tick(now)
        if events:
            self._append(DeadlinePassed(now), events)
        return events

    def abort(self, reason: AbortReason, message: str, now: float) -> list[Event]:
        """End the round from outside, unless it ended while this step waited for its turn."""
        events = self._engine.abort(reason, message)
        if events:
            self._append(Aborted(now, reason, message), events)
        return events

    def resume(self, now: float) -> list[Event]:
        """Give the open phase its time anew: the coordinator was away."""
        events = self._engine.resume(now)
        self._append(Resumed(now), events)
        return events

    def replay(self, entry: Entry) -> list[Event]:
        """Make the step again that an earlier process wrote down. Nothing is written.

        Raises:
            StoreError: the entry cannot have been written here.
        """
        try:
            events = self._replayed(entry)
        except (RemoteError, NotInRoundError, RoundAborted, LocalError) as error:
            raise StoreError(f"its journal does not fit together: {error}") from error
        if not events and not _may_be_silent(entry):  # check: replay-fits
            raise StoreError("its journal does not fit together: a step that was written down brings nothing about")
        self._audit.took(entry, events)
        return events

    def _replayed(self, entry: Entry) -> list[Event]:  # noqa: PLR0911, PLR0912, one for each kind
        engine = self._engine
        match entry:
            case Received(at, sender, message):
                return engine.receive(sender, message, at)
            case SeedReceived(_, sender, seed):
                self._seeds[sender] = seed
                return []
            case UploadCompleted(at, sender, phase):
                return self._take_again(at, sender, phase)
            case InputHeld(at, sender, door):
                return engine.hold(sender, door, at)
            case DoorLost(at, door):
                return engine.lose(door, at)
            case DeadlinePassed(at):
                return engine.tick(at)
            case Rejoined(at, sender, keys):
                return engine.rejoin(sender, keys, at)
            case Expected(at, participants):
                return engine.expect(participants, at)
            case Excluded(at, participants):
                return engine.exclude(participants, at)
            case Aborted(_, reason, message):
                return engine.abort(reason, message)
            case WrongShareRefused(_, sender, owner):
                engine.remember_wrong_share(owner, sender)
                return []
            case Resumed(at):
                return engine.resume(at)
            case Assigned() | Certified():
                raise StoreError("its journal has an entry of another kind of round")
            case _:
                assert_never(entry)

    def _take_again(self, at: float, sender: ParticipantId, phase: Phase) -> list[Event]:
        _, owners = self._engine.uploads_under_way()
        if sender not in owners:
            raise StoreError(f"its journal has a vector of {sender} that nobody waited for")
        payloads = self._spool.take(phase, owners[sender])
        events = self._engine.take_again(sender, phase, payloads, at, seed=self._seeds.get(sender, b""))
        if not events:
            raise StoreError(f"chunks of the vector of {sender} are missing")
        return events

    def catch_up(self, now: float) -> None:
        """Take what is kept of vectors that are not whole: there their senders go on. The last chunk of each is left to
        its sender: what it brings about was not written down.
        """
        phase, seeds = self._engine.phase, self._seeds
        chunks, owners = self._engine.uploads_under_way()
        if phase is None:
            return
        for sender, owner in owners.items():
            payloads = islice(self._spool.take(phase, owner), chunks - 1)
            with suppress(RemoteError):  # of a vector whose first chunk was not written down
                self._engine.take_again(sender, phase, payloads, now, seed=seeds.get(sender, b""))
            self._spool.cut(phase, owner, self._engine.received_chunks(sender))

    def go_on(self) -> None:
        """From now on steps are written down again."""
        self._spool.writes = True

    def _append(self, entry: Entry, events: Collection[Event]) -> None:
        self._due = self._due or not waits(entry, events)
        self._safe = False
        self._journal.append(entry)
        self._audit.took(entry, events)

    @property
    def safe(self) -> bool:
        """Whether every step so far is."""
        return self._safe

    def flush_due(self) -> None:
        """Return when everything is safe that somebody may hear of now."""
        if self._due:
            self.flush()

    def flush(self) -> None:
        """Return when every step so far is safe."""
        self._journal.flush()
        self._audit.write()
        self._due, self._safe = False, True

    def outcome(self) -> Outcome | None:
        """How the round ended, as far as the engine knows; None while it runs."""
        engine = self._engine
        if engine.failure is not None:
            return engine.failure
        if engine.aggregate is not None:
            return Released.of(engine.aggregate, engine.round.config)
        if engine.delivered is not None:
            return Withheld(engine.delivered.survivors, engine.delivered.sums_digest)
        return None

    def statement(self, outcome: Released | Withheld) -> Statement:
        """What the receipt of this outcome says."""
        return Statement.of(self._engine.round, self._engine.roster, outcome.survivors, outcome.digest)

    def certification(self, outcome: Released | Withheld) -> Certification | None:
        """What collects the survivors' signatures under this outcome, if the configuration asks for them."""
        if not self._engine.round.config.certify:
            return None
        result = Result.of(self._engine.round, self._engine.roster, outcome.survivors, outcome.digest)
        return Certification(result, self._engine.finishers)

    def finish(self, ended: Ended) -> Ended:
        """Write the end into the journal, and forget the secrets; the end as it is served from then on.

        The audit log has it first: from an end that is kept, what led to it cannot be told again.
        """
        if self._audit.written:
            self._journal.flush()
            self._audit.ended(ended, known=self._engine.may_be_open or ended.opened)
            self._audit.write()
        kept = self._journal.finish(ended)
        self._over = True
        self._engine.forget()
        return kept

    def last_answers(self, outcome: Outcome) -> LastAnswers | None:
        """What participants may still ask of the round, if it has a sum."""
        return None if isinstance(outcome, RoundAborted) else self._engine.last_answers()

    def break_off(self) -> None:
        """Make sure that nobody goes on with the round."""
        self._journal.break_off()
