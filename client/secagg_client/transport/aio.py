"""What is particular to asyncio: how one waits, reads an answer and cancels.

This file and `secagg_client.transport.sync` have the same names, and the clients use nothing else that differs: the
code in `secagg_client.aio` becomes that in `secagg_client.sync` when `async` and `await` are taken away.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

import grpc
from grpc import aio

from secagg.errors import ParticipationCancelled
from secagg_client.transport import channels

Event = asyncio.Event
Interceptor = aio.ClientInterceptor
T = TypeVar("T")


async def wait(event: Event, timeout_s: float) -> None:
    """Wait until `event` is set, or `timeout_s` is over."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)


async def compute(work: Callable[..., T], *arguments: Any) -> T:
    """Do arithmetic that may take long in a thread: the event loop has others to serve."""
    return await asyncio.to_thread(work, *arguments)


def usable_after(error: BaseException) -> bool:
    """Whether a channel still serves after `error` ended a call: not if it came amid of gRPC's own code. Who stops
    reading the parts of an answer (GeneratorExit) does not disturb gRPC.
    """
    return isinstance(error, Exception | asyncio.CancelledError | GeneratorExit)


class Channel:
    """A gRPC channel to one server. It is opened when it is first used, and bound to the event loop that runs then."""

    def __init__(
        self,
        target: str,
        options: channels.Options,
        credentials: grpc.ChannelCredentials | None = None,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        """Args: credentials: None for no TLS."""
        self.target = target
        self._options = options
        self._credentials = credentials
        self._interceptors = interceptors
        self._channel: aio.Channel | None = None

    def call(
        self, path: str, requests: AsyncIterator[bytes], timeout_s: float | None, metadata: channels.Metadata
    ) -> "RunningCall":
        """Begin a call. Without serialisers gRPC passes bytes as they are."""
        make: aio.StreamStreamMultiCallable[bytes, bytes] = self._open().stream_stream(path)
        return RunningCall(make(requests, timeout=timeout_s, metadata=metadata))

    async def renew(self) -> None:
        """End every call. The next one makes a new connection."""
        old, self._channel = self._channel, None
        if old is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(old.close(), channels.CLOSE_PATIENCE_S)

    async def close(self) -> None:
        """End every call and close the connection."""
        if self._channel is not None:
            await self._channel.close()

    def _open(self) -> aio.Channel:
        if self._channel is None:
            given: dict[str, Any] = {"options": self._options, "interceptors": self._interceptors}
            if self._credentials is None:
                self._channel = aio.insecure_channel(self.target, **given)
            else:
                self._channel = aio.secure_channel(self.target, self._credentials, **given)
        return self._channel


class RunningCall:
    """A call under way."""

    def __init__(self, call: aio.StreamStreamCall[bytes, bytes]) -> None:
        self._call = call
        self._ended_with: _Status | None = None
        call.add_done_callback(self._note)

    async def read(self) -> bytes | None:
        """The next part of the answer; None behind the last.

        Raises:
            channels.CallFailed: the call has failed.
            ParticipationCancelled: the call was cancelled.
        """
        try:
            part = await self._call.read()
        except grpc.RpcError as error:
            raise channels.CallFailed(self._ended_with or cast("channels.Failure", error)) from None
        except asyncio.CancelledError:
            if _task_is_cancelled():
                raise
            raise ParticipationCancelled("the connection was closed under way") from None
        return part if isinstance(part, bytes) else None  # aio.EOF

    def cancel(self) -> None:
        """End the call. Has no effect on one that is over."""
        self._call.cancel()

    def _note(self, call: Any) -> None:
        """Keep the first status of the call. If a request is on its way when the server ends the call, grpc.aio tells
        the server's status first, and overwrites it when it notices that the request did not arrive
        (https://github.com/grpc/grpc/issues/36066).
        """
        if self._ended_with is None and not call.cancelled():
            self._ended_with = _Status(_ready(call.code()), _ready(call.details()), _ready(call.trailing_metadata()))


class _Status:
    """How a call ended; a `channels.Failure`."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing_metadata: channels.Metadata) -> None:
        self.code = lambda: code
        self.details = lambda: details
        self.trailing_metadata = lambda: trailing_metadata


def _ready(question: Coroutine[Any, Any, T]) -> T:
    """The answer of a coroutine that has nothing to wait for."""
    try:
        question.send(None)
    except StopIteration as answered:
        return cast("T", answered.value)
    raise AssertionError("a call that is over knows its status")


def _task_is_cancelled() -> bool:
    """Whether a CancelledError is meant for our task, and not only gRPC's word for a call that was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
