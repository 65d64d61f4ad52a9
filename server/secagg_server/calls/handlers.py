"""How gRPC hands over the calls of both planes: nothing is done for a call before its caller is known and has room.

grpc parses a message when it is whole, before a handler runs, and knows no limit for one caller. So all calls are taken
as streams of bytes, whatever the .proto says; on the wire they are alike. A handler then begins with the headers: it
learns who calls, counts, and reads only then, within a time and a size, and counts the fields before it parses them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from secagg.errors import LimitError
from secagg_server.calls.incoming import IncomingCall
from secagg_server.calls.statuses import CallProgress, Context, reported
from secagg_server.calls.tasks import started
from secagg_server.limits.call_limiter import CallLimiter
from secagg_server.network.peers import Peers
from secagg_server.observability.observer import Observer
from secagg_server.observability.trace_context import CARRIED, carried_by

Answer = Callable[[IncomingCall], AsyncIterator[bytes]]
"""Reads what a call brings, and makes the parts of its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """What holds for every call of a plane. Its services share one.

    Attributes:
        name: `data` or `control`.
        who: whose call it is, or `AuthenticationError`.
        limiter: counts calls and bytes.
        peers: the connections.
        observer: hears how each call ended.
        read_timeout_s: for a message to arrive whole, in seconds; those of a phase have until its end.
        write_timeout_s: for the peer to take one part of an answer; None: as long as it likes.
    """

    name: str
    who: Callable[[Context], str]
    limiter: CallLimiter
    peers: Peers
    observer: Observer
    read_timeout_s: float
    write_timeout_s: float | None


class ServiceHandler(grpc.GenericRpcHandler):
    """The calls of one gRPC service."""

    def __init__(self, service: str, answers: Mapping[str, Answer], plane: Plane) -> None:
        """Args:
        service: full name.
        answers: by the names of the calls.
        plane: that the service belongs to.
        """
        self._handlers = {f"/{service}/{name}": self._handler(name, answer) for name, answer in answers.items()}
        self._plane = plane

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a call whose headers are there; for None grpc answers UNIMPLEMENTED."""
        return self._handlers.get(handler_call_details.method)

    def _handler(self, name: str, answer: Answer) -> Any:
        async def handle(_: object, context: Context) -> None:
            peer, plane = context.peer(), self._plane
            traceparent = carried_by(context.invocation_metadata())
            call = CallProgress(plane.name, name, plane.peers.address(peer), traceparent=traceparent)
            CARRIED.set(traceparent)
            async with reported(context, call, plane.observer):
                call.caller = caller = plane.who(context)
                plane.peers.spoke(peer, caller)
                slot = plane.limiter.admit(caller)
                try:
                    async for part in answer(IncomingCall(context, call, slot, plane.read_timeout_s)):
                        slot.let_go()
                        slot.hold(len(part))
                        await self._write(context, part)
                        call.bytes_out += len(part)
                        slot.let_go()
                finally:
                    slot.end()

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _write(self, context: Context, part: bytes) -> None:
        writing = started(context.write(part))
        await asyncio.wait({writing}, timeout=self._plane.write_timeout_s)
        if not writing.done():  # check: answer-taken-in-time
            # Ending this handler would free neither the part nor the stream: the connection has to end.
            self._plane.peers.drop(context.peer())
            raise LimitError(f"a part of the answer was not taken within {self._plane.write_timeout_s:g} seconds")
        await writing
