"""The door of both planes: nothing is done for a call before its caller is known and has room for it.

grpc parses a message when it is whole, before a handler runs, and knows no limit for one caller. So all calls are taken
as streams of bytes, whatever the .proto says; on the wire they are alike. A handler then begins with the headers: it
learns who calls, counts, and reads only then, within a time and a size, and counts the fields before it parses them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, cast

import grpc
from google.protobuf.message import Message

from secagg.errors import DecodeError, LimitError, NotInRoundError
from secagg.wire import codec
from secagg.wire.counting import Budget
from secagg.wire.limits import SHORT_BYTES
from secagg_server.calls.statuses import Context, reported
from secagg_server.limits.call_limiter import Place, Tally
from secagg_server.observability.logs import Sparing

MAX_PARTS: Final = 1000

MessageT = TypeVar("MessageT", bound=Message)
ValueT = TypeVar("ValueT")
Over = Callable[[], Coroutine[None, None, None]]
"""Waits for the moment from which nobody needs a message any more."""


class Peers(Protocol):
    """The connections that calls arrive on, by what grpc calls them."""

    def spoke(self, peer: str, caller: str) -> None:
        """A call of `caller` arrived on it."""
        ...

    def drop(self, peer: str) -> None:
        """Close it: its calls hold what nobody takes."""
        ...

    def address(self, peer: str) -> str:
        """Where it really comes from."""
        ...


class LocalPeers:
    """Connections of the machine itself: nobody stands between, and nothing is closed."""

    def spoke(self, peer: str, caller: str) -> None:
        """See `Peers`."""

    def drop(self, peer: str) -> None:
        """See `Peers`."""

    def address(self, peer: str) -> str:
        """See `Peers`."""
        return peer


class Call:
    """A call whose caller is known and has room for it."""

    def __init__(self, context: Context, caller: str, place: Place, read_timeout_s: float) -> None:
        self.caller = caller
        self._context = context
        self._place = place
        self._timeout_s = read_timeout_s
        self._budget = Budget()

    def metadata(self, name: str) -> list[bytes]:
        """The values of this name."""
        return [cast("bytes", value) for key, value in self._context.invocation_metadata() or () if key == name]

    def enter(self, round_id: bytes) -> None:
        """From now on the call counts among those of this round; `LimitError` if its caller has too many there."""
        self._place.move(round_id)

    def taken(self) -> None:
        """What was read belongs to the round now."""
        self._place.let_go()

    async def one(self, kind: type[MessageT], max_bytes: int = SHORT_BYTES, over: Over | None = None) -> MessageT:
        """The one message of the call.

        Args:
            kind: of the message.
            max_bytes: of the message.
            over: as of `all`.

        Raises:
            DecodeError: there is none, or it is too long, holds too many fields or is no `kind`.
            LimitError: it did not arrive in time.
            NotInRoundError: it did not arrive before it was over.
        """
        raw = await self._in_time(self._read(), over)
        if raw is None:
            raise DecodeError(f"the call brings no {kind.__name__}")
        if len(raw) > max_bytes:
            raise DecodeError(f"a {kind.__name__} of {len(raw)} bytes is longer than {max_bytes}")
        return codec.parse(kind, raw, self._budget)

    async def all(self, kind: type[MessageT], max_bytes: int, over: Over | None = None) -> list[MessageT]:
        """All parts of a message that is kept whole.

        Args:
            kind: of each part.
            max_bytes: of all of them.
            over: waits for the moment from which nobody needs the message any more. Until then, and for the read
                timeout in any case, it may take its time: a machine that works for a hundred participants is slow.

        Raises:
            DecodeError: it is too long, has too many parts or fields, or they are no `kind`.
            LimitError: it did not arrive in time, or the caller has too many bytes under way.
            NotInRoundError: it did not arrive before it was over.
        """
        return await self._in_time(self._all(kind, max_bytes), over)

    async def _in_time(self, work: Coroutine[Any, Any, ValueT], over: Over | None) -> ValueT:
        reading = started(work)
        try:
            await asyncio.wait({reading}, timeout=self._timeout_s)
            if over is not None and not reading.done():
                await _either(reading, over())
            if reading.done():
                return reading.result()
        finally:
            reading.cancel()
        if over is not None:
            raise NotInRoundError("the message was not whole when its phase was over")
        raise LimitError(
            f"the message did not arrive within {self._timeout_s:g} seconds; the network or this machine is slow: "
            "try again"
        )

    async def each(self, kind: type[MessageT]) -> AsyncIterator[MessageT]:
        """The messages one after the other; one is in memory at a time, and flow control holds the sender back."""
        while (raw := await self._read()) is not None:
            yield codec.parse(kind, raw)

    async def _all(self, kind: type[MessageT], max_bytes: int) -> list[MessageT]:
        found: list[MessageT] = []
        size = 0
        while (raw := await self._read()) is not None:
            size += len(raw)
            if size > max_bytes or len(found) >= MAX_PARTS:
                raise DecodeError(f"a message of more than {max_bytes} bytes or {MAX_PARTS} parts")
            self._place.hold(len(raw))
            found.append(codec.parse(kind, raw, self._budget))
        return found

    async def _read(self) -> bytes | None:
        raw = await self._context.read()
        return raw if isinstance(raw, bytes) else None  # else grpc.aio.EOF


Answer = Callable[[Call], AsyncIterator[bytes]]
"""Reads what a call brings, and makes the parts of its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """What holds for every call of a plane; its services share one.

    Attributes:
        who: whose call it is, or `AuthenticationError`.
        tally: counts calls and bytes.
        peers: the connections.
        read_timeout_s: for a message to arrive whole, in seconds; those of a phase have until its end.
        write_timeout_s: for the peer to take one part of an answer; None: as long as it likes.
    """

    who: Callable[[Context], str]
    tally: Tally
    peers: Peers
    read_timeout_s: float
    write_timeout_s: float | None


