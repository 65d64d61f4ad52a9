"""A participant of a homomorphic round, in either custody."""

from typing import TypeVar

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
from secagg.rounds.session import Session, Waiting

Upload = OnceVector[EncryptedInputChunk] | OnceVector[PartialChunk] | OnceVector[SumChunk]
Reply = ParticipantMessage | Upload
StateT = TypeVar("StateT", bound=Waiting)


class HomomorphicParticipant(Session[StateT, Reply | None]):
    """A session that keeps the vector under way, and forgets it as soon as it has arrived.

    A partial decryption leaves once: its state is given up before it is made.
    """

    def __init__(
        self,
        membership: Membership,
        first: StateT,
        advertisement: AdvertiseKeys,
        vector: IntegerVector,
        backend: Backend,
    ) -> None:
        """Args:
        membership: ours in the round.
        first: the state in which the roster is awaited.
        advertisement: what we send first.
        vector: the encoded update; `membership.round.config.vector_len` coordinates.
        backend: does the encryption.
        """
        super().__init__(membership, first, advertisement)
        self._vector = vector
        self._backend = backend
        self._upload: Upload | None = None  # under way, or arrived

    def abort(self) -> None:
        """Give up the upload, too."""
        super().abort()
        self._forget_upload()

    def receive(self, message: CoordinatorMessage, now: float) -> Reply | None:
        """As `Session.receive`: None if nothing is left to do. What closes a phase says that its vector arrived."""
        self._forget_upload()
        reply = super().receive(message, now)
        if isinstance(reply, OnceVector):
            self._upload = reply
        return reply

    def _forget_upload(self) -> None:
        if self._upload is not None:
            self._upload.forget()
            self._upload = None
