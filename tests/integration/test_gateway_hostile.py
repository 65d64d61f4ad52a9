"""What a hostile peer gets from the gateway. Each check has a twin without it."""

import asyncio
import json
import os
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from secagg_server.calls.statuses import CallProgress
from secagg_server.certificates import files
from secagg_server.gateway import application, held, port
from secagg_server.gateway.application import MAX_SUBMIT_BYTES, Application
from secagg_server.gateway.held import CallFailed, HeldCall, HeldCalls
from secagg_server.gateway.port import Visitor
from secagg_server.limits.call_limiter import CallLimiter
from secagg_server.network.listening import PacedListener
from secagg_server.network.places import Places
from structlog.testing import capture_logs

from secagg.crypto.secret import Secret
from secagg.errors import LimitError, ProtocolViolation
from secagg.messages import ParticipantId
from secagg.tools.deployment.gateway_channel import SERVICE
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire.v1 import data_plane_pb2
from secagg.wire.v1 import gateway_pb2 as pb
from tests.gateway import KEY, believing, token_of, with_gateway
from tests.serving import NAMES, PATIENCE_S, Stage, make_config, site, stage

ALICE, BOB = NAMES[:2]
DESCRIBE = data_plane_pb2.DescribeRequest().SerializeToString()
PAGE = "https://app.example"


@asynccontextmanager
async def gateway(folder: Path, **changes: Any) -> AsyncIterator["Attacker"]:
    async with stage(folder, **with_gateway(folder, **changes)) as s:
        peer = Attacker(s)
        try:
            yield peer
        finally:
            for link in peer.links:
                link.writer.transport.abort()


@dataclass
class Said:
    """An answer of HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> str:
        return str(json.loads(self.body)["message"])


class Link:
    """One TLS connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def post(self, path: str, body: bytes, method: str = "POST", **headers: str) -> Said:
        """A whole request, and its answer."""
        await self.send(self.head(path, method, {"content-length": str(len(body)), **headers}) + body)
        return await self.answer()

    @staticmethod
    def head(path: str, method: str, headers: dict[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value]
        return "\r\n".join([*lines, "", ""]).encode()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> Said:
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *rest = head.strip().split("\r\n")
            headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in rest)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Said(int(first.split()[1]), headers, body)

    async def over(self) -> bool:
        """The other end closed it."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read(1) == b""
            except (ConnectionError, ssl.SSLError):
                return True


class Attacker:
    def __init__(self, s: Stage) -> None:
        self.stage = s
        assert s.server.gateway is not None
        self.host, self.port = s.server.gateway.listens.host, s.server.gateway.listens.port
        self.links: list[Link] = []

    async def link(self, **tls: Any) -> Link:
        context = believing()
        for name, value in tls.items():
            setattr(context, name, value)
        link = Link(*await asyncio.open_connection(self.host, self.port, ssl=context, server_hostname="localhost"))
        self.links.append(link)
        return link

    async def post(self, name: str, body: bytes, link: Link | None = None, **headers: str) -> Said:
        """A request of Alice's, where the headers say nothing else."""
        given = {"content-type": "application/proto", "authorization": f"Bearer {token_of(ALICE)}", **headers}
        return await (link or await self.link()).post(f"{SERVICE}/{name}", body, **given)

    async def describe(self, link: Link | None = None, **headers: str) -> Said:
        return await self.post("Submit", begin("Describe", DESCRIBE), link, **headers)


def begin(method: str, *messages: bytes, name: ParticipantId = ALICE, last: bool = True, **fields: Any) -> bytes:
    given: dict[str, Any] = {"call_id": os.urandom(16), "certificates": site().identity(name).chain, **fields}
    return pb.SubmitRequest(method=method, messages=messages, last=last, **given).SerializeToString()


async def refused_beside_a_slow_one(peer: "Attacker", announced: int, poll: bytes) -> None:
    """One request announces a body of so many bytes and sends none; meanwhile, `poll` is refused with 429."""
    slow = await peer.link()
    given = {"content-type": "application/proto", "authorization": f"Bearer {token_of(ALICE)}"}
    await slow.send(slow.head(f"{SERVICE}/Poll", "POST", {**given, "content-length": str(announced)}))
    found: list[int] = []
    while 429 not in found:  # the slow one may come late
        found.append((await peer.post("Poll", poll)).status)
        assert len(found) < 100


async def test_an_honest_call(tmp_path: Path) -> None:
    async with gateway(tmp_path) as peer:
        link, call_id = await peer.link(), os.urandom(16)
        said = await peer.post("Submit", begin("Describe", DESCRIBE, call_id=call_id), link)
        assert pb.SubmitReply.FromString(said.body).next == 1
        assert said.headers["content-type"] == "application/proto"
        assert said.headers["cache-control"] == "no-store"
        assert "server" not in said.headers
        said = await peer.post("Poll", pb.PollRequest(call_id=call_id, wait_ms=5000).SerializeToString(), link)
        reply = pb.PollReply.FromString(said.body)
        assert reply.end
        assert data_plane_pb2.Description.FromString(reply.parts[0]).version
        said = await peer.post("Poll", pb.PollRequest(call_id=call_id).SerializeToString(), link)
        assert (said.status, json.loads(said.body)["code"]) == (503, "unavailable"), "what was fetched is forgotten"


