"""One participant through one round: the only holder of its current state.

A participant is in one state at a time. Each state is a frozen class of its own, in the file of the phase in which its
reply is sent. It holds what the participant knows then, and takes one kind of message: `receive` returns the state that
follows and the reply. Which state follows is said once for each scheme, in `STATES` of its `scheme.py`. A message that
the current state does not take is a `ProtocolViolation`.

The state is given up *before* the reply is made. After any error the secrets are gone and nothing more ever leaves.
Between two messages a state can be saved (`secagg.rounds.saved_state`). It is then given up here, and whoever restores
it uses it up there: it is in one place at a time, so neither a second request nor a restart gets another answer to the
same question. The encoded update is never saved; it is handed in again when it is needed.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from secagg.aggregates import Aggregate
from secagg.encoding.vector import IntegerVector
from secagg.errors import LocalError, ProtocolViolation
from secagg.messages import AdvertiseKeys, CoordinatorMessage, Phase
from secagg.phases import input_phase, phases
from secagg.roster import COORDINATOR
from secagg.rounds.membership import Membership


class Ended(Enum):
    """States without secrets."""

    DONE = "everything asked for was sent"
    ABORTED = "the participant gave the round up, or refused a message"
    SAVED = "the state was saved: whoever restores it goes on"


class Waiting(Protocol):
    """A state that waits for a message."""

    @property
    def awaits(self) -> Phase:
        """The phase whose closing message comes next."""
        ...

    @property
    def takes(self) -> type[CoordinatorMessage]:
        """The type of that message."""
        ...

    def receive(self, message: Any, turn: Any, /) -> "tuple[Waiting | Ended, Any]":
        """The state that follows, and what is sent in the next phase; None if nothing is left to do.

        Args:
            message: one that the state takes.
            turn: the `Turn` of the scheme.

        Raises:
            RemoteError: the message is not allowed here.
        """
        ...


Restored = tuple[Waiting, AdvertiseKeys]
"""A state that was saved, and the keys that were sent at the beginning."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a state may use beside what it holds and the message that it takes.

    Attributes:
        now: seconds since 1970, UTC; certificates are checked against it.
        given: the encoded update, once it was handed in. The session keeps it, so no state has to pass it on.
        own_model: digest of the model that we hold, 32 bytes; empty where it is named later and not handed in yet.
        order: the states of the scheme, in order.
    """

    now: float
    given: IntegerVector | None
    own_model: bytes
    order: tuple[type[Any], ...]

    @property
    def vector(self) -> IntegerVector:
        """The encoded update.

        Raises:
            LocalError: none was handed in.
        """
        if self.given is None:
            raise LocalError("the vector of this round was not handed in yet: call provide() first")
        return self.given

    def after(self, state: Waiting, *known: object) -> Waiting:
        """The state that follows `state`, which then holds what is `known`: its fields, in their order."""
        following: Waiting = self.order[self.order.index(type(state)) + 1](*known)
        return following

    def take(self, state: Waiting, message: CoordinatorMessage) -> tuple[Waiting | Ended, Any]:
        """What comes of `state` when it takes `message`, as of `Waiting.receive`.

        Raises:
            RemoteError: the message is not allowed here.
        """
        if not isinstance(message, state.takes):
            raise unexpected(message)
        return state.receive(message, self)


ReplyT_co = TypeVar("ReplyT_co", covariant=True)


class Session(Generic[ReplyT_co]):
    """Feeds the coordinator's messages to the current state.

    Attributes:
        membership: ours in the round.
        advertisement: what we send first; or what was sent, after a restore.
        aggregate: the sum, where participants decrypt it themselves; None before, and in every other scheme.
        again: the text of the error for a message that comes after the end.
    """

    again: ClassVar[str] = "the round is over for us: nothing is answered twice"

    def __init__(
        self,
        membership: Membership,
        first: Waiting,
        advertisement: AdvertiseKeys,
        vector: IntegerVector | None,
        *,
        order: tuple[type[Any], ...],
    ) -> None:
        """Args:
        membership: ours in the round.
        first: the state in which the roster is awaited, or any later one that was restored.
        advertisement: what we send first.
        vector: the encoded update; `membership.round.config.vector_len` coordinates. None if it comes later, by
            `provide`, as it must where the model is named later.
        order: the states of the scheme, in order.

        Raises:
            LocalError: there is a vector, and the model is named later.
        """
        if vector is not None and membership.round.config.model_later:
            raise LocalError(
                "the model of this round is named later: make the session without a vector and hand it in with "
                "provide()"
            )
        self.membership = membership
        self.advertisement = advertisement
        self.aggregate: Aggregate | None = None
        self._state: Waiting | Ended = first
        self._vector = vector
        self._order = order

    @property
    def awaits(self) -> Phase | None:
        """The phase whose closing message comes next; None after the end."""
        return None if isinstance(self._state, Ended) else self._state.awaits

    @property
    def needs_vector(self) -> bool:
        """Whether the message that comes next is answered with our input, and no vector was handed in yet."""
        order = phases(self.membership.round.config)
        sent_after = order[order.index(input_phase(self.membership.round.config)) - 1]
        return self._vector is None and self.awaits is sent_after

    def provide(self, vector: IntegerVector, model_digest: bytes) -> None:
        """Hand in the vector of a session that was made without one. It is kept in memory only.

        Args:
            vector: the encoded update; `membership.round.config.vector_len` coordinates. Where coordinates are sampled
                or rotated, it was encoded for the `input_context` of `membership.round.about(model_digest)`.
            model_digest: of the model that we hold ourselves, which the update belongs to; 32 bytes. It is compared
                with the model that the coordinator names, so do not take it from the coordinator.

        Raises:
            ModelMismatch: the configuration names another model.
            ConfigError: the model is named later, and this is no digest of one.
            LocalError: a vector was handed in before.
        """
        if self._vector is not None:
            raise LocalError("a vector was handed in before; a round takes one")
        self.membership = self.membership.about(model_digest)
        self._vector = vector

    @property
    def state(self) -> Waiting:
        """The current state, to be saved.

        Raises:
            LocalError: there is none: the round is over for us, or the state was saved before.
        """
        if isinstance(self._state, Ended):
            raise LocalError(f"there is nothing to save: {self._state.value}")
        return self._state

    @property
    def step(self) -> int:
        """How many messages were taken so far."""
        return self._order.index(type(self.state))

    def leave_to_saved(self) -> None:
        """The state was saved: whoever restores it goes on, and we do not."""
        self._state, self._vector = Ended.SAVED, None

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
            LocalError: the reply needs our vector, which was not handed in. Nothing has changed: call `provide`, and
                then this again. Or the state was saved, and this one goes on no more.
        """
        state = self._state
        if state is Ended.SAVED:
            raise LocalError("this participant was saved: restore it, and give the message to the restored one")
        if not isinstance(state, Ended) and isinstance(message, state.takes) and self.needs_vector:
            raise LocalError("this message is answered with our input: hand in the vector with provide() first")
        self._state = Ended.ABORTED
        if isinstance(state, Ended):  # check: C29, C64
            self._state = state
            raise self._refused(state, message)
        reply: ReplyT_co
        self._state, reply = self._turn(now).take(state, message)
        return reply

    def _turn(self, now: float) -> Turn:
        """What the current state may use."""
        return Turn(now, self._vector, self._own_model, self._order)

    @property
    def _own_model(self) -> bytes:
        round_ = self.membership.round
        return round_.named or (b"" if round_.config.model_later else round_.model_digest)

    def _refused(self, state: Ended, message: CoordinatorMessage) -> ProtocolViolation:
        """The error for a message after the end."""
        del state, message
        return ProtocolViolation(self.again, culprit=COORDINATOR)


def unexpected(message: CoordinatorMessage) -> ProtocolViolation:
    """The error for a message that the current state does not take."""
    return ProtocolViolation(f"{type(message).__name__} was not expected now", culprit=COORDINATOR)
