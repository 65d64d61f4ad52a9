"""What is particular to plain code: how one waits, reads an answer and cancels. See `secagg_client.transport.aio`."""

from collections.abc import Callable, Iterator, Sequence
from threading import Event, Thread
from typing import Any, TypeVar, cast

import grpc

from secagg_client.retry import ConnectionBroken
from secagg_client.transport import channels

__all__ = ["Channel", "Event", "Interceptor", "RunningCall", "compute", "usable_after", "wait"]

Interceptor = grpc.StreamStreamClientInterceptor
T = TypeVar("T")


def wait(event: Event, timeout_s: float) -> None:
    """Wait until `event` is set, or `timeout_s` is over."""
    event.wait(timeout_s)


def compute(work: Callable[..., T], *arguments: Any) -> T:
    """Do arithmetic where we are: there is no event loop that would have to wait."""
    return work(*arguments)


def usable_after(error: BaseException) -> bool:
    """Whether a channel still serves after `error` ended a call: not if it came amid of gRPC's own code. Whoever is
    interrupted there may hold a lock of the channel for ever; then nothing is answered on it any more, no time limit
    ends a call, and closing the channel waits without end. Who stops reading the parts of an answer (GeneratorExit)
    does not disturb gRPC.
    """
    return isinstance(error, Exception | GeneratorExit)


class Channel:
    """A gRPC channel to one server. Safe to use from several threads; it connects when it is first used."""

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
        self._channel = self._open()

    def call(
        self, path: str, requests: Iterator[bytes], timeout_s: float | None, metadata: channels.Metadata
    ) -> "RunningCall":
        """Begin a call. Without serialisers gRPC passes bytes as they are.

        Raises:
            ConnectionBroken: the channel was renewed at this moment, by another thread.
        """
        channel = self._channel
        make: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
        try:
            running = make(requests, timeout=timeout_s, metadata=metadata)
        except ValueError:  # gRPC's word for a channel that is closed
            if channel is self._channel:
                raise
            raise ConnectionBroken(f"the connection to {self.target} was closed", unsent=True) from None
        return RunningCall(running, iter(running))

    def renew(self) -> None:
        """End every call, and use a new connection from now on. The calls of other threads break, and are made again.

        The old channel is closed in a thread that nobody waits for at the end of the process, since it may never end.
        """
        old, self._channel = self._channel, self._open()
        closing = Thread(target=old.close, daemon=True)
        closing.start()
        closing.join(channels.CLOSE_PATIENCE_S)

    def close(self) -> None:
        """End every call and close the connection."""
        self._channel.close()

    def _open(self) -> grpc.Channel:
        if self._credentials is None:
            channel = grpc.insecure_channel(self.target, options=self._options)
        else:
            channel = grpc.secure_channel(self.target, self._credentials, options=self._options)
        return grpc.intercept_channel(channel, *self._interceptors)


class RunningCall:
    """A call under way."""

    def __init__(self, call: grpc.Call, parts: Iterator[bytes]) -> None:
        self._call = call
        self._parts = parts

    def read(self) -> bytes | None:
        """The next part of the answer; None behind the last.

        Raises:
            channels.CallFailed: the call has failed, or was cancelled.
        """
        try:
            return next(self._parts, None)
        except grpc.RpcError as error:
            raise channels.CallFailed(cast("channels.Failure", error)) from None

    def cancel(self) -> None:
        """End the call. Has no effect on one that is over."""
        self._call.cancel()
