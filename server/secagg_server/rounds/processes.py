"""The processes of participants that are in a round, and those that left it.

All processes of a participant have the same certificate, and each makes keys of its own. While one of them waits for
the roster, another one can neither take its place nor leave in its name. Once the first is gone, because it crashed or
was interrupted, another may come instead.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from secagg.errors import NotInRoundError, ProtocolViolation
from secagg.messages import LeaveReason, ParticipantId
from secagg_server.notifier import Notifier

LEAVE_PATIENCE_S: Final = 2.0
"""A `Leave` may arrive so much earlier than the end of its sender's waiting call."""


class Processes:
    """Who is in one round.

    Its methods run on the event loop, `check_there` and `came_back` in the thread of a step.

    Attributes:
        left: why each participant left that did.
        leaving: whose `Leave` waits for its step.
    """

    def __init__(self, on_room: Callable[[ParticipantId], None]) -> None:
        """Args: on_room: called when another process of a participant may join in place of one that is gone."""
        self.left: dict[ParticipantId, LeaveReason] = {}
        self.leaving: set[ParticipantId] = set()
        self._waiting: Counter[ParticipantId] = Counter()  # calls that wait for the roster, or are about to
        self._hung_up = Notifier()  # one of them ended
        self._on_room = on_room

    def may_join(self, participant: ParticipantId) -> bool:
        """Whether no process of the participant waits for the roster, is leaving, or left for another reason than an
        interruption.
        """
        there = self._waiting[participant] > 0 or participant in self.leaving
        refused = self.left.get(participant, LeaveReason.CANCELLED) is not LeaveReason.CANCELLED
        return not (there or refused)

    @contextmanager
    def waiting(self, participant: ParticipantId) -> Iterator[bool]:
        """One more process waits for the roster inside; whether it is the only one."""
        alone = not self._waiting[participant]
        self._waiting[participant] += 1
        try:
            yield alone
        finally:
            self._waiting[participant] -= 1
            self._hung_up.notify()
            self._on_room(participant)

    def has_left(self, participant: ParticipantId) -> bool:
        """Whether the participant left, or is about to."""
        return participant in self.left or participant in self.leaving

    @contextmanager
    def leaving_for(self, participant: ParticipantId, reason: LeaveReason) -> Iterator[None]:
        """The participant has left if the block ends well, and is in the round as before if not."""
        try:
            yield
            self.left[participant] = reason
        finally:
            self.leaving.discard(participant)
            self._on_room(participant)

    async def check_hung_up(self, participant: ParticipantId) -> None:
        """Wait a little for the participant's calls to end.

        Raises:
            ProtocolViolation: one goes on: it is another process that gives up.
        """
        try:
            async with asyncio.timeout(LEAVE_PATIENCE_S):
                while self._waiting[participant]:
                    await self._hung_up.wait()
        except TimeoutError:
            raise ProtocolViolation(
                f"another process with the certificate of {participant} waits in this round, so it stays in it",
                culprit=participant,
            ) from None

    def check_there(self, participant: ParticipantId) -> None:
        """Raise `NotInRoundError` if the participant left."""
        if participant in self.left:  # check: not-after-leaving
            raise NotInRoundError(f"{participant} left this round")

    def came_back(self, participant: ParticipantId) -> None:
        """Keys of a process of the participant were accepted."""
        self.left.pop(participant, None)
