"""Copying the bytes of connections, both ways, between participants and grpc on loopback.

One thread copies for all, with one buffer. Nothing more is read from one side of a connection while the other side has
not taken what was read before, so a peer that does not read costs no more memory than what is left over of one read.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_LINGER_S: Final = 1.0  # for the last bytes to arrive
_UP_BYTES: Final = 256 << 10
_DOWN_BYTES: Final = 64 << 10  # what may be left over of one read is kept for each connection whose peer does not read


@dataclass(eq=False, slots=True)
class Connection:
    """A participant's connection and ours to grpc.

    Attributes:
        client: the participant's end.
        address: HOST:PORT of the participant.
        upstream: our end to grpc; None before the participant has said anything.
        peer: what grpc calls the connection; empty before.
        caller: whose calls arrive on it; empty before the first one.
        open: whether it was not closed yet.
        shut_out: whether grpc closed it before any call.
        told: whether the observer knows why it ends.
        sockets: those that the loop watches for bytes to read.
    """

    client: socket.socket
    address: str
    upstream: socket.socket | None = None
    peer: str = ""
    caller: str = ""
    open: bool = True
    shut_out: bool = False
    told: bool = False
    sockets: list[socket.socket] = field(default_factory=list)


class Copier:
    """Copies between the two ends of each connection on an event loop.

    Attributes:
        grpc_port: where grpc listens on loopback.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_connected: Callable[[Connection], None],
        drop: Callable[[Connection], None],
    ) -> None:
        """Args:
        loop: whose thread copies.
        on_connected: called when a connection has an end at grpc, and so a name there.
        drop: closes a connection.
        """
        self.grpc_port = 0
        self._loop = loop
        self._on_connected = on_connected
        self._drop = drop
        self._buffer = memoryview(bytearray(_UP_BYTES))

    def begin(self, connection: Connection) -> None:
        """Copy from the participant's first bytes on."""
        self._read(connection, connection.client, self._hello, connection)

    def _hello(self, connection: Connection) -> None:
        """The first bytes are there: now it is worth a connection to grpc."""
        try:
            first = connection.client.recv(_DOWN_BYTES)
            if not first:
                return self._drop(connection)
            upstream = socket.socket()
        except BlockingIOError:
            return None
        except OSError:
            return self._drop(connection)
        self._unread(connection, connection.client)
        connection.upstream = upstream
        upstream.setblocking(False)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        upstream.connect_ex(("127.0.0.1", self.grpc_port))
        connection.peer = f"ipv4:127.0.0.1:{upstream.getsockname()[1]}"
        self._on_connected(connection)
        self._loop.add_writer(upstream, self._connected, connection, upstream, first)
        return None

    def _connected(self, connection: Connection, upstream: socket.socket, first: bytes) -> None:
        self._loop.remove_writer(upstream)
        if upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return self._drop(connection)
        self._read(connection, upstream, self._copy, connection, upstream, connection.client, _DOWN_BYTES)
        self._pass_on(connection, connection.client, upstream, memoryview(first), _UP_BYTES)
        return None

    def _copy(self, connection: Connection, source: socket.socket, sink: socket.socket, most: int) -> None:
        try:
            size = source.recv_into(self._buffer, most)
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)
            return
        if size:
            self._pass_on(connection, source, sink, self._buffer[:size], most)
        else:
            self._ended(connection, source, sink)

    def _pass_on(
        self, connection: Connection, source: socket.socket, sink: socket.socket, data: memoryview, most: int
    ) -> None:
        """Send it; if the sink takes less, wait for it before anything more is read."""
        try:
            sent = sink.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(connection)
            return
        if sent == len(data):
            if source not in connection.sockets:
                self._read(connection, source, self._copy, connection, source, sink, most)
                self._loop.remove_writer(sink)
            return
        rest = memoryview(bytes(data[sent:]))
        self._unread(connection, source)
        self._loop.add_writer(sink, self._pass_on, connection, source, sink, rest, most)

    def _ended(self, connection: Connection, source: socket.socket, sink: socket.socket) -> None:
        """One side has closed: what it said last must still arrive, so the other one is closed a little later."""
        if source is connection.upstream and not connection.caller:
            connection.shut_out = True
        for one in list(connection.sockets):
            self._unread(connection, one)
        self._loop.remove_writer(source)
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(connection)
            return
        self._read(connection, sink, self._discard, connection, sink)
        self._loop.call_later(_LINGER_S, self._drop, connection)

    def _discard(self, connection: Connection, source: socket.socket) -> None:
        try:
            if source.recv_into(self._buffer):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._drop(connection)

    def _read(
        self, connection: Connection, source: socket.socket, callback: Callable[..., None], *args: object
    ) -> None:
        connection.sockets.append(source)
        self._loop.add_reader(source, callback, *args)

    def _unread(self, connection: Connection, source: socket.socket) -> None:
        if source in connection.sockets:
            connection.sockets.remove(source)
            self._loop.remove_reader(source)
