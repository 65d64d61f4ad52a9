"""The calls of both planes, one a row: which message of which phase a call brings, what answers it, and how long both
may be.

The coordinator, the client, the demo and the tests of the documentation read this table, so a call is stated here and
in `proto/secagg/wire/v1/*_plane.proto` alone. A call has the name of its RPC everywhere. The types of its requests and
replies, and how they travel, follow from the .proto and from the codecs. Phases and messages have the names that the
paper gives them; the table says which belong together, e.g. RPC `Reveal` brings `Unmask`.

gRPC is told that every call is a stream of bytes both ways: on the wire one message is a stream of one. `Transfer` says
what that stream holds.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial
from typing import Any, Final, Generic, TypeVar

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from secagg.config import RoundConfig
from secagg.messages import INPUT_PHASES, Phase
from secagg.wire import agreement, homomorphic, keys, limits, masked
from secagg.wire.agreement import CONSISTENCY_PROOF
from secagg.wire.codecs import Codec
from secagg.wire.receipts import RECEIPT
from secagg.wire.v1 import control_plane_pb2, data_plane_pb2

DATA_PLANE: Final = "secagg.wire.v1.DataPlane"
CONTROL_PLANE: Final = "secagg.wire.v1.ControlPlane"

ROUND_METADATA: Final = "secagg-round-bin"
"""Names the round in calls whose requests are parts or chunks; other calls of a round may have it too."""

_SERVICES: Final = {
    service.full_name: service
    for file in (data_plane_pb2, control_plane_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}

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


REQUEST_BYTES: Final = {
    Transfer.ONE: limits.SHORT_BYTES,
    Transfer.PARTS: limits.MAX_MESSAGE_BYTES,
    Transfer.CHUNKS: limits.MAX_CHUNK_STREAM_BYTES,
}
"""Longest request, unless the call's row says another."""


@dataclass(frozen=True, kw_only=True)
class Call(Generic[AnswerT_co]):
    """A row: one RPC, what it brings and what answers it.

    Attributes:
        name: of the RPC, which the .proto has.
        brings: the codec of the participant's message in the request; None where the request holds no such message.
        answers: the codec of the answer, whose value the client reads; None where what is read depends on the round.
        max_request: longest request, all parts of a message together; None for what `REQUEST_BYTES` says.
        max_answer: longest answer, or a function that says how long it may be in a round of this configuration.
        service: full name of the gRPC service.
    """

    name: str
    brings: Codec[Any] | None = None
    answers: Codec[AnswerT_co] | None = None
    max_request: int | None = None
    max_answer: int | Callable[[RoundConfig], int] = limits.entries_bytes
    service: str = DATA_PLANE

    @property
    def path(self) -> str:
        """What gRPC calls the method."""
        return f"/{self.service}/{self.name}"

    @cached_property
    def stated(self) -> MethodDescriptor:
        """What the .proto states about the RPC."""
        found: MethodDescriptor = _SERVICES[self.service].methods_by_name[self.name]
        return found

    @cached_property
    def request(self) -> type[Message]:
        """The protobuf type of each message that goes up."""
        return GetMessageClass(self.stated.input_type)

    @cached_property
    def reply(self) -> type[Message]:
        """The protobuf type of each message that comes down."""
        return GetMessageClass(self.stated.output_type)

    @cached_property
    def transfer(self) -> Transfer:
        """How the request travels."""
        if not self.stated.client_streaming:
            return Transfer.ONE
        return Transfer.PARTS if self.brings is None or self.brings.in_parts else Transfer.CHUNKS

    @cached_property
    def field(self) -> str:
        """Of `request`, that holds what the call brings; empty where `request` is the message, or a part of it."""
        kind = None if self.brings is None else self.brings.kind.DESCRIPTOR
        return next((f.name for f in self.stated.input_type.fields if kind and f.message_type is kind), "")

    @cached_property
    def request_bytes(self) -> int:
        """Longest request, all parts of a message together."""
        return self.max_request or REQUEST_BYTES[self.transfer]

    def longest_answer(self, config: RoundConfig | None = None) -> int:
        """Bytes of the longest answer, each part counting `limits.PART_COST` more than it has.

        Args:
            config: of the round; None for a call that belongs to no round.
        """
        if not callable(self.max_answer):
            return self.max_answer
        return limits.SLACK_BYTES if config is None else self.max_answer(config)

    def requests(self, message: Any, round_id: bytes) -> Iterator[Message]:
        """The protobuf messages that bring `message`, which of a vector is one chunk."""
        if self.brings is None:
            raise TypeError(f"{self.name} brings no message of the protocol")
        if self.field:
            yield self.request(round_id=round_id, **{self.field: self.brings.encode(message)})
        else:
            yield from self.brings.parts(message)


@dataclass(frozen=True, kw_only=True)
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


