"""The calls that a participant makes, as values. Which message of which phase a call brings, and what answers it, is
in `secagg.wire.calls`.
"""

from collections.abc import Collection, Iterator
from dataclasses import astuple, dataclass, field, replace
from threading import Lock
from typing import Self

from secagg.aggregates import Aggregate
from secagg.config import TRAIN, RoundConfig
from secagg.context import RoundId
from secagg.errors import ProtocolViolation
from secagg.messages import ConsistencyProof, Dealt, Leave, ParticipantMessage
from secagg.roster import COORDINATOR
from secagg.schemes import Chunk, Upload
from secagg.wire import calls
from secagg.wire.configuration import decode_config
from secagg.wire.describing import Description, decode_description
from secagg.wire.receipts import SignedDigest
from secagg.wire.results import PackedAggregate, decode_aggregate, decode_groups
from secagg.wire.rounds import decode_offer
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg_client.calls.arrivals import KeptCall
from secagg_client.calls.call import Parts, PreparedCall, ResponseT_co, every, in_bytes, only
from secagg_client.participation.results import Offer


@dataclass(frozen=True)
class FindRound(PreparedCall[Offer]):
    """Wait for a round of `task` for `purpose`, or look up `round_id`; exactly one of task and id. `seen`: rounds not
    to be offered.

    Of a round in groups the offer is the caller's own group.
    """

    row = calls.FIND_ROUND
    task: str | None = None
    round_id: RoundId | None = None
    seen: Collection[RoundId] = ()
    purpose: str = TRAIN

    def requests(self) -> Iterator[bytes]:
        """The question. Training is what a round is for unless another purpose is named."""
        if self.round_id is not None:
            return in_bytes([pb.FindRoundRequest(round_id=self.round_id)])
        purpose = "" if self.purpose == TRAIN else self.purpose
        return in_bytes([pb.FindRoundRequest(task=self.task or "", seen=self.seen, purpose=purpose)])

    def decode(self, parts: Parts) -> Offer:
        """The offered round. Raise `ProtocolViolation` if it is not one that was asked for."""
        round_id, config_bytes = decode_offer(every(pb.RoundOfferPart, parts))
        offer = Offer(round_id, decode_config(config_bytes), config_bytes)
        self._check(offer)
        return offer

    def _check(self, offer: Offer) -> None:
        parent = offer.config.groups.parent if offer.config.groups else b""
        if self.round_id is not None and self.round_id not in {offer.round_id, parent}:  # check: another-round
            raise _violation(f"round {offer.round_id.hex()} was offered, {self.round_id.hex()} was asked for")
        if self.task is not None and offer.config.task != self.task:  # check: another-task
            raise _violation(f"a round of task {offer.config.task!r} was offered, {self.task!r} was asked for")
        if self.task is not None and offer.config.purpose != self.purpose:  # check: another-purpose
            raise _violation(f"a round to {offer.config.purpose} was offered, one to {self.purpose} was asked for")
        if offer.round_id in self.seen:  # check: offered-again
            raise _violation(f"round {offer.round_id.hex()} was offered again; keys are made once per round")


