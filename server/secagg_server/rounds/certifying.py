"""Survivors' signatures under the result of a round, while their calls wait for each other's."""

from collections.abc import Iterable

from secagg.errors import ProtocolViolation
from secagg.messages import ConsistencyProof, ParticipantId
from secagg.rounds.certification import Certification
from secagg_server.notifier import Notifier


class Certifying:
    """Collects the signatures of one round.

    Attributes:
        certification: what collects the signatures, once the round has a sum, where its configuration asks for them.
    """

    def __init__(self) -> None:
        self.certification: Certification | None = None
        self._changed = Notifier()

    async def sign(self, sender: ParticipantId, signature: bytes) -> ConsistencyProof:
        """Take a survivor's signature; all of them, once those who are waited for have signed or the time is over.

        Raises:
            NotInRoundError: the sender is no survivor.
            ProtocolViolation: nobody signs the result of this round.
            AuthenticationError: the signature is under something else.
        """
        certification = self.certification
        if certification is None:  # check: certify-configured
            raise ProtocolViolation("this round's configuration does not say certify", culprit=sender)
        certification.receive(sender, signature)
        if certification.closed:
            self._changed.notify()
        while not certification.closed:
            await self._changed.wait()
        return certification.proof()

    def without(self, participants: Iterable[ParticipantId]) -> None:
        """Wait for the signatures of these no longer."""
        if self.certification is not None:
            for name in participants:
                self.certification.leave(name)
            self._changed.notify()

    def close(self) -> None:
        """Wait for nobody any longer: the time is over."""
        if self.certification is not None:
            self.certification.close()
            self._changed.notify()