BAD_TOKENS = {
    "none": "",
    "not bearer": f"Basic {token_of(ALICE)}",
    "of another key": f"Bearer {token_of(ALICE, key=Secret(bytes(32)))}",
    "expired": f"Bearer {token_of(ALICE, -1)}",
    "twice": f"Bearer {token_of(ALICE)}, Bearer {token_of(ALICE)}",
}


@pytest.mark.parametrize("authorization", BAD_TOKENS.values(), ids=BAD_TOKENS)
async def test_without_a_good_token_nothing_is_read(tmp_path: Path, authorization: str) -> None:
    async with gateway(tmp_path) as peer:
        with capture_logs() as lines:
            link = await peer.link()
            # The body is announced and not sent: whoever is refused is refused at the headers.
            headers = {"content-type": "application/proto", "authorization": authorization, "content-length": "9"}
            await link.send(link.head(f"{SERVICE}/Submit", "POST", headers))
            said = await link.answer()
            assert (said.status, said.headers["www-authenticate"]) == (401, "Bearer")
            assert await link.over()
        (line,) = [line for line in lines if line["event"] == "call_refused"]
        assert (line["method"], line["participant"], line["error"]) == ("Submit", "", "AuthenticationError")


async def test_no_line_and_no_answer_quotes_a_token(tmp_path: Path) -> None:
    async with gateway(tmp_path) as peer:
        with capture_logs() as lines:
            bad, good = token_of(ALICE, key=Secret(bytes(32))), token_of(ALICE)
            said = [
                await peer.describe(authorization=f"Bearer {bad}"),
                await peer.describe(),
                await peer.post("Poll", b"x"),
            ]
        text = "".join(map(str, lines)) + "".join(str(one.headers) + repr(one.body) for one in said)
        for token in (bad, good):
            assert not any(part in text for part in token.split(".")[1:])


async def test_token_and_certificate_name_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path) as peer:
        foreign = begin("Describe", DESCRIBE, name=BOB)
        said = await peer.post("Submit", foreign)
        assert said.status == 401
        assert "different participants" in said.told
        stranger = begin("Describe", DESCRIBE, certificates=[])
        assert (await peer.post("Submit", stranger)).status == 401
        without_check(monkeypatch, HeldCalls, "_begin", "token-names-certificate")
        assert (await peer.post("Submit", foreign)).status == 200


async def test_a_token_may_expire_in_the_middle_of_a_call(tmp_path: Path) -> None:
    """The call goes on with a new one, and not without."""
    now = time.time()
    async with gateway(tmp_path, clock=lambda: now) as peer:
        call_id = os.urandom(16)
        short = f"Bearer {token_of(ALICE, 60)}"
        await peer.post("Submit", begin("Describe", DESCRIBE, call_id=call_id), authorization=short)
        now += 61
        poll = pb.PollRequest(call_id=call_id, wait_ms=5000).SerializeToString()
        said = await peer.post("Poll", poll, authorization=short)
        assert (said.status, "expired" in said.told) == (401, True)
        assert pb.PollReply.FromString((await peer.post("Poll", poll)).body).end


async def test_nobody_polls_for_others(tmp_path: Path) -> None:
    async with gateway(tmp_path) as peer:
        call_id = os.urandom(16)
        await peer.post("Submit", begin("Describe", DESCRIBE, call_id=call_id))
        poll = pb.PollRequest(call_id=call_id).SerializeToString()
        for name in ("Poll", "End"):
            said = await peer.post(name, poll[:18], authorization=f"Bearer {token_of(BOB)}")
            assert said.status == {"Poll": 503, "End": 200}[name]
        assert (await peer.post("Poll", poll)).status == 200, "and nobody ends the calls of others"


async def test_pages_of_listed_origins_may_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path, gateway_origins=[PAGE]) as peer:
        ask = {"method": "OPTIONS", "access_control_request_method": "POST"}
        link = await peer.link()
        said = await link.post(f"{SERVICE}/Submit", b"", origin=PAGE, **ask)
        assert (said.status, said.headers["access-control-allow-origin"]) == (204, PAGE)
        assert "authorization" in said.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in said.headers
        said = await peer.describe(link, origin=PAGE)
        assert (said.status, said.headers["access-control-allow-origin"], said.headers["vary"]) == (200, PAGE, "origin")
        for origin in ("https://evil.example", "null", PAGE + ".evil.example", PAGE + ":444"):
            said = await peer.describe(origin=origin)
            assert said.status == 403
            assert "access-control-allow-origin" not in said.headers
            said = await (await peer.link()).post(f"{SERVICE}/Submit", b"", origin=origin, **ask)
            assert said.status == 403
        without_check(monkeypatch, Application, "_routed", "origin-listed")
        assert (await peer.describe(origin="https://evil.example")).status == 200


