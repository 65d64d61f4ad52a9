"""What the gateway answers over HTTP: three unary calls of the Connect protocol, for who shows a token.

A request is looked at in the order of what it costs: its headers, its token, how much its participant does already, and
its body last. Browsers ask whether a page may call (CORS). It may not, unless its origin is listed.
"""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self

import grpc
from google.protobuf.message import Message

from secagg.crypto.secret import Secret
from secagg.errors import AuthenticationError, DecodeError, LimitError, SecAggError
from secagg.messages import ParticipantId
from secagg.wire.limits import MAX_STREAM_MESSAGE_BYTES, SHORT_BYTES
from secagg.wire.parsing import parse
from secagg.wire.v1 import errors_pb2
from secagg.wire.v1 import gateway_pb2 as pb
from secagg_server.calls.statuses import Told, told_of
from secagg_server.gateway.held import CallFailed, HeldCalls
from secagg_server.gateway.tokens import verify
from secagg_server.limits.call_limiter import CallLimiter
from secagg_server.observability.facts import CallEnded, CallOutcome
from secagg_server.observability.logs import plain_traceback
from secagg_server.observability.observer import Observer
from secagg_server.rounds.hosted import Clock
from secagg_server.rounds.suspension import Suspended

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Gateway"].full_name

MAX_SUBMIT_BYTES: Final = MAX_STREAM_MESSAGE_BYTES + (1 << 16)
"""A message of a stream as long as gRPC takes one, a chain of certificates, and what names the call."""

MAX_HEADER_BYTES: Final = 16_384
"""Of all headers of a request, and its path."""

MAX_STRANGE_REQUESTS: Final = 8
"""On a connection whose participant is not known: a browser asks first, and then calls (CORS)."""

CONTENT_TYPE: Final = b"application/proto"

PREFLIGHT_S: Final = 600
"""So long a browser need not ask again whether it may call."""

_HTTP: Final[Mapping[grpc.StatusCode, int]] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
}
"""The status of HTTP for each code, as the Connect protocol has them; 500 for all others."""

PIECE_BYTES: Final = 1 << 16
"""Of an answer at once, so that little waits for who does not read."""

_ASKED_HEADERS: Final = b"authorization, content-type, connect-protocol-version, connect-timeout-ms"

_HEADERS: Final = {
    b"cache-control": b"no-store",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}

_CODES: Final = {
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    405: grpc.StatusCode.UNIMPLEMENTED,
}
"""What the body says of statuses that no error of the protocol has; INVALID_ARGUMENT for all others."""

_KINDS: Final[Mapping[str, type[Message]]] = {
    f"/{SERVICE}/Submit": pb.SubmitRequest,
    f"/{SERVICE}/Poll": pb.PollRequest,
    f"/{SERVICE}/End": pb.EndRequest,
}
"""What each path takes."""

REQUEST: Final = b"in requests to the gateway"
"""Where requests are counted: apart from calls, so who may have one call can ask for it."""

_MOST_DIGITS: Final = 10


class Connected(Protocol):
    """The connection that a request came on."""

    address: str
    """HOST:PORT of the other end."""

    caller: str
    """Whose it is; empty until a token said so."""

    requests: int
    """On it so far."""

    @property
    def over(self) -> bool:
        """Whether the other end is gone."""
        ...

    def busy(self) -> None:
        """A request is under way."""
        ...

    def rest(self) -> None:
        """No request is under way."""
        ...

    def spoke(self, caller: str) -> None:
        """A request of this participant came."""
        ...

    async def take(self, sending: Awaitable[None]) -> None:
        """Wait until a piece of an answer is on its way. If the other end does not take those before in time, it is
        cut off, and `HungUp` raised.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of HTTP."""

    status: int
    body: bytes = b""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)


class Refused(Exception):
    """The request is not looked at any further; `reply` says why. Its connection is closed."""

    def __init__(self, reply: Reply, error: SecAggError) -> None:
        """Args:
        reply: what is answered.
        error: what the observer is told.
        """
        super().__init__(reply.status)
        self.reply = reply
        self.error = error

    @classmethod
    def because(cls, status: int, message: str, **headers: str) -> Self:
        """Args:
        status: of HTTP.
        message: for people.
        headers: beside the usual ones.
        """
        told = {name.encode(): value.encode() for name, value in headers.items()}
        failed = _failed(Told(_CODES.get(status, grpc.StatusCode.INVALID_ARGUMENT), message), told)
        return cls(Reply(status, failed.body, {**failed.headers, b"connection": b"close"}), DecodeError(message))


