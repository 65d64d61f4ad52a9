# Made of secagg_client/aio/connection.py by `make sync`: change that file, not this one.
"""Making calls: retries, time limits, cancellation. Knows nothing of rounds."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from threading import Lock
from time import monotonic
from typing import Any

from secagg.errors import LocalError, ParticipationCancelled, RoundTimeoutError
from secagg.wire.limits import PART_COST
from secagg_client.calls.call import Parts, PreparedCall
from secagg_client.calls.data_plane import UploadCall
from secagg_client.retry import RETRYABLE, Attempts, RetryPolicy, limit_of
from secagg_client.tracing import call_span
from secagg_client.transport.channels import CallFailed, named_error
from secagg_client.transport.sync import Channel, Event, RunningCall, compute, usable_after, wait


class Scope:
    """The limits of some calls that belong together: time and cancellation. Counts their bytes.

    Attributes:
        bytes_sent: message bytes that went up, repetitions included, without HTTP/2 and TLS.
        bytes_received: message bytes that came down.
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        """Args: timeout_s: from now on; no limit if None."""
        self.bytes_sent = 0
        self.bytes_received = 0
        limit = limit_of(timeout_s)
        self._end = None if limit is None else monotonic() + limit
        self._cancelled = Event()
        self._lock = Lock()
        self._running: RunningCall | None = None

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
        wait(self._cancelled, delay_s if left is None else min(delay_s, left))
        self.remaining_s()

    @contextmanager
    def running(self, call: RunningCall) -> Iterator[None]:
        """While inside, `cancel` ends `call`; afterwards it is over."""
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
    """Makes calls over one channel. Safe to use from several threads."""

    def __init__(self, channel: Channel, retry: RetryPolicy) -> None:
        self._channel = channel
        self._retry = retry
        self._lock = Lock()
        self._scopes: dict[Scope, Event] = {}  # with what tells that it was left
        self._closed = False

    @contextmanager
    def scope(self, timeout_s: float | None = None) -> Iterator[Scope]:
        """A scope that `cancel` ends.

        Raises:
            LocalError: the connection is closed.
        """
        scope, left = Scope(timeout_s), Event()
        with self._lock:
            if self._closed:
                raise LocalError("this client is closed")
            self._scopes[scope] = left
        try:
            yield scope
        finally:
            with self._lock:
                del self._scopes[scope]
            left.set()

    def cancel(self) -> None:
        """End all scopes."""
        with self._lock:
            scopes = list(self._scopes)
        for scope in scopes:
            scope.cancel()

    def close(self, patience_s: float = 0.0) -> None:
        """End all scopes, wait for them to be left, but not longer than `patience_s`, and close the channel."""
        with self._lock:
            self._closed = True
            under_way = list(self._scopes.values())
        self.cancel()
        end = monotonic() + patience_s
        for left in under_way:
            wait(left, max(0.0, end - monotonic()))
        self._channel.close()

    def perform(self, call: PreparedCall[Any], scope: Scope) -> Parts:
        """Make the call until it succeeds, fails by name, or the retry policy gives up. The parts of the answer.

        Raises:
            SecAggError: what the server says.
            TransportError: it cannot be reached.
            ParticipationCancelled: the scope was cancelled.
            RoundTimeoutError: the scope's time is over; says what the last attempt ran into.
        """
        attempts = Attempts(self._retry, insists=call.insists, waits_for_room=call.waits_for_room, lasts_s=call.lasts_s)
        try:
            while True:
                attempts.begin(monotonic())
                try:
                    if isinstance(call, UploadCall) and (call.begun or attempts.retrying):
                        call = self._resume(call, attempts, scope)
                    return self.exchange(call, scope)
                except RETRYABLE as error:
                    scope.wait(attempts.delay_after(error, monotonic()))
        except RoundTimeoutError as over:
            raise attempts.explained(over) from None

    def _resume(self, call: UploadCall[Any], attempts: Attempts, scope: Scope) -> UploadCall[Any]:
        resumed = call.resumed(call.progress.read(self.exchange(call.progress, scope)))
        if resumed.start > call.start:
            attempts.progressed()
        return resumed

    def exchange(self, call: PreparedCall[Any], scope: Scope) -> Parts:
        """Make the call once. More than the call's limit is not read."""
        parts: Parts = deque()
        call.begin()
        with closing(self.stream(call, scope)) as answer:
            for part in answer:
                if not call.take(part):
                    parts.append(part)
        return parts

    def stream(self, call: PreparedCall[Any], scope: Scope) -> Generator[bytes, None, None]:
        """Make the call once, and yield the parts of the answer as they arrive, up to the call's limit."""
        timeout_s = scope.remaining_s()
        with call_span(call.path) as carried:
            requests = _Requests(call, scope)
            size = 0
            try:
                running = self._channel.call(call.path, requests, timeout_s, (*call.metadata, *carried))
                with scope.running(running):
                    while (part := running.read()) is not None:
                        scope.bytes_received += len(part)
                        size += len(part) + PART_COST
                        yield part
                        if size > call.limit:  # check: longer-than-any-answer
                            return
            except (CallFailed, ParticipationCancelled) as error:
                if requests.error is not None:
                    raise requests.error from None
                scope.remaining_s()
                if isinstance(error, ParticipationCancelled):
                    raise
                raise named_error(error.failure, self._channel.target, call.method) from None
            except BaseException as error:
                if not usable_after(error):  # also before the call was known to `scope`, which could not cancel it
                    self._channel.renew()
                raise


class _Requests:
    """The requests of a call, counted. gRPC reads them beside us, and would drop an error there: `error` keeps it.

    A chunk of a vector is computed when it is sent. Any other request is there already and is sent at once: in a
    process of many participants it would else wait until all of them have computed theirs, and all would be late.
    """

    def __init__(self, call: PreparedCall[Any], scope: Scope) -> None:
        self.error: Exception | None = None
        self._computes = isinstance(call, UploadCall)
        self._requests: Iterator[bytes] = call.requests()
        self._scope = scope

    def __iter__(self) -> "_Requests":
        return self

    def __next__(self) -> bytes:
        try:
            if self._computes:
                data: bytes | None = compute(next, self._requests, None)
            else:
                data = next(self._requests, None)
        except Exception as error:  # raised again here, and where the answer is awaited
            self.error = error
            raise
        if data is None:
            raise StopIteration
        self._scope.bytes_sent += len(data)
        return data
