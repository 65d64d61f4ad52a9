"""Clients of a running coordinator, calls counted, and a wire between the two that can be cut."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pytest
from secagg_client import AsyncClient, Client, RetryPolicy, RoundResult
from secagg_client.aio import connection as aio_calls
from secagg_client.retry import ConnectionBroken
from secagg_client.sync import connection as sync_calls

from secagg.config import RoundConfig
from secagg.events import DropReason, ParticipantDropped
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.wire.progress import WatchedEvent
from tests.rounds import random_update
from tests.serving import NAMES, PATIENCE_S, site

QUICK = RetryPolicy(attempts=20, first_delay_s=0.05, max_delay_s=0.5, give_up_after_s=PATIENCE_S)
GIVES_UP = RetryPolicy(attempts=3, first_delay_s=0.01, max_delay_s=0.1)
DIGEST = bytes(32)
NOBODY = "127.0.0.1:9"  # the port of the discard service; nothing listens there


_THREADS = ThreadPoolExecutor(64, "client")
P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """As `asyncio.to_thread`, whose few threads the coordinator in this process needs itself."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, lambda: work(*args, **kwargs))


def options_of(name: ParticipantId, **changes: Any) -> dict[str, Any]:
    return {"identity": site().identity(name), "trust": site().trust, "retry": QUICK, **changes}


def client(address: str, name: ParticipantId, **changes: Any) -> Client:
    return Client(address, **options_of(name, **changes))


def async_client(address: str, name: ParticipantId, **changes: Any) -> AsyncClient:
    return AsyncClient(address, **options_of(name, **changes))


def update_of(config: RoundConfig, name: ParticipantId) -> dict[str, np.ndarray[Any, Any]]:
    return random_update(config.schema, NAMES.index(name))


def weight_of(name: ParticipantId) -> int:
    return 1 + NAMES.index(name)


async def take_part(
    address: str, name: ParticipantId, config: RoundConfig, *, synchronous: bool = True, **arguments: Any
) -> RoundResult:
    """One participation with a client of its own; an asynchronous one, or a synchronous one in a thread."""
    known = {
        "backend",
        "feedback",
        "identity",
        "interceptors",
        "memory",
        "policy",
        "retry",
        "rng",
        "server_name",
        "trust",
    }
    of_client = known & set(arguments)
    options = {key: arguments.pop(key) for key in of_client}
    given: dict[str, Any] = {
        "weight": weight_of(name),
        "model_digest": config.model_digest,
        "timeout_s": PATIENCE_S,
        **arguments,
    }
    update = given.pop("update", update_of(config, name))
    if not synchronous:
        async with async_client(address, name, **options) as participant:
            return await participant.participate(update, **given)
    with client(address, name, **options) as one:
        return await in_thread(one.participate, update, **given)


def check_result(config: RoundConfig, result: RoundResult, names: Iterable[ParticipantId]) -> None:
    """The weighted mean of the named, within the bound that the result itself states."""
    chosen = list(names)
    assert result.survivors == tuple(sorted(chosen))
    assert result.receipt.survivors == len(chosen)
    assert result.mean is not None
    total = sum(map(weight_of, chosen))
    assert result.mean.weight == total
    for array in config.schema.arrays:
        mean = np.sum([update_of(config, n)[array.name].astype(float) * weight_of(n) for n in chosen], axis=0) / total
        bound = result.mean.error_bound + 1e-6  # the cast to the array's own type
        np.testing.assert_allclose(result.mean.arrays[array.name], mean, rtol=0, atol=bound)


def drops(events: Iterable[WatchedEvent]) -> dict[ParticipantId, DropReason]:
    return {e.participant: e.reason for e in events if isinstance(e, ParticipantDropped)}


def lenient(config: RoundConfig) -> Policy:
    return Policy(threat_models=frozenset({config.threat_model}), allow_experimental=True, min_colluding_share=0.0)


