"""The steps of a round's engine, each written into the journal before anyone is told of it.

What the journal holds is enough to make the same steps again: the configuration, the time of opening, and every message
and event that changed the engine, in order and with times. Steps run in threads, one at a time.
"""

from secagg.errors import AbortReason
from secagg.events import Event
from secagg.messages import AdvertiseKeys, EncryptedInputChunk, Leave, ParticipantId, ParticipantMessage
from secagg.receipts import Statement
from secagg.rounds.certification import Certification, Result
from secagg.rounds.engine import Engine
from secagg_server.storage.records import (
    Aborted,
    DeadlinePassed,
    Excluded,
    Expected,
    Outcome,
    Received,
    Rejoined,
    Released,
    SeedReceived,
    Withheld,
    entry_of,
)
from secagg_server.storage.store import Journal


class JournalledEngine:
    """An engine together with its journal. Times are in seconds since 1970."""

    def __init__(self, engine: Engine, journal: Journal) -> None:
        self._engine = engine
        self._journal = journal
        self._over = False  # the end is in the journal

    def join(self, sender: ParticipantId, keys: AdvertiseKeys, now: float, *, alone: bool) -> list[Event]:
        """Take keys. Those of a new process replace earlier ones if `alone`: no other process of the sender waits."""
        again = alone and self._engine.replaces(sender, keys)
        events = (self._engine.rejoin if again else self._engine.receive)(sender, keys, now)
        if events:
            self._journal.append((Rejoined if again else Received)(now, sender, keys))
        return events

    def receive(self, sender: ParticipantId, message: ParticipantMessage, now: float) -> list[Event]:
        """Take any other message, or a chunk of a vector."""
        events = self._engine.receive(sender, message, now)
        if isinstance(message, EncryptedInputChunk) and message.seed:  # accepted, so it is the first of its vector
            self._journal.append(SeedReceived(now, sender, message.seed))
        # Without an event it was a repeat, a chunk that the spool has, or a Leave. A Leave after the end is not kept.
        if events or (isinstance(message, Leave) and not self._over):
            self._journal.append(entry_of(now, sender, message))
        return events

    def expect(self, participants: frozenset[ParticipantId], now: float) -> list[Event]:
        """Take from the FL server who will come."""
        events = self._engine.expect(participants, now)
        if events:
            self._journal.append(Expected(now, participants))
        return events

    def exclude(self, participants: frozenset[ParticipantId], now: float) -> list[Event]:
        """Take from the FL server who is gone."""
        events = self._engine.exclude(participants, now)
        if not self._over:
            self._journal.append(Excluded(now, participants))
        return events

    def tick(self, now: float) -> list[Event]:
        """Close the open phase if its time is over."""
        events = self._engine.tick(now)
        if events:
            self._journal.append(DeadlinePassed(now))
        return events

    def abort(self, reason: AbortReason, message: str, now: float) -> list[Event]:
        """End the round from outside, unless it ended while this step waited for its turn."""
        events = self._engine.abort(reason, message)
        if events:
            self._journal.append(Aborted(now, reason, message))
        return events

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

    def finish(self, outcome: Outcome) -> Outcome:
        """Write the end into the journal, and forget the secrets. The outcome as it is read from now on."""
        kept = self._journal.finish(outcome)
        self._over = True
        self._engine.forget()
        return kept