async def test_no_page_may_call_by_default(tmp_path: Path) -> None:
    async with gateway(tmp_path) as peer:
        assert (await peer.describe(origin=PAGE)).status == 403
        assert (await peer.describe()).status == 200, "an app that is no page says no origin"


FORMS: dict[str, tuple[str, int, dict[str, str]]] = {
    "too long": ("body-bytes", 413, {"content-length": str(MAX_SUBMIT_BYTES + 1)}),
    "compressed": ("body-compressed", 415, {"content-length": "9", "content-encoding": "gzip"}),
    "long headers": ("header-bytes", 431, {"content-length": "9", "x-more": "x" * 17_000}),
}


@pytest.mark.parametrize(("check", "status", "headers"), FORMS.values(), ids=FORMS)
async def test_a_request_is_bounded_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: str, status: int, headers: dict[str, str]
) -> None:
    async with gateway(tmp_path) as peer:
        given = {"content-type": "application/proto", "authorization": f"Bearer {token_of(ALICE)}", **headers}

        async def attempt() -> int:
            link = await peer.link()
            await link.send(link.head(f"{SERVICE}/Submit", "POST", given) + bytes(9))
            if check == "body-bytes":
                await link.send(bytes(MAX_SUBMIT_BYTES + 1 - 9))
            try:
                return (await link.answer()).status
            except (asyncio.IncompleteReadError, ConnectionError):  # closed while the body was on its way
                return status

        assert await attempt() == status
        without_check(monkeypatch, application._Request, "check_form", check)
        assert await attempt() == 400, "nine zeros are no message"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (411, {"transfer-encoding": "chunked"}),
        (415, {"content-type": "application/json", "content-length": "2"}),
        (413, {"content-length": "9" * 11}),
    ],
)
async def test_a_request_has_one_form(tmp_path: Path, status: int, headers: dict[str, str]) -> None:
    async with gateway(tmp_path) as peer:
        link = await peer.link()
        given = {"content-type": "application/proto", "authorization": f"Bearer {token_of(ALICE)}", **headers}
        await link.send(link.head(f"{SERVICE}/Submit", "POST", given))
        assert (await link.answer()).status == status
        assert await link.over()


