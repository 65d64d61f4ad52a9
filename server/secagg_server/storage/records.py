"""What is kept of a round: its opening, what it took in order and with times, and how it ended.

Times are in seconds since 1970.
"""

from dataclasses import dataclass

from secagg.context import RoundId
from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, RoundAborted
from secagg.messages import (
    SENT_IN,
    AdvertiseKeys,
    ConsistencyProof,
    EncryptedInputChunk,
    MaskedInputChunk,
    PartialChunk,
    ParticipantId,
    ParticipantMessage,
    Phase,
    SumChunk,
)
from secagg.receipts import Receipt
from secagg.rounds.doors import Door
from secagg.rounds.finished import LastAnswers
from secagg.wire.progress import WatchedEvent
from secagg.wire.results import PackedAggregate


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """An opened round, with all that its engine was made of.

    Attributes:
        round_id: of the round; of a round in groups, or of one of its groups.
        config_bytes: the configuration, as participants get it.
        opened_s: in seconds since 1970.
        trust_pem: the CA certificates that participants' certificates are checked with in this round.
        noise_seed: 32 bytes, where the coordinator adds the noise. The same seed draws the same noise again.
    """

    round_id: RoundId
    config_bytes: bytes
    opened_s: float
    trust_pem: bytes = b""
    noise_seed: Secret | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was accepted. An `Unmask` holds secrets: a store that outlives the process seals it."""

    time_s: float
    sender: ParticipantId
    message: ParticipantMessage


@dataclass(frozen=True, slots=True)
class UploadCompleted:
    """The sender's last chunk was accepted; its chunks are in the spool, and there alone."""

    time_s: float
    sender: ParticipantId
    phase: Phase


@dataclass(frozen=True, slots=True)
class SeedReceived:
    """The first chunk of an input under a dealt key was accepted; its payload is in the spool, `seed` (of c1, 16 bytes,
    public) is nowhere else.
    """

    time_s: float
    sender: ParticipantId
    seed: bytes


@dataclass(frozen=True, slots=True)
class InputHeld:
    """The sender's whole vector was confirmed at a door beside the coordinator, which alone has it."""

    time_s: float
    sender: ParticipantId
    door: Door


@dataclass(frozen=True, slots=True)
class DoorLost:
    """What this door held, and had not handed over, was delivered by nobody."""

    time_s: float
    door: Door


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The open phase was closed by the clock."""

    time_s: float


@dataclass(frozen=True, slots=True)
class Rejoined:
    """Keys of a new process of the sender took the place of those of an earlier one."""

    time_s: float
    sender: ParticipantId
    message: AdvertiseKeys


@dataclass(frozen=True, slots=True)
class Expected:
    """The FL server said who will come."""

    time_s: float
    participants: frozenset[ParticipantId]


@dataclass(frozen=True, slots=True)
class Excluded:
    """The FL server said who is gone."""

    time_s: float
    participants: frozenset[ParticipantId]


@dataclass(frozen=True, slots=True)
class Aborted:
    """The round was ended from outside."""

    time_s: float
    reason: AbortReason
    message: str


@dataclass(frozen=True, slots=True)
class WrongShareRefused:
    """A message was refused: it revealed another share than the owner had dealt to its sender, which is remembered."""

    time_s: float
    sender: ParticipantId
    owner: ParticipantId


@dataclass(frozen=True, slots=True)
class Resumed:
    """The coordinator started again, and gave the open phase its time anew."""

    time_s: float


@dataclass(frozen=True, slots=True)
class Assigned:
    """A participant was given a group. In the journal of the round in groups."""

    time_s: float
    participant: ParticipantId
    group: int


@dataclass(frozen=True, slots=True)
class Certified:
    """Nobody's signature under the result is waited for any longer: these are the answer to all who ask. Taken after
    the end.
    """

    time_s: float
    proof: ConsistencyProof


Entry = (
    Received
    | UploadCompleted
    | SeedReceived
    | InputHeld
    | DoorLost
    | DeadlinePassed
    | Rejoined
    | Expected
    | Excluded
    | Aborted
    | WrongShareRefused
    | Resumed
    | Assigned
    | Certified
)


def entry_of(time_s: float, sender: ParticipantId, message: ParticipantMessage) -> Received | UploadCompleted:
    """How an accepted message is kept."""
    if isinstance(message, MaskedInputChunk | EncryptedInputChunk | PartialChunk | SumChunk):
        return UploadCompleted(time_s, sender, SENT_IN[type(message)])
    return Received(time_s, sender, message)


@dataclass(frozen=True, slots=True)
class Withheld:
    """A round whose sum the participants decrypted and the coordinator never knew."""

    survivors: tuple[str, ...]
    digest: bytes


Released = PackedAggregate
"""A round's sum, as everyone who may have it gets it."""


@dataclass(frozen=True, slots=True)
class Combined:
    """The groups, by number, whose sums are the result of a round in groups. The sums are outcomes of these groups."""

    groups: tuple[int, ...]


Outcome = Released | Withheld | RoundAborted


@dataclass(frozen=True, slots=True)
class Ended:
    """How a round ended, and all that it may be asked until it is forgotten.

    Attributes:
        time_s: when, in seconds since 1970.
        outcome: what came of it.
        receipt: what was signed, where there is a sum.
        events: what happened, with times in seconds since 1970. Of a round in groups only what is not in its groups.
        last: what its participants may still ask, where there is a sum.
        opened: whether participants were asked for what opens the sum, so that somebody may know it.
    """

    time_s: float
    outcome: Outcome | Combined
    receipt: Receipt | None = None
    events: tuple[tuple[float, WatchedEvent], ...] = ()
    last: LastAnswers | None = None
    opened: bool = False
