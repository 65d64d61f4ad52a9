"""Everything secagg raises. Who is at fault decides the class.

`LocalError`: our own caller, configuration or machine. `RemoteError`: a peer broke the protocol, and
`culprit` names it where that is known. A dropout is neither: it is an event.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Self


class SecAggError(Exception):
    """Base of every error that secagg raises on purpose. Pickled or copied, each comes back as it was: its class, its
    message and its attributes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """An exception is otherwise made again by calling its class with the message, which not every class takes."""
        return _made_again, (type(self), self.args, self.__dict__)


class PrecisionWarning(UserWarning):
    """A mean whose rounding error may exceed any value in it: `max_weight` is far above the weights that came."""


def _made_again(kind: type[SecAggError], args: tuple[object, ...], attributes: dict[str, object]) -> SecAggError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class LocalError(SecAggError):
    """The caller did something the protocol does not allow now."""


class ConfigError(LocalError):
    """Parameters that are unsafe or do not fit together. The message says what to change."""


class InputError(LocalError):
    """An update that cannot be encoded. Raised before anything leaves the machine.

    Attributes:
        array: name of the offending array, or None when the whole update is meant.
        index: multi-dimensional index of the first offending value, or None.
    """

    def __init__(self, message: str, *, array: str | None = None, index: tuple[int, ...] | None = None) -> None:
        super().__init__(message)
        self.array = array
        self.index = index


class BudgetExceeded(LocalError):
    """The round would cost more privacy than its task has left. Nothing was sent."""


class LedgerError(LocalError):
    """The record of what a task spent is corrupt, missing or was rolled back. No round with noise runs until that is
    settled.
    """


class MemoryFileError(LocalError):
    """The file in which a participant keeps what sums may hold its update cannot be read or written, or is damaged.
    Nothing that opens a sum leaves until that is settled.
    """


class IdentityError(LocalError):
    """Our own certificate or key is missing, unreadable, expired or does not match."""


class MissingExtraError(LocalError):
    """An optional dependency is not installed. The message holds the command that installs it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency; install it with: pip install 'secagg[{extra}]'")
        self.extra = extra


class WorkerError(LocalError):
    """A worker process crashed, was killed, or ran out of memory or time. Only its job is lost."""


class ParticipationCancelled(LocalError):
    """Our own caller gave up waiting; the coordinator was told, as far as it could be reached."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """What a participant refused of what another one dealt to it through the coordinator.

    Attributes:
        sender: whose entry the coordinator said it was.
        digest: 32 bytes over the entry as it was received.
    """

    sender: str
    digest: bytes


class RemoteError(SecAggError):
    """A peer sent something the protocol does not allow.

    Attributes:
        culprit: participant id or "coordinator"; None when the culprit cannot be told.
        exhibit: the dealt entry that this is about, whoever is to blame for it; None if it is about something else.
    """

    def __init__(self, message: str, *, culprit: str | None = None) -> None:
        super().__init__(message)
        self.culprit = culprit
        self.exhibit: Exhibit | None = None

    def about(self, exhibit: Exhibit) -> Self:
        """The same error, showing what it is about."""
        self.exhibit = exhibit
        return self


class DecodeError(RemoteError):
    """Bytes that are not a well-formed message."""


class AuthenticationError(RemoteError):
    """A signature, seal, commitment or certificate that does not verify."""


class ProtocolViolation(RemoteError):
    """A well-formed message that the protocol does not allow here."""


class PolicyViolation(RemoteError):
    """The coordinator asks for less protection than the participant's own policy demands."""


class ModelMismatch(RemoteError):
    """The round belongs to another model than the one we hold. Taking part would spoil the sum, or show our update of
    a model that nobody else was given.
    """


class TransportError(SecAggError):
    """The peer could not be reached or the connection broke; nothing is known about fault."""


class RoundTimeoutError(TransportError):
    """The time that our caller allows is over."""


class NotInRoundError(SecAggError):
    """This participant is not, or no longer, part of the round: it was declared dropped, or came too late."""


class LimitError(SecAggError):
    """The coordinator has no room for this now: too many rounds, calls or bytes. Trying again later may help."""


class UnknownRoundError(SecAggError):
    """The coordinator knows no round of that id; it may have been forgotten."""


class AbortReason(Enum):
    """Why a round ended without a sum. The value is the number on the wire (`AbortReason`)."""

    BELOW_THRESHOLD = 1
    WRONG_SHARES = 2
    CANCELLED = 3
    COORDINATOR_SHUTDOWN = 4
    INTERNAL = 5
    DISAGREEMENT = 6
    """Participants who hold the key decrypted different sums, or nobody handed the sum in."""
    MALFORMED_SUM = 7
    """The encrypted sum hides nothing, or the partial decryptions do not open it to a possible sum."""
    DIFFERENCING = 8
    """With sums of the same model that were released before, this one would show too few participants' updates."""


class RoundAborted(SecAggError):
    """The round ended without a sum; nothing was released.

    Attributes:
        reason: the named cause.
        culprits: participants whose fault is proven to the coordinator; empty when none is.
        accused: participants whom more members accuse than may work together. That is hearsay, no proof.
    """

    def __init__(self, reason: AbortReason, message: str, *, culprits: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.culprits = culprits
        self.accused: tuple[str, ...] = ()

    def accusing(self, accused: tuple[str, ...]) -> Self:
        """The same error, with those whom members accuse."""
        self.accused = accused
        return self
