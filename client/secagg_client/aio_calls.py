"""Making calls in asyncio: retries, time limits. Knows nothing of rounds. Cancelling is the task's own business."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from time import monotonic
from typing import Any, cast

import grpc
from grpc import aio

from secagg.errors import RoundTimeoutError, SecAggError
from secagg_client import channels
from secagg_client.calls import PART_COST, Call, Parts, UploadCall
from secagg_client.retry import RETRYABLE, Attempts, RetryPolicy
from secagg_client.traffic import Traffic


class Scope:
    """The time limit of some calls that belong together. Counts their bytes."""

    def __init__(self, timeout_s: float | None = None) -> None:
        """Args: timeout_s: from now on; no limit if None."""
        self.traffic = Traffic()
        self._end = None if timeout_s is None else monotonic() + timeout_s

    def remaining_s(self) -> float | None:
        """Time left; None without a limit. Raise `RoundTimeoutError` when none is left."""
        left = None if self._end is None else self._end - monotonic()
        if left is not None and left <= 0:
            raise RoundTimeoutError("the time allowed is over")
        return left

    async def wait(self, delay_s: float) -> None:
        """Wait, but not past the end; raises as `remaining_s`."""
        left = self.remaining_s()
        await asyncio.sleep(delay_s if left is None else min(delay_s, left))
        self.remaining_s()


class Connection:
    """A channel to one server, opened when it is first used and bound to the running event loop."""

    def __init__(
        self,
        target: str,
        retry: RetryPolicy,
        options: channels.Options,
        credentials: grpc.ChannelCredentials | None,
    ) -> None:
        self._target = target
        self._retry = retry
        self._options = options
        self._credentials = credentials
        self._channel: aio.Channel | None = None

    async def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()

    def _open(self) -> aio.Channel:
        if self._channel is None:
            if self._credentials is None:
                self._channel = aio.insecure_channel(self._target, options=self._options)
            else:
                self._channel = aio.secure_channel(self._target, self._credentials, options=self._options)
        return self._channel

    async def perform(self, call: Call[Any], scope: Scope) -> Parts:
        """Make the call until it succeeds, fails by name, or the retry policy gives up. The parts of the answer.

        Raises:
            SecAggError: what the server says.
            TransportError: it cannot be reached.
            RoundTimeoutError: see `Scope`.
        """
        attempts = Attempts(self._retry, idempotent=call.idempotent)
        while True:
            attempts.begin(monotonic())
            try:
                if isinstance(call, UploadCall) and attempts.retrying:
                    call = await self._resume(call, attempts, scope)
                return await self.exchange(call, scope)
            except RETRYABLE as error:
                await scope.wait(attempts.delay_after(error, monotonic()))

    async def _resume(self, call: UploadCall[Any], attempts: Attempts, scope: Scope) -> UploadCall[Any]:
        resumed = call.resumed(call.progress.read(await self.exchange(call.progress, scope)))
        if resumed.start > call.start:
            attempts.progressed()
        return resumed

    async def exchange(self, call: Call[Any], scope: Scope) -> Parts:
        """Make the call once. More than the call's limit is not read."""
        return deque([part async for part in self.stream(call, scope)])

    async def stream(self, call: Call[Any], scope: Scope) -> AsyncGenerator[bytes, None]:
        """Make the call once, and yield the parts of the answer as they arrive, up to the call's limit."""
        timeout_s = scope.remaining_s()
        make: aio.StreamStreamMultiCallable[bytes, bytes] = self._open().stream_stream(call.path)
        running = make(timeout=timeout_s, metadata=call.metadata)
        sending = asyncio.create_task(_send(call, running, scope.traffic))
        size = 0
        try:
            while isinstance(part := await running.read(), bytes):  # else aio.EOF
                scope.traffic.received += len(part)
                size += len(part) + PART_COST
                yield part
                if size > call.limit:
                    return
        except (grpc.RpcError, asyncio.CancelledError) as error:
            if sending.done() and not sending.cancelled() and (trouble := sending.exception()) is not None:
                raise trouble from None
            if isinstance(error, asyncio.CancelledError):
                raise
            scope.remaining_s()
            raise channels.named_error(cast("channels.Failure", error), self._target, call.method) from None
        finally:
            running.cancel()  # changes nothing once the call is over
            sending.cancel()
            await asyncio.wait([sending])


async def _send(call: Call[Any], running: "aio.StreamStreamCall[bytes, bytes]", traffic: Traffic) -> None:
    """Send the call's requests, each made in a thread when the one before has been taken.

    An error while making one cancels the call, so that its reader wakes up, and is this task's exception. What goes
    wrong on the connection is the reader's to tell.
    """
    requests = call.requests()
    try:
        while (data := await asyncio.to_thread(_following, requests)) is not None:
            await running.write(data)
            traffic.sent += len(data)
        await running.done_writing()
    except SecAggError:
        running.cancel()
        raise
    except (grpc.RpcError, asyncio.InvalidStateError):
        return


def _following(requests: Iterator[bytes]) -> bytes | None:
    return next(requests, None)