class HungUp(Exception):
    """The other end is gone."""


Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Application:
    """The ASGI application."""

    def __init__(
        self,
        calls: HeldCalls,
        limiter: CallLimiter,
        observer: Observer,
        keys: Callable[[], Sequence[Secret]],
        *,
        origins: Sequence[str],
        most_a_second: int,
        read_timeout_s: float,
        clock: Clock,
    ) -> None:
        """Args:
        calls: that are held.
        limiter: counts requests that are being read, and their bytes.
        observer: hears of requests that are refused.
        keys: of tokens, as they are in force.
        origins: of pages whose scripts may call, such as https://app.example; none if empty.
        most_a_second: requests of one participant.
        read_timeout_s: for the body of a request, in seconds.
        clock: seconds since 1970.
        """
        self._calls = calls
        self._limiter = limiter
        self._observer = observer
        self._keys = keys
        self._origins = frozenset(origin.encode() for origin in origins)
        self._most_a_second = most_a_second
        self._read_timeout_s = read_timeout_s
        self._clock = clock
        self._second, self._asked = 0, Counter[str]()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request. See the ASGI specification, HTTP connection scope."""
        connection: Connected = scope["state"]["connection"]
        connection.busy()
        try:
            request = _Request(scope, receive, connection)
            reply = await self._reply(request)
            if connection.over:  # check: answer-to-nobody
                raise HungUp  # a later request gets the answer
            headers = {**_HEADERS, **reply.headers, b"content-length": str(len(reply.body)).encode()}
            if request.origin in self._origins:
                headers |= {b"access-control-allow-origin": request.origin, b"vary": b"origin"}
            # Also the head of an answer waits while the one before it is not taken.
            start = {"type": "http.response.start", "status": reply.status, "headers": list(headers.items())}
            await connection.take(send(start))
            for at in range(0, len(reply.body) or 1, PIECE_BYTES):
                piece, more = reply.body[at : at + PIECE_BYTES], at + PIECE_BYTES < len(reply.body)
                await connection.take(send({"type": "http.response.body", "body": piece, "more_body": more}))
            if request.fetched is not None:
                self._calls.forget(*request.fetched)
        except HungUp:
            return
        finally:
            connection.rest()

    async def _reply(self, request: "_Request") -> Reply:
        try:
            return await self._routed(request)
        except CallFailed as failed:  # the observer was told when it failed
            reply = _failed(failed.told)
        except Suspended as suspended:
            reply = _failed(told_of(suspended))
        except Refused as refused:
            self._tell(request, CallOutcome.REFUSED, refused.error)
            reply = refused.reply
        except SecAggError as error:
            self._tell(request, CallOutcome.REFUSED, error)
            reply = _failed(told_of(error))
        except HungUp:
            raise
        except Exception as error:  # the outermost frame: nothing of an unknown error may reach a peer
            self._tell(request, CallOutcome.BROKEN, traceback=plain_traceback())
            reply = _failed(told_of(error))
        return reply

    async def _routed(self, request: "_Request") -> Reply:
        if request.origin and request.origin not in self._origins:  # check: origin-listed
            raise Refused.because(403, "pages of this origin may not call this gateway")
        request.connection.requests += 1
        if request.method == "OPTIONS":
            return self._preflight(request)
        return await self._answer(request)

    def _tell(
        self, request: "_Request", outcome: CallOutcome, error: SecAggError | None = None, traceback: str = ""
    ) -> None:
        """Tell the observer of a request that failed. Of what is no call of the gateway nobody keeps a record."""
        if request.path not in _KINDS:
            return
        ended = CallEnded(
            plane="gateway",
            method=request.path.rpartition("/")[2],
            caller=request.connection.caller,
            address=request.connection.address,
            began_s=self._clock(),
            seconds=0.0,
            bytes_in=0,
            bytes_out=0,
            outcome=outcome,
            error=error,
            traceback=traceback,
        )
        self._observer.tell(ended)

    def _preflight(self, request: "_Request") -> Reply:
        """Whether a page may call. Without a known origin no browser asks."""
        connection = request.connection
        if connection.caller:
            self._count(connection.caller)  # check: preflights-a-second
        strange = not connection.caller and connection.requests > MAX_STRANGE_REQUESTS
        if strange or not request.origin:  # check: strange-requests
            raise Refused.because(403, "this gateway is for participants")
        allowed = {
            b"access-control-allow-methods": b"POST",
            b"access-control-allow-headers": _ASKED_HEADERS,
            b"access-control-max-age": str(PREFLIGHT_S).encode(),
        }
        return Reply(204, headers=allowed)

    async def _answer(self, request: "_Request") -> Reply:
        kind = _KINDS.get(request.path)
        if kind is None:
            raise Refused.because(404, "there is no such call")
        if request.method != "POST":
            raise Refused.because(405, "calls are POST requests", allow="POST, OPTIONS")
        request.check_form(MAX_SUBMIT_BYTES if kind is pb.SubmitRequest else SHORT_BYTES)
        caller = self._caller(request)
        request.connection.spoke(caller)
        self._count(caller)
        reply = await self._obey(caller, kind, request)
        return Reply(200, reply.SerializeToString(), {b"content-type": CONTENT_TYPE})

    def _caller(self, request: "_Request") -> ParticipantId:
        """Whose token the request shows. The connection of a request without a good one is closed."""
        try:
            return verify(request.token, self._keys(), self._clock())
        except AuthenticationError as error:
            headers = {b"connection": b"close", b"www-authenticate": b"Bearer"}
            raise Refused(_failed(told_of(error), headers), error) from None

    def _count(self, caller: str) -> None:
        second = int(self._clock())
        if second != self._second:
            self._second, self._asked = second, Counter()
        if self._asked[caller] >= self._most_a_second:  # check: requests-a-second
            raise LimitError(f"{caller} made {self._most_a_second} requests within a second; try again later")
        self._asked[caller] += 1

    async def _obey(self, caller: ParticipantId, kind: type[Message], request: "_Request") -> Message:
        slot = self._limiter.admit(caller, REQUEST)
        try:
            slot.hold(request.length)
            message = parse(kind, await request.body(self._read_timeout_s))
            if isinstance(message, pb.SubmitRequest):  # its messages are in memory until they are taken
                with request.fetching_failure(caller, message.call_id):
                    return await self._calls.submit(caller, request.connection.address, message)
        finally:
            slot.end()
        if isinstance(message, pb.PollRequest):
            with request.fetching_failure(caller, message.call_id):
                reply = await self._calls.poll(caller, message)
            if reply.end:
                request.fetched = caller, message.call_id
            return reply
        if isinstance(message, pb.EndRequest):
            self._calls.forget(caller, message.call_id)
        return pb.EndReply()


class _Request:
    """A request whose headers are there.

    Attributes:
        method: of HTTP.
        path: of its address.
        origin: of the page whose script asks, as the browser says; empty if no page does.
        token: that it shows.
        length: of its body, in bytes, once its form was checked.
        connection: that it came on.
        fetched: the call whose answer is fetched with the reply to this request.
    """

    def __init__(self, scope: Mapping[str, Any], receive: Receive, connection: Connected) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.connection = connection
        self.length = 0
        self.fetched: tuple[str, bytes] | None = None
        self._receive = receive
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._line_bytes = len(scope["raw_path"]) + len(scope["query_string"])
        self.origin = self._header(b"origin")
        scheme, _, self.token = self._header(b"authorization").partition(b" ")
        if scheme.lower() != b"bearer":
            self.token = b""

    @contextmanager
    def fetching_failure(self, caller: str, call_id: bytes) -> Iterator[None]:
        """If the call has failed, the answer to this request says so, and the call need not be held any more."""
        try:
            yield
        except CallFailed:
            self.fetched = caller, call_id
            raise

    def _header(self, name: bytes) -> bytes:
        """The value of a header; of one that comes twice all values, which is none that anything accepts."""
        return b",".join(value for key, value in self._headers if key == name)

    def check_form(self, most: int) -> None:
        """Refuse what is no call, before anything is read.

        Args:
            most: bytes of the body.
        """
        if self._line_bytes + sum(len(k) + len(v) for k, v in self._headers) > MAX_HEADER_BYTES:  # check: header-bytes
            raise Refused.because(431, f"the headers are longer than {MAX_HEADER_BYTES} bytes")
        if self._header(b"content-type") != CONTENT_TYPE:
            raise Refused.because(415, f"the body must be {CONTENT_TYPE.decode()}")
        if self._header(b"content-encoding") not in {b"", b"identity"}:  # check: body-compressed
            raise Refused.because(415, "the body must not be compressed")
        if self._header(b"transfer-encoding"):  # check: body-in-pieces
            # Its length would not count, whatever the request says beside it, and the body could be of any.
            raise Refused.because(411, "the request must say the length of its body, and not send it in pieces")
        length = self._header(b"content-length")
        if not length.isdigit():
            raise Refused.because(411, "the request must say the length of its body")
        if len(length) > _MOST_DIGITS or int(length) > most:  # check: body-bytes
            raise Refused.because(413, f"the body is longer than {most} bytes")
        self.length = int(length)

    async def body(self, timeout_s: float) -> bytes:
        """The body, whose length is known.

        Raises:
            LimitError: it did not arrive in time.
            HungUp: the other end is gone.
        """
        found = bytearray()
        try:
            async with asyncio.timeout(None) as limit:
                limit.reschedule(asyncio.get_running_loop().time() + timeout_s)  # check: body-in-time
                while True:
                    message = await self._receive()
                    if message["type"] != "http.request":
                        raise HungUp
                    found += message["body"]
                    if not message["more_body"]:
                        return bytes(found)
        except TimeoutError:
            slow = LimitError(f"the request did not arrive within {timeout_s:g} seconds; try again")
            raise Refused(_failed(told_of(slow), {b"connection": b"close"}), slow) from None


def _failed(told: Told, headers: Mapping[bytes, bytes] | None = None) -> Reply:
    """What the caller is told of an error, in the words of the Connect protocol."""
    code = "canceled" if told.status is grpc.StatusCode.CANCELLED else told.status.name.lower()
    error: dict[str, Any] = {"code": code, "message": told.message}
    if told.failure is not None:
        value = base64.b64encode(told.failure).rstrip(b"=").decode()
        error["details"] = [{"type": errors_pb2.ErrorDetail.DESCRIPTOR.full_name, "value": value}]
    body = json.dumps(error).encode()
    return Reply(_HTTP.get(told.status, 500), body, {b"content-type": b"application/json", **(headers or {})})
