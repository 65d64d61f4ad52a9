"""Both clients against gRPC itself: a server that refuses an upload early, a call that is interrupted, and interceptors
that look on.
"""

import asyncio
import subprocess
import sys
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


class Breaking(grpc.GenericRpcHandler):
    """Sends half of the answer and is gone; the next time all of it."""

    def __init__(self) -> None:
        self.called = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        async def answer(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            self.called += 1
            async for _ in requests:  # a call that ends with its request still on the way looks broken to grpc.aio
                pass
            for number in range(4):
                if number == 2 and self.called == 1:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
                yield bytes([number])

        return grpc.stream_stream_rpc_method_handler(answer)


class Taking(PreparedCall[bytes]):
    """Uses its answer up as it arrives, but for one part."""

    row = Call(name="Taking", service="tests.Breaking", max_answer=1 << 10)

    def __init__(self) -> None:
        self.taken = b""

    def requests(self) -> Iterator[bytes]:
        return iter([b""])

    def begin(self) -> None:
        self.taken = b""

    def take(self, part: bytes) -> bool:
        self.taken += part if part != b"\x03" else b""
        return part != b"\x03"

    def decode(self, parts: Parts) -> bytes:
        return self.taken + b"".join(parts)


async def test_what_a_call_took_of_an_answer_that_broke_is_forgotten() -> None:
    server, breaking = aio.server(), Breaking()
    server.add_generic_rpc_handlers((breaking,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        retry = RetryPolicy(first_delay_s=0.001)
        connection = asynchronous.Connection(asynchronous_transport.Channel(f"127.0.0.1:{port}", ()), retry)
        call = Taking()
        assert call.read(await connection.perform(call, asynchronous.Scope(PATIENCE_S))) == bytes(range(4))
        assert breaking.called == 2
        await connection.close()
    finally:
        await server.stop(0)


INTERRUPTED = """
import sys
from time import sleep
from secagg_client.transport.sync import Channel

def stuck():
    frames = [frame for top in sys._current_frames().values() for frame in (top, top.f_back) if frame is not None]
    handling = [frame for frame in frames if frame.f_code.co_name == "handle_event"]
    return any(frame.f_locals["state"] is call._call._state for frame in handling)

channel = Channel({target!r}, ())
call = channel.call("/tests.Waiting/Wait", iter([b""]), None, ())
call._call._state.condition.acquire()  # as Control-C may leave it
print("held", flush=True)
input()
while not stuck():  # the thread in which gRPC hears of all calls waits for the lock
    sleep(0.01)
channel.{ending}()
assert channel.call("/tests.Waiting/Answer", iter([b""]), 20.0, ()).read() == b"answer"
channel.close()
print("ended")
"""


class Waiting(grpc.GenericRpcHandler):
    """Answers all calls but the first `Wait`: its answer begins after `held`, and ends when its caller cancels it."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.held = asyncio.Event()
        self.cancelled = asyncio.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        async def answer(_: AsyncIterator[bytes], __: Any) -> AsyncIterator[bytes]:
            yield b"answer"

        async def wait(_: AsyncIterator[bytes], __: Any) -> AsyncIterator[bytes]:
            self.began.set()
            try:
                await self.held.wait()
                yield b"begun"
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()

        first = str(handler_call_details.method).endswith("/Wait") and not self.began.is_set()
        return grpc.stream_stream_rpc_method_handler(wait if first else answer)


@pytest.mark.parametrize(("ending", "ends"), [("renew", True), ("close", False)])
async def test_a_process_whose_channel_hangs_goes_on_and_ends(ending: str, ends: bool) -> None:
    """A lock of gRPC stays held for ever. The call is cancelled all the same; its twin closes the channel and hangs."""
    server, waiting = aio.server(), Waiting()
    server.add_generic_rpc_handlers((waiting,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    code = INTERRUPTED.format(target=f"127.0.0.1:{port}", ending=ending)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            assert await asyncio.to_thread(child.stdout.readline) == b"held\n"
            await asyncio.wait_for(waiting.began.wait(), PATIENCE_S)
            waiting.held.set()
            child.stdin.write(b"\n")
            child.stdin.flush()
            await asyncio.wait_for(waiting.cancelled.wait(), PATIENCE_S)
            told, _ = await asyncio.to_thread(child.communicate, timeout=PATIENCE_S if ends else 2.0)
            assert (ends, child.returncode, told) == (True, 0, b"ended\n")
        except subprocess.TimeoutExpired:
            assert not ends
        finally:
            child.kill()
            await server.stop(0)


class Wait(PreparedCall[None]):
    row = Call(name="Wait", service="tests.Waiting", max_answer=1 << 10)

    def requests(self) -> Iterator[bytes]:
        return iter([b""])


async def test_calls_of_other_threads_are_made_again_on_the_new_channel() -> None:
    server, waiting = aio.server(), Waiting()
    server.add_generic_rpc_handlers((waiting,))
    channel = synchronous_transport.Channel(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", ())
    connection = synchronous.Connection(channel, RetryPolicy())
    await server.start()
    try:
        other = asyncio.create_task(in_thread(connection.perform, Wait(), synchronous.Scope(PATIENCE_S)))
        await asyncio.wait_for(waiting.began.wait(), PATIENCE_S)
        await in_thread(channel.renew)
        assert list(await other) == [b"answer"]
        assert waiting.cancelled.is_set()
    finally:
        await in_thread(connection.close)
        await server.stop(0)


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
