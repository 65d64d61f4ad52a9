"""What happens in a round, as the coordinator tells it. Never holds a key, a share or a value of an update."""

from dataclasses import dataclass
from enum import Enum

from secagg.errors import RoundAborted
from secagg.messages import ParticipantId, Phase


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A phase of the round opened.

    The first phase is told again when its deadline or the number of expected participants changes: when the first
    participant has come, where the round waits for it (`join_s`), and when the FL server says who will come.

    Attributes:
        phase: the phase that is open now.
        deadline: when it closes, in seconds since 1970.
        expected: number of participants that may deliver in it.
    """

    phase: Phase
    deadline: float
    expected: int


@dataclass(frozen=True, slots=True)
class MessageAccepted:
    """A participant delivered what the phase asks for, whole.

    Attributes:
        phase: the open phase.
        participant: id of the participant.
    """

    phase: Phase
    participant: ParticipantId


class DropReason(Enum):
    """The reason why a participant counts as dropped. The value is the number on the wire."""

    DEADLINE = 1
    """It had not delivered when the phase closed.

    Cure:
        If it happens to many, lengthen the deadline of the phase. If it happens to one, look at its machine and
        network.
    """
    CANCELLED = 2
    """It left, because its caller gave up.

    Cure:
        Nothing is wrong at the coordinator. Ask whoever runs the participant if it happens often.
    """
    REFUSED = 3
    """It left, because a check failed or its policy forbids the round.

    Cure:
        Read the log of the participant: it has the error.
    """
    FAILED = 4
    """It left, because something failed on its side.

    Cure:
        Read the participant's log.
    """
    EXCLUDED = 5
    """The FL server said that it is gone.

    Cure:
        Nothing is wrong, if the FL server is right.
    """
    EXPIRED = 6
    """Its certificate had expired when the list of members was closed, or would have within a minute.

    Cure:
        Renew the certificate of the participant.
    """
    ISOLATED = 7
    """Too few of its neighbours on the ring shared keys, so nobody could have taken its masks off the sum.

    Cure:
        Look at why its neighbours dropped out. Where more drop out than the ring was made for, take a ring with a lower
        `neighbour_threshold`, or with a larger degree.
    """


@dataclass(frozen=True, slots=True)
class ParticipantDropped:
    """A participant did not deliver in a phase, and takes no further part in the round.

    Attributes:
        phase: the phase in which it was missing.
        participant: id of the participant.
        reason: why it counts as dropped.
    """

    phase: Phase
    participant: ParticipantId
    reason: DropReason


@dataclass(frozen=True, slots=True)
class WrongShares:
    """A participant dealt or revealed wrong shares. This is proven: the digests that came with the shares show whose
    they are.

    Attributes:
        culprit: the owner who dealt shares that do not lie on one polynomial, or the holder who sent another share than
            the one that it was dealt, and was refused.
        conflicts: (owner, holder) pairs with a wrong share, as far as they were looked for: of an owner only where its
            secret had to be corrected, of a holder the first.
    """

    culprit: ParticipantId
    conflicts: tuple[tuple[ParticipantId, ParticipantId], ...]

    @property
    def dealt(self) -> bool:
        """Whether the culprit dealt the wrong shares. Otherwise it revealed another share than it was dealt."""
        return all(owner == self.culprit for owner, _ in self.conflicts)


class Verdict(Enum):
    """What the coordinator can tell about an accusation. The value is the number on the wire."""

    HEARSAY = 1
    """Nobody but the two can tell who lies: only the accuser can open what was sealed to it.

    Cure:
        Expel nobody. If the same name comes again from different accusers, ask whoever runs it.
    """
    PROVEN = 2
    """What was refused is what the accused sent, and the accused did not sign it as it must.

    Cure:
        Expel the accused until it is known what is wrong with it.
    """
    UNFOUNDED = 3
    """What was refused is not what the accused sent and the coordinator passed on: the accuser lies, or somebody
    changed it behind the coordinator.

    Cure:
        Look at the accuser, and at whatever stands between the participants and the coordinator.
    """


@dataclass(frozen=True, slots=True)
class Accused:
    """A participant left, and said that it refused what another one sent to it. Nobody is excluded for it.

    Attributes:
        accused: id of the participant whose entry was refused.
        accuser: id of the participant that refused it.
        verdict: what the coordinator can tell about who is at fault.
    """

    accused: ParticipantId
    accuser: ParticipantId
    verdict: "Verdict"

    @property
    def proven(self) -> bool:
        """Whether the accused is at fault for certain."""
        return self.verdict is Verdict.PROVEN


@dataclass(frozen=True, slots=True)
class MasksRemoved:
    """A long unmasking goes on. It is told at each twentieth of the work, and not kept.

    Attributes:
        done: of the work, in mask values: one for each mask and coordinate of the update, and 65,536 for each key.
        total: how much there is.
    """

    done: int
    total: int

    @property
    def percent(self) -> int:
        """Of the masks that are out of the sum, 0 to 100."""
        return self.done * 100 // self.total


@dataclass(frozen=True, slots=True)
class SumReady:
    """The round ended with an exact sum, which the engine has (`Engine.aggregate`) and no event.

    Attributes:
        survivors: whose updates are in the sum.
    """

    survivors: tuple[str, ...]


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
    """The round ended without a sum.

    Attributes:
        error: why, as participants are told.
    """

    error: RoundAborted


Event = (
    PhaseStarted
    | MessageAccepted
    | ParticipantDropped
    | WrongShares
    | Accused
    | MasksRemoved
    | SumReady
    | SumDelivered
    | RoundFailed
)
