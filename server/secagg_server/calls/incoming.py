"""Reading what a call brings: within a time and a size, and with its fields counted before they are parsed."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final, TypeVar, cast

from google.protobuf.message import Message

from secagg.errors import DecodeError, LimitError, NotInRoundError
from secagg.wire.counting import Budget
from secagg.wire.limits import SHORT_BYTES
from secagg.wire.parsing import parse
from secagg_server.calls.carrier import Carrier
from secagg_server.calls.statuses import CallProgress
from secagg_server.calls.tasks import Ending
from secagg_server.calls.turns import Turns
from secagg_server.certificates.callers import shown_by
from secagg_server.limits.call_limiter import Slot

MAX_PARTS: Final = 1000

MessageT = TypeVar("MessageT", bound=Message)
ValueT = TypeVar("ValueT")
Over = Callable[[], Coroutine[None, None, None]]
"""Waits for the moment from which nobody needs a message any more."""


class IncomingCall:
    """A call whose caller is known, and counted: reads what it brings."""

    def __init__(self, context: Carrier, progress: CallProgress, slot: Slot, read_timeout_s: float) -> None:
        self.caller = progress.caller
        self._progress = progress
        self._context = context
        self._slot = slot
        self._timeout_s = read_timeout_s
        self._budget = Budget()

    def metadata(self, name: str) -> list[bytes]:
        """The values that the call's metadata has under `name`."""
        return [cast("bytes", value) for key, value in self._context.invocation_metadata() or () if key == name]

    def enter(self, round_id: bytes) -> None:
        """Count the call among those of this round from now on. Raise `LimitError` if its caller has too many there."""
        self._slot.move(round_id)
        self.belongs_to(round_id)

    def belongs_to(self, round_id: bytes) -> None:
        """Let the observer know which round the call is about."""
        self._progress.round_id = round_id

    def taken(self) -> None:
        """Count the bytes that were read no longer: they belong to the round now."""
        self._slot.let_go()

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
        if len(raw) > max_bytes:  # check: request-bytes
            raise DecodeError(f"a {kind.__name__} of {len(raw)} bytes is longer than {max_bytes}")
        return parse(kind, raw, self._budget)

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
        ending = None if over is None else Ending(over, self._timeout_s)
        try:
            async with ending or asyncio.timeout(self._timeout_s):
                return await work
        except TimeoutError:
            pass
        if ending is not None:
            ending.check()
            raise NotInRoundError("the message was not whole when its phase was over")
        raise LimitError(
            f"the message did not arrive within {self._timeout_s:g} seconds; the network or this machine is slow: "
            "try again"
        )

    async def each(self, read: Callable[[bytes], ValueT], turns: Turns) -> AsyncGenerator[ValueT, None]:
        """The messages one after the other. One is in memory at a time, and flow control holds the sender back.

        Args:
            read: makes a message of its bytes, or raises `DecodeError`.
            turns: a message is read, and used by whoever gets it, when it is our turn.
        """
        while True:
            async with turns.turn():
                raw = await self._read()
                if raw is None:
                    return
                message = read(raw)
                del raw  # not held beside the message
                yield message
                del message

    async def raw(self) -> AsyncGenerator[bytes, None]:
        """The messages one after the other, unread: for who passes them on. Flow control holds the sender back."""
        while (raw := await self._read()) is not None:
            yield raw

    @property
    def shown(self) -> bytes:
        """The certificates that the other end of the connection showed, as of `shown_by`."""
        return shown_by(self._context)

    @property
    def traceparent(self) -> str:
        """Which trace the call belongs to, as its caller says."""
        return self._progress.traceparent

    async def _all(self, kind: type[MessageT], max_bytes: int) -> list[MessageT]:
        found: list[MessageT] = []
        size = 0
        while (raw := await self._read()) is not None:
            size += len(raw)
            if size > max_bytes or len(found) >= MAX_PARTS:  # check: message-bytes
                raise DecodeError(f"a message of more than {max_bytes} bytes or {MAX_PARTS} parts")
            self._slot.hold(len(raw))  # check: bytes-under-way
            found.append(parse(kind, raw, self._budget))
        return found

    async def _read(self) -> bytes | None:
        raw = await self._context.read()
        if not isinstance(raw, bytes):
            return None  # grpc.aio.EOF
        self._progress.bytes_in += len(raw)
        return raw