class Door(grpc.GenericRpcHandler):
    """The calls of one service."""

    def __init__(self, service: str, answers: Mapping[str, Answer], keeper: Keeper) -> None:
        """Args:
        service: full name.
        answers: by the names of the calls.
        keeper: see there.
        """
        self._handlers = {f"/{service}/{name}": self._handler(name, answer) for name, answer in answers.items()}
        self._keeper = keeper
        self._sparing = Sparing()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """How grpc finds a handler, when the headers are there; None is UNIMPLEMENTED."""
        return self._handlers.get(handler_call_details.method)

    def _handler(self, name: str, answer: Answer) -> Any:
        async def handle(_: object, context: Context) -> None:
            peer, keeper = context.peer(), self._keeper
            async with reported(context, name, self._sparing, keeper.peers.address(peer)) as told:
                told.caller = caller = keeper.who(context)
                keeper.peers.spoke(peer, caller)
                place = keeper.tally.admit(caller)
                try:
                    async for part in answer(Call(context, caller, place, keeper.read_timeout_s)):
                        place.let_go()
                        place.hold(len(part))
                        await self._write(context, part)
                        place.let_go()
                finally:
                    place.end()

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _write(self, context: Context, part: bytes) -> None:
        writing = started(context.write(part))
        await asyncio.wait({writing}, timeout=self._keeper.write_timeout_s)
        if not writing.done():
            # Ending this handler would free neither the part nor the stream: the connection has to end.
            self._keeper.peers.drop(context.peer())
            raise LimitError(f"a part of the answer was not taken within {self._keeper.write_timeout_s:g} seconds")
        await writing


def started(work: Coroutine[Any, Any, ValueT]) -> "asyncio.Task[ValueT]":
    """A task whose error is no news where nobody waits for it any more: a peer that hangs up has broken what its call
    was reading or writing, and asyncio would print each of them.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(_look_at)
    return task


def _look_at(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()


async def _either(reading: "asyncio.Future[Any]", end: Coroutine[None, None, None]) -> None:
    """Wait for the first of both; what goes wrong in `end` is raised."""
    ending = started(end)
    try:
        await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            ending.result()
    finally:
        ending.cancel()