async def test_a_length_does_not_hide_a_body_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP believes the pieces where a request says both, so the body could be of any length, and of no counted one."""
    given = {"content-type": "application/proto", "authorization": f"Bearer {token_of(ALICE)}", "content-length": "9"}

    async def attempt(peer: Attacker, encoding: str, *pieces: bytes) -> Said:
        link = await peer.link()
        await link.send(link.head(f"{SERVICE}/Submit", "POST", {**given, "transfer-encoding": encoding}))
        for piece in (*pieces, b""):
            await link.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        return await link.answer()

    async with gateway(tmp_path) as peer:
        for encoding in ("chunked", "Chunked"):
            assert (await attempt(peer, encoding, bytes(9))).status == 411
        without_check(monkeypatch, application._Request, "check_form", "body-in-pieces")
        said = await attempt(peer, "chunked", begin("Describe", DESCRIBE))
        assert said.status == 200, "a body longer than what was announced is read"


@pytest.mark.parametrize(
    "head",
    [
        "content-length: 9\r\ncontent-length: 10\r\n",
        "content-length: 9, 10\r\n",
        "content-length: +9\r\n",
        "content-length: 9\r\ntransfer-encoding: gzip, chunked\r\n",
        "content-length: 9\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "content-length : 9\r\n",
        "content-length: 9\r\n folded: 1\r\n",
        "content-length: 9\r\nx: a\x00b\r\n",
    ],
)
async def test_a_request_that_two_could_read_differently_is_read_by_none(tmp_path: Path, head: str) -> None:
    async with gateway(tmp_path) as peer:
        link = await peer.link()
        await link.send(
            f"POST {SERVICE}/Poll HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/proto\r\nauthorization: "
            f"Bearer {token_of(ALICE)}\r\n{head}\r\n".encode()
            + bytes(9)
        )
        async with asyncio.timeout(PATIENCE_S):
            answer = await link.reader.read()  # to the end: the connection is closed
        assert answer.split()[1] in {b"400", b"411", b"501"}
        assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "POST", 404), (f"{SERVICE}/Poll", "GET", 405), ("/x", "OPTIONS", 403)]
)
async def test_there_is_nothing_else(tmp_path: Path, path: str, method: str, status: int) -> None:
    async with gateway(tmp_path) as peer:
        assert (await (await peer.link()).post(path, b"", method)).status == status


async def test_a_body_arrives_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path, read_timeout_s=0.2) as peer:
        link = await peer.link()
        given = {"content-type": "application/proto", "authorization": f"Bearer {token_of(ALICE)}"}
        head = link.head(f"{SERVICE}/Poll", "POST", {**given, "content-length": "18"})
        await link.send(head + b"\x0a\x10")
        said = await link.answer()
        assert (said.status, said.headers["connection"]) == (429, "close")
        assert await link.over()
        without_check(monkeypatch, application._Request, "body", "body-in-time")
        slow = await peer.link()
        await slow.send(head + b"\x0a\x10")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                await slow.answer()


async def test_requests_of_one_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    async with gateway(tmp_path, clock=lambda: now, gateway_requests_per_s=3) as peer:  # one long second
        poll = pb.PollRequest(call_id=bytes(16)).SerializeToString()
        link = await peer.link()
        assert [(await peer.post("Poll", poll, link)).status for _ in range(4)] == [503, 503, 503, 429]
        assert (await peer.post("Poll", poll, authorization=f"Bearer {token_of(BOB)}")).status == 503, "others go on"
        without_check(monkeypatch, Application, "_count", "requests-a-second")
        assert (await peer.post("Poll", poll, link)).status == 503


async def test_a_stranger_asks_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path, gateway_origins=[PAGE]) as peer:
        link = await peer.link()

        async def ask() -> int:
            return (await link.post(f"{SERVICE}/Submit", b"", "OPTIONS", origin=PAGE)).status

        assert [await ask() for _ in range(9)] == [204] * 8 + [403]
        assert await link.over()
        link = await peer.link()
        assert (await peer.describe(link, origin=PAGE)).status == 200
        assert [await ask() for _ in range(9)] == [204] * 9, "who has shown a token asks as often as it calls"
        without_check(monkeypatch, Application, "_preflight", "strange-requests")
        link = await peer.link()
        assert [await ask() for _ in range(9)] == [204] * 9


async def test_questions_of_a_page_are_counted_with_its_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    async with gateway(tmp_path, clock=lambda: now, gateway_requests_per_s=3, gateway_origins=[PAGE]) as peer:
        link = await peer.link()
        assert (await peer.describe(link, origin=PAGE)).status == 200

        async def ask() -> int:
            return (await link.post(f"{SERVICE}/Submit", b"", "OPTIONS", origin=PAGE)).status

        assert [await ask() for _ in range(3)] == [204, 204, 429]
        without_check(monkeypatch, Application, "_preflight", "preflights-a-second")
        assert await ask() == 204


async def test_a_head_that_arrives_at_once_is_bounded_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS hands over so much at once, and lines of one letter cost most."""
    head = b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"a:\r\n" * 60_000 + b"\r\n"
    poll = pb.PollRequest(call_id=bytes(16)).SerializeToString()
    given = {"content-type": "application/proto", "authorization": f"Bearer {token_of(ALICE)}"}
    before = Link.head(f"{SERVICE}/Poll", "POST", {**given, "content-length": str(len(poll))}) + poll

    async def connected(peer: Attacker) -> tuple[Link, asyncio.Protocol]:
        """A connection, and the coordinator's end of it."""
        link, server = await peer.link(), peer.stage.server.gateway
        assert server is not None
        async with asyncio.timeout(PATIENCE_S):
            while not (fresh := [one.protocol for one in server._port._places if one.protocol and not one.requests]):
                await asyncio.sleep(0.01)
        return link, fresh[0]

    async def answers(peer: Attacker, data: bytes, count: int) -> list[int]:
        link, end = await connected(peer)
        end.data_received(data)
        statuses = [(await link.answer()).status for _ in range(count)]
        async with asyncio.timeout(PATIENCE_S):
            await link.reader.read()  # to the end: the connection is closed
        return statuses

    async with gateway(tmp_path) as peer:
        assert await answers(peer, head, 1) == [400]
        assert await answers(peer, before + head, 2) == [503, 400], "also behind a request"
        _, end = await connected(peer)
        for _ in range(2):
            end.transport.close()  # type: ignore[attr-defined]
        end.data_received(b"behind the end")
        monkeypatch.setattr(port, "PARSED_AT_ONCE", 1 << 20)
        assert await answers(peer, head, 1) == [404], "all of it was parsed"


async def test_a_connection_without_a_token_has_a_short_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path) as peer:
        known = await peer.link()
        assert (await peer.describe(known)).status == 200
        monkeypatch.setattr(port, "SILENT_S", 0.2)
        silent = await peer.link()
        await silent.send(b"POST /")
        assert await silent.over()
        assert (await peer.describe(known)).status == 200, "who has shown a token has time"
        without_check(monkeypatch, Visitor, "begin", "gateway-silent")
        silent = await peer.link()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await silent.over()


