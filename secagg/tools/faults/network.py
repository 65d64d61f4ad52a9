"""A network instead of gRPC's: below the clients' channels and above the coordinator's handlers.

A call is two streams of messages over a connection. Each message takes its time, and keeps its place among those of its
own stream, but not among those of other calls. The `Weather` says what becomes of each. A connection that breaks ends
its calls at both ends, though not at the same moment: an end that learns late goes on in vain. What is on its way then
arrives or is lost.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Protocol, cast

import grpc

from secagg.tools.faults.loop import VirtualLoop
from secagg.tools.faults.processes import Machine, Process, current

Metadata = tuple[tuple[str, str | bytes], ...]

REFUSED: Final = "failed to connect to all addresses; last error: connection refused"
RESET: Final = "Socket closed"


class End(Enum):
    """The two ends of a connection."""

    CLIENT = auto()
    SERVER = auto()


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a message.

    Attributes:
        delay_s: until it arrives.
        lost: it does not.
        breaks: its connection breaks, and each end learns of it after so many seconds.
    """

    delay_s: float
    lost: bool = False
    breaks: Mapping[End, float] | None = None


class Weather(Protocol):
    """Decides what the network does."""

    def fate(self, sender: Machine, receiver: Machine, *, up: bool, last: bool) -> Fate:
        """What becomes of a message.

        Args:
            sender: whose machine sends it.
            receiver: whose machine it is for.
            up: whether the client sends it.
            last: whether it ends its stream.
        """
        ...

    def repeats(self) -> float | None:
        """Whether a call arrives a second time, and after how many seconds."""
        ...

    def silence(self) -> Mapping[End, float]:
        """After how many seconds each end learns that the other one is gone."""
        ...


class Witness(Protocol):
    """Writes down what crosses the network, as `history` says."""

    def asked(self, process: Process, path: str, metadata: Metadata) -> int:
        """A call left its caller; the number of the call."""
        ...

    def sent(self, call: int, message: bytes) -> None:
        """A message of a call left its caller."""
        ...

    def answered(self, call: int, message: bytes, arrival: int) -> None:
        """A message that answers a call left its server."""
        ...

    def closed(self, call: int, code: grpc.StatusCode, trailer: Metadata, arrival: int) -> None:
        """A server ended a call."""
        ...