@dataclass(frozen=True)
class RoundCall(PreparedCall[ResponseT_co]):
    """A call of one round."""

    round_id: RoundId
    config: RoundConfig

    @property
    def lasts_s(self) -> float:
        """All time limits of the round together."""
        return float(sum(astuple(self.config.deadlines)))

    @property
    def metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Names the round, which the parts of a message do not."""
        return ((calls.ROUND_METADATA, self.round_id),)

    @property
    def limit(self) -> int:
        """Longest answer in a round of this configuration."""
        return self.row.longest_answer(self.config)


@dataclass(frozen=True)
class SendMessage(RoundCall[ResponseT_co]):
    """Bring our message of a phase; the answer closes the phase."""

    row: calls.PhaseCall[ResponseT_co]
    message: ParticipantMessage

    def requests(self) -> Iterator[bytes]:
        """The message, or its parts."""
        return in_bytes(self.row.requests(self.message, self.round_id))


@dataclass(frozen=True)
class InputProgress(RoundCall[int]):
    """Ask where a broken upload goes on: the number of the first chunk that has not arrived."""

    row = calls.INPUT_PROGRESS

    def decode(self, parts: Parts) -> int:
        """The first chunk that the coordinator does not have yet."""
        return only(pb.InputProgressReply, parts).next_chunk


@dataclass(frozen=True)
class UploadCall(RoundCall[ResponseT_co]):
    """Bring our vector of a phase, from chunk `start` on; the answer closes the phase. Holds keys.

    gRPC reads requests in a thread of its own, and the one of a call that broke may still be making a chunk when the
    retry asks for it: `turn` lets one at a time, so that no chunk is ever made twice. With `begun`, another process of
    ours may have sent some of it.
    """

    row: calls.PhaseCall[ResponseT_co]
    vector: Upload
    start: int = 0
    begun: bool = False
    turn: Lock = field(default_factory=Lock, repr=False, compare=False)

    @property
    def progress(self) -> InputProgress:
        """To be asked before this call is made again."""
        return InputProgress(self.round_id, self.config)

    def resumed(self, next_chunk: int) -> Self:
        """The same upload from `next_chunk` on.

        Raises:
            ProtocolViolation: there is no such chunk.
        """
        if next_chunk > self.vector.chunks:  # check: chunks-that-arrived
            raise _violation(f"{next_chunk} chunks are said to have arrived of {self.vector.chunks}")
        return replace(self, start=next_chunk)

    def requests(self) -> Iterator[bytes]:
        """The chunks, each computed when it is asked for."""
        return (self.row.brings.to_bytes(self._chunk(number)) for number in range(self.start, self.vector.chunks))

    def _chunk(self, number: int) -> Chunk:
        with self.turn:
            return self.vector.chunk(number)


@dataclass(frozen=True)
class AwaitReceipt(RoundCall[SignedDigest]):
    """Wait for the end of a round that wants nothing more of us."""

    row = calls.AWAIT_RECEIPT


@dataclass(frozen=True)
class Certify(RoundCall[ConsistencyProof]):
    """Bring our signature under the result; the answer has the survivors' under theirs."""

    row = calls.CERTIFY
    signature: bytes


@dataclass(frozen=True)
class FetchAggregate(RoundCall[Aggregate]):
    """Ask for the sum of a round that is over."""

    row = calls.FETCH_AGGREGATE

    def decode(self, parts: Parts) -> Aggregate:
        """The sum, whose length the configuration says."""
        return decode_aggregate(every(pb.AggregatePart, parts), self.config)


@dataclass(frozen=True)
class KeepAggregate(KeptCall, RoundCall[PackedAggregate]):
    """As `FetchAggregate`, but the sum waits in a temporary file."""

    row = calls.FETCH_AGGREGATE


@dataclass(frozen=True)
class FetchGroups(RoundCall[dict[int, Aggregate]]):
    """Ask for every group's sum after a round in groups. Waits until all of them are over."""

    row = calls.FETCH_AGGREGATE

    def decode(self, parts: Parts) -> dict[int, Aggregate]:
        """The sums by the number of the group."""
        return decode_groups(every(pb.AggregatePart, parts), self.config)


@dataclass(frozen=True)
class LeaveRound(RoundCall[Dealt | None]):
    """Say that we leave the round. A coordinator that is not there need not hear it. If we refuse an entry, the answer
    may show what its sender signed.
    """

    row = calls.LEAVE_ROUND
    insists = False
    leave: Leave

    def requests(self) -> Iterator[bytes]:
        """One request that says why this participant leaves."""
        return in_bytes(self.row.requests(self.leave, self.round_id))


@dataclass(frozen=True)
class Describe(PreparedCall[Description]):
    """Ask the coordinator for its versions and its time."""

    row = calls.DESCRIBE

    def decode(self, parts: Parts) -> Description:
        """What it says of itself, within its bounds."""
        return decode_description(only(pb.Description, parts))


def _violation(message: str) -> ProtocolViolation:
    return ProtocolViolation(message, culprit=COORDINATOR)
