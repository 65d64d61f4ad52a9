"""The head as a worker reaches it: calls on the link, with who speaks and for whom."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import Message

from secagg.errors import LimitError
from secagg.wire.failures import TRAILER, decode_failure
from secagg.wire.parsing import parse
from secagg.wire.v1 import errors_pb2
from secagg_server.calls.incoming import IncomingCall
from secagg_server.certificates.files import Loaded
from secagg_server.ingress.credentials import CALLER, LINK, head_channel, token_of
from secagg_server.ingress.link_calls import SERVICE
from secagg_server.observability.trace_context import METADATA
from secagg_server.rounds.suspension import Suspended

AWAY: Final = "the coordinator is not there: try again"

Metadata = tuple[tuple[str, str | bytes], ...]
Requests = Iterable[bytes] | AsyncIterable[bytes]


class Head:
    """A connection to the head. Every error of a call is that of the head itself, or `Suspended`."""

    def __init__(self, address: str, loaded: Loaded) -> None:
        """Args:
        address: HOST:PORT of the link.
        loaded: the coordinator's certificate, key and CA.
        """
        self._channel = head_channel(address, loaded)
        self._own: Metadata = ((LINK, token_of(loaded).expose()),)

    async def close(self) -> None:
        """End all calls."""
        await self._channel.close(None)

    def call(self, name: str, requests: Requests, speaking: Metadata | None = None) -> AsyncGenerator[bytes, None]:
        """A call of the link; the parts of its answer.

        Args:
            name: of the RPC.
            requests: the messages that go up.
            speaking: for which participant; None for the worker itself.
        """
        return self._parts(f"/{SERVICE}/{name}", requests, self._own if speaking is None else speaking)

    def pass_on(
        self, path: str, requests: Requests, call: IncomingCall, names: Iterable[str]
    ) -> AsyncGenerator[bytes, None]:
        """A call of the data plane, as the participant made it; the parts of its answer.

        Args:
            path: what gRPC calls the method.
            requests: the messages that go up.
            call: the participant's.
            names: of the metadata that go with it.
        """
        carried = tuple((name, value) for name in names for value in call.metadata(name))
        return self._parts(path, requests, (*self.speaking_for(call), *carried))

    def speaking_for(self, call: IncomingCall) -> Metadata:
        """The metadata of calls that are made for the participant whose call this is."""
        trace: Metadata = ((METADATA, call.traceparent),) if call.traceparent else ()
        return (*self._own, (CALLER, call.shown), *trace)

    async def _parts(self, path: str, requests: Requests, metadata: Metadata) -> AsyncGenerator[bytes, None]:
        multi: Any = self._channel.stream_stream(path)
        made = multi(requests, metadata=metadata)
        try:
            async for part in made:
                yield part
        except grpc.aio.AioRpcError as error:
            _reraise(error)
        finally:
            made.cancel()


async def only(kind: type[Message], parts: AsyncGenerator[bytes, None]) -> Any:
    """The one message of an answer."""
    (part,) = [part async for part in parts]
    return parse(kind, part)


def _reraise(error: grpc.aio.AioRpcError) -> NoReturn:
    trailers = dict(error.trailing_metadata() or ())
    if TRAILER in trailers:
        detail = parse(errors_pb2.ErrorDetail, bytes(trailers[TRAILER]))
        raise decode_failure(detail) from None
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        raise LimitError("the coordinator has too many calls under way: try again later") from None
    if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
        raise Suspended(AWAY) from None
    raise error
