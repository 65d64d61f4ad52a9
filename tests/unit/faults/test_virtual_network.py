"""The simulator's network: what arrives, in which order, and who learns when of a connection that breaks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from random import Random
from typing import Any

import grpc
import pytest

from secagg.tools.faults.loop import VirtualLoop
from secagg.tools.faults.network import REFUSED, RESET, End, Fate, Metadata, Network, Server, VirtualChannel
from secagg.tools.faults.processes import Machine, Process
from secagg.tools.faults.substitutes import Online

ADDRESS = "there:1"
PATH = "/service/Echo"
Answer = Callable[[Any], Any]


class Script:
    """A weather that gives each message the next fate of a list, and good fates after that."""

    def __init__(self, *fates: Fate, again_after: float | None = None) -> None:
        self.fates = list(fates)
        self.again_after = again_after

    def fate(self, sender: Machine, receiver: Machine, *, up: bool, last: bool) -> Fate:
        return self.fates.pop(0) if self.fates else Fate(0.01)

    def repeats(self) -> float | None:
        return self.again_after

    def silence(self) -> Mapping[End, float]:
        return {End.CLIENT: 1.0, End.SERVER: 2.0}


class Deaf:
    """A witness that writes nothing down but the answers that left the server."""

    def __init__(self) -> None:
        self.answers: list[tuple[bytes, int]] = []

    def asked(self, process: Process, path: str, metadata: Metadata) -> int:
        return 1

    def sent(self, call: int, message: bytes) -> None:
        return

    def answered(self, call: int, message: bytes, arrival: int) -> None:
        self.answers.append((message, arrival))

    def closed(self, call: int, code: grpc.StatusCode, trailer: Metadata, arrival: int) -> None:
        return


class Handlers(grpc.GenericRpcHandler):
    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def service(self, details: Any) -> Any:
        async def handle(_: object, context: Any) -> None:
            await self.answer(context)

        return grpc.stream_stream_rpc_method_handler(handle) if details.method == PATH else None


async def echo(context: Any) -> None:
    while isinstance(message := await context.read(), bytes):
        await context.write(message)


async def parts(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


class Stage:
    """A client and a server, each on its machine."""

    def __init__(self, answer: Answer = echo, weather: Script | None = None, listening: bool = True) -> None:
        self.loop = VirtualLoop(lambda: 0.0)  # type: ignore[abstract]
        self.witness = Deaf()
        self.network = Network(self.loop, weather or Script(), self.witness)
        self.server, self.client = (Online(Machine(n), self.loop.time, 0, Random(1)) for n in ("there", "here"))  # noqa: S311
        if listening:
            self.network.listen(ADDRESS, Server(self.server, (Handlers(answer),)))
        self.channel = VirtualChannel(self.network, ADDRESS, b"certificate")

    def call(self, *messages: bytes, timeout_s: float | None = None, path: str = PATH) -> Any:
        return self.channel.stream_stream(path)(parts(*messages), timeout_s, ())

    async def all_of(self, call: Any) -> list[bytes]:
        found = []
        while isinstance(part := await call.read(), bytes):
            found.append(part)
        return found

    def play(self, work: Any) -> Any:
        async def in_client() -> Any:
            return await self.loop.create_task(work, context=self.client.context())

        with self.loop.running():
            return self.loop.run(in_client(), 1000)

    def fails(self, work: Any) -> tuple[grpc.StatusCode, str, float]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            self.play(work)
        return caught.value.code(), caught.value.details() or "", self.loop.time()


async def read_all(stage: Stage, *messages: bytes, **given: Any) -> list[bytes]:
    return await stage.all_of(stage.call(*messages, **given))


def test_messages_of_a_call_keep_their_order_whatever_their_delays() -> None:
    stage = Stage(weather=Script(Fate(0.01), Fate(5.0), Fate(0.01), Fate(0.01)))
    assert stage.play(read_all(stage, b"1", b"2", b"3")) == [b"1", b"2", b"3"]
    assert stage.loop.time() > 5.0


def test_calls_overtake_each_other() -> None:
    stage = Stage(weather=Script(Fate(9.0)))
    order: list[bytes] = []

    async def both() -> None:
        async def one(name: bytes) -> None:
            order.extend(await read_all(stage, name))

        await asyncio.gather(one(b"first"), one(b"second"))

    stage.play(both())
    assert order == [b"second", b"first"]


def test_nobody_listens() -> None:
    stage = Stage(listening=False)
    code, details, _ = stage.fails(read_all(stage, b"1"))
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, REFUSED)


def test_an_unknown_method() -> None:
    stage = Stage()
    assert stage.fails(read_all(stage, b"1", path="/service/Other"))[0] is grpc.StatusCode.UNIMPLEMENTED


LEARNS = {End.CLIENT: 3.0, End.SERVER: 7.0}


def test_a_lost_reply_ends_the_call_when_its_client_learns_of_it() -> None:
    """The server has answered, and believes that it was heard."""
    stage = Stage(weather=Script(Fate(0.01), Fate(0.01), Fate(0.01), Fate(0.01, lost=True, breaks=LEARNS)))
    code, details, at = stage.fails(read_all(stage, b"1"))
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, RESET)
    assert 3.0 <= at < 3.1
    assert stage.witness.answers == [(b"1", 0)]
    assert stage.play(read_all(stage, b"again")) == [b"again"]  # over a new connection


def test_a_lost_request_never_reaches_the_server_which_is_told_at_last() -> None:
    ended: list[float] = []

    async def wait(context: Any) -> None:
        try:
            await context.read()
        finally:
            ended.append(stage.loop.time())

    stage = Stage(wait, Script(Fate(0.01), Fate(0.01, lost=True, breaks=LEARNS)))

    async def fail_and_stay() -> None:
        with pytest.raises(grpc.aio.AioRpcError):
            await read_all(stage, b"1")
        await asyncio.sleep(20)

    stage.play(fail_and_stay())
    assert [round(at) for at in ended] == [7]


def test_what_was_on_its_way_arrives_behind_a_cut() -> None:
    got: list[bytes] = []

    async def note(context: Any) -> None:
        while isinstance(message := await context.read(), bytes):
            got.append(message)

    stage = Stage(note, Script(Fate(0.01), Fate(0.5), Fate(0.01, breaks=LEARNS)))
    stage.fails(read_all(stage, b"1", b"2"))
    assert got == [b"1", b"2"]


def test_a_call_that_arrives_twice_is_answered_once() -> None:
    stage = Stage(weather=Script(again_after=4.0))

    async def read_and_wait() -> list[bytes]:
        found = await read_all(stage, b"1")
        await asyncio.sleep(10)
        return found

    assert stage.play(read_and_wait()) == [b"1"]
    assert stage.witness.answers == [(b"1", 0), (b"1", 1)]


def test_who_cancels_is_gone_at_the_server_too() -> None:
    ended: list[float] = []

    async def wait(context: Any) -> None:
        try:
            await stage.loop.create_future()
        finally:
            ended.append(stage.loop.time())

    stage = Stage(wait)

    async def cancel() -> None:
        call = stage.call(b"1")
        await asyncio.sleep(1)
        assert call.cancel()
        assert not call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.read()
        await asyncio.sleep(1)

    stage.play(cancel())
    assert len(ended) == 1


def test_a_time_limit() -> None:
    async def wait(context: Any) -> None:
        await stage.loop.create_future()

    stage = Stage(wait)
    code, _, at = stage.fails(read_all(stage, b"1", timeout_s=6.0))
    assert (code, at) == (grpc.StatusCode.DEADLINE_EXCEEDED, 6.0)


def test_the_status_that_a_server_gives() -> None:
    async def refuse(context: Any) -> None:
        await context.write(b"part")
        await context.abort(grpc.StatusCode.NOT_FOUND, "nothing here", (("key", "value"),))

    stage = Stage(refuse)
    told: list[Any] = []

    async def read() -> None:
        call = stage.call(b"1")
        call.add_done_callback(told.append)
        assert await call.read() == b"part"
        try:
            await call.read()
        finally:
            assert [*await call.trailing_metadata()] == [("key", "value")]
            assert await call.details() == "nothing here"

    assert stage.fails(read())[0] is grpc.StatusCode.NOT_FOUND
    assert len(told) == 1


def test_when_the_server_dies_its_clients_learn_of_it_and_a_new_one_takes_over() -> None:
    async def wait(context: Any) -> None:
        await stage.loop.create_future()

    stage = Stage(wait)

    async def die() -> list[bytes]:
        stage.loop.call_later(5, stage.server.kill)
        with pytest.raises(grpc.aio.AioRpcError, match=RESET):
            await read_all(stage, b"1")
        assert stage.loop.time() == pytest.approx(6.0)
        after = Online(Machine("there"), stage.loop.time, 1, Random(1))  # noqa: S311
        stage.network.listen(ADDRESS, Server(after, (Handlers(echo),)))
        return await read_all(stage, b"2")

    assert stage.play(die()) == [b"2"]


def test_what_the_dead_have_sent_still_arrives() -> None:
    stage = Stage(weather=Script(Fate(0.01), Fate(0.01), Fate(0.01), Fate(3.0), Fate(3.0)))

    async def die() -> list[bytes]:
        stage.loop.call_later(1, stage.server.kill)
        stage.network.weather.silence = lambda: {End.CLIENT: 9.0, End.SERVER: 0.0}  # type: ignore[method-assign]
        return await read_all(stage, b"1")

    assert stage.play(die()) == [b"1"]


def test_a_dropped_connection() -> None:
    async def wait(context: Any) -> None:
        stage.network.drop(context.peer())
        await stage.loop.create_future()

    stage = Stage(wait)
    assert stage.fails(read_all(stage, b"1"))[:2] == (grpc.StatusCode.UNAVAILABLE, RESET)


def test_the_server_sees_the_certificate_and_the_metadata() -> None:
    seen: list[object] = []

    async def look(context: Any) -> None:
        seen.append((context.auth_context(), context.invocation_metadata(), context.peer()))

    stage = Stage(look)

    async def call() -> None:
        await stage.all_of(stage.channel.stream_stream(PATH)(parts(), None, (("a", "b"),)))
        await stage.channel.close()

    stage.play(call())
    assert seen == [({"x509_pem_cert": (b"certificate",)}, (("a", "b"),), "ipv4:10.0.0.1:40001")]
