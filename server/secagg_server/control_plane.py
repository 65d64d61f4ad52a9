"""The control plane: the FL server opens rounds, watches them and fetches sums."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from secagg.errors import AbortReason, DecodeError, ProtocolViolation, RoundAborted
from secagg.privacy.ledger import Ledger
from secagg.wire.configuration import MAX_CONFIG_BYTES
from secagg.wire.ledgers import encode_ledger
from secagg.wire.progress import encode_event, encode_phase
from secagg.wire.v1 import control_plane_pb2 as pb
from secagg.wire.v1 import messages_pb2
from secagg.wire.v1.control_plane_pb2_grpc import ControlPlaneServicer
from secagg_server.boundary import Context, collected, reported
from secagg_server.grouped import OpenedRound
from secagg_server.rounds import Rounds
from secagg_server.settings import Settings

MAX_REASON_BYTES: Final = 1000
_FRAMING_BYTES: Final = 1 << 16  # what protobuf adds to the parts of a configuration


class ControlPlane(ControlPlaneServicer):
    """See `proto/secagg/wire/v1/control_plane.proto`."""

    def __init__(self, rounds: Rounds, settings: Settings) -> None:
        self._rounds = rounds
        self._settings = settings

    async def OpenRound(self, request_iterator: AsyncIterator[pb.OpenRoundPart], context: Context) -> pb.OpenRoundReply:
        async with reported(context, "OpenRound"):
            timeout_s = self._settings.read_timeout_s
            parts = await collected(request_iterator, MAX_CONFIG_BYTES + _FRAMING_BYTES, timeout_s)
            hosted = await self._rounds.open(b"".join(part.config for part in parts))
            return pb.OpenRoundReply(round_id=hosted.record.round_id)

    async def WatchRound(self, request: pb.WatchRoundRequest, context: Context) -> AsyncIterator[pb.RoundEvent]:
        async with reported(context, "WatchRound"):
            async for time_s, event in self._rounds.find_opened(request.round_id).watch():
                yield encode_event(event, time_s)

    async def FetchAggregate(
        self, request: pb.FetchRequest, context: Context
    ) -> AsyncIterator[messages_pb2.AggregatePart]:
        async with reported(context, "FetchAggregate"):
            hosted = self._rounds.find_opened(request.round_id)
            released = await hosted.released()
            for part in released.parts():
                yield part
            self._rounds.fetched(hosted)

    async def AbortRound(self, request: pb.AbortRoundRequest, context: Context) -> pb.AbortRoundReply:
        async with reported(context, "AbortRound"):
            hosted = self._rounds.find_opened(request.round_id)
            if len(request.reason.encode()) > MAX_REASON_BYTES:
                raise DecodeError(f"a reason has at most {MAX_REASON_BYTES} bytes")
            await hosted.abort(AbortReason.CANCELLED, request.reason or "the FL server cancelled the round")
            if not isinstance(hosted.outcome, RoundAborted):
                raise ProtocolViolation("the round has its sum already")
            return pb.AbortRoundReply()

    async def ListRounds(self, request: pb.ListRoundsRequest, context: Context) -> AsyncIterator[pb.RoundSummary]:
        async with reported(context, "ListRounds"):
            for hosted in self._rounds.newest_first():
                if request.task in {"", hosted.config.task}:
                    yield _summary(hosted)

    async def GetLedger(self, request: pb.GetLedgerRequest, context: Context) -> AsyncIterator[pb.LedgerPart]:
        async with reported(context, "GetLedger"):
            ledger, spent = await asyncio.to_thread(self._ledger, request.task)
            for part in encode_ledger(ledger, spent):
                yield part

    def _ledger(self, task: str) -> tuple[Ledger, float]:
        ledger = self._rounds.budgets.read(task)
        return ledger, ledger.epsilon


def _summary(hosted: OpenedRound) -> pb.RoundSummary:
    summary = pb.RoundSummary(
        round_id=hosted.record.round_id, task=hosted.config.task, opened_ms=round(hosted.record.opened_s * 1000)
    )
    phase = hosted.phase
    if phase is not None:
        summary.MergeFrom(pb.RoundSummary(state=pb.ROUND_STATE_RUNNING, phase=encode_phase(phase)))
    elif isinstance(hosted.outcome, RoundAborted):
        summary.state = pb.ROUND_STATE_FAILED
    else:
        summary.state = pb.ROUND_STATE_DONE
    return summary
