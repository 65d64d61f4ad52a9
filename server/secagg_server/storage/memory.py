"""A store in memory: a restart forgets everything but the privacy ledgers, where those are kept elsewhere."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

from secagg.context import RoundId
from secagg.encoding.packed import WordChunks
from secagg.messages import ParticipantId
from secagg.programs.ledgers.budgets import LedgerStore
from secagg.programs.ledgers.memory import MemoryLedgers
from secagg.rounds.releases import Release, ReleaseMemory
from secagg.rounds.uploads import Spool
from secagg.wire.strikes import Strike
from secagg_server.storage.records import Ended, Entry, Released, RoundRecord
from secagg_server.storage.store import Journal, KeptRound, LostRound
from secagg_server.storage.temporary import TemporarySpool


@dataclass(slots=True)
class MemoryJournal:
    """A journal that lives as long as the process."""

    record: RoundRecord
    spool: Spool = field(default_factory=TemporarySpool)
    entries: list[Entry] = field(default_factory=list)
    ended: Ended | None = None

    def append(self, entry: Entry) -> None:
        """Keep the entry in a list, which tests read."""
        self.entries.append(entry)

    def flush(self) -> None:
        """Nothing is safer than it was."""

    def finish(self, ended: Ended) -> Ended:
        """Keep the end, and none of the entries. The sum is packed in the memory that it has."""
        outcome = ended.outcome
        if isinstance(outcome, Released) and isinstance(outcome.payloads, WordChunks):
            ended = replace(ended, outcome=replace(outcome, payloads=outcome.payloads.in_place()))
        self.ended = ended
        self.entries.clear()
        return ended

    def break_off(self) -> None:
        """Keep none of the entries."""
        self.entries.clear()


class MemoryStore:
    """A store that lives as long as the process, but for its ledgers where they are kept elsewhere."""

    durable = False

    def __init__(self, remember_releases: int = 200, ledgers: LedgerStore | None = None) -> None:
        """Args:
        remember_releases: how many; the oldest is forgotten first.
        ledgers: in memory too if None.
        """
        self._releases = ReleaseMemory(remember_releases)
        self._lock = Lock()  # rounds claim in threads
        self.ledgers: LedgerStore = ledgers or MemoryLedgers()
        self.journals: dict[RoundId, MemoryJournal] = {}
        self._seen: Counter[tuple[ParticipantId, str]] = Counter()
        self._strikes: dict[tuple[ParticipantId, RoundId], Strike] = {}

    def open_rounds(self, records: Sequence[RoundRecord]) -> Sequence[Journal]:
        """Keep the rounds in `journals`, which tests read. Raises as the protocol says."""
        with self._lock:
            self._releases.check_new(record.round_id for record in records)
        made = {record.round_id: MemoryJournal(record) for record in records}
        self.journals |= made
        return list(made.values())

    def kept(self) -> Iterable[KeptRound | LostRound]:
        """An earlier process left nothing here."""
        return ()

    def fetched(self, round_id: RoundId) -> None:
        """Nobody will ask."""

    def forget_rounds(self, round_ids: Iterable[RoundId]) -> None:
        """Drop the journals of the rounds."""
        for round_id in round_ids:
            del self.journals[round_id]

    def claim_release(self, round_id: RoundId, release: Release) -> frozenset[ParticipantId]:
        """Claim in the memory of releases, one round at a time."""
        with self._lock:
            return self._releases.claim(round_id, release)

    def settle_release(self, round_id: RoundId, *, released: bool, may_be_open: bool) -> None:
        """Settle in the memory of releases."""
        with self._lock:
            self._releases.settle(round_id, released=released, may_be_open=may_be_open)

    def admits(self, question: tuple[bytes, str], participant: ParticipantId) -> bool:
        """Ask the memory of releases."""
        with self._lock:
            return self._releases.admits(question, participant)

    def strikes(self) -> Sequence[Strike]:
        """Those of this process."""
        return tuple(self._strikes.values())

    def strike(self, strike: Strike) -> None:
        """Keep it as long as the process lives."""
        self._strikes.setdefault((strike.participant, strike.round_id), strike)

    def forgive(self, participant: ParticipantId) -> None:
        """Drop what is kept of the participant."""
        self._strikes = {key: each for key, each in self._strikes.items() if each.participant != participant}

    def see_identity(self, participant: ParticipantId, fingerprint: str) -> bool:
        """Count the certificate; whether it is the first time."""
        self._seen[participant, fingerprint] += 1
        return self._seen[participant, fingerprint] == 1
