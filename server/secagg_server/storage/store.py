"""What a coordinator must not forget, and when it must know it for certain.

A round's state machine is deterministic: the configuration, the time of opening and the journal of what it took, in
order and with times, give every event, roster, survivor set and sum again. So that is what a store keeps. Each method
returns only when what it was given is safe, and nobody is answered before: a survivor set that a participant saw can
never come out differently after a crash.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from secagg.context import RoundId
from secagg.errors import AbortReason, RoundAborted
from secagg.messages import (
    AdvertiseKeys,
    EncryptedInputChunk,
    MaskedInputChunk,
    PartialChunk,
    ParticipantId,
    ParticipantMessage,
    SumChunk,
)
from secagg.phases import SENT_IN, Phase
from secagg.privacy import ledger
from secagg.rounds.releases import Release, ReleaseMemory
from secagg.rounds.uploads import MemorySpool, Spool
from secagg.wire.results import PackedAggregate


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """An opened round. `opened_s` is in seconds since 1970."""

    round_id: RoundId
    config_bytes: bytes
    opened_s: float


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was accepted. An `Unmask` holds secrets: a store that outlives the process seals it."""

    time_s: float
    sender: ParticipantId
    message: ParticipantMessage


@dataclass(frozen=True, slots=True)
class UploadCompleted:
    """The sender's last chunk was accepted; its chunks are in the spool, and there alone."""

    time_s: float
    sender: ParticipantId
    phase: Phase


@dataclass(frozen=True, slots=True)
class SeedReceived:
    """The first chunk of an input under a dealt key was accepted; its payload is in the spool, `seed` (of c1, 16 bytes,
    public) is nowhere else.
    """

    time_s: float
    sender: ParticipantId
    seed: bytes


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The open phase was closed by the clock."""

    time_s: float


@dataclass(frozen=True, slots=True)
class Rejoined:
    """Keys of a new process of the sender took the place of those of an earlier one."""

    time_s: float
    sender: ParticipantId
    message: AdvertiseKeys


@dataclass(frozen=True, slots=True)
class Expected:
    """The FL server said who will come."""

    time_s: float
    participants: frozenset[ParticipantId]


@dataclass(frozen=True, slots=True)
class Excluded:
    """The FL server said who is gone."""

    time_s: float
    participants: frozenset[ParticipantId]


@dataclass(frozen=True, slots=True)
class Aborted:
    """The round was ended from outside."""

    time_s: float
    reason: AbortReason
    message: str


Entry = Received | UploadCompleted | SeedReceived | DeadlinePassed | Rejoined | Expected | Excluded | Aborted


def entry_of(time_s: float, sender: ParticipantId, message: ParticipantMessage) -> Received | UploadCompleted:
    """How an accepted message is kept."""
    if isinstance(message, MaskedInputChunk | EncryptedInputChunk | PartialChunk | SumChunk):
        return UploadCompleted(time_s, sender, SENT_IN[type(message)])
    return Received(time_s, sender, message)


@dataclass(frozen=True, slots=True)
class Withheld:
    """A round whose sum the participants decrypted and the coordinator never knew."""

    survivors: tuple[str, ...]
    digest: bytes


Released = PackedAggregate
"""A round's sum, as everyone who may have it gets it."""

Outcome = Released | Withheld | RoundAborted


class Journal(Protocol):
    """One round's memory.

    Attributes:
        spool: where chunks wait for the rest of their vector. What `append` took is what `InputProgress` acknowledges.
            A spool that outlives the process keeps what is taken until `finish`, for the sum is then built again.
    """

    @property
    def spool(self) -> Spool:
        """See above."""
        ...

    def append(self, entry: Entry) -> None:
        """Keep what was taken, before any answer that follows from it."""
        ...

    def finish(self, outcome: Outcome) -> None:
        """Keep how the round ended, before anyone is told. Entries and vectors are no longer needed."""
        ...


class LedgerStore(ledger.LedgerStore, Protocol):
    """Where privacy ledgers are kept. Called from several threads, never from two at once."""

    @property
    def durable(self) -> bool:
        """Whether they outlive the process."""
        ...


class Store(Protocol):
    """The coordinator's memory. Called from several threads, for one round never from two at once."""

    @property
    def ledgers(self) -> LedgerStore:
        """What tasks spent of their privacy budgets."""
        ...

    def open_round(self, record: RoundRecord) -> Journal:
        """Keep a new round, before its id is given out."""
        ...

    def forget_round(self, round_id: RoundId) -> None:
        """Keep it no longer."""
        ...

    def claim_release(self, round_id: RoundId, release: Release) -> frozenset[ParticipantId]:
        """See `Claim`: check and keep, in one step, whose updates the round is about to release, longer than the round
        itself.
        """
        ...

    def settle_release(self, round_id: RoundId, *, released: bool, may_be_open: bool) -> None:
        """The round is over. See `ReleaseMemory.settle`."""
        ...

    def admits(self, question: tuple[bytes, str], participant: ParticipantId) -> bool:
        """See `ReleaseMemory.admits`."""
        ...

    def see_identity(self, participant: ParticipantId, fingerprint: str) -> bool:
        """Keep that a participant connected with the certificate of this SHA-256; True the first time."""
        ...


@dataclass(slots=True)
class MemoryJournal:
    """A journal that lives as long as the process."""

    record: RoundRecord
    spool: Spool = field(default_factory=MemorySpool)
    entries: list[Entry] = field(default_factory=list)
    outcome: Outcome | None = None

    def append(self, entry: Entry) -> None:
        """See `Journal`."""
        self.entries.append(entry)

    def finish(self, outcome: Outcome) -> None:
        """See `Journal`."""
        self.outcome = outcome
        self.entries.clear()


class MemoryLedgers:
    """Ledgers that live as long as the process."""

    durable = False

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[bytes, ...], ledger.Head]] = {}

    def read(self, task: str) -> tuple[Sequence[bytes], ledger.Head | None]:
        """See `LedgerStore`."""
        return self._kept.get(task, ((), None))

    def append(self, task: str, entry: bytes, head: ledger.Head) -> None:
        """See `LedgerStore`."""
        self._kept[task] = ((*self.read(task)[0], entry), head)


class MemoryStore:
    """A store that lives as long as the process, but for its ledgers where they are kept elsewhere."""

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

    def open_round(self, record: RoundRecord) -> Journal:
        """See `Store`."""
        self.journals[record.round_id] = MemoryJournal(record)
        return self.journals[record.round_id]

    def forget_round(self, round_id: RoundId) -> None:
        """See `Store`."""
        del self.journals[round_id]

    def claim_release(self, round_id: RoundId, release: Release) -> frozenset[ParticipantId]:
        """See `Store`."""
        with self._lock:
            return self._releases.claim(round_id, release)

    def settle_release(self, round_id: RoundId, *, released: bool, may_be_open: bool) -> None:
        """See `Store`."""
        with self._lock:
            self._releases.settle(round_id, released=released, may_be_open=may_be_open)

    def admits(self, question: tuple[bytes, str], participant: ParticipantId) -> bool:
        """See `Store`."""
        with self._lock:
            return self._releases.admits(question, participant)

    def see_identity(self, participant: ParticipantId, fingerprint: str) -> bool:
        """See `Store`."""
        self._seen[participant, fingerprint] += 1
        return self._seen[participant, fingerprint] == 1