async def test_headers_that_never_end_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a connection that has shown a token before."""
    monkeypatch.setattr(port, "IDLE_S", 0.2)
    async with gateway(tmp_path) as peer:
        link = await peer.link()
        await peer.describe(link)
        await link.send(b"POST / HTTP/1.1\r\nhost: ")
        assert await link.over()
        without_check(monkeypatch, Visitor, "rest", "gateway-idle")
        link = await peer.link()
        await peer.describe(link)
        await link.send(b"POST / HTTP/1.1\r\nhost: ")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await link.over()


async def test_of_too_many_connections_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path, max_connections_per_participant=2) as peer:
        first, *others = [await peer.link() for _ in range(3)]
        for link in (first, *others):
            assert (await peer.describe(link)).status == 200
        assert await first.over()
        assert [(await peer.describe(link)).status for link in others] == [200, 200]
        without_check(monkeypatch, Places, "spoke", "connections-of-one")
        assert (await peer.describe()).status == 200
        assert [(await peer.describe(link)).status for link in others] == [200, 200]


async def test_strangers_make_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "MAX_SILENT", 2)
    async with gateway(tmp_path) as peer:
        known = await peer.link()
        await peer.describe(known)
        first, second, _ = [await peer.link() for _ in range(3)]
        assert await first.over()
        assert (await peer.describe(second)).status == 200
        assert (await peer.describe(known)).status == 200
    without_check(monkeypatch, Places, "enter", "connections-in-all")
    (tmp_path / "twin").mkdir()
    async with gateway(tmp_path / "twin") as peer:
        crowd = [await peer.link() for _ in range(4)]
        assert [(await peer.describe(link)).status for link in crowd] == [200] * 4


async def test_tls_is_1_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "twin").mkdir()
    async with gateway(tmp_path) as peer:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await peer.link(maximum_version=ssl.TLSVersion.TLSv1_2)
        link = await peer.link()
        assert link.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    without_check(monkeypatch, files, "read_gateway", "gateway-tls")
    async with gateway(tmp_path / "twin") as peer:
        link = await peer.link(maximum_version=ssl.TLSVersion.TLSv1_2)
        assert (await peer.describe(link)).status == 200


# --- the numbers of messages and parts --------------------------------------------------------------------------------


async def test_messages_come_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(3)
    async with gateway(tmp_path) as peer:
        round_id = await peer.stage.director.open(config)
        call_id, link = os.urandom(16), await peer.link()
        await peer.post("Submit", begin("FindRound", last=False, call_id=call_id), link)
        find = data_plane_pb2.FindRoundRequest(round_id=round_id).SerializeToString()

        async def bring(number: int, *messages: bytes) -> Said:
            request = pb.SubmitRequest(call_id=call_id, number=number, messages=messages)
            return await peer.post("Submit", request.SerializeToString(), link)

        said = await bring(1, find)
        assert (said.status, "the next one is 0" in said.told) == (400, True)
        assert pb.SubmitReply.FromString((await bring(0, find)).body).next == 1
        assert pb.SubmitReply.FromString((await bring(0, find)).body).next == 1, "what came before is passed over"
        without_check(monkeypatch, HeldCall, "_bring", "messages-in-order")
        assert (await bring(9, find)).status == 200


async def test_a_request_brings_so_many_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of a few bytes takes many in memory."""
    async with gateway(tmp_path) as peer:
        many = begin("Describe", *[DESCRIBE] * 1001)
        said = await peer.post("Submit", many)
        assert (said.status, "at most 1000 messages" in said.told) == (400, True)
        assert (await peer.post("Submit", begin("Describe", *[DESCRIBE] * 1000))).status == 200
        without_check(monkeypatch, HeldCall, "bring", "messages-of-one-request")
        assert (await peer.post("Submit", many)).status == 200


