"""Making calls, synchronously: retries, time limits, cancellation. Knows nothing of rounds."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from threading import Condition, Event, Lock
from time import monotonic
from typing import Any, cast

import grpc

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
        self._end = None if timeout_s is None else monotonic() + timeout_s
        self._cancelled = Event()
        self._lock = Lock()
        self._running: grpc.Call | None = None

    def cancel(self) -> None:
        """End the running call, and every one after it."""
        with self._lock:
            self._cancelled.set()
            if self._running is not None:
                self._running.cancel()

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

    def wait(self, delay_s: float) -> None:
        """Wait, but not past the end; raises as `remaining_s`."""
        left = self.remaining_s()
        self._cancelled.wait(delay_s if left is None else min(delay_s, left))
        self.remaining_s()

    @contextmanager
    def running(self, call: grpc.Call) -> Iterator[None]:
        """While inside, `cancel` ends `call`."""
        with self._lock:
            self._running = call
            if self._cancelled.is_set():
                call.cancel()
        try:
            yield
        finally:
            with self._lock:
                self._running = None
            call.cancel()  # changes nothing once the call is over


class Connection:
    """A channel to one server. Safe to use from several threads."""

    def __init__(self, channel: grpc.Channel, target: str, retry: RetryPolicy) -> None:
        self._channel = channel
        self._target = target
        self._retry = retry
        self._changed = Condition()
        self._scopes: set[Scope] = set()
        self._closed = False

    @contextmanager
    def scope(self, timeout_s: float | None = None) -> Iterator[Scope]:
        """A scope that `cancel` ends.

        Raises:
            LocalError: the connection is closed.
        """
        scope = Scope(timeout_s)
        with self._changed:
            if self._closed:
                raise LocalError("this client is closed")
            self._scopes.add(scope)
        try:
            yield scope
        finally:
            with self._changed:
                self._scopes.discard(scope)
                self._changed.notify_all()

    def cancel(self) -> None:
        """End all scopes."""
        with self._changed:
            scopes = list(self._scopes)
        for scope in scopes:
            scope.cancel()

    def close(self, patience_s: float = 0.0) -> None:
        """End all scopes, wait for them to be left, but not longer than `patience_s`, and close the channel."""
        with self._changed:
            self._closed = True
        self.cancel()
        with self._changed:
            self._changed.wait_for(lambda: not self._scopes, patience_s)
        self._channel.close()

    def perform(self, call: Call[Any], scope: Scope) -> Parts:
        """Make the call until it succeeds, fails by name, or the retry policy gives up. The parts of the answer.

        Raises:
            SecAggError: what the server says.
            TransportError: it cannot be reached.
            ParticipationCancelled, RoundTimeoutError: see `Scope`.
        """
        attempts = Attempts(self._retry, idempotent=call.idempotent, insists=call.insists)
        while True:
            attempts.begin(monotonic())
            try:
                if isinstance(call, UploadCall) and attempts.retrying:
                    call = self._resume(call, attempts, scope)
                return self.exchange(call, scope)
            except RETRYABLE as error:
                self._wait(scope, attempts, attempts.delay_after(error, monotonic()))
            except RoundTimeoutError as over:
                raise attempts.explained(over) from None

    @staticmethod
    def _wait(scope: Scope, attempts: Attempts, delay_s: float) -> None:
        try:
            scope.wait(delay_s)
        except RoundTimeoutError as over:
            raise attempts.explained(over) from None

    def _resume(self, call: UploadCall[Any], attempts: Attempts, scope: Scope) -> UploadCall[Any]:
        resumed = call.resumed(call.progress.read(self.exchange(call.progress, scope)))
        if resumed.start > call.start:
            attempts.progressed()
        return resumed

    def exchange(self, call: Call[Any], scope: Scope) -> Parts:
        """Make the call once. More than the call's limit is not read."""
        return deque(self.stream(call, scope))

    def stream(self, call: Call[Any], scope: Scope) -> Generator[bytes, None, None]:
        """Make the call once, and yield the parts of the answer as they arrive, up to the call's limit."""
        timeout_s = scope.remaining_s()
        requests = _Requests(call, scope.traffic)
        # Without serialisers gRPC passes bytes as they are.
        make: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(call.path)
        running = make(requests, timeout=timeout_s, metadata=call.metadata)
        size = 0
        with scope.running(running):
            try:
                for part in running:
                    scope.traffic.received += len(part)
                    size += len(part) + PART_COST
                    yield part
                    if size > call.limit:
                        return
            except grpc.RpcError as error:
                if requests.error is not None:
                    raise requests.error from None
                scope.remaining_s()
                raise channels.named_error(cast("channels.Failure", error), self._target, call.method) from None


class _Requests:
    """The requests of a call, counted. gRPC reads them in a thread of its own, and would drop an error there."""

    def __init__(self, call: Call[Any], traffic: Traffic) -> None:
        self.error: SecAggError | None = None
        self._requests = call.requests()
        self._traffic = traffic

    def __iter__(self) -> "_Requests":
        return self

    def __next__(self) -> bytes:
        try:
            data = next(self._requests)
        except SecAggError as error:
            self.error = error
            raise
        self._traffic.sent += len(data)
        return data
