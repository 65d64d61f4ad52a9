"""The status port: metrics, health and the status page over HTTP, for whoever reaches it.

Nothing here reads a body, changes anything, or knows a secret. uvicorn parses requests, inside the coordinator's event
loop. A peer may be anybody, so it must not keep the planes from working: few connections at once, few a second, a short
request, one answer for each connection, and a time for all of it. A flood can make this port unreachable. Rounds go on.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState

from secagg.transport.addresses import TcpAddress
from secagg_server.network.http import HttpConnection
from secagg_server.network.listening import PacedListener
from secagg_server.observability.logs import ThrottledLog, plain_traceback

MAX_CONNECTIONS: Final = 32
"""At once. A newer one closes the oldest."""

MAX_A_SECOND: Final = 50
"""Connections accepted. Who comes beyond waits in the kernel's queue."""

MAX_REQUEST_BYTES: Final = 16_384
"""Of all that a peer sends on a connection."""

CONNECTION_S: Final = 10.0
"""From a connection's begin to its end, the answer included. Prometheus gives up as soon by itself."""

_BACKLOG: Final = 128
_METHODS: Final = frozenset({"GET", "HEAD"})
_HEADERS: Final = {
    "cache-control": "no-store",
    "connection": "close",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
NOTHING_ELSE: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The content security policy of every answer; a page with styles names their hash beside it."""

TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets.

    Attributes:
        body: as it is sent.
        content_type: of the body.
        status: of HTTP.
        style: the source of inline styles in the content security policy, such as `'sha256-…'`; none if empty.
    """

    body: bytes
    content_type: str = TEXT
    status: int = 200
    style: str = ""


Route = Callable[[str], Answer]
"""Answers a request with this `Accept` header, at once: it runs on the coordinator's event loop."""


class Application:
    """The ASGI application: a table of paths, and nothing beside it."""

    def __init__(self, routes: Mapping[str, Route], *, on_loopback: bool) -> None:
        """Args:
        routes: by path.
        on_loopback: whether only this machine reaches the port. Then it is asked for by no other machine's name.
        """
        self._routes = routes
        self._on_loopback = on_loopback
        self._throttled = ThrottledLog()

    async def __call__(self, scope: Mapping[str, Any], receive: object, send: Callable[[dict[str, Any]], Any]) -> None:
        """Answer one request. See the ASGI specification, HTTP connection scope."""
        answer = self._answer(scope["method"], scope["path"], scope["headers"])
        style = f"; style-src {answer.style}" if answer.style else ""
        headers = {
            **_HEADERS,
            "content-security-policy": NOTHING_ELSE + style,
            "content-type": answer.content_type,
            "content-length": str(len(answer.body)),
            **({"allow": "GET, HEAD"} if answer.status == 405 else {}),
        }
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "http.response.body", "body": answer.body})

    def _answer(self, method: str, path: str, headers: list[tuple[bytes, bytes]]) -> Answer:
        if method not in _METHODS:  # check: status-reads-alone
            return Answer(b"This port answers GET and HEAD.\n", status=405)
        host = b",".join(value for name, value in headers if name == b"host").decode("latin-1")
        if self._on_loopback and not _is_loopback(host):  # check: status-host
            return Answer(b"Ask for this port as 127.0.0.1 or localhost.\n", status=421)
        route = self._routes.get(path)
        if route is None:
            known = ", ".join(self._routes)
            return Answer(f"There is no such page. There are: {known}\n".encode(), status=404)
        accept = b",".join(value for name, value in headers if name == b"accept").decode("latin-1")
        try:
            return route(accept)
        except Exception:  # the outermost frame: nothing of an unknown error may reach a peer
            self._throttled.error("status_broken", path, path=path, exception=plain_traceback())
            return Answer(b"Internal error of the coordinator; its log says more.\n", status=500)


def _is_loopback(host: str) -> bool:
    """Whether a `Host` header names this machine alone. No header is fine: every browser sends one.

    The name of a web page can be made to lead to 127.0.0.1. Its script, in a browser on this machine, could read all
    that this port says, if the port answered to that name (DNS rebinding).
    """
    name = host.rpartition(":")[0] if host.rstrip("0123456789").endswith(":") else host
    if name in {"", "localhost"}:
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


class StatusPort:
    """Serves from `start` to `stop`.

    Attributes:
        listens: the address, with the port that it got.
    """

    def __init__(
        self, address: TcpAddress, *, connection_s: float = CONNECTION_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the port.

        Args:
            address: where to listen.
            connection_s: for a connection from its begin to its end.
            clock: seconds.

        Raises:
            ConfigError: the port cannot be taken.
        """
        self._listener = PacedListener(
            address, "status", self._accepted, backlog=_BACKLOG, most_a_second=MAX_A_SECOND, clock=clock
        )
        self.listens = self._listener.listens
        self._connection_s = connection_s
        self._open: dict[_Connection, None] = {}  # the oldest first
        self._accepting: set[asyncio.Task[Any]] = set()
        self._state = ServerState()
        self._config: uvicorn.Config | None = None

    def start(self, routes: Mapping[str, Route]) -> None:
        """Answer requests from now on, on the running event loop."""
        self._config = uvicorn.Config(
            Application(routes, on_loopback=_is_loopback(self.listens.host)),
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="critical",  # else a line for each bad request, without any limit
            access_log=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=MAX_REQUEST_BYTES,
        )
        self._config.load()
        self._listener.start(asyncio.get_running_loop())

    def stop(self) -> None:
        """Close the port and all connections."""
        self._listener.stop()
        for connection in list(self._open):
            connection.transport.abort()

    def _accepted(self, peer: socket.socket, _: str) -> None:
        if len(self._open) >= MAX_CONNECTIONS:  # check: status-connections
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        task = asyncio.ensure_future(self._serve(peer))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _serve(self, peer: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(self._connection, peer)

    def _connection(self) -> "_Connection":
        if self._config is None:
            raise ValueError("a port that accepts has been started")
        return _Connection(self._config, self._state, self._open, self._connection_s)


class _Connection(HttpConnection):
    """uvicorn's connection with bounds: it knows no time for a request, and none for an answer that nobody takes."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, known: dict["_Connection", None], most_s: float
    ) -> None:
        super().__init__(config, state, {})
        self._known = known
        self._most_s = most_s
        self._received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give it its time."""
        super().connection_made(transport)
        self._known[self] = None
        self.loop.call_later(self._most_s, transport.abort)  # check: status-connection-time

    def data_received(self, data: bytes) -> None:
        """Pass on what is short enough. h11 itself bounds only what arrives in pieces."""
        self._received += len(data)
        if self._received > MAX_REQUEST_BYTES:  # check: status-request-bytes
            self.transport.abort()
        else:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._known.pop(self, None)
