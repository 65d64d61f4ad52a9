"""The data plane: participants' calls. Each passes a message to the round and waits for what closes the phase."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Final, TypeVar, cast

import structlog
from google.protobuf.message import Message

from secagg.crypto.identity import TrustAnchors
from secagg.errors import DecodeError, ProtocolViolation
from secagg.messages import (
    ConsistencyProof,
    EncryptedSum,
    FallenSet,
    ParticipantId,
    ReleaseOrder,
    Roster,
    ShareDelivery,
    SurvivorSet,
)
from secagg.phases import Phase
from secagg.schemes import Chunk
from secagg.wire import codec, homomorphic
from secagg.wire.fields import PART_BYTES
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg.wire.v1 import messages_pb2
from secagg.wire.v1.data_plane_pb2_grpc import DataPlaneServicer
from secagg_server.auth import CallLimit, authenticate
from secagg_server.boundary import Context, collected, reported
from secagg_server.hosting import Clock, HostedRound
from secagg_server.rounds import Rounds
from secagg_server.settings import Settings
from secagg_server.store import Store

ROUND_METADATA: Final = "secagg-round-bin"
MAX_SEEN: Final = 1000
MAX_MESSAGE_BYTES: Final = 8 << 20
"""Sealed or revealed shares of 10,000 neighbours take less than 2 MiB, a packed share of a joint key at most 4."""

MessageT = TypeVar("MessageT", bound=Message)
AnswerT = TypeVar("AnswerT")


class DataPlane(DataPlaneServicer):
    """See `proto/secagg/wire/v1/data_plane.proto`."""

    def __init__(self, rounds: Rounds, trust: TrustAnchors, store: Store, settings: Settings, clock: Clock) -> None:
        self._rounds = rounds
        self._trust = trust
        self._store = store
        self._settings = settings
        self._clock = clock
        self._limit = CallLimit(settings.max_calls_per_participant)
        self._log = structlog.get_logger()

    async def FindRound(self, request: pb.FindRoundRequest, context: Context) -> AsyncIterator[pb.RoundOfferPart]:
        async with self._call(context, "FindRound") as caller:
            for part in _offer(await self._found(caller, request)):
                yield part

    async def Advertise(self, request: pb.AdvertiseRequest, context: Context) -> AsyncIterator[messages_pb2.RosterPart]:
        async with self._call(context, "Advertise") as caller:
            hosted = self._rounds.find_for(caller, request.round_id)
            await hosted.receive(caller, codec.decode_advertise(request.keys))
            roster = await _answer(hosted, caller, Phase.ADVERTISE_KEYS, Roster)
            for part in _encoded(hosted, Phase.ADVERTISE_KEYS, lambda: codec.encode_roster(roster)):
                yield part

    async def Share(
        self, request_iterator: AsyncIterator[messages_pb2.ShareKeysPart], context: Context
    ) -> AsyncIterator[messages_pb2.ShareDeliveryPart]:
        async with self._call(context, "Share") as caller:
            hosted = self._round_of(context)
            await hosted.check_member(caller)
            message = codec.decode_share_keys(await self._collected(request_iterator))
            await hosted.receive(caller, message)
            delivery = await _answer(hosted, caller, Phase.SHARE_KEYS, ShareDelivery)
            for part in codec.encode_share_delivery(delivery):
                yield part

    async def InputProgress(self, request: pb.InputProgressRequest, context: Context) -> pb.InputProgressReply:
        async with self._call(context, "InputProgress") as caller:
            hosted = self._rounds.find(request.round_id)
            return pb.InputProgressReply(next_chunk=await hosted.upload_progress(caller))

    async def SendInput(
        self, request_iterator: AsyncIterator[messages_pb2.MaskedInputChunk], context: Context
    ) -> messages_pb2.SurvivorSet:
        async with self._call(context, "SendInput") as caller:
            hosted = self._round_of(context)
            await hosted.check_member(caller)
            chunks = _decoded(request_iterator, codec.decode_chunk)
            await _upload(hosted, caller, Phase.MASKED_INPUT, chunks)
            return codec.encode_survivors(await _answer(hosted, caller, Phase.MASKED_INPUT, SurvivorSet))

    async def Check(
        self, request: pb.CheckRequest, context: Context
    ) -> AsyncIterator[messages_pb2.ConsistencyProofPart]:
        async with self._call(context, "Check") as caller:
            hosted = self._rounds.find(request.round_id)
            await hosted.receive(caller, codec.decode_check(request.check))
            proof = await _answer(hosted, caller, Phase.CONSISTENCY_CHECK, ConsistencyProof)
            for part in _encoded(hosted, Phase.CONSISTENCY_CHECK, lambda: codec.encode_proof(proof)):
                yield part

    async def Reveal(self, request_iterator: AsyncIterator[messages_pb2.UnmaskPart], context: Context) -> pb.Receipt:
        async with self._call(context, "Reveal") as caller:
            hosted = self._round_of(context)
            await hosted.check_member(caller)
            await hosted.receive(caller, codec.decode_unmask(await self._collected(request_iterator)))
            return await _receipt(hosted)

    async def ConfirmKey(
        self, request: pb.ConfirmKeyRequest, context: Context
    ) -> AsyncIterator[messages_pb2.ConsistencyProofPart]:
        async with self._call(context, "ConfirmKey") as caller:
            hosted = self._rounds.find(request.round_id)
            await hosted.receive(caller, homomorphic.decode_confirmation(request.confirmation))
            proof = await _answer(hosted, caller, Phase.CONFIRM_KEY, ConsistencyProof)
            for part in _encoded(hosted, Phase.CONFIRM_KEY, lambda: codec.encode_proof(proof)):
                yield part

    async def SendEncrypted(
        self, request_iterator: AsyncIterator[messages_pb2.EncryptedInputChunk], context: Context
    ) -> AsyncIterator[messages_pb2.EncryptedSumPart]:
        async with self._call(context, "SendEncrypted") as caller:
            hosted = self._round_of(context)
            await hosted.check_member(caller)
            chunks = _decoded(request_iterator, homomorphic.decode_encrypted_chunk)
            await _upload(hosted, caller, Phase.ENCRYPTED_INPUT, chunks)
            encrypted = await _answer(hosted, caller, Phase.ENCRYPTED_INPUT, EncryptedSum)
            for part in homomorphic.encode_encrypted_sum(encrypted):
                yield part

    async def ReportSum(self, request: pb.ReportSumRequest, context: Context) -> messages_pb2.ReleaseOrder:
        async with self._call(context, "ReportSum") as caller:
            hosted = self._rounds.find(request.round_id)
            await hosted.receive(caller, homomorphic.decode_report(request.report))
            return homomorphic.encode_order(await _answer(hosted, caller, Phase.REPORT_SUM, ReleaseOrder))

    async def SendSum(self, request_iterator: AsyncIterator[messages_pb2.SumChunk], context: Context) -> pb.Receipt:
        async with self._call(context, "SendSum") as caller:
            hosted = self._round_of(context)
            await hosted.check_member(caller)
            chunks = _decoded(request_iterator, homomorphic.decode_sum_chunk)
            await _upload(hosted, caller, Phase.RELEASE_SUM, chunks)
            return await _receipt(hosted)

    async def SendPartial(
        self, request_iterator: AsyncIterator[messages_pb2.PartialChunk], context: Context
    ) -> messages_pb2.FallenSet:
        async with self._call(context, "SendPartial") as caller:
            hosted = self._round_of(context)
            await hosted.check_member(caller)
            chunks = _decoded(request_iterator, homomorphic.decode_partial_chunk)
            await _upload(hosted, caller, Phase.PARTIAL_DECRYPTION, chunks)
            return homomorphic.encode_fallen(await _answer(hosted, caller, Phase.PARTIAL_DECRYPTION, FallenSet))

    async def CheckRecovery(
        self, request: pb.CheckRecoveryRequest, context: Context
    ) -> AsyncIterator[messages_pb2.ConsistencyProofPart]:
        async with self._call(context, "CheckRecovery") as caller:
            hosted = self._rounds.find(request.round_id)
            await hosted.receive(caller, homomorphic.decode_recovery_check(request.check))
            proof = await _answer(hosted, caller, Phase.RECOVERY_CHECK, ConsistencyProof)
            for part in _encoded(hosted, Phase.RECOVERY_CHECK, lambda: codec.encode_proof(proof)):
                yield part

    async def RecoverSeeds(
        self, request_iterator: AsyncIterator[messages_pb2.RecoverSeedsPart], context: Context
    ) -> pb.Receipt:
        async with self._call(context, "RecoverSeeds") as caller:
            hosted = self._round_of(context)
            await hosted.check_member(caller)
            await hosted.receive(caller, homomorphic.decode_recover_seeds(await self._collected(request_iterator)))
            return await _receipt(hosted)

    async def AwaitReceipt(self, request: pb.AwaitReceiptRequest, context: Context) -> pb.Receipt:
        async with self._call(context, "AwaitReceipt") as caller:
            hosted = self._rounds.find(request.round_id)
            await hosted.check_member(caller)
            return await _receipt(hosted)

    async def FetchAggregate(
        self, request: pb.FetchAggregateRequest, context: Context
    ) -> AsyncIterator[messages_pb2.AggregatePart]:
        async with self._call(context, "FetchAggregate") as caller:
            hosted = self._rounds.find(request.round_id)
            if not hosted.config.release_to_participants:
                raise ProtocolViolation("this round does not release the aggregate to participants", culprit=caller)
            await hosted.check_member(caller)
            grouped = self._rounds.grouped(hosted)
            released = await (hosted if grouped is None else grouped).released()
            for part in released.parts():
                yield part
            self._rounds.fetched(grouped or hosted)

    async def LeaveRound(self, request: pb.LeaveRequest, context: Context) -> pb.LeaveReply:
        async with self._call(context, "LeaveRound") as caller:
            await self._rounds.find(request.round_id).leave(caller, codec.decode_leave(request.leave))
            return pb.LeaveReply()

    @asynccontextmanager
    async def _call(self, context: Context, method: str) -> AsyncIterator[ParticipantId]:
        """Who calls, admitted; errors are reported."""
        async with reported(context, method):
            caller = authenticate(context, self._trust, self._clock())
            with self._limit.admitted(caller.participant):
                if self._store.see_identity(caller.participant, caller.fingerprint):
                    self._log.info(
                        "identity_seen",
                        participant=caller.participant,
                        organisation=caller.organisation,
                        fingerprint=caller.fingerprint,
                    )
                yield caller.participant

    async def _found(self, caller: ParticipantId, request: pb.FindRoundRequest) -> HostedRound:
        if request.WhichOneof("by") == "round_id":
            return self._rounds.find_for(caller, request.round_id)
        if request.WhichOneof("by") is None or len(request.seen) > MAX_SEEN:
            raise DecodeError(f"FindRound names a task or a round, and at most {MAX_SEEN} rounds that were seen")
        return await self._rounds.next_offer(request.task, caller, frozenset(request.seen))

    def _round_of(self, context: Context) -> HostedRound:
        named = [value for key, value in context.invocation_metadata() or () if key == ROUND_METADATA]
        if len(named) != 1:
            raise DecodeError(f"the call needs its round once in the metadata {ROUND_METADATA}")
        return self._rounds.find(cast("bytes", named[0]))

    async def _collected(self, parts: AsyncIterator[MessageT]) -> list[MessageT]:
        return await collected(parts, MAX_MESSAGE_BYTES, self._settings.read_timeout_s)


async def _answer(hosted: HostedRound, caller: ParticipantId, phase: Phase, kind: type[AnswerT]) -> AnswerT:
    answer = await hosted.answer(caller, phase)
    if not isinstance(answer, kind):
        raise TypeError(f"{phase.name} was closed by {type(answer).__name__}, not {kind.__name__}")
    return answer


def _encoded(hosted: HostedRound, phase: Phase, encode: Callable[[], Iterable[MessageT]]) -> Iterable[MessageT]:
    """What everyone gets alike is encoded once."""
    if phase not in hosted.encoded:
        hosted.encoded[phase] = tuple(encode())
    return cast("Iterable[MessageT]", hosted.encoded[phase])


async def _receipt(hosted: HostedRound) -> pb.Receipt:
    """Wait for the end of the round."""
    outcome = await hosted.ended()
    return pb.Receipt(survivors=len(outcome.survivors), sums_digest=outcome.digest)


async def _decoded(messages: AsyncIterator[MessageT], decode: Callable[[MessageT], Chunk]) -> AsyncIterator[Chunk]:
    """Chunk by chunk, so that one is in memory at a time; flow control holds the sender back."""
    async for message in messages:
        yield decode(message)


async def _upload(hosted: HostedRound, caller: ParticipantId, phase: Phase, chunks: AsyncIterator[Chunk]) -> None:
    """Take the caller's chunks until its vector is whole, or the phase is over."""

    async def take() -> None:
        claim = hosted.claim_upload(caller)
        async for chunk in chunks:
            await hosted.receive_chunk(caller, claim, chunk)
        if not hosted.delivered(caller, phase):
            raise ProtocolViolation(
                "the upload ended before its last chunk; ask for InputProgress and go on", culprit=caller
            )

    await _until(hosted.over(caller, phase), take())


async def _until(end: Coroutine[None, None, None], work: Coroutine[None, None, None]) -> None:
    """Do `work`, but not beyond `end`: who sends slowly, or nothing, is cut off when the phase is over."""
    ending, working = asyncio.ensure_future(end), asyncio.ensure_future(work)
    try:
        await asyncio.wait({ending, working}, return_when=asyncio.FIRST_COMPLETED)
        for task in (working, ending):
            if task.done():
                task.result()
    finally:
        ending.cancel()
        working.cancel()


def _offer(hosted: HostedRound) -> Iterable[pb.RoundOfferPart]:
    config = memoryview(hosted.record.config_bytes)
    for start in range(0, len(config), PART_BYTES):
        piece = bytes(config[start : start + PART_BYTES])
        yield pb.RoundOfferPart(round_id=hosted.record.round_id if start == 0 else b"", config=piece)
