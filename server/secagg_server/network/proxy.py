"""A proxy for connections, between participants and grpc, that decides who may have one.

grpc counts no connections by caller, and Python cannot close one. So the data plane listens here. The proxy, a thread
with a loop of its own, accepts, waits for the first bytes, and copies to grpc on loopback. TLS stays in grpc, so the
proxy sees encrypted bytes alone; the handlers of calls tell it whose they are when a call arrives. When places run out,
the connections that made no call are closed first. An attacker without a certificate can open such connections as fast
as it likes, but a participant is one of them only for the time of a handshake.
"""

import asyncio
import socket
from contextlib import suppress
from threading import Thread
from typing import Final

from secagg.transport.addresses import TcpAddress
from secagg_server.network.copying import Connection, Copier
from secagg_server.network.listening import PacedListener
from secagg_server.network.places import Places
from secagg_server.observability.facts import ConnectionCause, ConnectionClosed
from secagg_server.observability.observer import Observer

MAX_SILENT: Final = 1000
"""Connections without a call yet. A crowd that comes at once is silent for the time of a handshake."""

HELLO_S: Final = 5.0
"""How long a connection may say nothing at all."""

SILENT_S: Final = 60.0
"""How long it may make no call. One that made a call may be idle: its participant trains."""

TOLD_WITHIN_S: Final = 1.0
"""How long after the end of a connection without a call grpc may still say why."""

_MOST_ENDED: Final = 4096
_ACCEPTED_AT_ONCE: Final = 64


class ConnectionProxy:
    """Accepts connections from `start` to `stop`.

    Attributes:
        listens: the address, with the port that it got.
    """

    def __init__(
        self,
        address: TcpAddress,
        *,
        places: int,
        most_of_one: int,
        observer: Observer,
        hello_s: float = HELLO_S,
        silent_s: float = SILENT_S,
        max_silent: int = MAX_SILENT,
    ) -> None:
        """Take the port of `address`.

        Args:
            address: where to listen.
            places: most connections.
            most_of_one: most connections of one caller; the oldest goes for a newer one.
            observer: hears which connections are closed, and why.
            hello_s: seconds for the first bytes.
            silent_s: seconds for the first call.
            max_silent: most connections that made no call.

        Raises:
            ConfigError: the port cannot be taken.
        """
        self._listener = PacedListener(address, "listen", self._accepted, at_once=_ACCEPTED_AT_ONCE, observer=observer)
        self.listens = self._listener.listens
        self._places = Places[Connection](
            most=places, most_silent=max_silent, most_of_one=most_of_one, close=self._close
        )
        self._hello_s = hello_s
        self._silent_s = silent_s
        self._ended: dict[Connection, None] = {}  # without a call, and still known by their peers; the oldest first
        self._by_peer: dict[str, Connection] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._observer = observer
        self._copier = Copier(self._loop, self._connected, self._drop)

    def start(self, grpc_port: int) -> None:
        """Copy to grpc on this port of loopback from now on."""
        self._copier.grpc_port = grpc_port
        self._thread.start()
        self._loop.call_soon_threadsafe(self._listener.start, self._loop)

    def stop(self) -> None:
        """Close all connections and the port."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop)
            self._thread.join()
        else:
            self._listener.stop()
        self._loop.close()

    @property
    def connections(self) -> tuple[int, int]:
        """How many made no call yet, and how many made one."""
        return self._places.counts

    # --- what handlers of calls say, from their own thread ------------------------------------------------------------

    def spoke(self, peer: str, caller: str) -> None:
        """A call of `caller` arrived on what grpc calls `peer`."""
        connection = self._by_peer.get(peer)
        if connection is not None and connection.caller != caller:
            self._loop.call_soon_threadsafe(self._spoke, connection, caller)

    def drop(self, peer: str) -> None:
        """Close the connection that grpc calls `peer`."""
        connection = self._by_peer.get(peer)
        if connection is not None:
            self._loop.call_soon_threadsafe(self._close, connection, ConnectionCause.ANSWER_NOT_TAKEN)

    def shut_out(self, caller: str) -> None:
        """Close every connection of `caller`, who may not take part any more."""
        self._loop.call_soon_threadsafe(self._places.shut_out, caller)

    def address(self, peer: str) -> str:
        """HOST:PORT of the participant behind the connection that grpc calls `peer`."""
        connection = self._by_peer.get(peer)
        return peer if connection is None else connection.address

    def refused(self, peer: str, reason: str, detail: str) -> None:
        """Log that grpc refused the TLS handshake of what it calls `peer`.

        Args:
            peer: grpc's name of the connection.
            reason: one of a few texts.
            detail: what grpc said.
        """
        connection = self._by_peer.get(peer)
        if connection is not None:
            with suppress(RuntimeError):  # the loop is closed: nothing is served any more
                self._loop.call_soon_threadsafe(self._refused, connection, reason, detail)

    # --- on the loop --------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._listener.stop()
        for connection in self._places:
            self._drop(connection)
        for connection in list(self._ended):
            self._forget(connection)
        self._loop.stop()

    def _accepted(self, client: socket.socket, address: str) -> None:
        connection = Connection(client, address)
        self._places.enter(connection)
        self._copier.begin(connection)
        self._loop.call_later(self._hello_s, self._check_hello, connection)

    def _close(self, connection: Connection, cause: ConnectionCause) -> None:
        if connection.open:
            self._tell(connection, ConnectionClosed(cause, connection.address, connection.caller))
            self._drop(connection)

    def _tell(self, connection: Connection, closed: ConnectionClosed) -> None:
        """Once for each connection: when we close one in its handshake, grpc says that the handshake failed."""
        if not connection.told:
            connection.told = True
            self._observer.tell(closed)

    def _check_hello(self, connection: Connection) -> None:
        if connection.upstream is None:
            self._close(connection, ConnectionCause.SILENT)
        elif connection.open:
            self._loop.call_later(self._silent_s - self._hello_s, self._check_call, connection)

    def _check_call(self, connection: Connection) -> None:
        if not connection.caller:
            self._close(connection, ConnectionCause.SILENT)

    def _connected(self, connection: Connection) -> None:
        self._by_peer[connection.peer] = connection

    def _spoke(self, connection: Connection, caller: str) -> None:
        if not connection.open:
            return
        self._places.spoke(connection, caller)

    def _drop(self, connection: Connection) -> None:
        if not connection.open:
            return
        connection.open = False
        self._places.leave(connection)
        if connection.caller:
            self._by_peer.pop(connection.peer, None)
        elif connection.peer:
            if len(self._ended) >= _MOST_ENDED:
                self._forget(next(iter(self._ended)))
            self._ended[connection] = None
            self._loop.call_later(TOLD_WITHIN_S, self._forget, connection)
        for one in (connection.client, connection.upstream):
            if one is not None:
                self._loop.remove_reader(one)
                self._loop.remove_writer(one)
                one.close()

    def _refused(self, connection: Connection, reason: str, detail: str) -> None:
        cause = ConnectionCause.TLS_REFUSED
        self._tell(connection, ConnectionClosed(cause, connection.address, detail=detail, reason=reason))

    def _forget(self, connection: Connection) -> None:
        """Nothing more will be told of the connection, which ended without a call."""
        if connection not in self._ended:
            return
        del self._ended[connection]
        if self._by_peer.get(connection.peer) is connection:
            del self._by_peer[connection.peer]
        if connection.shut_out:
            self._tell(connection, ConnectionClosed(ConnectionCause.WITHOUT_CALL, connection.address))
