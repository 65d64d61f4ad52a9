"""What a coordinator must not forget, and when it must know it for certain.

A round's state machine is deterministic: the configuration, the time of opening and the journal of what it took, in
order and with times, give every event, roster, survivor set and sum again. So that is what a store keeps. Each method
returns only when what it was given is safe, and nobody is answered before: a survivor set that a participant saw can
never come out differently after a crash.
"""

from typing import Protocol

from secagg.context import RoundId
from secagg.messages import ParticipantId
from secagg.programs.ledgers.budgets import LedgerStore
from secagg.rounds.releases import Release
from secagg.rounds.uploads import Spool
from secagg_server.storage.records import Entry, Outcome, RoundRecord


class Journal(Protocol):
    """What is kept of one round.

    Attributes:
        spool: where chunks wait for the rest of their vector. What `append` took is what `InputProgress` acknowledges.
            A spool that outlives the process keeps what is taken until `finish`, for the sum is then built again.
    """

    @property
    def spool(self) -> Spool:
        """Where chunks wait, as the class says."""
        ...

    def append(self, entry: Entry) -> None:
        """Keep what was taken, before any answer that follows from it."""
        ...

    def finish(self, outcome: Outcome) -> Outcome:
        """Keep how the round ended, before anyone is told. Entries and vectors are no longer needed.

        Returns:
            The same outcome as it is read from now on. The sum in it is where this journal keeps it; the words of the
            engine's sum may be overwritten.
        """
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
        """Keep nothing of the round any longer."""
        ...

    def claim_release(self, round_id: RoundId, release: Release) -> frozenset[ParticipantId]:
        """Check and keep, in one step, whose updates the round is about to release; `Claim` says what is returned.

        This is kept longer than the round itself.
        """
        ...

    def settle_release(self, round_id: RoundId, *, released: bool, may_be_open: bool) -> None:
        """Keep that the round is over, and whether its sum was released or may be known to somebody all the same."""
        ...

    def admits(self, question: tuple[bytes, str], participant: ParticipantId) -> bool:
        """Whether the participant may join a round with this question: a model's digest and a purpose."""
        ...

    def see_identity(self, participant: ParticipantId, fingerprint: str) -> bool:
        """Keep that a participant connected with the certificate of this SHA-256; True the first time."""
        ...
