"""The data plane: participants' calls. Each passes a message to the round and waits for what closes the phase."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, assert_never

import structlog
from google.protobuf.message import Message

from secagg.config import TRAIN
from secagg.crypto.identity import MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH
from secagg.errors import DecodeError, ProtocolViolation, RoundAborted
from secagg.messages import ParticipantId
from secagg.phases import Phase
from secagg.schemes import Chunk
from secagg.wire import codec, homomorphic
from secagg.wire.fields import PART_BYTES
from secagg.wire.receipts import encode_receipt
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg.wire.v1 import messages_pb2
from secagg_server.auth import Callers
from secagg_server.boundary import Context
from secagg_server.door import Answer, Call, Over, started
from secagg_server.hosting import HostedRound
from secagg_server.rounds import Rounds
from secagg_server.store import Store

ROUND_METADATA: Final = "secagg-round-bin"
WAITING: Final = b"waiting for a round"
"""Where calls count that have been read and belong to no round yet."""

MAX_SEEN: Final = 1000
MAX_FIND_BYTES: Final = 32 << 10
"""A task, and `MAX_SEEN` rounds."""

MAX_ADVERTISE_BYTES: Final = (1 << 10) + MAX_CHAIN_LENGTH * (MAX_CERTIFICATE_BYTES + 16)
"""Keys with a chain of certificates."""

MAX_MESSAGE_BYTES: Final = 8 << 20
"""Sealed or revealed shares of 10,000 neighbours take less than 3 MiB, a packed share of a joint key at most 4."""


@dataclass(frozen=True, slots=True)
class One:
    """A call that brings one message, which names its round.

    Attributes:
        kind: the request.
        field: of the request that holds the participant's message.
        decode: makes the message of that field.
        max_bytes: longest request.
    """

    kind: type[Message]
    field: str
    decode: Callable[[Any], Any]
    max_bytes: int = 1 << 10


@dataclass(frozen=True, slots=True)
class Parts:
    """A call that brings one message in parts; the metadata names the round."""

    kind: type[Message]
    decode: Callable[[list[Any]], Any]


@dataclass(frozen=True, slots=True)
class Chunks:
    """A call that brings a vector chunk by chunk; the metadata names the round. It goes on after a break."""

    kind: type[Message]
    decode: Callable[[Any], Chunk]


@dataclass(frozen=True, slots=True)
class PhaseCall:
    """A call that takes a participant's message of a phase, and answers with what closes the phase.

    Attributes:
        name: as the .proto has it.
        phase: in which it is sent.
        sends: what comes up.
        encode: makes the parts of the answer; None: the answer is the receipt, once the round is over.
        shared: whether everyone gets the same answer, which is then encoded once.
    """

    name: str
    phase: Phase
    sends: One | Parts | Chunks
    encode: Callable[[Any], Iterable[Message]] | None
    shared: bool = False


def _alone(encode: Callable[[Any], Message]) -> Callable[[Any], Iterable[Message]]:
    """For answers of one part."""
    return lambda message: (encode(message),)


PHASE_CALLS: Final = (
    PhaseCall(
        "Advertise",
        Phase.ADVERTISE_KEYS,
        One(pb.AdvertiseRequest, "keys", codec.decode_advertise, MAX_ADVERTISE_BYTES),
        codec.encode_roster,
        shared=True,
    ),
    PhaseCall(
        "Share",
        Phase.SHARE_KEYS,
        Parts(messages_pb2.ShareKeysPart, codec.decode_share_keys),
        codec.encode_share_delivery,
    ),
    PhaseCall(
        "SendInput",
        Phase.MASKED_INPUT,
        Chunks(messages_pb2.MaskedInputChunk, codec.decode_chunk),
        _alone(codec.encode_survivors),
    ),
    PhaseCall(
        "Check",
        Phase.CONSISTENCY_CHECK,
        One(pb.CheckRequest, "check", codec.decode_check),
        codec.encode_proof,
        shared=True,
    ),
    PhaseCall("Reveal", Phase.UNMASK, Parts(messages_pb2.UnmaskPart, codec.decode_unmask), None),
    PhaseCall(
        "ConfirmKey",
        Phase.CONFIRM_KEY,
        One(pb.ConfirmKeyRequest, "confirmation", homomorphic.decode_confirmation),
        codec.encode_proof,
        shared=True,
    ),
    PhaseCall(
        "SendEncrypted",
        Phase.ENCRYPTED_INPUT,
        Chunks(messages_pb2.EncryptedInputChunk, homomorphic.decode_encrypted_chunk),
        homomorphic.encode_encrypted_sum,
    ),
    PhaseCall(
        "ReportSum",
        Phase.REPORT_SUM,
        One(pb.ReportSumRequest, "report", homomorphic.decode_report),
        _alone(homomorphic.encode_order),
    ),
    PhaseCall("SendSum", Phase.RELEASE_SUM, Chunks(messages_pb2.SumChunk, homomorphic.decode_sum_chunk), None),
    PhaseCall(
        "SendPartial",
        Phase.PARTIAL_DECRYPTION,
        Chunks(messages_pb2.PartialChunk, homomorphic.decode_partial_chunk),
        _alone(homomorphic.encode_fallen),
    ),
    PhaseCall(
        "CheckRecovery",
        Phase.RECOVERY_CHECK,
        One(pb.CheckRecoveryRequest, "check", homomorphic.decode_recovery_check),
        codec.encode_proof,
        shared=True,
    ),
    PhaseCall(
        "RecoverSeeds",
        Phase.RECOVER_SEEDS,
        Parts(messages_pb2.RecoverSeedsPart, homomorphic.decode_recover_seeds),
        None,
    ),
)
"""The calls of all schemes that carry a protocol message, one a row."""


class DataPlane:
    """See `proto/secagg/wire/v1/data_plane.proto`."""

    def __init__(self, rounds: Rounds, callers: Callers, store: Store) -> None:
        self._rounds = rounds
        self._callers = callers
        self._store = store
        self._log = structlog.get_logger()

    @property
    def answers(self) -> Mapping[str, Answer]:
        """Every call by name."""
        return {
            "FindRound": self._find_round,
            "InputProgress": self._input_progress,
            "AwaitReceipt": self._await_receipt,
            "Certify": self._certify,
            "FetchAggregate": self._fetch_aggregate,
            "LeaveRound": self._leave_round,
            **{row.name: partial(self._phase_call, row) for row in PHASE_CALLS},
        }

    def who(self, context: Context) -> str:
        """Whose call it is. A certificate that was not seen before is logged."""
        caller, fresh = self._callers.of(context)
        if fresh and self._store.see_identity(caller.participant, caller.fingerprint):
            self._log.info(
                "identity_seen",
                participant=caller.participant,
                organisation=caller.organisation,
                fingerprint=caller.fingerprint,
            )
        return caller.participant

    async def _phase_call(self, row: PhaseCall, call: Call) -> AsyncIterator[bytes]:
        caller = ParticipantId(call.caller)
        async with AsyncExitStack() as waiting:
            hosted = await self._receive(row, call, caller, waiting)
            call.taken()
            answer = None if row.encode is None else await hosted.answer(caller, row.phase)
        if row.encode is None:
            yield await _receipt(hosted)
            return
        parts: Iterable[bytes]
        if not row.shared:
            parts = (part.SerializeToString() for part in row.encode(answer))
        elif row.phase in hosted.encoded:
            parts = hosted.encoded[row.phase]
        else:
            parts = hosted.encoded[row.phase] = [part.SerializeToString() for part in row.encode(answer)]
        for part in parts:
            yield part

    async def _receive(self, row: PhaseCall, call: Call, caller: ParticipantId, waiting: AsyncExitStack) -> HostedRound:
        """Take what the call brings; the round that it belongs to. `waiting` is left when the call waits no more."""
        match row.sends:
            case One(kind, field, decode, max_bytes):
                request: Any = await call.one(kind, max_bytes, self._over(call, caller, row.phase))
                joins = row.phase is Phase.ADVERTISE_KEYS
                hosted = (
                    self._rounds.find_for(caller, request.round_id) if joins else self._rounds.find(request.round_id)
                )
                call.enter(hosted.record.round_id)
                message = decode(getattr(request, field))
                if joins:
                    await waiting.enter_async_context(hosted.joining(caller, message))
                else:
                    await hosted.receive(caller, message)
            case Parts(kind, decode):
                hosted = await self._member_of(call, caller)
                parts = await call.all(kind, MAX_MESSAGE_BYTES, self._over(call, caller, row.phase))
                call.enter(hosted.record.round_id)
                await hosted.receive(caller, decode(parts))
            case Chunks(kind, decode):
                hosted = await self._member_of(call, caller)
                call.enter(hosted.record.round_id)
                await _upload(hosted, caller, row.phase, _decoded(call.each(kind), decode))
            case _:
                assert_never(row.sends)
        return hosted

    async def _find_round(self, call: Call) -> AsyncIterator[bytes]:
        request = await call.one(pb.FindRoundRequest, MAX_FIND_BYTES)
        if request.WhichOneof("by") == "task":
            call.enter(WAITING)
        for part in _offer(await self._found(ParticipantId(call.caller), request)):
            yield part.SerializeToString()

    async def _input_progress(self, call: Call) -> AsyncIterator[bytes]:
        hosted = await self._round_in(call, pb.InputProgressRequest)
        reply = pb.InputProgressReply(next_chunk=await hosted.upload_progress(ParticipantId(call.caller)))
        yield reply.SerializeToString()

    async def _await_receipt(self, call: Call) -> AsyncIterator[bytes]:
        hosted = await self._round_in(call, pb.AwaitReceiptRequest)
        await hosted.check_member(ParticipantId(call.caller))
        yield await _receipt(hosted)

    async def _certify(self, call: Call) -> AsyncIterator[bytes]:
        request = await call.one(pb.CertifyRequest)
        hosted = self._rounds.find(request.round_id)
        call.enter(hosted.record.round_id)
        call.taken()
        caller = ParticipantId(call.caller)
        await hosted.check_member(caller)
        proof = await hosted.certify(caller, codec.decode_signature(request.signature))
        for part in codec.encode_proof(proof):
            yield part.SerializeToString()

    async def _fetch_aggregate(self, call: Call) -> AsyncIterator[bytes]:
        caller = ParticipantId(call.caller)
        hosted = await self._round_in(call, pb.FetchAggregateRequest)
        if not hosted.config.release_to_participants:
            raise ProtocolViolation("this round does not release the aggregate to participants", culprit=caller)
        await hosted.check_member(caller)
        grouped = self._rounds.grouped(hosted)
        released = await (hosted if grouped is None else grouped).released()
        for part in released.parts():
            yield part.SerializeToString()
        self._rounds.fetched(grouped or hosted)

    async def _leave_round(self, call: Call) -> AsyncIterator[bytes]:
        request = await call.one(pb.LeaveRequest)
        hosted = self._rounds.find_for(ParticipantId(call.caller), request.round_id)
        await hosted.leave(ParticipantId(call.caller), codec.decode_leave(request.leave))
        yield pb.LeaveReply().SerializeToString()

    async def _found(self, caller: ParticipantId, request: pb.FindRoundRequest) -> HostedRound:
        if request.WhichOneof("by") == "round_id":
            return self._rounds.find_for(caller, request.round_id)
        if request.WhichOneof("by") is None or len(request.seen) > MAX_SEEN:
            raise DecodeError(f"FindRound names a task or a round, and at most {MAX_SEEN} rounds that were seen")
        purpose = request.purpose or TRAIN
        return await self._rounds.next_offer(request.task, caller, frozenset(request.seen), purpose)

    async def _round_in(self, call: Call, kind: type[Any]) -> HostedRound:
        """The round that the call's one message names."""
        hosted = self._rounds.find((await call.one(kind)).round_id)
        call.enter(hosted.record.round_id)
        return hosted

    async def _member_of(self, call: Call, caller: ParticipantId) -> HostedRound:
        """The round that the metadata names, of which the caller is a member."""
        named = call.metadata(ROUND_METADATA)
        if len(named) != 1:
            raise DecodeError(f"the call needs its round once in the metadata {ROUND_METADATA}")
        hosted = self._rounds.find(named[0])
        await hosted.check_member(caller)
        return hosted

    def _over(self, call: Call, caller: ParticipantId, phase: Phase) -> Over | None:
        """Waits until nobody needs the call's message any more, if the metadata names its round."""
        named = call.metadata(ROUND_METADATA)
        if len(named) != 1:
            return None
        hosted = self._rounds.find(named[0])

        async def over() -> None:
            await hosted.over(caller, phase)
            if isinstance(hosted.outcome, RoundAborted):
                await hosted.ended()  # says so

        return over


