"""The gateway's port: HTTPS on TLS 1.3, with few connections of strangers and of each participant.

Anybody may connect, and only a token says who it is. So a connection without one has a short time and few requests, and
makes way for newer ones. uvicorn parses the requests, inside the coordinator's event loop. A flood of connections can
make this port unreachable. Rounds go on, and so does the port of the data plane.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final

import h11
import uvicorn
from uvicorn.server import ServerState

from secagg.transport.addresses import TcpAddress
from secagg_server.gateway.application import MAX_HEADER_BYTES, Application, HungUp
from secagg_server.network.http import HttpConnection
from secagg_server.network.listening import PacedListener
from secagg_server.network.places import Places
from secagg_server.observability.facts import ConnectionCause, ConnectionClosed
from secagg_server.observability.observer import Observer

MAX_SILENT: Final = 200
"""Connections whose participant is not known yet. A newer one closes the oldest."""

MAX_A_SECOND: Final = 100
"""Connections accepted: a handshake takes about a millisecond of the event loop. Who comes beyond waits in the
kernel's queue.
"""

HANDSHAKE_S: Final = 5.0

SILENT_S: Final = 10.0
"""From the handshake to the headers of the first request with a token."""

IDLE_S: Final = 75.0
"""From the end of an answer to the headers of the next request."""

PARSED_AT_ONCE: Final = MAX_HEADER_BYTES
"""Bytes. TLS hands over a quarter of a megabyte, and as many short headers would keep the event loop for 0.2 s."""


class GatewayPort:
    """Serves from `start` to `stop`.

    Attributes:
        listens: the address, with the port that it got.
    """

    def __init__(
        self,
        address: TcpAddress,
        *,
        places: int,
        most_of_one: int,
        write_timeout_s: float,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        """Take the port.

        Args:
            address: where to listen.
            places: most connections.
            most_of_one: most connections of one participant; the oldest goes for a newer one.
            write_timeout_s: for the other end to take an answer, in seconds.
            observer: hears which connections are closed, and why.
            clock: seconds.

        Raises:
            ConfigError: the port cannot be taken.
        """
        self._listener = PacedListener(
            address, "gateway", self._accepted, most_a_second=MAX_A_SECOND, observer=observer, clock=clock
        )
        self.listens = self._listener.listens
        self.write_timeout_s = write_timeout_s
        self._observer = observer
        self._places = Places[Visitor](most=places, most_silent=MAX_SILENT, most_of_one=most_of_one, close=self.close)
        self._state = ServerState()
        self._config: uvicorn.Config | None = None
        self._tls: Callable[[], ssl.SSLContext] | None = None

    def start(self, application: Application, tls: Callable[[], ssl.SSLContext]) -> None:
        """Answer requests from now on, on the running event loop.

        Args:
            application: answers them.
            tls: gives certificate and key for each new connection.
        """
        self._tls = tls
        self._config = uvicorn.Config(
            application,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="critical",  # else a line for each bad request, without any limit
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=round(IDLE_S) + 1,  # ours is first
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
        self._config.load()
        self._listener.start(asyncio.get_running_loop())

    def stop(self) -> None:
        """Close the port and all connections."""
        self._listener.stop()
        for visitor in self._places:
            visitor.cut()

    @property
    def connections(self) -> tuple[int, int]:
        """How many have shown no token yet, and how many have."""
        return self._places.counts

    def shut_out(self, caller: str) -> None:
        """Close every connection of `caller`, who may not take part any more."""
        self._places.shut_out(caller)

    # --- what connections do ------------------------------------------------------------------------------------------

    def spoke(self, visitor: "Visitor", caller: str) -> None:
        """A request of `caller` came. One connection has one participant; with a token of another it changes hands."""
        self._places.spoke(visitor, caller)

    def close(self, visitor: "Visitor", cause: ConnectionCause, detail: str = "") -> None:
        """Cut a connection off, and tell why."""
        self._observer.tell(ConnectionClosed(cause, visitor.address, visitor.caller, detail, detail and "other"))
        self.gone(visitor)
        visitor.cut()

    def gone(self, visitor: "Visitor") -> None:
        """Count the connection no longer."""
        self._places.leave(visitor)

    # --- accepting ----------------------------------------------------------------------------------------------------

    def _accepted(self, peer: socket.socket, address: str) -> None:
        visitor = Visitor(self, peer, address)
        self._places.enter(visitor)
        visitor.serving = asyncio.ensure_future(self._serve(visitor, peer))
        visitor.serving.add_done_callback(visitor.served)

    async def _serve(self, visitor: "Visitor", peer: socket.socket) -> None:
        if self._config is None or self._tls is None:
            raise ValueError("a port that accepts has been started")
        config = self._config
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Connection(config, self._state, visitor),
                peer,
                ssl=self._tls(),
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=HANDSHAKE_S,
            )
        except OSError as error:  # the handshake failed, or took too long
            if visitor in self._places:
                self.close(visitor, ConnectionCause.TLS_REFUSED, type(error).__name__)


class Visitor:
    """One connection, from the moment it is accepted.

    Attributes:
        address: HOST:PORT of the other end.
        caller: whose it is; empty until a token said so.
        requests: on it so far.
        serving: makes the TLS handshake.
        protocol: parses its requests, once there is TLS.
    """

    def __init__(self, port: GatewayPort, peer: socket.socket, address: str) -> None:
        self.address = address
        self.caller = ""
        self.requests = 0
        self.serving: asyncio.Future[None] | None = None
        self.protocol: _Connection | None = None
        self._port = port
        self._peer = peer
        self._timer: asyncio.TimerHandle | None = None

    def cut(self) -> None:
        """Close the connection at once."""
        self._stop_timer()
        if self.protocol is not None:
            self.protocol.transport.abort()
        elif self.serving is not None:
            self.serving.cancel()

    def served(self, serving: "asyncio.Future[None]") -> None:
        """The handshake is over, in whatever way."""
        if not serving.cancelled():
            serving.result()
        if self.protocol is None:
            self._port.gone(self)
            self._peer.close()

    def begin(self, protocol: "_Connection") -> None:
        """TLS is there."""
        self.protocol = protocol
        self._within(SILENT_S, self._silent)  # check: gateway-silent

    def end(self) -> None:
        """The connection is over."""
        self._stop_timer()
        self._port.gone(self)

    # --- what the application does ------------------------------------------------------------------------------------

    def busy(self) -> None:
        """The headers of a request are there: the rest of it has times of its own. A stranger's time goes on."""
        if self.caller:
            self._stop_timer()

    @property
    def over(self) -> bool:
        """Whether the other end is gone."""
        return self.protocol is None or self.protocol.transport.is_closing()

    def rest(self) -> None:
        """The answer was sent. The next request has to come in time."""
        if self.caller and not self.over:
            self._within(IDLE_S, self.cut)  # check: gateway-idle

    def spoke(self, caller: str) -> None:
        """A request with a token of `caller` came."""
        self._stop_timer()
        self._port.spoke(self, caller)

    async def take(self, sending: Awaitable[None]) -> None:
        """Wait until a piece of an answer is on its way. If the other end does not take those before in time, the
        connection is closed.

        Raises:
            HungUp: it was.
        """
        try:
            async with asyncio.timeout(None) as limit:
                end_s = asyncio.get_running_loop().time() + self._port.write_timeout_s
                limit.reschedule(end_s)  # check: gateway-answer-taken
                await sending
        except TimeoutError:
            self._port.close(self, ConnectionCause.ANSWER_NOT_TAKEN)
            raise HungUp from None

    def _silent(self) -> None:
        self._port.close(self, ConnectionCause.SILENT)

    def _within(self, seconds: float, otherwise: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, otherwise)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Connection(HttpConnection):
    """uvicorn's connection, which tells its visitor when it begins and ends, and parses little at a time."""

    def __init__(self, config: uvicorn.Config, state: ServerState, visitor: Visitor) -> None:
        super().__init__(config, state, {"connection": visitor})
        self._visitor = visitor
        self._unparsed = bytearray()

    def connection_made(self, transport: Any) -> None:
        """Give it its time."""
        super().connection_made(transport)
        self._visitor.begin(self)

    def data_received(self, data: bytes) -> None:
        """Parse a piece after the other: h11 bounds only a head that does not arrive all at once."""
        self._unparsed += data
        self._parse()

    def on_response_complete(self) -> None:
        """Go on with what came behind the request."""
        super().on_response_complete()
        self._parse()

    def _parse(self) -> None:
        while self._unparsed and self.conn.their_state is not h11.DONE and not self.transport.is_closing():
            piece = bytes(self._unparsed[:PARSED_AT_ONCE])
            del self._unparsed[:PARSED_AT_ONCE]
            super().data_received(piece)
        if self._unparsed and not self.transport.is_closing():
            self.flow.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._visitor.end()
