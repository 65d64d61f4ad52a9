"""The calls that a participant makes, as values: what goes up, and what its answer means. No input or output.

On the wire a unary message is a stream of one, so every call is a stream of requests and a stream of answers, and one
function of each client carries them all.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

from google.protobuf.message import Message

from secagg.config import TRAIN, RoundConfig
from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.crypto.identity import MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH
from secagg.errors import DecodeError, ProtocolViolation
from secagg.lattice.parameters import Custody
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyProof,
    Leave,
    MaskedInputChunk,
    Roster,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
    Unmask,
)
from secagg.roster import COORDINATOR
from secagg.schemes import Chunk, Upload
from secagg.wire.agreement import decode_proof, encode_check, encode_leave
from secagg.wire.configuration import MAX_CONFIG_BYTES, decode_config
from secagg.wire.counting import Budget
from secagg.wire.keys import decode_roster, decode_share_delivery, encode_advertise, encode_share_keys
from secagg.wire.masked import decode_survivors, encode_chunk, encode_unmask
from secagg.wire.parsing import parse
from secagg.wire.receipts import SealedDigest, decode_receipt
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg.wire.v1 import messages_pb2
from secagg_client.participation.results import Offer

ROUND_METADATA: Final = "secagg-round-bin"
"""Names the round in calls whose requests are parts of one message."""

PART_COST: Final = 64
"""Bytes that an answer's part counts beside its own, so that a flood of empty parts ends too."""

_MEMBER_BYTES: Final = 512 + MAX_CHAIN_LENGTH * MAX_CERTIFICATE_BYTES
ENTRY_BYTES: Final = 256  # an index with what a member dealt (218 bytes at most), or with a signature
SLACK: Final = 1 << 16
MAX_ANSWER_FIELDS: Final = 250_000
"""Of all parts of an answer. A roster of 10,000 with chains of 8 certificates has about 150,000."""

Parts = deque[bytes]
ResponseT_co = TypeVar("ResponseT_co", covariant=True)
MessageT = TypeVar("MessageT", bound=Message)


class Call(ABC, Generic[ResponseT_co]):
    """One call of a service.

    Attributes:
        service: full name of the gRPC service.
        method: name within the service.
        idempotent: whether making the call again changes nothing.
        insists: whether it is made again while nobody listens at the other end.
    """

    service: ClassVar[str] = "secagg.wire.v1.DataPlane"
    method: ClassVar[str]
    idempotent: ClassVar[bool] = True
    insists: ClassVar[bool] = True

    @property
    def path(self) -> str:
        """What gRPC calls the method."""
        return f"/{self.service}/{self.method}"

    @property
    def metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Metadata of the call."""
        return ()

    @property
    def limit(self) -> int:
        """Longest answer in bytes, each part counting `PART_COST` more."""
        return SLACK

    @abstractmethod
    def requests(self) -> Iterator[bytes]:
        """What goes up; the same bytes on every call."""

    @abstractmethod
    def decode(self, parts: Parts) -> ResponseT_co:
        """What came down. Raise `RemoteError` for anything malformed."""

    def read(self, parts: Parts) -> ResponseT_co:
        """As `decode`, within the limit. `parts` is emptied on the way, so that it is not held twice."""
        size = sum(len(part) + PART_COST for part in parts)
        if size > self.limit:  # check: longer-than-any-answer
            raise DecodeError(f"the answer to {self.method} is longer than {self.limit} bytes", culprit=COORDINATOR)
        return self.decode(parts)


Flow = Generator[Call[Any], Parts, ResponseT_co]
"""Yields calls, receives the parts of their answers, returns a result."""


def ask(call: Call[ResponseT_co]) -> Flow[ResponseT_co]:
    """Make a call: to be used with `yield from`. The call's answer, or the error in it."""
    return call.read((yield call))


def every(kind: type[MessageT], parts: Parts, fields: int = MAX_ANSWER_FIELDS) -> Iterator[MessageT]:
    """The messages in `parts`, which is emptied. They have at most `fields` fields, all together."""
    budget = Budget(fields)
    while parts:
        yield parse(kind, parts.popleft(), budget)


