"""What happens in a round, as the coordinator tells it. Never holds a key, a share or a value of an update."""

from dataclasses import dataclass
from enum import Enum

from secagg.config import Aggregate
from secagg.errors import RoundAborted
from secagg.messages import ParticipantId
from secagg.phases import Phase


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A phase opened. `deadline` is in seconds since 1970; `expected` is how many participants may deliver."""

    phase: Phase
    deadline: float
    expected: int


@dataclass(frozen=True, slots=True)
class MessageAccepted:
    """A participant delivered what the phase asks for, whole."""

    phase: Phase
    participant: ParticipantId


class DropReason(Enum):
    """Why a participant counts as dropped. The value is the number on the wire."""

    DEADLINE = 1
    CANCELLED = 2
    REFUSED = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class ParticipantDropped:
    """A participant did not deliver in `phase` and takes no further part."""

    phase: Phase
    participant: ParticipantId
    reason: DropReason


@dataclass(frozen=True, slots=True)
class WrongShares:
    """Shares that do not lie on their owner's polynomial were corrected; the sum is not affected.

    Attributes:
        culprit: the holder who sent them, or the owner who dealt them: whoever is in more of the conflicts. Strong
            evidence, no proof: see `shamir.Recovered`. Nobody is named where others may be to blame as well.
        conflicts: (owner, holder) pairs with a wrong share.
    """

    culprit: ParticipantId
    conflicts: tuple[tuple[ParticipantId, ParticipantId], ...]


@dataclass(frozen=True, slots=True)
class Accused:
    """A participant left and said that it refused what `accused` sent to it. Nobody but the two can tell who lies, so
    this alone has no consequence.
    """

    accused: ParticipantId
    accuser: ParticipantId


@dataclass(frozen=True, slots=True)
class SumReady:
    """The round ended with an exact sum."""

    aggregate: Aggregate


@dataclass(frozen=True, slots=True)
class SumDelivered:
    """The round ended with an exact sum that the participants decrypted and the coordinator does not know.

    Attributes:
        survivors: whose updates are in the sum.
        sums_digest: SHA-256 over the packed sum, as at least t participants reported it.
    """

    survivors: tuple[ParticipantId, ...]
    sums_digest: bytes


@dataclass(frozen=True, slots=True)
class RoundFailed:
    """The round ended without a sum."""

    error: RoundAborted


Event = (
    PhaseStarted | MessageAccepted | ParticipantDropped | WrongShares | Accused | SumReady | SumDelivered | RoundFailed
)
