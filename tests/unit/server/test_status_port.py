"""The status port on loopback, before a table of its own: what it answers, and what a hostile peer gets."""

import asyncio
import errno
import gc
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from secagg_server.network.http import HttpConnection
from secagg_server.observability import http
from secagg_server.observability.http import Answer, Route, StatusPort
from secagg_server.observability.status import SERVING, STOPPING, Readiness, alive, routes
from structlog.testing import capture_logs

from secagg.errors import ConfigError
from secagg.tools.redteam.self_test.patches import without_check
from secagg.transport.addresses import TcpAddress

PATIENCE_S = 10.0


def broken(_: str) -> Answer:
    raise ZeroDivisionError("the answer is 12345")


TABLE: Mapping[str, Route] = {
    "/healthz": alive,
    "/accept": lambda accept: Answer(accept.encode()),
    "/styled": lambda _: Answer(b"<p>", "text/html", style="'sha256-abc'"),
    "/long": lambda _: Answer(bytes(20_000_000)),
    "/broken": broken,
}


@asynccontextmanager
async def serving(table: Mapping[str, Route] = TABLE, **changes: Any) -> AsyncIterator[StatusPort]:
    port = StatusPort(TcpAddress("127.0.0.1", 0), **changes)
    port.start(table)
    try:
        yield port
    finally:
        port.stop()


async def link(port: StatusPort) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port.listens.port)


async def said(port: StatusPort, request: bytes) -> bytes:
    """Everything that comes back, to the end."""
    reader, writer = await link(port)
    writer.write(request)
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.read(1) == b""
        except ConnectionError:
            return True


async def get(port: StatusPort, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    headers = {"Host": "localhost"} | headers
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    head, _, body = (await said(port, "\r\n".join([*lines, "", ""]).encode())).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), {n.lower(): v for n, _, v in (line.partition(": ") for line in rest)}, body


async def test_a_path_of_the_table_is_answered_and_nothing_else() -> None:
    async with serving() as port:
        status, headers, body = await get(port, "/healthz")
        assert (status, body) == (200, b"alive\n")
        assert headers["content-security-policy"].startswith("default-src 'none'; ")
        assert "style-src" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert (headers["cache-control"], headers["connection"]) == ("no-store", "close")
        assert "server" not in headers
        assert (await get(port, "/healthz?x=1"))[0] == 200
        status, _, body = await get(port, "/health")
        assert status == 404
        assert b"/healthz, /accept" in body
        for path in ("/healthz/", "//healthz", "/../healthz", "/secagg.wire.v1.ControlPlane/OpenRound"):
            assert (await get(port, path))[0] == 404
        assert (await get(port, "/accept", Accept="text/plain"))[2] == b"text/plain"
        policy = (await get(port, "/styled"))[1]["content-security-policy"]
        assert policy.endswith("; style-src 'sha256-abc'")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "PRI"])
async def test_only_reading_is_possible(method: str) -> None:
    async with serving() as port:
        status, headers, _ = await get(port, "/healthz", method)
        assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("host", ["localhost", "localhost:9464", "127.0.0.1:9464", "127.0.0.2", "[::1]:9464", "[::1]"])
async def test_on_loopback_the_port_is_asked_for_by_names_of_this_machine(host: str) -> None:
    async with serving() as port:
        assert (await get(port, "/healthz", Host=host))[0] == 200


REBOUND = [
    "pages.example",
    "pages.example:9464",
    "localhost.pages.example",
    "192.0.2.1",
    "127.0.0.1.example:80",
    "[::2]",
]


@pytest.mark.parametrize("host", REBOUND)
async def test_on_loopback_a_name_of_elsewhere_is_refused(host: str) -> None:
    """A page of that name could have led a browser of this machine here."""
    async with serving() as port:
        assert (await get(port, "/healthz", Host=host))[::2] == (421, b"Ask for this port as 127.0.0.1 or localhost.\n")


async def test_the_twin_answers_to_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, http.Application, "_answer", "status-host")
    async with serving() as port:
        assert (await get(port, "/healthz", Host=REBOUND[0]))[0] == 200


async def test_elsewhere_than_on_loopback_every_name_is_good() -> None:
    """The port cannot know by what names others reach this machine."""
    port = StatusPort(TcpAddress("0.0.0.0", 0))  # noqa: S104, what containers listen on
    port.start(TABLE)
    try:
        assert (await get(port, "/healthz", Host="sidecar:9464"))[0] == 200
    finally:
        port.stop()


async def test_head_brings_no_body() -> None:
    async with serving() as port:
        status, headers, body = await get(port, "/healthz", "HEAD")
        assert (status, headers["content-length"], body) == (200, "6", b"")


