"""Making calls in asyncio: retries, time limits. Knows nothing of rounds. Cancelling is the task's own business."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, cast

import grpc
from grpc import aio

from secagg.errors import LocalError, ParticipationCancelled, RoundTimeoutError, SecAggError
from secagg_client import channels
from secagg_client.calls.data_plane import PART_COST, Call, Parts, UploadCall
from secagg_client.retry import RETRYABLE, Attempts, RetryPolicy
from secagg_client.traffic import Traffic


class Scope:
    """The limits of some calls that belong together: time and cancellation. Counts their bytes."""

    def __init__(self, timeout_s: float | None = None) -> None:
        """Args: timeout_s: from now on; no limit if None."""
        self.traffic = Traffic()
        self.running: aio.StreamStreamCall[bytes, bytes] | None = None
        self._end = None if timeout_s is None else monotonic() + timeout_s
        self._cancelled = asyncio.Event()

    def cancel(self) -> None:
        """End the running call, and every one after it."""
        self._cancelled.set()
        if self.running is not None:
            self.running.cancel()

    def remaining_s(self) -> float | None:
        """Time left; None without a limit.

        Raises:
            ParticipationCancelled: `cancel` was called.
            RoundTimeoutError: no time is left.
        """
        if self._cancelled.is_set():
            raise ParticipationCancelled("cancelled by the caller")
        left = None if self._end is None else self._end - monotonic()
        if left is not None and left <= 0:
            raise RoundTimeoutError("the time allowed is over")
        return left

    async def wait(self, delay_s: float) -> None:
        """Wait, but not past the end; raises as `remaining_s`."""
        left = self.remaining_s()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._cancelled.wait(), delay_s if left is None else min(delay_s, left))
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
        self._scopes: dict[Scope, asyncio.Event] = {}  # with what tells that it was left
        self._closed = False

    @contextmanager
    def scope(self, timeout_s: float | None = None) -> Iterator[Scope]:
        """A scope that `cancel` ends.

        Raises:
            LocalError: the connection is closed.
        """
        if self._closed:
            raise LocalError("this client is closed")
        scope, left = Scope(timeout_s), asyncio.Event()
        self._scopes[scope] = left
        try:
            yield scope
        finally:
            del self._scopes[scope]
            left.set()

    def cancel(self) -> None:
        """End all scopes."""
        for scope in list(self._scopes):
            scope.cancel()

    async def close(self, patience_s: float = 0.0) -> None:
        """End all scopes, wait for them to be left, but not longer than `patience_s`, and close the channel."""
        self._closed = True
        self.cancel()
        left = [asyncio.ensure_future(event.wait()) for event in self._scopes.values()]
        if left:
            _, late = await asyncio.wait(left, timeout=patience_s)
            for waiter in late:
                waiter.cancel()
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
        attempts = Attempts(self._retry, idempotent=call.idempotent, insists=call.insists)
        while True:
            attempts.begin(monotonic())
            try:
                if isinstance(call, UploadCall) and attempts.retrying:
                    call = await self._resume(call, attempts, scope)
                return await self.exchange(call, scope)
            except RETRYABLE as error:
                await self._wait(scope, attempts, attempts.delay_after(error, monotonic()))
            except RoundTimeoutError as over:
                raise attempts.explained(over) from None

    @staticmethod
    async def _wait(scope: Scope, attempts: Attempts, delay_s: float) -> None:
        try:
            await scope.wait(delay_s)
        except RoundTimeoutError as over:
            raise attempts.explained(over) from None

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
        running = scope.running = make(timeout=timeout_s, metadata=call.metadata)
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
            if _task_is_cancelled():
                raise
            scope.remaining_s()
            if isinstance(error, asyncio.CancelledError):
                raise ParticipationCancelled("the connection was closed under way") from None
            raise channels.named_error(cast("channels.Failure", error), self._target, call.method) from None
        finally:
            scope.running = None
            running.cancel()  # changes nothing once the call is over
            sending.cancel()
            await asyncio.wait([sending])


def _task_is_cancelled() -> bool:
    """Whether a CancelledError is meant for our task, and not only gRPC's word for a call that was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


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
