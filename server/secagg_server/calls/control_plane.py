"""The control plane: the FL server opens rounds, watches them and fetches sums."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from secagg.errors import AbortReason, DecodeError, ProtocolViolation, RoundAborted
from secagg.messages import ParticipantId
from secagg.privacy.ledger import Ledger
from secagg.wire.calls import ABORT_ROUND, EXPECT, OPEN_ROUND
from secagg.wire.fields import decode_participant_id
from secagg.wire.ledgers import encode_ledger
from secagg.wire.limits import MAX_REASON_BYTES
from secagg.wire.progress import encode_events
from secagg.wire.rounds import RoundState, RoundSummary, encode_summary
from secagg.wire.strikes import encode_record
from secagg.wire.v1 import control_plane_pb2 as pb
from secagg.wire.v1 import data_plane_pb2
from secagg_server.calls.describing import described
from secagg_server.calls.handlers import Answer
from secagg_server.calls.incoming import IncomingCall
from secagg_server.calls.streaming import streamed
from secagg_server.calls.turns import Turns
from secagg_server.rounds.grouped import OpenedRound
from secagg_server.rounds.hosted import Clock
from secagg_server.rounds.registry import Rounds


class ControlPlane:
    """Answers the calls of `proto/secagg/wire/v1/control_plane.proto`, one method for each."""

    def __init__(self, rounds: Rounds, clock: Clock) -> None:
        self._rounds = rounds
        self._clock = clock
        self._turns = Turns()

    @property
    def answers(self) -> Mapping[str, Answer]:
        """The methods that answer, by the names of the RPCs."""
        return {
            "OpenRound": self._open_round,
            "WatchRound": self._watch_round,
            "FetchAggregate": self._fetch_aggregate,
            "Expect": self._expect,
            "Exclude": self._exclude,
            "AbortRound": self._abort_round,
            "ListRounds": self._list_rounds,
            "GetLedger": self._get_ledger,
            "ListStrikes": self._list_strikes,
            "ForgiveStrikes": self._forgive_strikes,
            "Describe": self._describe,
        }

    async def _open_round(self, call: IncomingCall) -> AsyncIterator[bytes]:
        parts = await call.all(pb.OpenRoundPart, OPEN_ROUND.request_bytes)
        round_id = b"".join(part.round_id for part in parts)
        hosted = await self._rounds.open(round_id, b"".join(part.config for part in parts))
        call.belongs_to(hosted.record.round_id)
        yield pb.OpenRoundReply(round_id=hosted.record.round_id).SerializeToString()

    async def _watch_round(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.WatchRoundRequest)
        call.belongs_to(request.round_id)
        async for happened in self._rounds.find_opened(request.round_id).watch():
            for part in encode_events(happened):
                yield part.SerializeToString()

    async def _fetch_aggregate(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.FetchRequest)
        call.belongs_to(request.round_id)
        opened = self._rounds.find_opened(request.round_id)
        released = await opened.released()
        await self._rounds.audit.give(opened.record.round_id, "the FL server")
        async with aclosing(streamed(released.parts(), self._turns)) as parts:
            async for part in parts:
                yield part
        self._rounds.fetched(opened)

    async def _expect(self, call: IncomingCall) -> AsyncIterator[bytes]:
        opened, participants = await self._named(call)
        await opened.expect(participants)
        yield pb.ParticipantsReply().SerializeToString()

    async def _exclude(self, call: IncomingCall) -> AsyncIterator[bytes]:
        opened, participants = await self._named(call)
        await opened.exclude(participants)
        yield pb.ParticipantsReply().SerializeToString()

    async def _named(self, call: IncomingCall) -> tuple[OpenedRound, frozenset[ParticipantId]]:
        """The round and the participants that the parts name."""
        parts = await call.all(pb.ParticipantsPart, EXPECT.request_bytes)
        opened = self._rounds.find_opened(b"".join(part.round_id for part in parts))
        call.belongs_to(opened.record.round_id)
        return opened, frozenset(decode_participant_id(name) for part in parts for name in part.participant_ids)

    async def _abort_round(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.AbortRoundRequest, ABORT_ROUND.request_bytes)
        call.belongs_to(request.round_id)
        hosted = self._rounds.find_opened(request.round_id)
        if len(request.reason.encode()) > MAX_REASON_BYTES:
            raise DecodeError(f"a reason has at most {MAX_REASON_BYTES} bytes")
        await hosted.abort(AbortReason.CANCELLED, request.reason or "the FL server cancelled the round")
        if not isinstance(hosted.outcome, RoundAborted):
            raise ProtocolViolation("the round has its sum already")
        yield pb.AbortRoundReply().SerializeToString()

    async def _list_rounds(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.ListRoundsRequest)
        for hosted in self._rounds.newest_first():
            if request.task in {"", hosted.config.task}:
                yield encode_summary(_summary(hosted)).SerializeToString()

    async def _get_ledger(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.GetLedgerRequest)
        ledger, spent = await asyncio.to_thread(self._ledger, request.task)
        for part in encode_ledger(ledger, spent):
            yield part.SerializeToString()

    async def _list_strikes(self, call: IncomingCall) -> AsyncIterator[bytes]:
        await call.one(pb.ListStrikesRequest)
        for record in self._rounds.quarantine.records:
            yield encode_record(record).SerializeToString()

    async def _forgive_strikes(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.ForgiveStrikesRequest)
        forgiven = await self._rounds.forgive(decode_participant_id(request.participant_id))
        yield pb.ForgiveStrikesReply(forgiven=forgiven).SerializeToString()

    async def _describe(self, call: IncomingCall) -> AsyncIterator[bytes]:
        await call.one(data_plane_pb2.DescribeRequest)
        yield described(self._clock())

    def _ledger(self, task: str) -> tuple[Ledger, float]:
        ledger = self._rounds.opener.budgets.read(task)
        return ledger, ledger.epsilon


def _summary(opened: OpenedRound) -> RoundSummary:
    state = RoundState.RUNNING
    if opened.phase is None:
        state = RoundState.FAILED if isinstance(opened.outcome, RoundAborted) else RoundState.DONE
    record = opened.record
    return RoundSummary(record.round_id, opened.config.task, state, opened.phase, record.opened_s)
