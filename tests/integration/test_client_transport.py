"""Both clients against gRPC itself: a server that refuses an upload early, and interceptors that look on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from secagg_client import AsyncClient, Client, RetryPolicy
from secagg_client.aio import connection as asynchronous
from secagg_client.calls.call import Parts, PreparedCall
from secagg_client.sync import connection as synchronous
from secagg_client.transport import aio as asynchronous_transport
from secagg_client.transport import sync as synchronous_transport

from secagg.errors import ProtocolViolation
from secagg.wire.calls import Call
from secagg.wire.failures import TRAILER, encode_failure
from tests.serving import NAMES, PATIENCE_S, make_config, stage
from tests.taking_part import DIGEST, in_thread, options_of, update_of, weight_of

REFUSALS = 20
"""Half of them were lost when a failing write could overwrite what the server said."""


class Upload(PreparedCall[None]):
    """Far more than gRPC takes before the server has read any of it."""

    row = Call(name="Upload", service="tests.Refusing", max_answer=1 << 10)

    def requests(self) -> Iterator[bytes]:
        return (bytes(100_000) for _ in range(100))

    def decode(self, parts: Parts) -> None:
        parts.clear()


class Refusing(grpc.GenericRpcHandler):
    """Reads one request, and refuses the rest by name."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        async def refuse(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            await anext(requests)
            trailer = encode_failure(ProtocolViolation("spoilt")).SerializeToString()
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "spoilt", ((TRAILER, trailer),))
            yield b""

        return grpc.stream_stream_rpc_method_handler(refuse)


async def refused(upload: Callable[[str], Any]) -> None:
    server = aio.server()
    server.add_generic_rpc_handlers((Refusing(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await upload(f"127.0.0.1:{port}")
    finally:
        await server.stop(0)


async def test_an_upload_that_is_refused_early_is_refused_by_name() -> None:
    async def upload(target: str) -> None:
        connection = asynchronous.Connection(asynchronous_transport.Channel(target, ()), RetryPolicy())
        for _ in range(REFUSALS):
            with pytest.raises(ProtocolViolation, match="spoilt"):
                await connection.exchange(Upload(), asynchronous.Scope(PATIENCE_S))
        await connection.close()

    await refused(upload)


async def test_an_upload_that_is_refused_early_is_refused_by_name_in_plain_code() -> None:
    def uploads(target: str) -> None:
        connection = synchronous.Connection(synchronous_transport.Channel(target, ()), RetryPolicy())
        for _ in range(REFUSALS):
            with pytest.raises(ProtocolViolation, match="spoilt"):
                connection.exchange(Upload(), synchronous.Scope(PATIENCE_S))
        connection.close()

    await refused(lambda target: in_thread(uploads, target))


class Noting(grpc.StreamStreamClientInterceptor):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        self.seen.append(client_call_details.method.rpartition("/")[2])
        return continuation(client_call_details, request_iterator)


class AsyncNoting(aio.StreamStreamClientInterceptor):
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        self.seen.append(bytes(client_call_details.method).decode().rpartition("/")[2])
        return await continuation(client_call_details, request_iterator)


async def test_interceptors_see_every_call(tmp_path: Path) -> None:
    config = make_config(3)
    noting, async_noting = Noting(), AsyncNoting()
    async with stage(tmp_path) as s:
        address = s.server.data_address
        given: dict[str, Any] = {"round_id": await s.director.open(config), "model_digest": DIGEST}
        given |= {"timeout_s": PATIENCE_S}

        def mine(i: int) -> dict[str, Any]:
            return {"update": update_of(config, NAMES[i]), "weight": weight_of(NAMES[i]), **given}

        async with (
            AsyncClient(address, interceptors=[async_noting], **options_of(NAMES[0])) as one,
            AsyncClient(address, **options_of(NAMES[1])) as two,
        ):
            with Client(address, interceptors=[noting], **options_of(NAMES[2])) as three:
                first, _, third = await asyncio.gather(
                    one.participate(**mine(0)), two.participate(**mine(1)), in_thread(three.participate, **mine(2))
                )
    assert first.survivors == third.survivors == tuple(NAMES[:3])
    assert async_noting.seen == noting.seen
    assert noting.seen[:4] == ["FindRound", "Advertise", "Share", "SendInput"]
