"""A participant of a homomorphic round, in either custody."""

from dataclasses import dataclass
from typing import Any

from secagg.encoding.vector import IntegerVector
from secagg.homomorphic.vectors import Backend, OnceVector
from secagg.messages import (
    AdvertiseKeys,
    CoordinatorMessage,
    EncryptedInputChunk,
    PartialChunk,
    ParticipantMessage,
    SumChunk,
)
from secagg.rounds.membership import Membership
from secagg.rounds.session import Session, Turn, Waiting

Upload = OnceVector[EncryptedInputChunk] | OnceVector[PartialChunk] | OnceVector[SumChunk]
Reply = ParticipantMessage | Upload


@dataclass(frozen=True, slots=True)
class HomomorphicTurn(Turn):
    """What a state of a homomorphic round may use, too.

    Attributes:
        backend: does the encryption.
    """

    backend: Backend


class HomomorphicParticipant(Session[Reply | None]):
    """A session that keeps the vector under way, and forgets it as soon as it has arrived.

    A partial decryption leaves once: its state is given up before it is made.
    """

    def __init__(
        self,
        membership: Membership,
        first: Waiting,
        advertisement: AdvertiseKeys,
        vector: IntegerVector | None,
        *,
        order: tuple[type[Any], ...],
        backend: Backend,
    ) -> None:
        """Args:
        membership: ours in the round.
        first: the state in which the roster is awaited, or any later one that was restored.
        advertisement: what we send first.
        vector: the encoded update; `membership.round.config.vector_len` coordinates. None if it comes later, by
            `provide`.
        order: the states of the custody, in order.
        backend: does the encryption.
        """
        super().__init__(membership, first, advertisement, vector, order=order)
        self._backend = backend
        self._upload: Upload | None = None  # under way, or arrived

    def abort(self) -> None:
        """Give up the upload, too."""
        super().abort()
        self._forget_upload()

    def leave_to_saved(self) -> None:
        """Give up the upload, too: what was not sent by now never is."""
        super().leave_to_saved()
        self._forget_upload()

    def receive(self, message: CoordinatorMessage, now: float) -> Reply | None:
        """As `Session.receive`: None if nothing is left to do. What closes a phase says that its vector arrived."""
        self._forget_upload()
        reply = super().receive(message, now)
        if isinstance(reply, OnceVector):
            self._upload = reply
        return reply

    def _turn(self, now: float) -> HomomorphicTurn:
        """With the backend."""
        return HomomorphicTurn(now, self._vector, self._own_model, self._order, self._backend)

    def _forget_upload(self) -> None:
        if self._upload is not None:
            self._upload.forget()
            self._upload = None
