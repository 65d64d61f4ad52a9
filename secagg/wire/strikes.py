"""Strikes of participants on the wire."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from secagg.context import RoundId
from secagg.errors import DecodeError
from secagg.messages import ParticipantId
from secagg.roster import COORDINATOR
from secagg.wire.fields import decode_participant_id
from secagg.wire.rounds import decode_round_id
from secagg.wire.v1 import control_plane_pb2 as pb

MAX_STRIKES: Final = 100
MAX_WHY_BYTES: Final = 200


@dataclass(frozen=True, slots=True)
class Strike:
    """A round in which a participant's fault was proven.

    Attributes:
        participant: whose fault.
        round_id: of the round, or of the group.
        time_s: seconds since 1970.
        why: what was proven, at most 200 bytes of UTF-8.
    """

    participant: ParticipantId
    round_id: RoundId
    time_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Record:
    """What the coordinator has against a participant.

    Attributes:
        participant: who.
        quarantined: whether it is kept out of rounds.
        strikes: the oldest first.
    """

    participant: ParticipantId
    quarantined: bool
    strikes: Sequence[Strike]


def encode_record(record: Record) -> pb.Strikes:
    """One participant's record."""
    told = [
        pb.Strike(round_id=each.round_id, time_ms=round(each.time_s * 1000), why=each.why) for each in record.strikes
    ]
    return pb.Strikes(participant_id=record.participant, quarantined=record.quarantined, strikes=told)


def decode_record(message: pb.Strikes) -> Record:
    """What `encode_record` wrote.

    Raises:
        DecodeError: an id is none, or there is more than there may be.
    """
    participant = decode_participant_id(message.participant_id)
    longest = max((len(each.why.encode()) for each in message.strikes), default=0)
    if not 0 < len(message.strikes) <= MAX_STRIKES or longest > MAX_WHY_BYTES:
        told = f"a record has 1 to {MAX_STRIKES} strikes of at most {MAX_WHY_BYTES} bytes"
        raise DecodeError(told, culprit=COORDINATOR)
    strikes = [
        Strike(participant, decode_round_id(each.round_id), each.time_ms / 1000, each.why) for each in message.strikes
    ]
    return Record(participant, message.quarantined, tuple(strikes))
