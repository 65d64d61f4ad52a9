"""The calls of the FL server to its sidecar, as values."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import RoundConfig
from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.crypto.identity import is_participant_id
from secagg.errors import ConfigError, ProtocolViolation
from secagg.messages import ParticipantId
from secagg.roster import COORDINATOR
from secagg.scalars import utf8
from secagg.wire import calls
from secagg.wire.configuration import encode_config
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.ledgers import TaskLedger, decode_ledger
from secagg.wire.limits import MAX_NAMES, NAMES_PER_PART, UNLIMITED
from secagg.wire.parsing import parse
from secagg.wire.progress import WatchedEvent, decode_event
from secagg.wire.results import PackedAggregate, decode_aggregate, decode_groups
from secagg.wire.rounds import RoundSummary, decode_round_id, decode_summary
from secagg.wire.strikes import Record, decode_record
from secagg.wire.v1 import control_plane_pb2 as pb
from secagg.wire.v1 import data_plane_pb2
from secagg_client.calls.arrivals import KeptCall
from secagg_client.calls.call import Parts, PreparedCall, ResponseT_co, every, in_bytes, only
from secagg_client.calls.data_plane import Describe

PIECE_BYTES: Final = 1 << 20
"""Of a configuration, in one part of OpenRound."""


@dataclass(frozen=True)
class OpenRound(PreparedCall[RoundId]):
    """Open a round under an id of our own, so that the call can be made again."""

    row = calls.OPEN_ROUND
    waits_for_room = False
    round_id: RoundId
    config: RoundConfig

    def __post_init__(self) -> None:
        if not isinstance(self.round_id, bytes) or len(self.round_id) != ROUND_ID_SIZE:
            raise ConfigError(f"a round_id is {ROUND_ID_SIZE} bytes, not {self.round_id!r}")

    def requests(self) -> Iterator[bytes]:
        """The configuration in pieces; with the first one goes the id."""
        data = encode_config(self.config)
        pieces = (data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))
        first = pb.OpenRoundPart(round_id=self.round_id, config=next(pieces, b""))
        return in_bytes(chain([first], (pb.OpenRoundPart(config=piece) for piece in pieces)))

    def decode(self, parts: Parts) -> RoundId:
        """The id of the round, which is the one that was asked for."""
        opened = decode_round_id(only(pb.OpenRoundReply, parts).round_id)
        if opened != self.round_id:  # check: opened-another
            raise ProtocolViolation(
                f"round {opened.hex()} was opened, {self.round_id.hex()} was asked for: is the sidecar of an older "
                "release?",
                culprit=COORDINATOR,
            )
        return opened


@dataclass(frozen=True)
class WatchRound(PreparedCall[None]):
    """Ask for everything that happened in a round so far, and that will happen. Its answer is read part by part."""

    row = calls.WATCH_ROUND
    round_id: RoundId

    def decode(self, parts: Parts) -> None:
        """Nothing is left once all events were read."""
        parts.clear()

    @staticmethod
    def events(part: bytes) -> Iterator[tuple[bytes, tuple[float, WatchedEvent]]]:
        """Each event in bytes, by which it is known again, and when it happened, in seconds since 1970, and what."""
        return ((event.SerializeToString(), decode_event(event)) for event in parse(pb.RoundEvents, part).events)


@dataclass(frozen=True)
class FetchCall(PreparedCall[ResponseT_co]):
    """Ask for what a round that is over released."""

    row = calls.FETCH_RESULT
    round_id: RoundId
    config: RoundConfig

    @property
    def limit(self) -> int:
        """Longest answer in a round of this configuration."""
        return self.row.longest_answer(self.config)


class FetchResult(FetchCall[Aggregate]):
    """Ask for the exact sum of a round that is over."""

    def decode(self, parts: Parts) -> Aggregate:
        """The sum, whose length the configuration says."""
        return decode_aggregate(every(data_plane_pb2.AggregatePart, parts), self.config)


@dataclass(frozen=True)
class KeepResult(KeptCall, FetchCall[PackedAggregate]):
    """As `FetchResult`, but the sum waits in a temporary file."""


class FetchGroupSums(FetchCall[GroupedAggregate]):
    """Ask for the exact sums of the groups of a round that is over."""

    def decode(self, parts: Parts) -> GroupedAggregate:
        """The sums of all groups."""
        ids = GroupedRoundId(self.round_id, encode_config(self.config))
        sums = decode_groups(every(data_plane_pb2.AggregatePart, parts), self.config)
        return ids.aggregate(sums, self.config.model_digest)


@dataclass(frozen=True)
class NamingCall(PreparedCall[None]):
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
        """The names, sorted and without repetition, in parts of which the first one names the round."""
        names = sorted(set(self.participants))
        first = pb.ParticipantsPart(round_id=self.round_id, participant_ids=names[:NAMES_PER_PART])
        starts = range(NAMES_PER_PART, len(names), NAMES_PER_PART)
        others = (pb.ParticipantsPart(participant_ids=names[start : start + NAMES_PER_PART]) for start in starts)
        return in_bytes(chain([first], others))


class Expect(NamingCall):
    """Say who will come."""

    row = calls.EXPECT


class Exclude(NamingCall):
    """Say who is gone."""

    row = calls.EXCLUDE


@dataclass(frozen=True)
class AbortRound(PreparedCall[None]):
    """End a round without a sum."""

    row = calls.ABORT_ROUND
    round_id: RoundId
    reason: str

    def __post_init__(self) -> None:
        utf8(self.reason, "reason")


@dataclass(frozen=True)
class ListRounds(PreparedCall[tuple[RoundSummary, ...]]):
    """The rounds that the sidecar knows, newest first; `task` is empty for those of all tasks."""

    row = calls.LIST_ROUNDS
    task: str

    def __post_init__(self) -> None:
        utf8(self.task, "task")

    def decode(self, parts: Parts) -> tuple[RoundSummary, ...]:
        """The rounds in the order of the answer."""
        return tuple(map(decode_summary, every(pb.RoundSummary, parts, UNLIMITED)))


@dataclass(frozen=True)
class GetLedger(PreparedCall[TaskLedger]):
    """What a task has spent of its privacy budget."""

    row = calls.GET_LEDGER
    task: str

    def __post_init__(self) -> None:
        utf8(self.task, "task")

    def decode(self, parts: Parts) -> TaskLedger:
        """The ledger, checked entry by entry."""
        return decode_ledger(every(pb.LedgerPart, parts, UNLIMITED), self.task)


@dataclass(frozen=True)
class ListStrikes(PreparedCall[tuple[Record, ...]]):
    """Whose fault was proven in which rounds."""

    row = calls.LIST_STRIKES

    def decode(self, parts: Parts) -> tuple[Record, ...]:
        """In the order of the participants' ids."""
        return tuple(map(decode_record, every(pb.Strikes, parts, UNLIMITED)))


@dataclass(frozen=True)
class ForgiveStrikes(PreparedCall[int]):
    """Forgive a participant all of its strikes."""

    row = calls.FORGIVE_STRIKES
    participant_id: ParticipantId

    def __post_init__(self) -> None:
        if not is_participant_id(self.participant_id):
            raise ConfigError(f"{self.participant_id!r} is no id of a participant")

    def decode(self, parts: Parts) -> int:
        """How many it had."""
        return only(pb.ForgiveStrikesReply, parts).forgiven


class DescribeSidecar(Describe):
    """Ask the sidecar for its versions and its time."""

    row = calls.DESCRIBE_SIDECAR
