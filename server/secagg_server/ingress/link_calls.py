"""What answers workers on the link, at the head."""

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Final

from secagg.messages import ParticipantId
from secagg.rounds.doors import checked_door
from secagg.wire.calls import SEND_INPUT
from secagg.wire.parsing import parse
from secagg.wire.rounds import encode_offer
from secagg.wire.v1 import link_pb2 as pb
from secagg_server.calls.handlers import Answer
from secagg_server.calls.incoming import IncomingCall
from secagg_server.calls.tasks import until
from secagg_server.calls.turns import Turns
from secagg_server.ingress.attendance import Doors
from secagg_server.rounds.registry import Rounds

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Link"].full_name

MAX_ATTEND_BYTES: Final = 1 << 10


class LinkCalls:
    """Answers the calls of `proto/secagg/wire/v1/link.proto`."""

    def __init__(self, rounds: Rounds, doors: Doors) -> None:
        """Args:
        rounds: of the coordinator.
        doors: the workers that are there.
        """
        self._rounds = rounds
        self._doors = doors
        self._turns = Turns()

    @property
    def of_workers(self) -> Mapping[str, Answer]:
        """The calls that a worker makes for itself."""
        return {"Attend": self._attend, "Hand": self._hand, "Offer": self._offer}

    @property
    def of_participants(self) -> Mapping[str, Answer]:
        """The calls that a worker makes for a participant."""
        return {"Begin": self._begin, "Hold": self._hold}

    async def _attend(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.AttendRequest, MAX_ATTEND_BYTES)
        async with self._doors.attending(checked_door(request.door), request.listens) as orders:
            async for order in orders:
                yield order.SerializeToString()

    async def _hand(self, call: IncomingCall) -> AsyncIterator[bytes]:
        async for part in call.each(partial(parse, pb.HandPart), self._turns):
            self._doors.take(part)
        yield pb.HandReply().SerializeToString()

    async def _offer(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.OfferRequest)
        record = self._rounds.find(request.round_id).record
        for part in encode_offer(record.round_id, record.config_bytes):
            yield part.SerializeToString()

    async def _begin(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.BeginRequest)
        hosted, caller, phase = self._rounds.find(request.round_id), ParticipantId(call.caller), SEND_INPUT.phase
        call.enter(hosted.record.round_id)
        index, claim, whole = await hosted.terms_at_door(caller)
        terms = pb.UploadTerms(index=index, claim=claim, whole=whole)
        yield pb.BeginReply(terms=terms).SerializeToString()
        if whole:
            await hosted.over(caller, phase)
        else:
            await until(hosted.over(caller, phase), hosted.taken_over(caller, claim))
        answer = await hosted.answer(caller, phase)
        for sent in SEND_INPUT.answers.parts(answer):
            yield pb.BeginReply(answer=sent.SerializeToString()).SerializeToString()

    async def _hold(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(pb.HoldRequest)
        hosted = self._rounds.find(request.round_id)
        call.enter(hosted.record.round_id)
        await hosted.hold(ParticipantId(call.caller), request.claim, checked_door(request.door))
        yield pb.HoldReply().SerializeToString()