async def test_of_an_answer_that_failed_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of bytes counts what is kept, and a part that it refuses would be kept uncounted."""

    async def fail() -> int:
        limiter, call = CallLimiter(1, 1, 100), HeldCall([], b"")
        slot = limiter.admit(ALICE)

        async def answer() -> AsyncGenerator[bytes, None]:
            yield bytes(90)
            yield bytes(90)

        with pytest.raises(LimitError):
            await call.run(answer(), CallProgress("gateway", "Describe", ""), slot)
        with pytest.raises(CallFailed, match="bytes under way"):
            await call.poll(pb.PollRequest(number=2))
        return sum(map(len, call._parts))

    assert await fail() == 0
    without_check(monkeypatch, HeldCall, "_fail", "failed-answer-kept")
    assert await fail() == 180


async def test_who_may_have_one_call_can_make_it(tmp_path: Path) -> None:
    async with gateway(tmp_path, max_calls_per_participant=1) as peer:
        link = await peer.link()
        for _ in range(2):
            call_id = os.urandom(16)
            assert (await peer.post("Submit", begin("Describe", DESCRIBE, call_id=call_id), link)).status == 200
            poll = pb.PollRequest(call_id=call_id, wait_ms=5000).SerializeToString()
            assert pb.PollReply.FromString((await peer.post("Poll", poll, link)).body).end


async def test_requests_that_are_read_are_counted(tmp_path: Path) -> None:
    async with gateway(tmp_path, max_calls_per_participant=1) as peer:
        await refused_beside_a_slow_one(peer, 18, pb.PollRequest(call_id=bytes(16)).SerializeToString())


async def test_parts_are_kept_until_the_next_ones_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "KEPT_BYTES", 1)  # a part at a time
    async with gateway(tmp_path) as peer:
        call_id, link = os.urandom(16), await peer.link()

        async def poll(number: int) -> Said:
            return await peer.post(
                "Poll", pb.PollRequest(call_id=call_id, number=number, wait_ms=5000).SerializeToString(), link
            )

        await peer.post("Submit", begin("Describe", DESCRIBE, call_id=call_id), link)
        first, again = [pb.PollReply.FromString((await poll(0)).body) for _ in range(2)]
        assert first == again
        assert (len(first.parts), first.end) == (1, False)
        assert (await poll(2)).status == 400
        end = pb.PollReply.FromString((await poll(1)).body)
        assert (len(end.parts), end.end) == (0, True)


async def test_a_part_that_is_gone_or_not_there_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    call = await answered([b"a", b"b"])
    assert list((await call.poll(pb.PollRequest(number=1))).parts) == [b"b"]
    for number in (0, 3):
        with pytest.raises(ProtocolViolation, match="parts 1 to 2 are here"):
            await call.poll(pb.PollRequest(number=number))
    without_check(monkeypatch, HeldCall, "poll", "parts-in-order")
    assert list((await call.poll(pb.PollRequest(number=0))).parts) == [b"b"], "another part than the one asked for"


async def answered(parts: list[bytes]) -> HeldCall:
    """A call whose answer is there."""

    async def answer() -> AsyncGenerator[bytes, None]:
        for part in parts:
            yield part

    call = HeldCall([], b"")
    slot = CallLimiter(1, 1).admit(ALICE)
    await call.run(answer(), CallProgress("gateway", "Describe", ""), slot)
    return call


async def test_a_newer_poll_takes_the_place_of_an_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path) as peer:
        call_id = os.urandom(16)
        await peer.post(
            "Submit", begin("FindRound", data_plane_pb2.FindRoundRequest(task="x").SerializeToString(), call_id=call_id)
        )
        poll = pb.PollRequest(call_id=call_id, wait_ms=20_000).SerializeToString()
        waits, whole = asyncio.Event(), HeldCall.poll

        async def noted(call: HeldCall, request: pb.PollRequest) -> pb.PollReply:
            waits.set()
            return await whole(call, request)

        monkeypatch.setattr(HeldCall, "poll", noted)
        older = asyncio.create_task(peer.post("Poll", poll))
        await waits.wait()
        newer = asyncio.create_task(peer.post("Poll", poll))
        assert pb.PollReply.FromString((await older).body) == pb.PollReply()
        assert not newer.done()
        assert (await peer.post("End", pb.EndRequest(call_id=call_id).SerializeToString())).status == 200
        assert (await newer).status == 503


@pytest.mark.parametrize("checked", [True, False])
async def test_who_hangs_up_finds_the_answer_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    """A phone that changes its network polls once more, on a new connection."""
    async with gateway(tmp_path) as peer:
        link, server, call_id = await peer.link(), peer.stage.server.gateway, os.urandom(16)
        assert server is not None
        await peer.post("Submit", begin("Describe", DESCRIBE, call_id=call_id), link)
        asked, gone, answered, whole = asyncio.Event(), asyncio.Event(), asyncio.Event(), HeldCall.poll

        async def late(call: HeldCall, request: pb.PollRequest) -> pb.PollReply:
            asked.set()
            await gone.wait()
            answered.set()
            return await whole(call, request)

        monkeypatch.setattr(HeldCall, "poll", late)
        if not checked:
            without_check(monkeypatch, Application, "__call__", "answer-to-nobody")
        poll = pb.PollRequest(call_id=call_id, wait_ms=5000).SerializeToString()
        polling = asyncio.create_task(peer.post("Poll", poll, link))
        await asked.wait()
        link.writer.close()
        async with asyncio.timeout(PATIENCE_S):
            while sum(server.connections):
                await asyncio.sleep(0.01)
        gone.set()
        await answered.wait()
        await asyncio.gather(polling, return_exceptions=True)
        said = await peer.post("Poll", poll)
        assert said.status == (200 if checked else 503)
        assert not checked or pb.PollReply.FromString(said.body).end


async def test_without_the_check_an_older_poll_waits_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: each waiting poll keeps a connection busy, and gets the whole answer."""
    monkeypatch.setattr(held, "MAX_WAIT_S", PATIENCE_S)

    async def polled(wait_ms: int) -> tuple[bool, bool]:
        """Whether the older one of two polls is over when nothing more happens, and the newer one."""
        call = HeldCall([], b"")
        polls = []
        for _ in range(2):
            polls.append(asyncio.create_task(call.poll(pb.PollRequest(wait_ms=wait_ms))))
            for _ in range(10):  # turns of the event loop
                await asyncio.sleep(0)
        over = [poll.done() for poll in polls]
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        return over[0], over[1]

    assert await polled(60_000) == (True, False)
    without_check(monkeypatch, HeldCall, "poll", "one-poll-of-a-call")
    assert await polled(60_000) == (False, False)


