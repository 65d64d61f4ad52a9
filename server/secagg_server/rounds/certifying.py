"""Survivors' signatures under the result of a round, while their calls wait for each other's.

Signatures are verified in a thread, all together that came meanwhile, so that the event loop has time for others. They
are taken on the event loop. Everyone who asks gets the same signatures. So they are in the journal before the first one
is answered.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from secagg.errors import NotInRoundError, ProtocolViolation, RemoteError, StoreError
from secagg.messages import ConsistencyProof, ParticipantId
from secagg.rounds.certification import Certification
from secagg_server.notifier import Notifier
from secagg_server.rounds.suspension import Suspended
from secagg_server.rounds.waiting import Waiting
from secagg_server.storage.records import Certified
from secagg_server.storage.store import Journal

Signed = tuple[ParticipantId, bytes]
"""A survivor, and its signature."""


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
        self._changed = Notifier()  # nobody is waited for any more, or the round is suspended
        self._waiting: Waiting[Signed] = Waiting()
        self._taking: asyncio.Task[None] | None = None
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
            LimitError: too many of the sender's wait to be verified.
            Suspended: the signatures cannot be kept now.
        """
        certification = self.certification
        if certification is None:  # check: certify-configured
            raise ProtocolViolation("this round's configuration does not say certify", culprit=sender)
        taken = self._waiting.add(sender, (sender, signature))
        if len(self._waiting) == 1:  # else the task that is under way takes this one, too
            self._taking = asyncio.create_task(self._take(certification))
        await taken
        while not certification.closed:
            if self._suspended:
                raise Suspended
            await self._changed.wait()
        await self._keep(certification)
        return certification.proof()

    async def _take(self, certification: Certification) -> None:
        while some := self._waiting.first():
            try:
                refusals = await asyncio.to_thread(_refusals, certification, some)
            except BaseException as error:  # a bug, or the process ends
                self._waiting.fail(error)
                raise
            for (sender, signature), refusal in zip(some, refusals, strict=True):
                if refusal is None:
                    certification.take(sender, signature)
            self._waiting.done(refusals)
            if certification.closed:
                self._changed.notify()

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
            if self.certification.closed:
                self._changed.notify()

    def close(self) -> None:
        """Wait for nobody any longer: the time is over."""
        if self.certification is not None:
            self.certification.close()
            self._changed.notify()


def _refusals(certification: Certification, some: Iterable[Signed]) -> Sequence[Exception | None]:
    """In a thread: why each of the signatures is refused; None if it is not."""
    found: list[Exception | None] = []
    for sender, signature in some:
        try:
            certification.check(sender, signature)
        except (RemoteError, NotInRoundError) as error:
            found.append(error)
        else:
            found.append(None)
    return found
