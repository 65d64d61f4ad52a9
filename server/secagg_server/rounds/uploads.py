"""Which of a participant's uploads counts: the newest. A connection that broke may look alive for long."""

from typing import NoReturn

from secagg.errors import ProtocolViolation
from secagg.messages import ParticipantId
from secagg_server.notifier import Notifier


class Uploads:
    """The uploads of one round, numbered for each sender from 1 on."""

    def __init__(self) -> None:
        self._newest: dict[ParticipantId, int] = {}
        self._newer: dict[ParticipantId, Notifier] = {}  # notified when a newer upload begins

    def __contains__(self, sender: ParticipantId) -> bool:
        return sender in self._newest

    def begin(self, sender: ParticipantId) -> int:
        """The number of a new upload. Whatever still arrives of an older one is refused from now on."""
        self._newest[sender] = self._newest.get(sender, 0) + 1
        if sender in self._newer:
            self._newer[sender].notify()
        self._newer[sender] = Notifier()
        return self._newest[sender]

    def check_newest(self, sender: ParticipantId, number: int) -> None:
        """Raise `ProtocolViolation` unless this upload is the sender's newest."""
        if self._newest[sender] != number:  # check: newest-upload
            raise _taken_over(sender)

    async def taken_over(self, sender: ParticipantId, number: int) -> NoReturn:
        """Wait until a newer upload begins, and raise `ProtocolViolation` for this one."""
        if self._newest[sender] == number:
            await self._newer[sender].wait()
        raise _taken_over(sender)


def _taken_over(sender: ParticipantId) -> ProtocolViolation:
    return ProtocolViolation("another call took over this upload", culprit=sender)