ADVERTISE: Final = PhaseCall(
    name="Advertise",
    phase=Phase.ADVERTISE_KEYS,
    brings=keys.ADVERTISE_KEYS,
    answers=keys.ROSTER,
    max_request=limits.MAX_ADVERTISE_BYTES,
    max_answer=limits.roster_bytes,
)
SHARE: Final = PhaseCall(
    name="Share",
    phase=Phase.SHARE_KEYS,
    brings=keys.SHARE_KEYS,
    answers=keys.SHARE_DELIVERY,
    max_answer=limits.delivery_bytes,
)
SEND_INPUT: Final = PhaseCall(
    name="SendInput", phase=Phase.MASKED_INPUT, brings=masked.MASKED_INPUT_CHUNK, answers=masked.SURVIVOR_SET
)
CHECK: Final = PhaseCall(
    name="Check",
    phase=Phase.CONSISTENCY_CHECK,
    brings=agreement.CONSISTENCY_CHECK,
    answers=CONSISTENCY_PROOF,
    shared=True,
)
REVEAL: Final = PhaseCall(name="Reveal", phase=Phase.UNMASK, brings=masked.UNMASK, answers=RECEIPT)
CONFIRM_KEY: Final = PhaseCall(
    name="ConfirmKey",
    phase=Phase.CONFIRM_KEY,
    brings=homomorphic.KEY_CONFIRMATION,
    answers=CONSISTENCY_PROOF,
    shared=True,
)
SEND_ENCRYPTED: Final = PhaseCall(
    name="SendEncrypted",
    phase=Phase.ENCRYPTED_INPUT,
    brings=homomorphic.ENCRYPTED_INPUT_CHUNK,
    answers=homomorphic.ENCRYPTED_SUM,
    max_answer=limits.encrypted_sum_bytes,
)
REPORT_SUM: Final = PhaseCall(
    name="ReportSum", phase=Phase.REPORT_SUM, brings=homomorphic.SUM_REPORT, answers=homomorphic.RELEASE_ORDER
)
SEND_SUM: Final = PhaseCall(name="SendSum", phase=Phase.RELEASE_SUM, brings=homomorphic.SUM_CHUNK, answers=RECEIPT)
SEND_PARTIAL: Final = PhaseCall(
    name="SendPartial", phase=Phase.PARTIAL_DECRYPTION, brings=homomorphic.PARTIAL_CHUNK, answers=homomorphic.FALLEN_SET
)
CHECK_RECOVERY: Final = PhaseCall(
    name="CheckRecovery",
    phase=Phase.RECOVERY_CHECK,
    brings=homomorphic.RECOVERY_CHECK,
    answers=CONSISTENCY_PROOF,
    shared=True,
)
RECOVER_SEEDS: Final = PhaseCall(
    name="RecoverSeeds", phase=Phase.RECOVER_SEEDS, brings=homomorphic.RECOVER_SEEDS, answers=RECEIPT
)

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

INPUT_CALLS: Final = frozenset(CALL_OF[phase].name for phase in INPUT_PHASES)
"""The names of the calls in which updates go up."""

# Participants' calls that belong to no phase.

FIND_ROUND: Final[Call[Any]] = Call(
    name="FindRound", max_request=limits.MAX_FIND_BYTES, max_answer=limits.MAX_OFFER_BYTES
)
INPUT_PROGRESS: Final[Call[Any]] = Call(name="InputProgress")
AWAIT_RECEIPT: Final = Call(name="AwaitReceipt", answers=RECEIPT)
CERTIFY: Final = Call(name="Certify", answers=CONSISTENCY_PROOF)
FETCH_AGGREGATE: Final[Call[Any]] = Call(name="FetchAggregate", max_answer=limits.aggregate_bytes)
LEAVE_ROUND: Final[Call[Any]] = Call(name="LeaveRound", brings=agreement.LEAVE, answers=agreement.SHOWN)
DESCRIBE: Final[Call[Any]] = Call(name="Describe", max_answer=limits.MAX_DESCRIPTION_BYTES)

DATA_CALLS: Final[tuple[Call[Any], ...]] = (
    FIND_ROUND,
    *PHASE_CALLS,
    INPUT_PROGRESS,
    AWAIT_RECEIPT,
    CERTIFY,
    FETCH_AGGREGATE,
    LEAVE_ROUND,
    DESCRIBE,
)
"""All calls of the data plane."""

CODECS: Final[Mapping[type, Codec[Any]]] = {
    codec.value: codec for call in DATA_CALLS for codec in (call.brings, call.answers) if codec and codec is not RECEIPT
}
"""The codec of each message of `secagg.messages`."""

# The FL server's calls.

_control: Final = partial(Call[Any], service=CONTROL_PLANE)

OPEN_ROUND: Final = _control(name="OpenRound", max_request=limits.MAX_OPEN_BYTES)
WATCH_ROUND: Final = _control(name="WatchRound", max_answer=limits.UNLIMITED)
FETCH_RESULT: Final = _control(name="FetchAggregate", max_answer=limits.aggregate_bytes)
EXPECT: Final = _control(name="Expect", max_request=limits.MAX_NAMES_BYTES)
EXCLUDE: Final = _control(name="Exclude", max_request=limits.MAX_NAMES_BYTES)
ABORT_ROUND: Final = _control(name="AbortRound", max_request=limits.MAX_ABORT_BYTES)
LIST_ROUNDS: Final = _control(name="ListRounds", max_answer=limits.UNLIMITED)
GET_LEDGER: Final = _control(name="GetLedger", max_answer=limits.UNLIMITED)
LIST_STRIKES: Final = _control(name="ListStrikes", max_answer=limits.UNLIMITED)
FORGIVE_STRIKES: Final = _control(name="ForgiveStrikes")
DESCRIBE_SIDECAR: Final = _control(name="Describe", max_answer=limits.MAX_DESCRIPTION_BYTES)

CONTROL_CALLS: Final[tuple[Call[Any], ...]] = (
    OPEN_ROUND,
    WATCH_ROUND,
    FETCH_RESULT,
    EXPECT,
    EXCLUDE,
    ABORT_ROUND,
    LIST_ROUNDS,
    GET_LEDGER,
    LIST_STRIKES,
    FORGIVE_STRIKES,
    DESCRIBE_SIDECAR,
)
"""All calls of the control plane."""
