"""Survivors' signatures under the result of a round, while their calls wait for each other's.

Everyone who asks gets the same signatures. So they are in the journal before the first one is answered.
"""

import asyncio
from collections.abc import Callable, Iterable

from secagg.errors import ProtocolViolation, StoreError
from secagg.messages import ConsistencyProof, ParticipantId
from secagg.rounds.certification import Certification
from secagg_server.notifier import Notifier
from secagg_server.rounds.suspension import Suspended
from secagg_server.storage.records import Certified
from secagg_server.storage.store import Journal


class Certifying:
    """Collects the signatures of one round.

    Attributes:
        certification: what collects the signatures, once the round has a sum, where its configuration asks for them.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        """Args:
        journal: of the round; it takes the signatures once they are complete.
        clock: seconds since 1970.
        """
        self.certification: Certification | None = None
        self._clock = clock
        self._journal = journal
        self._changed = Notifier()
        self._keeping: asyncio.Task[None] | None = None
        self._kept = False
        self._suspended = False

    def restore(self, proof: ConsistencyProof) -> None:
        """These signatures were kept by an earlier process: they are the answer."""
        if self.certification is not None:
            self.certification.restore(proof)
            self._kept = True

    def suspend(self) -> None:
        """Let those go that wait for the signatures of others."""
        self._suspended = True
        self._changed.notify()

    async def sign(self, sender: ParticipantId, signature: bytes) -> ConsistencyProof:
        """Take a survivor's signature; all of them, once those who are waited for have signed or the time is over.

        Raises:
            NotInRoundError: the sender is no survivor.
            ProtocolViolation: nobody signs the result of this round.
            AuthenticationError: the signature is under something else.
            Suspended: the signatures cannot be kept now.
        """
        certification = self.certification
        if certification is None:  # check: certify-configured
            raise ProtocolViolation("this round's configuration does not say certify", culprit=sender)
        certification.receive(sender, signature)
        self._changed.notify()
        while not certification.closed:
            if self._suspended:
                raise Suspended
            await self._changed.wait()
        await self._keep(certification)
        return certification.proof()

    async def _keep(self, certification: Certification) -> None:
        """Return when the signatures are safe, which nobody changes any more."""
        if self._kept:
            return
        if self._keeping is None:
            entry = Certified(self._clock(), certification.proof())
            self._keeping = asyncio.create_task(asyncio.to_thread(self._write, entry))
        try:
            await asyncio.shield(self._keeping)
        except StoreError:
            raise Suspended from None

    def _write(self, entry: Certified) -> None:
        self._journal.append(entry)
        self._journal.flush()

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
