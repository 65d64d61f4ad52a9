"""Everything secagg raises. Who is at fault decides the class.

`LocalError`: our own caller, configuration or machine. `RemoteError`: a peer broke the protocol, and
`culprit` names it where that is known. A dropout is neither: it is an event.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Self


class SecAggError(Exception):
    """Base of every error that secagg raises on purpose. When it is pickled or copied, an error keeps its class, its
    message and its attributes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """An exception is otherwise made again by calling its class with the message, which not every class takes."""
        return _made_again, (type(self), self.args, self.__dict__)


def printable(text: str, most: int) -> str:
    """A peer's words as they may reach a log or a terminal: one line of at most `most` characters, without control
    characters and escape sequences.
    """
    return "".join(char if char.isprintable() else "?" for char in text[:most])


class PrecisionWarning(UserWarning):
    """The rounding error of a mean may be larger than any value in it, because `max_weight` is far above the weights
    that came.
    """


def _made_again(kind: type[SecAggError], args: tuple[object, ...], attributes: dict[str, object]) -> SecAggError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class LocalError(SecAggError):
    """The fault is on our own side: in the caller, its configuration or its machine."""


class ConfigError(LocalError):
    """Parameters that are unsafe or do not fit together. The message says what to change."""


class InputError(LocalError):
    """The update cannot be encoded. Raised before anything leaves the machine.

    Attributes:
        array: name of the array that does not fit; None if the whole update is meant.
        index: index of the first value that does not fit, one number for each side of the array; None if no single
            value is meant.
    """

    def __init__(self, message: str, *, array: str | None = None, index: tuple[int, ...] | None = None) -> None:
        super().__init__(message)
        self.array = array
        self.index = index


class BudgetExceeded(LocalError):
    """The round would cost more privacy than its task has left. Nothing was sent."""


class LedgerError(LocalError):
    """The record of what a task has spent of its privacy budget is corrupt, missing or was rolled back. No round of the
    task with noise runs until that is settled.
    """


class MemoryFileError(LocalError):
    """The file in which a participant remembers sums that may hold its update cannot be read or written, or is damaged.
    The participant takes part in no sum until that is settled.
    """


class SavedStateError(LocalError):
    """A saved state cannot be used: it was altered, was restored before, is older than the latest, or belongs to
    another participant, round, identity or version. The participant sits out that round; later rounds are not touched.
    """


class IdentityError(LocalError):
    """Our own certificate or key is missing, unreadable, expired or does not match."""


class MissingExtraError(LocalError):
    """An optional dependency is not installed. The message holds the command that installs it from a checkout.

    Attributes:
        extra: name of the extra of the package that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra {extra}; in a checkout of secagg: pip install '.[{extra}]'")
        self.extra = extra


class WorkerError(LocalError):
    """The process that encrypts crashed, was killed, or ran out of memory or time. Only its job is lost."""


class ParticipationCancelled(LocalError):
    """Our own caller cancelled the participation. The coordinator was told, if it could be reached."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """An entry that a participant refused: another participant dealt it, and the coordinator passed it on.

    Attributes:
        sender: the participant who dealt it, as the coordinator says.
        digest: 32 bytes, over the entry as it was received.
    """

    sender: str
    digest: bytes


class RemoteError(SecAggError):
    """The fault is on the side of a peer, which sent something that the protocol or our policy does not allow.

    Attributes:
        culprit: id of a participant, or "coordinator"; None if nobody can tell who is at fault.
        exhibit: the dealt entry that the error is about, whoever is to blame for it; None if it is about something
            else.
    """

    def __init__(self, message: str, *, culprit: str | None = None) -> None:
        super().__init__(message)
        self.culprit = culprit
        self.exhibit: Exhibit | None = None

    def about(self, exhibit: Exhibit) -> Self:
        """This error, with the entry that it is about."""
        self.exhibit = exhibit
        return self


class DecodeError(RemoteError):
    """A peer sent bytes that are not a well-formed message."""


class AuthenticationError(RemoteError):
    """A signature, commitment or certificate does not verify, or something encrypted does not decrypt."""


class ProtocolViolation(RemoteError):
    """A peer sent a well-formed message that the protocol does not allow here."""


class PolicyViolation(RemoteError):
    """The round protects less than the participant's own policy demands."""


class ModelMismatch(RemoteError):
    """The round is about another model than the one that we hold. To take part would spoil the sum, or would show our
    update of a model that nobody else was given.
    """


class TransportError(SecAggError):
    """The peer could not be reached, or the connection broke. Nothing is known about who is at fault."""


class RoundTimeoutError(TransportError):
    """The time that our caller allowed, `timeout_s`, is over."""


class NotInRoundError(SecAggError):
    """This participant is not, or no longer, part of the round: it was declared dropped, or came too late."""


class LimitError(SecAggError):
    """The coordinator has no room for this now: too many rounds, calls or bytes. Trying again later may help."""


class UnknownRoundError(SecAggError):
    """The coordinator knows no round of that id; it may have been forgotten."""


class AbortReason(Enum):
    """Why a round ended without a sum. The value is the number on the wire (`AbortReason`)."""

    BELOW_THRESHOLD = 1
    """Fewer participants than the threshold are left."""
    WRONG_SHARES = 2
    """More shares of a secret are wrong than can be corrected."""
    CANCELLED = 3
    """The FL server aborted the round."""
    COORDINATOR_SHUTDOWN = 4
    """The coordinator shut down."""
    INTERNAL = 5
    """The coordinator failed."""
    DISAGREEMENT = 6
    """Participants who hold the key decrypted different sums, or nobody handed the sum in."""
    MALFORMED_SUM = 7
    """The encrypted sum hides nothing, or the partial decryptions do not open it to a possible sum."""
    DIFFERENCING = 8
    """With sums of the same model that were released before, this one would show too few participants' updates."""


class RoundAborted(SecAggError):
    """The round ended without a sum, for everybody. Nothing was released.

    Attributes:
        reason: why it ended.
        culprits: participants whose fault is proven to the coordinator; empty if none is.
        accused: participants whom more members accuse than may work together. That is hearsay, no proof.
    """

    def __init__(self, reason: AbortReason, message: str, *, culprits: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.culprits = culprits
        self.accused: tuple[str, ...] = ()

    def accusing(self, accused: tuple[str, ...]) -> Self:
        """This error, with the participants whom members accuse."""
        self.accused = accused
        return self
