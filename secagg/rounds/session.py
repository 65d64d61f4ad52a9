"""One participant through one round: the only holder of its current state.

A participant is in one state at a time. Each state is a frozen class of its own, which holds what the participant knows
then and has one method for the one message that it can take; the method returns the state that follows and the reply.
So a message in the wrong order is a type error in our own code, and a `ProtocolViolation` when it comes from a peer.

The state is given up *before* the reply is made. After any error the secrets are gone and nothing more ever leaves.
States are never stored, so neither a second request nor a restart gets another answer to the same question.
"""

from abc import ABC, abstractmethod
from enum import Enum
from typing import ClassVar, Generic, Protocol, TypeVar

from secagg.aggregates import Aggregate
from secagg.errors import ProtocolViolation
from secagg.messages import AdvertiseKeys, CoordinatorMessage, Phase
from secagg.roster import COORDINATOR
from secagg.rounds.membership import Membership


class Ended(Enum):
    """States without secrets."""

    DONE = "everything asked for was sent"
    ABORTED = "the participant gave the round up, or refused a message"


class Waiting(Protocol):
    """A state that waits for a message."""

    @property
    def awaits(self) -> Phase:
        """The phase whose closing message comes next."""
        ...


StateT = TypeVar("StateT", bound=Waiting)
ReplyT_co = TypeVar("ReplyT_co", covariant=True)


class Session(ABC, Generic[StateT, ReplyT_co]):
    """Feeds the coordinator's messages to the current state.

    Attributes:
        membership: ours in the round.
        advertisement: what we send first.
        aggregate: the sum, where participants decrypt it themselves; None before, and in every other scheme.
        again: the text of the error for a message that comes after the end.
    """

    again: ClassVar[str] = "the round is over for us: nothing is answered twice"

    def __init__(self, membership: Membership, first: StateT, advertisement: AdvertiseKeys) -> None:
        self.membership = membership
        self.advertisement = advertisement
        self.aggregate: Aggregate | None = None
        self._state: StateT | Ended = first

    @property
    def awaits(self) -> Phase | None:
        """The phase whose closing message comes next; None after the end."""
        return None if isinstance(self._state, Ended) else self._state.awaits

    def abort(self) -> None:
        """Give up the round and its secrets."""
        self._state = Ended.ABORTED

    def receive(self, message: CoordinatorMessage, now: float) -> ReplyT_co:
        """Our reply to the coordinator's `message`.

        Args:
            message: closes the phase that `awaits` names.
            now: seconds since 1970, UTC; certificates are checked against it.

        Raises:
            RemoteError: the message is not allowed here; the round is over for us.
        """
        state, self._state = self._state, Ended.ABORTED
        if isinstance(state, Ended):  # check: C29, C64
            self._state = state
            raise self._refused(state, message)
        self._state, reply = self._advance(state, message, now)
        return reply

    @abstractmethod
    def _advance(self, state: StateT, message: CoordinatorMessage, now: float) -> tuple[StateT | Ended, ReplyT_co]:
        """The state that follows, and the reply; raises `unexpected` for a message that `state` does not take."""

    def _refused(self, state: Ended, message: CoordinatorMessage) -> ProtocolViolation:
        """The error for a message after the end."""
        del state, message
        return ProtocolViolation(self.again, culprit=COORDINATOR)


def unexpected(message: CoordinatorMessage) -> ProtocolViolation:
    """The error for a message that the current state does not take."""
    return ProtocolViolation(f"{type(message).__name__} was not expected now", culprit=COORDINATOR)