async def test_a_call_that_nobody_asks_for_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = data_plane_pb2.FindRoundRequest(task="x").SerializeToString()
    async with gateway(tmp_path, gateway_idle_s=1.0) as peer:
        link, call_id = await peer.link(), os.urandom(16)
        server = peer.stage.server.gateway
        assert server is not None
        calls = server._calls
        assert calls is not None

        async def poll(wait_ms: int) -> int:
            request = pb.PollRequest(call_id=call_id, wait_ms=wait_ms)
            return (await peer.post("Poll", request.SerializeToString(), link)).status

        await peer.post("Submit", begin("FindRound", find, call_id=call_id), link)
        assert await poll(1500) == 200, "while it is asked for it goes on"
        async with asyncio.timeout(PATIENCE_S):
            while len(calls):
                await asyncio.sleep(0.05)
        assert await poll(0) == 503
        without_check(monkeypatch, HeldCalls, "_look_after", "calls-left")
        await peer.post("Submit", begin("FindRound", find, call_id=call_id), link)
        await asyncio.sleep(1.5)
        assert await poll(0) == 200


async def test_a_chain_is_bounded_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path) as peer:
        for chain in ([b"x"] * 5, [bytes(8193)]):
            said = await peer.post("Submit", begin("Describe", DESCRIBE, certificates=chain))
            assert (said.status, "a chain has at most" in said.told) == (400, True)
        without_check(monkeypatch, held, "_pem", "chain-bounded")
        said = await peer.post("Submit", begin("Describe", DESCRIBE, certificates=[b"x"] * 5))
        assert (said.status, "unreadable" in said.told) == (401, True)


@pytest.mark.parametrize(
    "fields", [{"method": "Attend"}, {"method": "OpenRound"}, {"call_id": bytes(15)}, {"round_id": bytes(15)}]
)
async def test_there_are_the_calls_of_the_data_plane_alone(tmp_path: Path, fields: dict[str, Any]) -> None:
    async with gateway(tmp_path) as peer:
        given = {"method": "Describe", **fields}
        assert (await peer.post("Submit", begin(given.pop("method"), DESCRIBE, **given))).status == 400


async def test_calls_are_counted_with_those_over_grpc(tmp_path: Path) -> None:
    find = data_plane_pb2.FindRoundRequest(task="x").SerializeToString()
    async with gateway(tmp_path, max_calls_per_participant=2) as peer:
        link = await peer.link()
        waiting = asyncio.create_task(peer.stage.players[ALICE].find(task="x"))
        found: list[int] = []
        for _ in range(8):  # the one over gRPC may come late
            call_id = os.urandom(16)
            said = await peer.post("Submit", begin("FindRound", find, call_id=call_id), link)
            if said.status == 200:
                poll = pb.PollRequest(call_id=call_id, wait_ms=100).SerializeToString()
                said = await peer.post("Poll", poll, link)
            found.append(said.status)
        assert found[-3:] == [429, 429, 429]
        assert found.count(200) <= 2
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_an_answer_that_is_not_taken_ends_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is far longer than what the system keeps on its way."""

    async def large(self: HeldCalls, caller: str, request: pb.PollRequest) -> pb.PollReply:
        return pb.PollReply(parts=[bytes(32 << 20)])

    monkeypatch.setattr(HeldCalls, "poll", large)
    poll = pb.PollRequest(call_id=bytes(16)).SerializeToString()
    given = {"content-type": "application/proto", "authorization": f"Bearer {token_of(ALICE)}"}

    async def unread(peer: Attacker) -> Callable[[], int]:
        """Ask for the answer and do not read it. Gives how many connections there are."""
        link, server = await peer.link(), peer.stage.server.gateway
        assert server is not None
        link.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await link.send(link.head(f"{SERVICE}/Poll", "POST", {**given, "content-length": str(len(poll))}) + poll)
        return lambda: sum(server.connections)

    async with gateway(tmp_path, write_timeout_s=0.3) as peer:
        connections = await unread(peer)
        async with asyncio.timeout(PATIENCE_S):
            while connections():
                await asyncio.sleep(0.05)
        without_check(monkeypatch, Visitor, "take", "gateway-answer-taken")
        connections = await unread(peer)
        await asyncio.sleep(1.0)
        assert connections() == 1


async def test_requests_whose_answers_nobody_takes_end_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer is a single piece, and the next one waits to begin until it is taken."""

    async def one_piece(self: HeldCalls, caller: str, request: pb.PollRequest) -> pb.PollReply:
        return pb.PollReply(parts=[bytes(60_000)])

    monkeypatch.setattr(HeldCalls, "poll", one_piece)
    poll = pb.PollRequest(call_id=bytes(16)).SerializeToString()
    given = {"content-type": "application/proto", "authorization": f"Bearer {token_of(ALICE)}"}
    async with gateway(tmp_path, write_timeout_s=0.5, gateway_requests_per_s=100_000) as peer:
        link, server = await peer.link(), peer.stage.server.gateway
        assert server is not None
        link.writer.transport.pause_reading()  # type: ignore[attr-defined]
        request = link.head(f"{SERVICE}/Poll", "POST", {**given, "content-length": str(len(poll))}) + poll
        link.writer.write(request * 1000)  # 60 MB of answers, far more than the system keeps on its way
        async with asyncio.timeout(PATIENCE_S):
            while sum(server.connections) == 0:
                await asyncio.sleep(0.01)
            while sum(server.connections):
                await asyncio.sleep(0.05)


