"""What answers participants at a worker. Masked inputs are taken here; every other call goes through to the head."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Final

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.errors import DecodeError, ProtocolViolation, SecAggError
from secagg.messages import Index
from secagg.wire.calls import DATA_CALLS, INPUT_PROGRESS, ROUND_METADATA, SEND_INPUT
from secagg.wire.configuration import decode_config
from secagg.wire.parsing import parse
from secagg.wire.rounds import decode_offer
from secagg.wire.v1 import data_plane_pb2 as data
from secagg.wire.v1 import link_pb2 as pb
from secagg_server.calls.handlers import Answer
from secagg_server.calls.incoming import IncomingCall
from secagg_server.calls.tasks import ended, started
from secagg_server.calls.turns import Turns
from secagg_server.ingress.head import AWAY, Head, Metadata, only
from secagg_server.ingress.life import LOST, Life, RoundHere
from secagg_server.rounds.suspension import Suspended

AGAIN_S: Final = 0.2
"""Until the head is asked again whether a vector counts, where its answer did not arrive."""

MAX_CONFIGS: Final = 256
"""Configurations of rounds that are remembered."""


class WorkerPlane:
    """Answers the calls of the data plane at a worker."""

    def __init__(self, head: Head, life: Callable[[], Life | None]) -> None:
        """Args:
        head: where light calls go.
        life: the worker's present one; None between two lives.
        """
        self._head = head
        self._life = life
        self._turns = Turns()
        self._configs: dict[RoundId, RoundConfig] = {}

    @property
    def answers(self) -> Mapping[str, Answer]:
        """The methods that answer, by the names of the RPCs."""
        passed: dict[str, Answer] = {call.name: partial(self._pass_on, call.path) for call in DATA_CALLS}
        return {**passed, SEND_INPUT.name: self._send_input, INPUT_PROGRESS.name: self._input_progress}

    def _living(self) -> Life:
        life = self._life()
        if life is None or life.over:
            raise Suspended(AWAY)
        return life

    async def _pass_on(self, path: str, call: IncomingCall) -> AsyncIterator[bytes]:
        self._living()
        # Not closed here: the head may have answered while the participant has not ended its requests yet.
        async for part in self._head.pass_on(path, call.raw(), call, (ROUND_METADATA,)):
            yield part

    async def _send_input(self, call: IncomingCall) -> AsyncIterator[bytes]:
        named = call.metadata(ROUND_METADATA)
        if len(named) != 1:  # check: round-named-once
            raise DecodeError(f"the call needs its round once in the metadata {ROUND_METADATA}")
        life, round_id = self._living(), RoundId(named[0])
        async with aclosing(self._begin(round_id, call)) as replies:
            terms = (await life.until(_following(replies))).terms
            call.enter(round_id)
            closed = started(_following(replies))
            try:
                if not terms.whole:
                    await life.until(self._upload(life, round_id, terms, call, closed))
                call.taken()
                reply: pb.BeginReply | None = await life.until(_settled(closed))
            finally:
                await ended(closed)
            while reply is not None:
                yield reply.answer
                reply = await anext(replies, None)

    async def _upload(
        self,
        life: Life,
        round_id: RoundId,
        terms: pb.UploadTerms,
        call: IncomingCall,
        closed: "asyncio.Task[pb.BeginReply]",
    ) -> None:
        """Take the caller's chunks until its vector counts, or the phase is over."""
        here = life.open(round_id, await self._config_of(round_id))
        await here.claim(Index(terms.index), terms.claim)
        taking = started(self._take(life, here, round_id, terms, call))
        try:
            await asyncio.wait([taking, closed], return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                taking.result()
        finally:
            await ended(taking)

    async def _take(
        self, life: Life, here: RoundHere, round_id: RoundId, terms: pb.UploadTerms, call: IncomingCall
    ) -> None:
        owner, whole = Index(terms.index), False
        hold = pb.HoldRequest(round_id=round_id, door=life.door, claim=terms.claim).SerializeToString()
        speaking = self._head.speaking_for(call)
        async with aclosing(call.each(SEND_INPUT.brings.from_bytes, self._turns)) as chunks:
            async for chunk in chunks:
                whole = await here.take(owner, chunk, call.caller, terms.claim)
                if whole:  # not given up half way, even if the caller hangs up now
                    await asyncio.shield(started(self._confirm(life, here, terms, hold, speaking)))
        if not whole:
            raise ProtocolViolation(
                "the upload ended before its last chunk; ask for InputProgress and go on", culprit=call.caller
            )

    async def _confirm(
        self, life: Life, here: RoundHere, terms: pb.UploadTerms, hold: bytes, speaking: Metadata
    ) -> None:
        """Ask the head whether the vector counts here, until it says so or not."""
        while not life.over:
            try:
                await only(pb.HoldReply, self._head.call("Hold", [hold], speaking))
            except Suspended:
                await asyncio.sleep(AGAIN_S)
                continue
            except SecAggError:
                await here.refuse(Index(terms.index), terms.claim)
                raise
            await here.confirm(Index(terms.index))
            return
        raise Suspended(LOST)

    async def _input_progress(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(data.InputProgressRequest)
        life, round_id = self._living(), RoundId(request.round_id)
        call.enter(round_id)
        config = await self._config_of(round_id)
        if config.homomorphic is not None:  # its vectors are at the head
            async for part in self._head.pass_on(INPUT_PROGRESS.path, [request.SerializeToString()], call, ()):
                yield part
            return
        async with aclosing(self._begin(round_id, call)) as replies:
            terms = (await life.until(_following(replies))).terms
        here = life.open(round_id, config)
        arrived = here.chunks if terms.whole else await here.claim(Index(terms.index), terms.claim)
        yield data.InputProgressReply(next_chunk=arrived).SerializeToString()

    async def _begin(self, round_id: RoundId, call: IncomingCall) -> AsyncGenerator[pb.BeginReply, None]:
        request = pb.BeginRequest(round_id=round_id).SerializeToString()
        async with aclosing(self._head.call("Begin", [request], self._head.speaking_for(call))) as parts:
            async for part in parts:
                yield parse(pb.BeginReply, part)

    async def _config_of(self, round_id: RoundId) -> RoundConfig:
        found = self._configs.get(round_id)
        if found is None:
            request = pb.OfferRequest(round_id=round_id).SerializeToString()
            parts = [parse(data.RoundOfferPart, part) async for part in self._head.call("Offer", [request])]
            _, config_bytes = decode_offer(parts)
            found = self._configs[round_id] = await asyncio.to_thread(decode_config, config_bytes)
            if len(self._configs) > MAX_CONFIGS:
                del self._configs[next(iter(self._configs))]
        return found


async def _following(replies: AsyncIterator[pb.BeginReply]) -> pb.BeginReply:
    """The next reply. That there is none is an error of the head."""
    async for reply in replies:
        return reply
    raise Suspended(AWAY)


async def _settled(reply: "asyncio.Task[pb.BeginReply]") -> pb.BeginReply:
    return await asyncio.shield(reply)