def only(kind: type[MessageT], parts: Parts) -> MessageT:
    """The one message in `parts`."""
    if len(parts) != 1:
        raise DecodeError(f"{len(parts)} answers where one {kind.__name__} belongs", culprit=COORDINATOR)
    return parse(kind, parts.popleft())


def one(message: Message) -> Iterator[bytes]:
    """A request of one message."""
    return iter((message.SerializeToString(),))


@dataclass(frozen=True)
class FindRound(Call[Offer]):
    """Wait for a round of `task` for `purpose`, or look up `round_id`; exactly one of task and id. `seen`: rounds not
    to be offered.

    Of a round in groups the offer is the caller's own group.
    """

    method = "FindRound"
    task: str | None = None
    round_id: RoundId | None = None
    seen: Collection[RoundId] = ()
    purpose: str = TRAIN

    @property
    def limit(self) -> int:
        """A configuration; its parts may be small."""
        return MAX_CONFIG_BYTES * 2

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        if self.round_id is not None:
            return one(pb.FindRoundRequest(round_id=self.round_id))
        purpose = "" if self.purpose == TRAIN else self.purpose
        return one(pb.FindRoundRequest(task=self.task or "", seen=self.seen, purpose=purpose))

    def decode(self, parts: Parts) -> Offer:
        """The offered round. Raise `ProtocolViolation` if it is not one that was asked for."""
        ids: list[bytes] = []
        pieces: list[bytes] = []
        for part in every(pb.RoundOfferPart, parts):
            if part.round_id or not ids:
                ids.append(part.round_id)
            pieces.append(part.config)
        if len(ids) != 1 or len(ids[0]) != ROUND_ID_SIZE:
            raise DecodeError("an offer names its round by 16 bytes, in the first part alone", culprit=COORDINATOR)
        config_bytes = b"".join(pieces)
        offer = Offer(RoundId(ids[0]), decode_config(config_bytes), config_bytes)
        self._check(offer)
        return offer

    def _check(self, offer: Offer) -> None:
        parent = offer.config.groups.parent if offer.config.groups else b""
        if self.round_id is not None and self.round_id not in {offer.round_id, parent}:  # check: another-round
            raise _violation(f"round {offer.round_id.hex()} was offered, {self.round_id.hex()} was asked for")
        if self.task is not None and offer.config.task != self.task:  # check: another-task
            raise _violation(f"a round of task {offer.config.task!r} was offered, {self.task!r} was asked for")
        if self.task is not None and offer.config.purpose != self.purpose:
            raise _violation(f"a round to {offer.config.purpose} was offered, one to {self.purpose} was asked for")
        if offer.round_id in self.seen:
            raise _violation(f"round {offer.round_id.hex()} was offered again; keys are made once per round")


