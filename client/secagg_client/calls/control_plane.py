"""The calls of the FL server to its sidecar, as values. No input or output."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import RoundConfig
from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.crypto.identity import is_participant_id
from secagg.errors import ConfigError, DecodeError
from secagg.phases import Phase
from secagg.roster import COORDINATOR
from secagg.scalars import utf8
from secagg.wire.configuration import encode_config
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.ledgers import TaskLedger, decode_ledger
from secagg.wire.parsing import parse
from secagg.wire.progress import WatchedEvent, decode_event, decode_phase
from secagg.wire.results import decode_aggregate, decode_groups
from secagg.wire.v1 import control_plane_pb2 as pb
from secagg.wire.v1 import messages_pb2
from secagg_client.calls.data_plane import Call, Parts, ResponseT_co, every, one, only
from secagg_client.calls.results import aggregate_limit, groups_limit

SERVICE: Final = "secagg.wire.v1.ControlPlane"
PIECE_BYTES: Final = 1 << 20
NAMES_PER_PART: Final = 8192
MAX_NAMES: Final = 40_000
"""In one call: the sidecar takes no message of more than 50,000 fields."""

UNLIMITED: Final = 1 << 62
"""For streams of the sidecar that are as long as its history."""


class RoundState(Enum):
    """What became of a round. The value is the number on the wire."""

    RUNNING = 1
    DONE = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """One round, as `ControlClient.list_rounds` lists it.

    Attributes:
        round_id: id of the round, 16 bytes.
        task: name of its task.
        state: whether it runs, ended with a sum, or without.
        phase: the open phase; None unless the round runs.
        opened: when it was opened, in seconds since 1970.
    """

    round_id: RoundId
    task: str
    state: RoundState
    phase: Phase | None
    opened: float


class ControlCall(Call[ResponseT_co]):
    """A call of the control plane."""

    service = SERVICE


@dataclass(frozen=True)
class OpenRound(ControlCall[RoundId]):
    """Open a round. Made again it would open another one."""

    method = "OpenRound"
    idempotent = False
    config: RoundConfig

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        data = encode_config(self.config)
        for start in range(0, len(data), PIECE_BYTES):
            yield pb.OpenRoundPart(config=data[start : start + PIECE_BYTES]).SerializeToString()

    def decode(self, parts: Parts) -> RoundId:
        """See `Call`."""
        return decode_round_id(only(pb.OpenRoundReply, parts).round_id)


@dataclass(frozen=True)
class WatchRound(ControlCall[None]):
    """Everything that happened in a round so far, and that will happen. Its answer is read part by part."""

    method = "WatchRound"
    round_id: RoundId

    @property
    def limit(self) -> int:
        """See `Call`."""
        return UNLIMITED

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.WatchRoundRequest(round_id=self.round_id))

    def decode(self, parts: Parts) -> None:
        """Nothing is left once all events were read."""
        parts.clear()

    @staticmethod
    def event(part: bytes) -> tuple[float, WatchedEvent]:
        """When it happened, in seconds since 1970, and what."""
        return decode_event(parse(pb.RoundEvent, part))


@dataclass(frozen=True)
class FetchResult(ControlCall[Aggregate]):
    """The exact sum of a round that is over."""

    method = "FetchAggregate"
    round_id: RoundId
    config: RoundConfig

    @property
    def limit(self) -> int:
        """See `Call`."""
        return aggregate_limit(self.config)

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.FetchRequest(round_id=self.round_id))

    def decode(self, parts: Parts) -> Aggregate:
        """See `Call`."""
        return decode_aggregate(every(messages_pb2.AggregatePart, parts), self.config)


@dataclass(frozen=True)
class FetchGroupSums(ControlCall[GroupedAggregate]):
    """The exact sums of the groups of a round that is over."""

    method = "FetchAggregate"
    round_id: RoundId
    config: RoundConfig

    @property
    def limit(self) -> int:
        """See `Call`."""
        return groups_limit(self.config)

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.FetchRequest(round_id=self.round_id))

    def decode(self, parts: Parts) -> GroupedAggregate:
        """See `Call`."""
        ids = GroupedRoundId(self.round_id, encode_config(self.config))
        sums = decode_groups(every(messages_pb2.AggregatePart, parts), self.config)
        return ids.aggregate(sums, self.config.model_digest)


@dataclass(frozen=True)
class NamingCall(ControlCall[None]):
    """A call that names participants of a round."""

    round_id: RoundId
    participants: Collection[str]

    def __post_init__(self) -> None:
        if isinstance(self.participants, str):
            raise ConfigError(f"participants are named in a list, not as one text: [{self.participants!r}]")
        if len(self.participants) > MAX_NAMES:
            raise ConfigError(f"{len(self.participants)} participants are named, more than {MAX_NAMES} in one call")
        for name in self.participants:
            if not is_participant_id(name):
                raise ConfigError(f"{name!r} is no participant id: 1 to 64 of A-Z a-z 0-9 . _ -")

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        names = sorted(set(self.participants))
        yield pb.ParticipantsPart(round_id=self.round_id, participant_ids=names[:NAMES_PER_PART]).SerializeToString()
        for start in range(NAMES_PER_PART, len(names), NAMES_PER_PART):
            part = pb.ParticipantsPart(participant_ids=names[start : start + NAMES_PER_PART])
            yield part.SerializeToString()

    def decode(self, parts: Parts) -> None:
        """See `Call`."""
        only(pb.ParticipantsReply, parts)


class Expect(NamingCall):
    """Say who will come."""

    method = "Expect"


class Exclude(NamingCall):
    """Say who is gone."""

    method = "Exclude"


@dataclass(frozen=True)
class AbortRound(ControlCall[None]):
    """End a round without a sum."""

    method = "AbortRound"
    round_id: RoundId
    reason: str

    def __post_init__(self) -> None:
        utf8(self.reason, "reason")

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.AbortRoundRequest(round_id=self.round_id, reason=self.reason))

    def decode(self, parts: Parts) -> None:
        """See `Call`."""
        only(pb.AbortRoundReply, parts)


@dataclass(frozen=True)
class ListRounds(ControlCall[tuple[RoundSummary, ...]]):
    """The rounds that the sidecar knows, newest first."""

    method = "ListRounds"
    task: str

    def __post_init__(self) -> None:
        utf8(self.task, "task")

    @property
    def limit(self) -> int:
        """See `Call`."""
        return UNLIMITED

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.ListRoundsRequest(task=self.task))

    def decode(self, parts: Parts) -> tuple[RoundSummary, ...]:
        """See `Call`."""
        return tuple(map(_summary, every(pb.RoundSummary, parts, UNLIMITED)))


@dataclass(frozen=True)
class GetLedger(ControlCall[TaskLedger]):
    """What a task has spent of its privacy budget."""

    method = "GetLedger"
    task: str

    def __post_init__(self) -> None:
        utf8(self.task, "task")

    @property
    def limit(self) -> int:
        """See `Call`."""
        return UNLIMITED

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.GetLedgerRequest(task=self.task))

    def decode(self, parts: Parts) -> TaskLedger:
        """See `Call`."""
        return decode_ledger(every(pb.LedgerPart, parts, UNLIMITED), self.task)


def decode_round_id(data: bytes) -> RoundId:
    """Raise `DecodeError` unless these are 16 bytes."""
    if len(data) != ROUND_ID_SIZE:
        raise DecodeError(f"a round id of {len(data)} bytes", culprit=COORDINATOR)
    return RoundId(data)


def _summary(message: pb.RoundSummary) -> RoundSummary:
    try:
        state = RoundState(message.state)
    except ValueError:
        raise DecodeError(f"unknown state {message.state} of a round", culprit=COORDINATOR) from None
    phase = decode_phase(message.phase) if state is RoundState.RUNNING else None
    return RoundSummary(decode_round_id(message.round_id), message.task, state, phase, message.opened_ms / 1000)
