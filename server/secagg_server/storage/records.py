"""What is kept of a round: its opening, what it took in order and with times, and how it ended.

Times are in seconds since 1970.
"""

from dataclasses import dataclass

from secagg.context import RoundId
from secagg.errors import AbortReason, RoundAborted
from secagg.messages import (
    SENT_IN,
    AdvertiseKeys,
    EncryptedInputChunk,
    MaskedInputChunk,
    PartialChunk,
    ParticipantId,
    ParticipantMessage,
    Phase,
    SumChunk,
)
from secagg.wire.results import PackedAggregate


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """An opened round. `opened_s` is in seconds since 1970."""

    round_id: RoundId
    config_bytes: bytes
    opened_s: float


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


Entry = Received | UploadCompleted | SeedReceived | DeadlinePassed | Rejoined | Expected | Excluded | Aborted


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

Outcome = Released | Withheld | RoundAborted
