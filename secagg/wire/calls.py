"""The calls of both planes, one a row: which message of which phase a call brings, how it travels, what answers it.

The coordinator, the client, the demo and the tests of the documentation read this table, so a call is stated here and
in `proto/secagg/wire/v1/*_plane.proto` alone. A call has the name of its RPC everywhere. Phases and messages have the
names that the paper gives them; the table says which belong together, e.g. RPC `Reveal` brings `Unmask`.

gRPC is told that every call is a stream of bytes both ways: on the wire one message is a stream of one. `Transfer` says
what that stream holds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from secagg.config import RoundConfig
from secagg.phases import Phase
from secagg.wire import codecs, limits
from secagg.wire.codecs import Codec
from secagg.wire.receipts import decode_receipt, encode_receipt
from secagg.wire.v1 import control_plane_pb2 as control
from secagg.wire.v1 import data_plane_pb2 as data
from secagg.wire.v1 import messages_pb2

DATA_PLANE: Final = "secagg.wire.v1.DataPlane"
CONTROL_PLANE: Final = "secagg.wire.v1.ControlPlane"

ROUND_METADATA: Final = "secagg-round-bin"
"""Names the round in calls whose requests are parts or chunks; other calls of a round may have it too."""

AnswerT_co = TypeVar("AnswerT_co", covariant=True)


class Transfer(Enum):
    """What the stream of requests holds."""

    ONE = "one message"
    """It names its round itself."""
    PARTS = "parts of one message"
    """They are kept until the message is whole. The metadata names the round."""
    CHUNKS = "chunks of a vector"
    """Each is a message of its own and is taken when it arrives. The call goes on after a break. The metadata names the
    round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[AnswerT_co]):
    """A row: one RPC, what it brings and what answers it.

    Attributes:
        name: of the RPC, which the .proto has.
        transfer: how the request travels.
        request: the protobuf type of each message that goes up.
        reply: the protobuf type of each message that comes down.
        brings: the codec of the participant's message in the request; None where the request holds no such message.
        field: of `request` that holds that message; empty where `request` is the message, or a part of it.
        answers: the codec of the answer, whose value the client reads; None where what is read depends on the round.
        request_bytes: longest request, all parts of a message together.
        answer_bytes: longest answer, or a function that says how long it may be in a round of this configuration.
        idempotent: whether making the call again changes nothing.
        service: full name of the gRPC service.
    """

    name: str
    transfer: Transfer = Transfer.ONE
    request: type[Message]
    reply: type[Message]
    brings: Codec[Any] | None = None
    field: str = ""
    answers: Codec[AnswerT_co] | None = None
    request_bytes: int = limits.SHORT_BYTES
    answer_bytes: int | Callable[[RoundConfig], int] = limits.entries_bytes
    idempotent: bool = True
    service: str = DATA_PLANE

    @property
    def path(self) -> str:
        """What gRPC calls the method."""
        return f"/{self.service}/{self.name}"

    def longest_answer(self, config: RoundConfig | None = None) -> int:
        """Bytes of the longest answer, each part counting `limits.PART_COST` more than it has.

        Args:
            config: of the round; None for a call that belongs to no round.
        """
        if not callable(self.answer_bytes):
            return self.answer_bytes
        return limits.SLACK_BYTES if config is None else self.answer_bytes(config)

    def requests(self, message: Any, round_id: bytes) -> Iterator[Message]:
        """The protobuf messages that bring `message`, which of a vector is one chunk."""
        if self.brings is None:
            raise TypeError(f"{self.name} brings no message of the protocol")
        if self.field:
            yield self.request(round_id=round_id, **{self.field: self.brings.encode(message)})
        else:
            yield from self.brings.parts(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCall(Call[AnswerT_co]):
    """A row of a call that brings a participant's message of a phase, and is answered by what closes the phase.

    Attributes:
        phase: in which participants make the call.
        shared: whether everyone gets the same answer, which the coordinator then encodes once.
    """

    phase: Phase
    brings: Codec[Any]
    answers: Codec[AnswerT_co]
    shared: bool = False

    @property
    def ends_round(self) -> bool:
        """Whether the answer is the receipt, which is there once the round is over."""
        return self.answers is RECEIPT


RECEIPT: Final = Codec(data.Receipt, encode_receipt, decode_receipt)

REQUEST_BYTES: Final = {
    Transfer.ONE: limits.SHORT_BYTES,
    Transfer.PARTS: limits.MAX_MESSAGE_BYTES,
    Transfer.CHUNKS: limits.MAX_CHUNK_STREAM_BYTES,
}
"""Longest request of a phase, unless its row says another."""


def _of_phase(
    name: str,
    phase: Phase,
    transfer: Transfer,
    brings: Codec[Any],
    answers: Codec[AnswerT_co],
    *,
    inside: tuple[type[Message], str] | None = None,
    shared: bool = False,
    request_bytes: int | None = None,
    answer_bytes: Callable[[RoundConfig], int] = limits.entries_bytes,
) -> PhaseCall[AnswerT_co]:
    """A row. `inside` is the request that names the round, and its field for the message."""
    request, field = inside or (brings.kind, "")
    return PhaseCall(
        name=name,
        transfer=transfer,
        request=request,
        reply=answers.kind,
        brings=brings,
        field=field,
        answers=answers,
        phase=phase,
        shared=shared,
        request_bytes=request_bytes or REQUEST_BYTES[transfer],
        answer_bytes=answer_bytes,
    )


ADVERTISE: Final = _of_phase(
    "Advertise",
    Phase.ADVERTISE_KEYS,
    Transfer.ONE,
    codecs.ADVERTISE_KEYS,
    codecs.ROSTER,
    inside=(data.AdvertiseRequest, "keys"),
    shared=True,
    request_bytes=limits.MAX_ADVERTISE_BYTES,
    answer_bytes=limits.roster_bytes,
)
SHARE: Final = _of_phase(
    "Share",
    Phase.SHARE_KEYS,
    Transfer.PARTS,
    codecs.SHARE_KEYS,
    codecs.SHARE_DELIVERY,
    answer_bytes=limits.delivery_bytes,
)
SEND_INPUT: Final = _of_phase(
    "SendInput", Phase.MASKED_INPUT, Transfer.CHUNKS, codecs.MASKED_INPUT_CHUNK, codecs.SURVIVOR_SET
)
CHECK: Final = _of_phase(
    "Check",
    Phase.CONSISTENCY_CHECK,
    Transfer.ONE,
    codecs.CONSISTENCY_CHECK,
    codecs.CONSISTENCY_PROOF,
    inside=(data.CheckRequest, "check"),
    shared=True,
)
REVEAL: Final = _of_phase("Reveal", Phase.UNMASK, Transfer.PARTS, codecs.UNMASK, RECEIPT)
CONFIRM_KEY: Final = _of_phase(
    "ConfirmKey",
    Phase.CONFIRM_KEY,
    Transfer.ONE,
    codecs.KEY_CONFIRMATION,
    codecs.CONSISTENCY_PROOF,
    inside=(data.ConfirmKeyRequest, "confirmation"),
    shared=True,
)
SEND_ENCRYPTED: Final = _of_phase(
    "SendEncrypted",
    Phase.ENCRYPTED_INPUT,
    Transfer.CHUNKS,
    codecs.ENCRYPTED_INPUT_CHUNK,
    codecs.ENCRYPTED_SUM,
    answer_bytes=limits.encrypted_sum_bytes,
)
REPORT_SUM: Final = _of_phase(
    "ReportSum",
    Phase.REPORT_SUM,
    Transfer.ONE,
    codecs.SUM_REPORT,
    codecs.RELEASE_ORDER,
    inside=(data.ReportSumRequest, "report"),
)
SEND_SUM: Final = _of_phase("SendSum", Phase.RELEASE_SUM, Transfer.CHUNKS, codecs.SUM_CHUNK, RECEIPT)
SEND_PARTIAL: Final = _of_phase(
    "SendPartial", Phase.PARTIAL_DECRYPTION, Transfer.CHUNKS, codecs.PARTIAL_CHUNK, codecs.FALLEN_SET
)
CHECK_RECOVERY: Final = _of_phase(
    "CheckRecovery",
    Phase.RECOVERY_CHECK,
    Transfer.ONE,
    codecs.RECOVERY_CHECK,
    codecs.CONSISTENCY_PROOF,
    inside=(data.CheckRecoveryRequest, "check"),
    shared=True,
)
RECOVER_SEEDS: Final = _of_phase("RecoverSeeds", Phase.RECOVER_SEEDS, Transfer.PARTS, codecs.RECOVER_SEEDS, RECEIPT)

PHASE_CALLS: Final[tuple[PhaseCall[Any], ...]] = (
    ADVERTISE,
    SHARE,
    SEND_INPUT,
    CHECK,
    REVEAL,
    CONFIRM_KEY,
    SEND_ENCRYPTED,
    REPORT_SUM,
    SEND_SUM,
    SEND_PARTIAL,
    CHECK_RECOVERY,
    RECOVER_SEEDS,
)
"""The calls that bring a participant's message of a phase, and are answered by what closes the phase."""

CALL_OF: Final = {call.phase: call for call in PHASE_CALLS}
"""The call in which a participant sends its message of each phase."""

# Participants' calls that belong to no phase.

FIND_ROUND: Final[Call[Any]] = Call(
    name="FindRound",
    request=data.FindRoundRequest,
    reply=data.RoundOfferPart,
    request_bytes=limits.MAX_FIND_BYTES,
    answer_bytes=limits.MAX_OFFER_BYTES,
)
INPUT_PROGRESS: Final[Call[Any]] = Call(
    name="InputProgress", request=data.InputProgressRequest, reply=data.InputProgressReply
)
AWAIT_RECEIPT: Final = Call(name="AwaitReceipt", request=data.AwaitReceiptRequest, answers=RECEIPT, reply=data.Receipt)
CERTIFY: Final = Call(
    name="Certify",
    request=data.CertifyRequest,
    answers=codecs.CONSISTENCY_PROOF,
    reply=codecs.CONSISTENCY_PROOF.kind,
)
FETCH_AGGREGATE: Final[Call[Any]] = Call(
    name="FetchAggregate",
    request=data.FetchAggregateRequest,
    reply=messages_pb2.AggregatePart,
    answer_bytes=limits.aggregate_bytes,
)
LEAVE_ROUND: Final[Call[Any]] = Call(
    name="LeaveRound",
    request=data.LeaveRequest,
    field="leave",
    brings=codecs.LEAVE,
    reply=data.LeaveReply,
)

DATA_CALLS: Final[tuple[Call[Any], ...]] = (
    FIND_ROUND,
    *PHASE_CALLS,
    INPUT_PROGRESS,
    AWAIT_RECEIPT,
    CERTIFY,
    FETCH_AGGREGATE,
    LEAVE_ROUND,
)
"""All calls of the data plane."""

# The FL server's calls.


def _control(
    name: str,
    request: type[Message],
    reply: type[Message],
    *,
    transfer: Transfer = Transfer.ONE,
    request_bytes: int = limits.SHORT_BYTES,
    answer_bytes: int | Callable[[RoundConfig], int] = limits.SLACK_BYTES,
    idempotent: bool = True,
) -> Call[Any]:
    return Call(
        name=name,
        request=request,
        reply=reply,
        transfer=transfer,
        request_bytes=request_bytes,
        answer_bytes=answer_bytes,
        idempotent=idempotent,
        service=CONTROL_PLANE,
    )


OPEN_ROUND: Final = _control(
    "OpenRound",
    control.OpenRoundPart,
    control.OpenRoundReply,
    transfer=Transfer.PARTS,
    request_bytes=limits.MAX_OPEN_BYTES,
    idempotent=False,
)
WATCH_ROUND: Final = _control(
    "WatchRound", control.WatchRoundRequest, control.RoundEvent, answer_bytes=limits.UNLIMITED
)
FETCH_RESULT: Final = _control(
    "FetchAggregate", control.FetchRequest, messages_pb2.AggregatePart, answer_bytes=limits.aggregate_bytes
)
EXPECT: Final = _control(
    "Expect",
    control.ParticipantsPart,
    control.ParticipantsReply,
    transfer=Transfer.PARTS,
    request_bytes=limits.MAX_NAMES_BYTES,
)
EXCLUDE: Final = _control(
    "Exclude",
    control.ParticipantsPart,
    control.ParticipantsReply,
    transfer=Transfer.PARTS,
    request_bytes=limits.MAX_NAMES_BYTES,
)
ABORT_ROUND: Final = _control(
    "AbortRound", control.AbortRoundRequest, control.AbortRoundReply, request_bytes=limits.MAX_ABORT_BYTES
)
LIST_ROUNDS: Final = _control(
    "ListRounds", control.ListRoundsRequest, control.RoundSummary, answer_bytes=limits.UNLIMITED
)
GET_LEDGER: Final = _control("GetLedger", control.GetLedgerRequest, control.LedgerPart, answer_bytes=limits.UNLIMITED)

CONTROL_CALLS: Final[tuple[Call[Any], ...]] = (
    OPEN_ROUND,
    WATCH_ROUND,
    FETCH_RESULT,
    EXPECT,
    EXCLUDE,
    ABORT_ROUND,
    LIST_ROUNDS,
    GET_LEDGER,
)
"""All calls of the control plane."""