async def _receipt(hosted: HostedRound) -> bytes:
    """Wait for the end of the round."""
    return encode_receipt(await hosted.signed_receipt()).SerializeToString()


async def _decoded(messages: AsyncIterator[Any], decode: Callable[[Any], Chunk]) -> AsyncIterator[Chunk]:
    """Chunk by chunk, so that one is in memory at a time."""
    async for message in messages:
        yield decode(message)


async def _upload(hosted: HostedRound, caller: ParticipantId, phase: Phase, chunks: AsyncIterator[Chunk]) -> None:
    """Take the caller's chunks until its vector is whole, or the phase is over."""
    claim = hosted.claim_upload(caller)

    async def take() -> None:
        async for chunk in chunks:
            await hosted.receive_chunk(caller, claim, chunk)
        if not hosted.delivered(caller, phase):
            raise ProtocolViolation(
                "the upload ended before its last chunk; ask for InputProgress and go on", culprit=caller
            )

    await _until(take(), hosted.over(caller, phase), hosted.taken_over(caller, claim))


async def _until(work: Coroutine[None, None, None], *ends: Coroutine[None, None, None]) -> None:
    """Do `work`, but not beyond any of `ends`: who sends slowly, or nothing, is cut off when the phase is over."""
    tasks = [started(one) for one in (work, *ends)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()


def _offer(hosted: HostedRound) -> Iterable[pb.RoundOfferPart]:
    config = memoryview(hosted.record.config_bytes)
    for start in range(0, len(config), PART_BYTES):
        piece = bytes(config[start : start + PART_BYTES])
        yield pb.RoundOfferPart(round_id=hosted.record.round_id if start == 0 else b"", config=piece)
