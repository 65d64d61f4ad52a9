"""What a participant keeps of its rounds between two messages, in a process that answers all of them."""

from dataclasses import dataclass
from typing import Protocol

from secagg.context import RoundId
from secagg.encoding.arrays import FloatArray
from secagg.lattice.jobs import Job
from secagg.messages import ParticipantId
from secagg.schemes import Participant
from secagg_client.carried.terms import CarriedTerms
from secagg_client.participation.feedback import Feedback, Residual
from secagg_client.participation.results import Offer
from secagg_client.participation.terms import ClosableBackend


class LazyBackend:
    """A backend that is started when it is used for the first time: most messages of a round need none."""

    def __init__(self, terms: CarriedTerms, started: ClosableBackend | None = None) -> None:
        """Args:
        terms: say how it is started.
        started: one that was started already.
        """
        self._terms = terms
        self._backend = started

    def do(self, job: Job) -> bytes:
        """The answer to a job, as `Backend.do`."""
        if self._backend is None:
            self._backend = self._terms.backend()
        return self._backend.do(job)

    def close(self) -> None:
        """Give back what it holds, if it was started."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None


@dataclass(frozen=True, slots=True)
class Pending:
    """What becomes of an update with feedback that was handed in, once we hear how the round ended.

    Attributes:
        residual: what was carried into it.
        lost: float32[schema.size], what it lost.
    """

    residual: Residual
    lost: FloatArray


@dataclass(slots=True)
class Seat:
    """Our part in one round.

    Attributes:
        offer: the round.
        participant: the state machine; None once all that was asked for was sent.
        backend: what encrypts and decrypts.
        pending: where the round's encoding has feedback and our input was sent.
        counted: whether we were told who is in the sum, and helped to open it.
    """

    offer: Offer
    participant: Participant | None
    backend: LazyBackend
    pending: Pending | None = None
    counted: bool = False

    def end(self) -> None:
        """Forget the secrets, and give back what is held."""
        if self.participant is not None:
            self.participant.abort()
        self.backend.close()


class Seats(Protocol):
    """Our rounds that are under way, or ended without that we heard how."""

    def join(self, round_id: RoundId, name: ParticipantId) -> None:
        """Record that we take part in a round, before our first message leaves.

        Raises:
            LocalError: we did before.
        """
        ...

    def oldest_first(self) -> list[RoundId]:
        """Our rounds, those first that were not heard of for longest."""
        ...

    def take(self, round_id: RoundId) -> Seat | None:
        """Our part in a round, which is not kept here until `keep`. None if there is none.

        Raises:
            SavedStateError: what was kept cannot be used.
        """
        ...

    def keep(self, seat: Seat) -> None:
        """Keep our part in a round until its next message.

        Raises:
            LocalError: it cannot be kept.
        """
        ...

    def feedback(self, offer: Offer) -> Feedback:
        """What earlier rounds of the task of a round lost.

        Raises:
            SavedStateError: what was kept cannot be used; it is forgotten.
        """
        ...

    def close(self) -> None:
        """All messages of this exchange are answered: keep what feedback holds."""
        ...


class SeatsInMemory:
    """Our rounds in a process that answers all messages."""

    def __init__(self, terms: CarriedTerms) -> None:
        self._terms = terms
        self._seats: dict[RoundId, Seat] = {}

    def join(self, round_id: RoundId, name: ParticipantId) -> None:
        """Remember the round for as long as the process lives."""
        del name
        self._terms.seen.claim(round_id)

    def oldest_first(self) -> list[RoundId]:
        """As `Seats.oldest_first`."""
        return list(self._seats)

    def take(self, round_id: RoundId) -> Seat | None:
        """As `Seats.take`."""
        return self._seats.pop(round_id, None)

    def keep(self, seat: Seat) -> None:
        """Keep it as it is."""
        self._seats[seat.offer.round_id] = seat

    def feedback(self, offer: Offer) -> Feedback:
        """That of our terms."""
        del offer
        return self._terms.feedback

    def close(self) -> None:
        """Nothing is left to do."""