async def test_an_error_in_a_route_reaches_the_log_alone() -> None:
    async with serving() as port:
        with capture_logs() as log:
            status, _, body = await get(port, "/broken")
        assert status == 500
        assert b"12345" not in body
        assert [(line["event"], line["path"]) for line in log] == [("status_broken", "/broken")]


async def test_a_connection_gets_one_answer() -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving() as port:
        assert (await said(port, 2 * request)).count(b"alive") == 1


async def test_what_is_no_http_gets_an_error_and_no_log_line(capfd: pytest.CaptureFixture[str]) -> None:
    async with serving() as port:
        with capture_logs() as log:
            for trash in (b"\x16\x03\x01\x02\x00\x01\x00" + bytes(500), b"hello\r\n\r\n", b"GET /\r\n\r\n"):
                assert (await said(port, trash)).startswith(b"HTTP/1.1 400")
        assert log == []
    assert capfd.readouterr().err == ""


async def test_a_body_is_not_read() -> None:
    async with serving() as port:
        answer = await said(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\nabc")
        assert b"alive" in answer


async def test_a_long_request_is_cut_off() -> None:
    for request in (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 5000,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
        b"GET /" + b"a" * 20_000,
    ):
        async with serving() as port:
            assert b"200" not in (await said(port, request))[:15]


async def test_who_sends_slowly_or_does_not_take_its_answer_is_cut_off() -> None:
    async with serving(connection_s=0.2) as port:
        assert await said(port, b"") == b""
        assert await said(port, b"GET /healthz HTT") == b""
        _, writer = await link(port)
        writer.write(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            while port._open or not port._listener._accepted:
                await asyncio.sleep(0.01)
        writer.close()


async def test_a_body_that_is_none_ends_the_connection_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is parsed before the request is answered."""
    broken: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context["exception"]))
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n"

    async def errors() -> int:
        async with serving() as port:
            await said(port, request)
            async with asyncio.timeout(PATIENCE_S):
                while port._open or port._state.tasks:
                    await asyncio.sleep(0.01)
        gc.collect()  # asyncio tells of a task's error when the task is gone
        await asyncio.sleep(0)
        return len(broken)

    assert await errors() == 0
    without_check(monkeypatch, HttpConnection, "send_400_response", "one-answer")
    assert await errors() == 1


async def test_a_newer_connection_closes_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 3)
    async with serving() as port:
        links = [await link(port) for _ in range(4)]
        assert await ended(links[0][0])
        assert (await get(port, "/healthz"))[0] == 200
        assert len(port._open) <= 3
        for _, writer in links:
            writer.close()


async def test_connections_beyond_the_rate_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looked = 100.0, 0

    def clock() -> float:
        nonlocal looked
        looked += 1
        return now

    monkeypatch.setattr(http, "MAX_A_SECOND", 5)
    async with serving(clock=clock) as port:
        for _ in range(5):
            assert (await get(port, "/healthz"))[0] == 200
        sixth = asyncio.ensure_future(get(port, "/healthz"))
        done, _ = await asyncio.wait({sixth}, timeout=0.3)
        assert not done
        assert looked < 30, "the loop does not turn for who waits"
        now = 101.0
        async with asyncio.timeout(PATIENCE_S):
            assert (await sixth)[0] == 200


async def test_without_descriptors_it_sleeps_until_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, free, accept = 0, False, socket.socket.accept

    def accept_if_free(self: socket.socket) -> tuple[socket.socket, Any]:
        nonlocal tried
        tried += 1
        if not free:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", accept_if_free)
    async with serving() as port:
        asked = asyncio.ensure_future(get(port, "/healthz"))
        done, _ = await asyncio.wait({asked}, timeout=0.3)
        assert not done
        assert 0 < tried < 30
        free = True
        async with asyncio.timeout(PATIENCE_S):
            assert (await asked)[0] == 200


async def test_the_port_is_free_after_the_end() -> None:
    async with serving() as port:
        reader, writer = await link(port)
        with pytest.raises(ConfigError, match="another program listens there"):
            StatusPort(port.listens)
    assert await ended(reader)
    writer.close()
    StatusPort(port.listens).stop()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="not an address of this machine"):
        StatusPort(TcpAddress("192.0.2.1", 0))


def test_readiness_says_why_not() -> None:
    readiness = Readiness()
    answer = routes(readiness, alive, {})["/readyz"]
    assert answer("") == Answer(b"starting\n", status=503)
    readiness.state = SERVING
    assert answer("") == Answer(b"serving\n")
    readiness.state = STOPPING
    assert answer("") == Answer(b"shutting down\n", status=503)