async def test_connections_beyond_the_rate_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "MAX_A_SECOND", 2)
    (tmp_path / "twin").mkdir()

    async def crowd(peer: Attacker, least: int) -> int:
        """How many of six connections are let in within a second of the port's clock."""
        server = peer.stage.server.gateway
        assert server is not None
        server._port._listener._clock = lambda: 7.0  # a long second
        links = [asyncio.create_task(peer.link()) for _ in range(6)]
        async with asyncio.timeout(PATIENCE_S):
            while sum(link.done() for link in links) < least:
                await asyncio.sleep(0.05)
        _, waiting = await asyncio.wait(links, timeout=0.5)
        for link in waiting:
            link.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return len(links) - len(waiting)

    async with gateway(tmp_path) as peer:
        assert await crowd(peer, 2) == 2
    without_check(monkeypatch, PacedListener, "_accept", "connections-a-second")
    async with gateway(tmp_path / "twin") as peer:
        assert await crowd(peer, 6) == 6


async def test_whoever_is_denied_loses_calls_and_connections(tmp_path: Path) -> None:
    denied = tmp_path / "denied"
    denied.write_text("")
    async with gateway(tmp_path, denied=denied) as peer:
        link, call_id = await peer.link(), os.urandom(16)
        find = data_plane_pb2.FindRoundRequest(task="x").SerializeToString()
        await peer.post("Submit", begin("FindRound", find, call_id=call_id), link)
        denied.write_text(f"participant {ALICE}\n")
        peer.stage.server.renewal.wake()
        assert await link.over()
        assert (await peer.post("Poll", pb.PollRequest(call_id=call_id).SerializeToString())).status == 503
        assert (await peer.describe()).status == 401


async def test_keys_of_tokens_are_rotated(tmp_path: Path) -> None:
    fresh = Secret(bytes([9] * 32))
    async with gateway(tmp_path) as peer:
        keys, renewal = tmp_path / "token.keys", peer.stage.server.renewal
        new, old = (f"Bearer {token_of(ALICE, key=key)}" for key in (fresh, KEY))
        assert (await peer.describe(authorization=new)).status == 401
        for content, good in ((f"{fresh.expose().hex()}\n{KEY.expose().hex()}", [200, 200]), ("x", [200, 200])):
            keys.write_text(content)
            await renewal.look()
            await renewal.look()  # it is read once it rests
            assert [(await peer.describe(authorization=one)).status for one in (new, old)] == good
        assert "gateway_token_key" in renewal.fault, "a damaged file leaves what was in force"
        keys.write_text(fresh.expose().hex())
        await renewal.look()
        await renewal.look()
        assert [(await peer.describe(authorization=one)).status for one in (new, old)] == [200, 401]


async def test_bytes_are_counted_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is announced counts, whether it comes or not."""
    monkeypatch.setattr(
        "secagg_server.app.CallLimiter", lambda most, in_all, size=1000: CallLimiter(most, in_all, size)
    )
    async with gateway(tmp_path) as peer:
        poll = pb.PollRequest(call_id=bytes(101)).SerializeToString()
        await refused_beside_a_slow_one(peer, 900, poll)
        assert (await peer.post("Poll", poll, authorization=f"Bearer {token_of(BOB)}")).status == 503


async def test_a_call_that_failed_takes_no_place(tmp_path: Path) -> None:
    ask = data_plane_pb2.InputProgressRequest(round_id=bytes(16)).SerializeToString()
    async with gateway(tmp_path, max_calls_per_participant=2) as peer:
        link = await peer.link()
        for _ in range(3):
            call_id = os.urandom(16)
            said = await peer.post("Submit", begin("InputProgress", ask, call_id=call_id), link)
            if said.status == 200:
                poll = pb.PollRequest(call_id=call_id, wait_ms=5000).SerializeToString()
                said = await peer.post("Poll", poll, link)
            assert (said.status, json.loads(said.body)["code"]) == (404, "not_found")
        assert (await peer.describe(link)).status == 200


async def test_its_connections_are_among_the_open_files(tmp_path: Path) -> None:
    """Each of them is one file, and each over gRPC is three."""
    for name in ("few", "many"):
        (tmp_path / name).mkdir()
    async with gateway(tmp_path / "few", gateway_connections=1) as peer:
        most = peer.stage.server.connections
    async with gateway(tmp_path / "many", gateway_connections=301) as peer:
        assert peer.stage.server.connections == most - 100