def record_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods of all calls that clients in this process make from now on, in order."""
    made: list[str] = []
    synchronous, asynchronous = sync_calls.Connection.stream, aio_calls.Connection.stream

    def note(connection: Any, call: Any, scope: Any) -> Iterator[bytes]:
        made.append(call.method)
        return synchronous(connection, call, scope)

    def note_too(connection: Any, call: Any, scope: Any) -> AsyncIterator[bytes]:
        made.append(call.method)
        return asynchronous(connection, call, scope)

    monkeypatch.setattr(sync_calls.Connection, "stream", note)
    monkeypatch.setattr(aio_calls.Connection, "stream", note_too)
    return made


def lose_first_answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From now on the connection of each client breaks when it has the first answer to a call, and with the answer to
    each other call for the first time. The names of the calls whose answers were lost, in order.
    """
    lost: list[str] = []
    whole, waited = sync_calls.Connection.stream, aio_calls.Connection.stream

    def breaks(connection: object, call: Any) -> bool:
        if (id(connection), call.path) in known:
            return False
        known[id(connection), call.path] = connection
        lost.append(call.method)
        return True

    known: dict[tuple[int, str], object] = {}  # a connection that is gone would leave its id to another

    def answer(connection: Any, call: Any, scope: Any) -> Iterator[bytes]:
        parts = list(whole(connection, call, scope))
        if breaks(connection, call):
            raise ConnectionBroken("the answer was lost", unsent=False)
        yield from parts

    async def awaited(connection: Any, call: Any, scope: Any) -> AsyncIterator[bytes]:
        parts = [part async for part in waited(connection, call, scope)]
        if breaks(connection, call):
            raise ConnectionBroken("the answer was lost", unsent=False)
        for part in parts:
            yield part

    monkeypatch.setattr(sync_calls.Connection, "stream", answer)
    monkeypatch.setattr(aio_calls.Connection, "stream", awaited)
    return lost


class Wire:
    """A TCP relay on loopback.

    Attributes:
        address: where clients connect.
        upward: bytes that came from clients so far.
        cut_at: once that many bytes came up, all connections break; then the next number counts.
        down: new connections are closed at once.
    """

    def __init__(self, target: str) -> None:
        self._host, port = target.rsplit(":", 1)
        self._port = int(port)
        self.address = ""
        self.upward = 0
        self.cut_at: list[int] = []
        self.cuts = 0
        self.down = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Future[None]] = set()

    async def serve(self, up: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        serving = asyncio.ensure_future(self._serve(up, down))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        await serving

    async def _serve(self, up: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        async with self._closing(down):
            if self.down:
                return
            reader, writer = await asyncio.open_connection(self._host, self._port)
            async with self._closing(writer):
                await asyncio.gather(self._pump(up, writer, count=True), self._pump(reader, down, count=False))

    @asynccontextmanager
    async def _closing(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        """Closed afterwards, and `cut` until it is."""
        self._writers.add(writer)
        try:
            yield
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self._writers.discard(writer)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, count: bool) -> None:
        try:
            while data := await source.read(1 << 14):
                if count:
                    self.upward += len(data)
                    if self.cut_at and self.upward >= self.cut_at[0]:
                        self.cut_at.pop(0)
                        self.cut()
                        return
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            return
        finally:
            sink.close()

    def lead_to(self, target: str) -> None:
        """New connections go to another HOST:PORT."""
        self._host, port = target.rsplit(":", 1)
        self._port = int(port)

    def cut(self) -> None:
        """Break all connections."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def wire(target: str) -> AsyncIterator[Wire]:
    """A wire to HOST:PORT."""
    relay = Wire(target)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        # asyncio loses a connection that it accepted just before its server is closed: it is served first.
        asyncio.get_running_loop().remove_reader(server.sockets[0])
        for _ in range(5):
            await asyncio.sleep(0)
        server.close()
        while relay._serving:
            relay.cut()
            await asyncio.wait(relay._serving, timeout=0.05)
