"""The data plane: the calls of participants. A call of a phase passes a message to the round, waits until the phase is
over, and answers with the message that closes it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any, Final, assert_never

import structlog

from secagg.config import TRAIN
from secagg.context import ROUND_ID_SIZE
from secagg.errors import DecodeError, ProtocolViolation, RoundAborted
from secagg.messages import ParticipantId, Phase, Roster
from secagg.schemes import Chunk
from secagg.wire.agreement import decode_leave, encode_proof, encode_shown
from secagg.wire.calls import FIND_ROUND, PHASE_CALLS, ROUND_METADATA, PhaseCall, Transfer
from secagg.wire.fields import signature
from secagg.wire.limits import MAX_SEEN
from secagg.wire.receipts import encode_receipt
from secagg.wire.rounds import encode_offer
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg_server.calls.carrier import Carrier
from secagg_server.calls.describing import described
from secagg_server.calls.handlers import Answer
from secagg_server.calls.incoming import IncomingCall, Over
from secagg_server.calls.streaming import streamed
from secagg_server.calls.tasks import until
from secagg_server.calls.turns import Turns
from secagg_server.certificates.callers import Callers, shown_by
from secagg_server.rounds.hosted import Clock, HostedRound
from secagg_server.rounds.registry import Rounds
from secagg_server.storage.store import Store

WAITING: Final = b"waiting for a round"
"""Where a call is counted that has been read and belongs to no round yet."""


class DataPlane:
    """Answers the calls of `proto/secagg/wire/v1/data_plane.proto`: those of phases alike, each other by its method."""

    def __init__(self, rounds: Rounds, callers: Callers, store: Store, clock: Clock) -> None:
        self._rounds = rounds
        self._callers = callers
        self._store = store
        self._clock = clock
        self._turns = Turns()
        self._log = structlog.get_logger()

    @property
    def answers(self) -> Mapping[str, Answer]:
        """The methods that answer, by the names of the RPCs."""
        return {
            "FindRound": self._find_round,
            "InputProgress": self._input_progress,
            "AwaitReceipt": self._await_receipt,
            "Certify": self._certify,
            "FetchAggregate": self._fetch_aggregate,
            "LeaveRound": self._leave_round,
            "Describe": self._describe,
            **{row.name: partial(self._phase_call, row) for row in PHASE_CALLS},
        }

    def who(self, context: Carrier) -> str:
        """Whose call it is. A certificate that was not seen before is logged."""
        return self.who_showed(shown_by(context))

    def who_showed(self, pem: bytes) -> str:
        """Whose call it is that came on a connection on which these certificates were shown."""
        caller, fresh = self._callers.of_shown(pem)
        first = fresh and self._store.see_identity(caller.participant, caller.fingerprint)
        if fresh:
            self._rounds.audit.see(caller.participant, caller.organisation, caller.fingerprint, fresh=first)
        if first:
            self._log.info(
                "identity_seen",
                participant=caller.participant,
                organisation=caller.organisation,
                fingerprint=caller.fingerprint,
            )
        return caller.participant

    async def _phase_call(self, row: PhaseCall[Any], call: IncomingCall) -> AsyncIterator[bytes]:
        caller = ParticipantId(call.caller)
        async with AsyncExitStack() as waiting:
            hosted = await self._receive(row, call, caller, waiting)
            call.taken()
            answer = None if row.ends_round else await hosted.answer(caller, row.phase)
        if row.ends_round:
            yield await _receipt(hosted)
            return
        parts: Iterable[bytes]
        if isinstance(answer, Roster):
            parts = hosted.rosters.parts(answer)
        elif not row.shared:
            parts = (part.SerializeToString() for part in row.answers.parts(answer))
        elif row.phase in hosted.encoded:
            parts = hosted.encoded[row.phase]
        else:
            parts = hosted.encoded[row.phase] = [part.SerializeToString() for part in row.answers.parts(answer)]
        for part in parts:
            yield part

    async def _receive(
        self, row: PhaseCall[Any], call: IncomingCall, caller: ParticipantId, waiting: AsyncExitStack
    ) -> HostedRound:
        """Take what the call brings; the round that it belongs to.

        What is entered into `waiting` ends when the call has its answer.
        """
        match row.transfer:
            case Transfer.ONE:
                request: Any = await call.one(row.request, row.request_bytes, self._over(call, caller, row.phase))
                joins = row.phase is Phase.ADVERTISE_KEYS
                hosted = (
                    await self._rounds.find_for(caller, request.round_id)
                    if joins
                    else self._rounds.find(request.round_id)
                )
                call.enter(hosted.record.round_id)
                message = row.brings.decode(getattr(request, row.field))
                if joins:
                    await waiting.enter_async_context(hosted.joining(caller, message))
                else:
                    await hosted.receive(caller, message)
            case Transfer.PARTS:
                hosted = await self._member_of(call, caller)
                parts = await call.all(row.request, row.request_bytes, self._over(call, caller, row.phase))
                call.enter(hosted.record.round_id)
                await hosted.receive(caller, row.brings.decode(parts))
            case Transfer.CHUNKS:
                hosted = await self._member_of(call, caller)
                call.enter(hosted.record.round_id)
                await _upload(hosted, caller, row.phase, call.each(row.brings.from_bytes, self._turns))
            case _:
                assert_never(row.transfer)
        return hosted

    async def _find_round(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.FindRoundRequest, FIND_ROUND.request_bytes)
        if request.WhichOneof("by") == "task":
            call.enter(WAITING)
        record = (await self._found(ParticipantId(call.caller), request)).record
        call.belongs_to(record.round_id)
        for part in encode_offer(record.round_id, record.config_bytes):
            yield part.SerializeToString()

    async def _input_progress(self, call: IncomingCall) -> AsyncIterator[bytes]:
        hosted = await self._round_in(call, pb.InputProgressRequest)
        reply = pb.InputProgressReply(next_chunk=await hosted.upload_progress(ParticipantId(call.caller)))
        yield reply.SerializeToString()

    async def _await_receipt(self, call: IncomingCall) -> AsyncIterator[bytes]:
        hosted = await self._round_in(call, pb.AwaitReceiptRequest)
        await hosted.check_member(ParticipantId(call.caller))  # check: member-receipt
        yield await _receipt(hosted)

    async def _certify(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.CertifyRequest)
        hosted = self._rounds.find(request.round_id)
        call.enter(hosted.record.round_id)
        call.taken()
        caller = ParticipantId(call.caller)
        await hosted.check_member(caller)
        proof = await hosted.certify(caller, signature(request.signature, what="signature"))
        for part in encode_proof(proof):
            yield part.SerializeToString()

    async def _fetch_aggregate(self, call: IncomingCall) -> AsyncIterator[bytes]:
        caller = ParticipantId(call.caller)
        hosted = await self._round_in(call, pb.FetchAggregateRequest)
        if not hosted.config.release_to_participants:  # check: aggregate-for-participants
            raise ProtocolViolation("this round does not release the aggregate to participants", culprit=caller)
        await hosted.check_member(caller)
        grouped = self._rounds.grouped(hosted)
        released = await (hosted if grouped is None else grouped).released()
        await self._rounds.audit.give((grouped or hosted).record.round_id, caller)
        async with aclosing(streamed(released.parts(), self._turns)) as parts:
            async for part in parts:
                yield part
        self._rounds.fetched(grouped or hosted)

    async def _leave_round(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.LeaveRequest)
        hosted = await self._rounds.find_to_leave(ParticipantId(call.caller), request.round_id)
        call.belongs_to(hosted.record.round_id)
        caller, leave = ParticipantId(call.caller), decode_leave(request.leave)
        dealt = await hosted.shown(caller, leave)  # the round may end with this leave
        await hosted.leave(caller, leave)
        yield encode_shown(dealt).SerializeToString()

    async def _describe(self, call: IncomingCall) -> AsyncIterator[bytes]:
        await call.one(pb.DescribeRequest)
        yield described(self._clock())

    async def _found(self, caller: ParticipantId, request: pb.FindRoundRequest) -> HostedRound:
        if request.WhichOneof("by") == "round_id":
            return await self._rounds.find_for(caller, request.round_id)
        if request.WhichOneof("by") is None or len(request.seen) > MAX_SEEN:
            raise DecodeError(f"FindRound names a task or a round, and at most {MAX_SEEN} rounds that were seen")
        if any(len(round_id) != ROUND_ID_SIZE for round_id in request.seen):
            raise DecodeError(f"a round that was seen has an id of {ROUND_ID_SIZE} bytes")
        purpose = request.purpose or TRAIN
        return await self._rounds.next_offer(request.task, caller, frozenset(request.seen), purpose)

    async def _round_in(self, call: IncomingCall, kind: type[Any]) -> HostedRound:
        """The round that the call's one message names."""
        hosted = self._rounds.find((await call.one(kind)).round_id)
        call.enter(hosted.record.round_id)
        return hosted

    async def _member_of(self, call: IncomingCall, caller: ParticipantId) -> HostedRound:
        """The round that the metadata names, of which the caller is a member."""
        named = call.metadata(ROUND_METADATA)
        if len(named) != 1:  # check: round-named-once
            raise DecodeError(f"the call needs its round once in the metadata {ROUND_METADATA}")
        hosted = self._rounds.find(named[0])
        await hosted.check_member(caller)  # check: member-of-the-round
        return hosted

    def _over(self, call: IncomingCall, caller: ParticipantId, phase: Phase) -> Over | None:
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


async def _upload(
    hosted: HostedRound,
    caller: ParticipantId,
    phase: Phase,
    chunks: AsyncGenerator[Chunk, None],
) -> None:
    """Take the caller's chunks until its vector is whole, or the phase is over. Only one of them is in memory."""
    claim = hosted.claim_upload(caller)

    async def take() -> None:
        async with aclosing(chunks):
            async for chunk in chunks:
                await hosted.receive_chunk(caller, claim, chunk)
        if not hosted.delivered(caller, phase):
            raise ProtocolViolation(
                "the upload ended before its last chunk; ask for InputProgress and go on", culprit=caller
            )

    await until(take(), hosted.over(caller, phase), hosted.taken_over(caller, claim))