class Server:
    """What listens at an address: one process with gRPC's handlers."""

    def __init__(self, process: Process, handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        self.process = process
        self._handlers = handlers

    def handler(self, call: "ServerCall") -> Callable[[Any, Any], Any] | None:
        """What answers the call; None if nothing does."""
        for handlers in self._handlers:
            found: Any = handlers.service(cast("Any", call))
            if found is not None:
                answers: Callable[[Any, Any], Any] = found.stream_stream
                return answers
        return None


class Network:
    """All connections of a deployment."""

    def __init__(self, loop: VirtualLoop, weather: Weather, witness: Witness) -> None:
        self.loop = loop
        self.weather = weather
        self.witness = witness
        self._listening: dict[str, Server] = {}
        self._connections: dict[Connection, None] = {}
        self._ports = 40_000
        self._nobody = Context()  # what is on its way belongs to no process, and goes on when its sender is dead

    def later(self, delay_s: float, happens: Callable[..., object], *arguments: object) -> None:
        """Let something happen to somebody after so many seconds."""
        self.at_time(self.loop.time() + delay_s, happens, *arguments)

    def at_time(self, when: float, happens: Callable[..., object], *arguments: object) -> None:
        """Let something happen to somebody at this time of the loop."""
        self.loop.call_at(when, happens, *arguments, context=self._nobody)

    def listen(self, address: str, server: Server) -> None:
        """Take the calls to this address, until the process ends."""
        self._listening[address] = server

        def gone() -> None:
            if self._listening.get(address) is server:
                del self._listening[address]
            self._gone(server.process)

        server.process.on_death.append(gone)

    def at(self, address: str) -> Server | None:
        """What listens there."""
        return self._listening.get(address)

    def connect(self, address: str, client: Process, certificate: bytes | None) -> "Connection":
        """A new connection. Whether anybody listens is found out with the first message."""
        self._ports += 1
        connection = Connection(self, address, client, certificate, f"ipv4:10.0.0.1:{self._ports}")
        self._connections[connection] = None
        return connection

    def drop(self, peer: str) -> None:
        """Close the connection that its server calls so."""
        for connection in list(self._connections):
            if connection.peer == peer:
                connection.break_({End.CLIENT: 0.01, End.SERVER: 0.0})

    def cut(self, machine: Machine) -> None:
        """Break every connection of a machine."""
        for connection in list(self._connections):
            if connection.client.machine is machine:
                connection.break_(self.weather.silence())

    def forget(self, connection: "Connection") -> None:
        """Nothing more comes of it."""
        self._connections.pop(connection, None)

    def client_gone(self, client: Process) -> None:
        """A client has died: its servers learn of it."""
        self._gone(client)

    def _gone(self, process: Process) -> None:
        for connection in list(self._connections):
            if process in {connection.client, connection.server and connection.server.process}:
                connection.break_(self.weather.silence())


class Connection:
    """One connection with its calls.

    Attributes:
        server: who took it; None before the first message arrived.
        broken: whether nothing sent from now on arrives.
        hung_up: whether the server knows that; then nothing that is still on its way arrives either.
    """

    def __init__(self, network: Network, address: str, client: Process, certificate: bytes | None, peer: str) -> None:
        self.network = network
        self.address = address
        self.client = client
        self.certificate = certificate
        self.peer = peer
        self.server: Server | None = None
        self.broken = False
        self.hung_up = False
        self._clients: dict[ClientCall, None] = {}
        self._servers: dict[ServerCall, None] = {}

    def begin(self, call: "ClientCall") -> None:
        """One more call is under way."""
        self._clients[call] = None

    def serve(self, call: "ServerCall") -> None:
        """One more call is being answered."""
        self._servers[call] = None

    def over(self, call: "ClientCall | ServerCall") -> None:
        """This end of a call needs the connection no more."""
        if isinstance(call, ClientCall):
            self._clients.pop(call, None)
        else:
            self._servers.pop(call, None)

    def arrive(self) -> Server | None:
        """The server that a message reaches now; None if nobody listens."""
        if self.server is None:
            self.server = self.network.at(self.address)
        return self.server if self.server is not None and self.server.process.alive else None

    def break_(self, learns: Mapping[End, float]) -> None:
        """Let nothing more through; each end learns of it after so many seconds."""
        if self.broken:
            return
        self.broken = True
        self.network.forget(self)
        self.network.later(learns[End.CLIENT], self._tell_clients)
        self.network.later(learns[End.SERVER], self._tell_servers)

    def _tell_clients(self) -> None:
        for call in list(self._clients):
            call.end(grpc.StatusCode.UNAVAILABLE, RESET)

    def _tell_servers(self) -> None:
        self.hung_up = True
        for call in list(self._servers):
            call.hang_up()

    def send(self, call: object, up: bool, last: bool, before: float, arrive: Callable[[], None]) -> float:
        """Put a message on its way.

        Args:
            call: what it belongs to.
            up: whether the client sends it.
            last: whether it ends its stream.
            before: when the message before it arrives.
            arrive: takes it at the other end.

        Returns:
            When it arrives, in the loop's time.
        """
        network = self.network
        if self.broken:
            return before
        machines = [self.client.machine, self.server.process.machine if self.server else self.client.machine]
        sender, receiver = machines if up else reversed(machines)
        fate = network.weather.fate(sender, receiver, up=up, last=last)
        when = max(before, network.loop.time() + fate.delay_s)
        if not fate.lost:
            network.at_time(when, arrive)
        if fate.breaks is not None:
            self.break_(fate.breaks)
        return when


class ClientCall:
    """A call at the client's end; what `grpc.aio` calls a StreamStreamCall."""

    def __init__(self, connection: Connection, path: str, metadata: Metadata) -> None:
        self.connection = connection
        self.path = path
        self.metadata = metadata
        self._loop = connection.network.loop
        self._parts: deque[bytes] = deque()
        self._status: tuple[grpc.StatusCode, str, Metadata] | None = None
        self._cancelled = False
        self._waiter: asyncio.Future[None] | None = None
        self._callbacks: list[Callable[[Any], None]] = []
        self._up: list[UpStream] = []
        self._pump: asyncio.Task[None] | None = None
        self._timer: Any = None
        self.number = connection.network.witness.asked(connection.client, path, metadata)
        connection.begin(self)

    def start(self, requests: AsyncIterator[bytes], timeout_s: float | None) -> None:
        """Send the requests as they come."""
        if timeout_s is not None:
            self._timer = self._loop.call_later(
                timeout_s, self._lost_patience, context=self.connection.client.context()
            )
        self._up.append(UpStream(ServerCall(self)))
        again_after = self.connection.network.weather.repeats()
        if again_after is not None:
            self._up.append(UpStream(ServerCall(self, arrival=1), again_after))
        self._pump = self._loop.create_task(self._send_all(requests))

    async def _send_all(self, requests: AsyncIterator[bytes]) -> None:
        for stream in self._up:
            stream.begin()
        try:
            async for request in requests:
                self.connection.network.witness.sent(self.number, request)
                for stream in self._up:
                    stream.send(request)
        except Exception:
            self.cancel()  # as gRPC does; who made the requests knows why
            return
        for stream in self._up:
            stream.send(None)

    # --- what the client does -----------------------------------------------------------------------------------------

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call it when the call is over."""
        self._callbacks.append(callback)

    async def read(self) -> Any:
        """The next part of the answer, or EOF."""
        current()
        while not self._parts and self._status is None:
            self._waiter = self._loop.create_future()
            await self._waiter
        if self._parts:
            return self._parts.popleft()
        if self._cancelled:
            raise asyncio.CancelledError
        code, details, trailer = self._status or (grpc.StatusCode.UNKNOWN, "", ())
        if code is grpc.StatusCode.OK:
            return grpc.aio.EOF
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailer), details)

    def cancel(self) -> bool:
        """End it from here."""
        if self._status is not None:
            return False
        self._cancelled = True
        self._abandon(grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
        return True

    def cancelled(self) -> bool:
        """Whether it ended from here."""
        return self._cancelled

    async def code(self) -> grpc.StatusCode:
        """How it ended."""
        return self._ended()[0]

    async def details(self) -> str:
        """A text for people."""
        return self._ended()[1]

    async def trailing_metadata(self) -> Metadata:
        """Key and value pairs."""
        return self._ended()[2]

    def _ended(self) -> tuple[grpc.StatusCode, str, Metadata]:
        if self._status is None:
            raise AssertionError("the call is not over")
        return self._status

    def _lost_patience(self) -> None:
        if self._status is None:
            self._abandon(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _abandon(self, code: grpc.StatusCode, details: str) -> None:
        for stream in self._up:
            stream.reset()
        self.end(code, details)

    # --- what comes from the network ----------------------------------------------------------------------------------

    def receive(self, part: bytes) -> None:
        """A part of the answer has arrived."""
        if self._status is None:
            self._parts.append(part)
            self._wake()

    def end(self, code: grpc.StatusCode, details: str, trailer: Metadata = ()) -> None:
        """It is over."""
        if self._status is not None:
            return
        self._status = (code, details, trailer)
        self.connection.over(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._pump is not None:
            self._pump.cancel()
        for callback in self._callbacks:
            self._loop.call_soon(callback, self, context=self.connection.client.context())
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class UpStream:
    """What a client sends in one call, on its way to one server's end of it."""

    def __init__(self, other: "ServerCall", late_s: float = 0.0) -> None:
        self._other = other
        self._call = other.client
        self._connection = other.client.connection
        self._last = self._connection.network.loop.time() + late_s

    def begin(self) -> None:
        """Send the headers."""
        self._send(self._other.begin, last=False)

    def send(self, request: bytes | None) -> None:
        """Send a request; None behind the last."""
        self._send(lambda: self._other.receive(request), last=request is None)

    def reset(self) -> None:
        """Tell that the client gave up."""
        self._send(self._other.hang_up, last=True)

    def _send(self, arrive: Callable[[], None], *, last: bool) -> None:
        self._last = self._connection.send(self._call, True, last, self._last, arrive)


class ServerCall:
    """A call at the server's end; what `grpc.aio` calls a ServicerContext."""

    def __init__(self, client: ClientCall, *, arrival: int = 0) -> None:
        """Args: arrival: 1 where the network brings the call a second time. The client does not hear that answer."""
        self.client = client
        self.method = client.path  # of gRPC's HandlerCallDetails
        self._connection = client.connection
        self._loop = client.connection.network.loop
        self._arrival = arrival
        self._requests: deque[bytes | None] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._hung_up = False
        self._last = 0.0

    # --- what comes from the network ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """The headers are there."""
        if self._hung_up or self._connection.hung_up:
            return
        server = self._connection.arrive()
        if server is None:
            self._connection.network.later(0.001, self.client.end, grpc.StatusCode.UNAVAILABLE, REFUSED)
            self._connection.break_({End.CLIENT: 0.002, End.SERVER: 0.0})
            return
        handler = server.handler(self)
        self._connection.serve(self)
        context = server.process.context()
        self._task = self._loop.create_task(self._answer(handler), context=context)

    def receive(self, request: bytes | None) -> None:
        """A request is there; None behind the last."""
        self._requests.append(request)
        self._wake()

    def hang_up(self) -> None:
        """The client is gone, or the connection."""
        self._hung_up = True
        self._connection.over(self)
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, handler: Callable[[Any, Any], Any] | None) -> None:
        try:
            if handler is None:
                self._end(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            else:
                await handler(None, self)
                self._end(grpc.StatusCode.OK, "")
        except grpc.aio.AbortError:
            return
        finally:
            self._connection.over(self)

    # --- what the server does -----------------------------------------------------------------------------------------

    def peer(self) -> str:
        """The name of the connection."""
        return self._connection.peer

    def auth_context(self) -> Mapping[str, tuple[bytes, ...]]:
        """What the client has shown."""
        shown = self._connection.certificate
        return {} if shown is None else {"x509_pem_cert": (shown,)}

    def invocation_metadata(self) -> Metadata:
        """What came with the headers."""
        return self.client.metadata

    async def read(self) -> Any:
        """The next request, or EOF."""
        current()
        while not self._requests:
            self._waiter = self._loop.create_future()
            await self._waiter
        request = self._requests[0]
        if request is None:
            return grpc.aio.EOF  # and again, if asked again
        return self._requests.popleft()

    async def write(self, part: bytes) -> None:
        """Send a part of the answer."""
        current()
        self._connection.network.witness.answered(self.client.number, part, self._arrival)
        self._send(lambda: self.client.receive(part), last=False)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> None:
        """End it with a status."""
        current()
        self._end(code, details, trailing_metadata)
        raise grpc.aio.AbortError

    def _end(self, code: grpc.StatusCode, details: str, trailer: Metadata = ()) -> None:
        self._connection.network.witness.closed(self.client.number, code, trailer, self._arrival)
        self._send(lambda: self.client.end(code, details, trailer), last=True)

    def _send(self, arrive: Callable[[], None], *, last: bool) -> None:
        if self._arrival == 0:
            self._last = self._connection.send(self, False, last, self._last, arrive)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class VirtualChannel:
    """What `grpc.aio` calls a channel: a connection that is made anew when it is broken."""

    def __init__(self, network: Network, target: str, certificate: bytes | None) -> None:
        self._network = network
        self._target = target
        self._certificate = certificate
        self._connection: Connection | None = None
        self._calls: list[ClientCall] = []

    def stream_stream(self, path: str) -> Callable[..., ClientCall]:
        """Makes calls of this method."""

        def make(requests: AsyncIterator[bytes], timeout: float | None, metadata: Metadata) -> ClientCall:
            process = current()
            if self._connection is None or self._connection.broken:
                self._connection = self._network.connect(self._target, process, self._certificate)
            call = ClientCall(self._connection, path, metadata)
            self._calls = [known for known in self._calls if known._status is None]
            self._calls.append(call)
            call.start(requests, timeout)
            return call

        return make

    def close(self) -> Awaitable[None]:
        """End every call, and the connection."""
        current()
        return self._close()

    async def _close(self) -> None:
        for call in self._calls:
            call.cancel()
        if self._connection is not None:
            self._connection.break_({End.CLIENT: 0.0, End.SERVER: 0.05})
