"""The steps of a round's engine, each written into the journal before anyone is told of it.

What the journal holds is enough to make the same steps again: every message and event that changed the engine, in order
and with times. Steps run in threads, one at a time.

**What is safe when.** A step appends what it took, and `flush` makes that safe. A message that merely waits for its
phase to close is not flushed: its sender has no answer, and sends the same bytes again after a crash. Whatever else a
step took, `flush_due` flushes before anybody hears of the step. Who answers something that follows from a waiting
message calls `flush` itself. What the audit log says of a step is written once the journal has the step, and before
anybody hears of it.
"""

from collections.abc import Collection, Iterable

from secagg.errors import AbortReason, RoundAborted
from secagg.events import Event, MessageAccepted
from secagg.messages import (
    AdvertiseKeys,
    EncryptedInputChunk,
    Leave,
    ParticipantId,
    ParticipantMessage,
)
from secagg.receipts import Statement
from secagg.rounds.certification import Certification, Result
from secagg.rounds.engine import Engine
from secagg.rounds.finished import FinishedRound, LastAnswers
from secagg_server.audit.rounds import RoundAudit
from secagg_server.storage.records import (
    Aborted,
    DeadlinePassed,
    Ended,
    Entry,
    Excluded,
    Expected,
    Outcome,
    Received,
    Rejoined,
    Released,
    SeedReceived,
    UploadCompleted,
    Withheld,
    entry_of,
)
from secagg_server.storage.store import Journal


def waits(entry: Entry, events: Iterable[Event]) -> bool:
    """Whether nothing follows from what was taken, for anybody, before its phase is closed."""
    message = isinstance(entry, Received | UploadCompleted | SeedReceived)
    leaves = isinstance(entry, Received) and isinstance(entry.message, Leave)
    return message and not leaves and all(isinstance(event, MessageAccepted) for event in events)


class JournalledEngine:
    """An engine together with its journal and its audit. Times are in seconds since 1970."""

    def __init__(self, engine: Engine | FinishedRound, journal: Journal, audit: RoundAudit) -> None:
        self._engine = engine
        self._journal = journal
        self._audit = audit
        self._due = False  # something was appended that must be safe before anyone hears of it
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
        events = self._engine.receive(sender, message, now)
        if isinstance(message, EncryptedInputChunk) and message.seed:  # accepted, so it is the first of its vector
            self._append(SeedReceived(now, sender, message.seed), ())
        # Without an event it was a repeat, a chunk that the spool has, or a Leave. A Leave after the end is not kept.
        if events or (isinstance(message, Leave) and not self._over):
            self._append(entry_of(now, sender, message), events)
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

    def _append(self, entry: Entry, events: Collection[Event]) -> None:
        self._due = self._due or not waits(entry, events)
        self._journal.append(entry)
        self._audit.took(entry, events)

    def flush_due(self) -> None:
        """Return when everything is safe that somebody may hear of now."""
        if self._due:
            self.flush()

    def flush(self) -> None:
        """Return when every step so far is safe."""
        self._journal.flush()
        self._audit.write()
        self._due = False

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
