"""What a coordinator must not forget, and when it must know it for certain.

A round's state machine is deterministic: its record (configuration, time of opening, CA, seed of noise) and the journal
of what it took, in order and with times, give every event, roster, survivor set and sum again. So that is what a store
keeps. Nobody is told anything that follows from a step before what the step took is safe: a survivor set that a
participant saw can never come out differently after a crash.

A message that merely waits for its phase to close needs not be safe yet: its sender has no answer, and sends the same
bytes again. So `append` only keeps the order, and `flush` makes safe what was appended.

Whatever writes raises `StoreError` if the disk refuses. What was appended since the last flush is lost then or is not,
and nobody knows which: the round must be broken off.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from secagg.context import RoundId
from secagg.messages import ParticipantId
from secagg.programs.ledgers.budgets import LedgerStore
from secagg.rounds.releases import Release
from secagg.rounds.uploads import Spool
from secagg.wire.strikes import Strike
from secagg_server.storage.records import Ended, Entry, RoundRecord


class Journal(Protocol):
    """What is kept of one round.

    Attributes:
        spool: where chunks wait for the rest of their vector. What it took before a `flush` is what `InputProgress`
            acknowledges after it. A spool that outlives the process keeps what is taken until `finish`, and can be
            asked for it again, for the sum is then built again.
    """

    @property
    def spool(self) -> Spool:
        """Where chunks wait, as the class says."""
        ...

    def append(self, entry: Entry) -> None:
        """Keep what was taken behind what was taken before. It is safe after the next `flush`."""
        ...

    def flush(self) -> None:
        """Return when everything that was appended, and every chunk that the spool took, is safe."""
        ...

    def finish(self, ended: Ended) -> Ended:
        """Keep how the round ended, in one step with all that was appended; return when that is safe.

        Entries, vectors and the round's secrets are destroyed. What is appended later is kept until the round is
        forgotten: signatures under the result.

        Returns:
            The end as it is served from then on. The sum in it is where this journal keeps it; the words of the
            engine's sum may be overwritten.
        """
        ...

    def break_off(self) -> None:
        """The round failed, and how it went on must never be found out from this journal: it is lost at the next start.

        Needs no room on the disk. Raises `StoreError` only if not even that can be made safe.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeptRound:
    """A round that an earlier process left, whole.

    Attributes:
        record: its opening.
        journal: goes on where that of the earlier process stopped.
        entries: reads what is in the journal, oldest first; of a round that is over, what was appended after the end.
            Raises `StoreError` where something is damaged.
        ended: how it ended; None if it is open.
        fetched: whether somebody has its sum.
    """

    record: RoundRecord
    journal: Journal
    entries: Callable[[], Iterable[Entry]]
    ended: Ended | None
    fetched: bool = False


@dataclass(frozen=True, slots=True)
class LostRound:
    """A round that an earlier process left and nobody can go on with: it is damaged, or was broken off.

    Attributes:
        round_id: of the round.
        why: for people.
        record: its opening, if that can be read.
    """

    round_id: RoundId
    why: str
    record: RoundRecord | None = None


class Store(Protocol):
    """The coordinator's memory. Called from several threads, for one round never from two at once."""

    @property
    def durable(self) -> bool:
        """Whether rounds outlive the process."""
        ...

    @property
    def ledgers(self) -> LedgerStore:
        """What tasks spent of their privacy budgets."""
        ...

    def open_rounds(self, records: Sequence[RoundRecord]) -> Sequence[Journal]:
        """Keep new rounds, all of them or none, before an id is given out; a round in groups comes with its groups.

        Raises:
            ConfigError: a sum of an earlier round under one of the ids is on record.
        """
        ...

    def kept(self) -> Iterable[KeptRound | LostRound]:
        """What an earlier process left and nobody forgot, oldest first. Asked once, before any round is opened."""
        ...

    def fetched(self, round_id: RoundId) -> None:
        """Keep that somebody has the sum of the round."""
        ...

    def forget_rounds(self, round_ids: Iterable[RoundId]) -> None:
        """Keep nothing of these rounds any longer. Their released sums stay in memory, as `claim_release` says."""
        ...

    def claim_release(self, round_id: RoundId, release: Release) -> frozenset[ParticipantId]:
        """Check and keep, in one step, whose updates the round is about to release; `Claim` says what is returned.

        This is kept longer than the round itself, and is safe when it is returned. The very claim that is kept already
        is granted again: a round that is built again claims again.
        """
        ...

    def settle_release(self, round_id: RoundId, *, released: bool, may_be_open: bool) -> None:
        """Keep that the round is over, and whether its sum was released or may be known to somebody all the same."""
        ...

    def admits(self, question: tuple[bytes, str], participant: ParticipantId) -> bool:
        """Whether the participant may join a round with this question: a model's digest and a purpose."""
        ...

    def strikes(self) -> Sequence[Strike]:
        """Every strike that nobody forgave, oldest first."""
        ...

    def strike(self, strike: Strike) -> None:
        """Keep a strike, at once if the disk lets us; a second one of a participant in a round changes nothing."""
        ...

    def forgive(self, participant: ParticipantId) -> None:
        """Forget the strikes of a participant; that is safe when this returns."""
        ...

    def see_identity(self, participant: ParticipantId, fingerprint: str) -> bool:
        """Keep that a participant connected with the certificate of this SHA-256; True the first time."""
        ...
