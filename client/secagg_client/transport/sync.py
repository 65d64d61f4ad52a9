"""What is particular to plain code: how one waits, reads an answer and cancels. See `secagg_client.transport.aio`."""

from collections.abc import Callable, Iterator, Sequence
from threading import Event, Thread
from typing import Any, TypeVar, cast

import grpc

from secagg_client.transport import channels

__all__ = ["Channel", "Event", "Interceptor", "RunningCall", "aside", "compute", "usable_after", "wait"]

Interceptor = grpc.StreamStreamClientInterceptor
T = TypeVar("T")


def wait(event: Event, timeout_s: float) -> None:
    """Wait until `event` is set, or `timeout_s` is over."""
    event.wait(timeout_s)


def compute(work: Callable[..., T], *arguments: Any) -> T:
    """Do arithmetic where we are: there is no event loop that would have to wait."""
    return work(*arguments)


def usable_after(error: BaseException) -> bool:
    """Whether a channel still serves after `error` was raised: not if it came amid of gRPC's own code. Whoever is
    interrupted there may hold a lock of the channel for ever; then nothing is answered on it any more, and no time
    limit ends a call.
    """
    return isinstance(error, Exception)


def aside(work: Callable[[], None], patience_s: float) -> None:
    """Do `work` in a thread of its own, but wait no longer than `patience_s`."""
    worker = Thread(target=work, daemon=True)
    worker.start()
    worker.join(patience_s)


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
        if credentials is None:
            channel = grpc.insecure_channel(target, options=options)
        else:
            channel = grpc.secure_channel(target, credentials, options=options)
        self._channel = grpc.intercept_channel(channel, *interceptors)

    def call(
        self, path: str, requests: Iterator[bytes], timeout_s: float | None, metadata: channels.Metadata
    ) -> "RunningCall":
        """Begin a call. Without serialisers gRPC passes bytes as they are."""
        make: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(path)
        running = make(requests, timeout=timeout_s, metadata=metadata)
        return RunningCall(running, iter(running))

    def close(self) -> None:
        """End every call and close the connection."""
        self._channel.close()


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