@dataclass(frozen=True)
class RoundCall(Call[ResponseT_co]):
    """A call of one round."""

    round_id: RoundId
    config: RoundConfig

    @property
    def metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Names the round."""
        return ((ROUND_METADATA, self.round_id),)

    @property
    def limit(self) -> int:
        """One short entry for each participant."""
        return SLACK + self.config.max_participants * (ENTRY_BYTES + PART_COST)


@dataclass(frozen=True)
class Advertise(RoundCall[Roster]):
    """Round 0."""

    method = "Advertise"
    keys: AdvertiseKeys

    @property
    def limit(self) -> int:
        """One line with certificates for each participant."""
        return SLACK + self.config.max_participants * (_MEMBER_BYTES + PART_COST)

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.AdvertiseRequest(round_id=self.round_id, keys=encode_advertise(self.keys)))

    def decode(self, parts: Parts) -> Roster:
        """See `Call`."""
        return decode_roster(every(messages_pb2.RosterPart, parts))


@dataclass(frozen=True)
class Share(RoundCall[ShareDelivery]):
    """Round 1."""

    method = "Share"
    message: ShareKeys

    @property
    def limit(self) -> int:
        """Sealed shares of everyone; in custody `threshold` also key shares."""
        profile = self.config.homomorphic
        if profile is None or profile.custody is Custody.PARTICIPANTS:
            return super().limit
        key_share = len(profile.key_primes) * profile.ring_degree * profile.prime_bits // 8
        return super().limit + self.config.max_participants * (key_share + SLACK)

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return (part.SerializeToString() for part in encode_share_keys(self.message))

    def decode(self, parts: Parts) -> ShareDelivery:
        """See `Call`."""
        return decode_share_delivery(every(messages_pb2.ShareDeliveryPart, parts))


@dataclass(frozen=True)
class InputProgress(RoundCall[int]):
    """Where a broken upload goes on: the number of the first chunk that has not arrived."""

    method = "InputProgress"

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.InputProgressRequest(round_id=self.round_id))

    def decode(self, parts: Parts) -> int:
        """See `Call`."""
        return only(pb.InputProgressReply, parts).next_chunk


@dataclass(frozen=True)
class UploadCall(RoundCall[ResponseT_co]):
    """A vector, from chunk `start` on. Holds keys.

    gRPC reads requests in a thread of its own, and the one of a call that broke may still be making a chunk when the
    retry asks for it: `turn` lets one at a time, so that no chunk is ever made twice.
    """

    vector: Upload
    start: int = 0
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
        if next_chunk > self.vector.chunks:
            raise _violation(f"{next_chunk} chunks are said to have arrived of {self.vector.chunks}")
        return replace(self, start=next_chunk)

    @abstractmethod
    def encode(self, chunk: Chunk) -> Message:
        """The chunk's message."""

    def requests(self) -> Iterator[bytes]:
        """The chunks, each computed when it is asked for."""
        return (
            self.encode(self._chunk(number)).SerializeToString() for number in range(self.start, self.vector.chunks)
        )

    def _chunk(self, number: int) -> Chunk:
        with self.turn:
            return self.vector.chunk(number)


@dataclass(frozen=True)
class SendInput(UploadCall[SurvivorSet]):
    """Round 2."""

    method = "SendInput"

    def encode(self, chunk: Chunk) -> Message:
        """See `UploadCall`."""
        assert isinstance(chunk, MaskedInputChunk)  # noqa: S101 - the call was chosen by the upload's phase
        return encode_chunk(chunk)

    def decode(self, parts: Parts) -> SurvivorSet:
        """See `Call`."""
        return decode_survivors(only(messages_pb2.SurvivorSet, parts))


@dataclass(frozen=True)
class Check(RoundCall[ConsistencyProof]):
    """Round 3."""

    method = "Check"
    message: ConsistencyCheck

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.CheckRequest(round_id=self.round_id, check=encode_check(self.message)))

    def decode(self, parts: Parts) -> ConsistencyProof:
        """See `Call`."""
        return decode_proof(every(messages_pb2.ConsistencyProofPart, parts))


@dataclass(frozen=True)
class Reveal(RoundCall[SealedDigest]):
    """Round 4."""

    method = "Reveal"
    message: Unmask

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return (part.SerializeToString() for part in encode_unmask(self.message))

    def decode(self, parts: Parts) -> SealedDigest:
        """See `Call`."""
        return receipt_in(parts)


@dataclass(frozen=True)
class Certify(RoundCall[ConsistencyProof]):
    """Our signature under the result; the answer has the survivors' under theirs."""

    method = "Certify"
    signature: bytes

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.CertifyRequest(round_id=self.round_id, signature=self.signature))

    def decode(self, parts: Parts) -> ConsistencyProof:
        """See `Call`."""
        return decode_proof(every(messages_pb2.ConsistencyProofPart, parts))


@dataclass(frozen=True)
class LeaveRound(RoundCall[None]):
    """Say good-bye. A coordinator that is not there needs none."""

    method = "LeaveRound"
    insists = False
    leave: Leave

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.LeaveRequest(round_id=self.round_id, leave=encode_leave(self.leave)))

    def decode(self, parts: Parts) -> None:
        """See `Call`."""
        only(pb.LeaveReply, parts)


def receipt_in(parts: Parts) -> SealedDigest:
    """What answers a participant's last call."""
    return decode_receipt(only(pb.Receipt, parts))


def _violation(message: str) -> ProtocolViolation:
    return ProtocolViolation(message, culprit=COORDINATOR)
