"""The proxy on loopback, before an echo that stands for grpc: who gets a connection, who loses one, what is copied."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from secagg_server.limits import open_files
from secagg_server.network.places import Places
from secagg_server.network.proxy import ConnectionProxy
from secagg_server.observability.facts import ConnectionCause, ConnectionClosed, Fact
from secagg_server.observability.logs import LogListener
from secagg_server.observability.observer import Observer
from structlog.testing import capture_logs

from secagg.errors import ConfigError
from secagg.tools.redteam.self_test.patches import without_check
from secagg.transport.addresses import TcpAddress

PATIENCE_S = 10.0


class Echo:
    """Sends back what it gets; what a caller's connection is called by it stands in `peers`."""

    def __init__(self, *, mute: bool = False) -> None:
        self.peers: list[str] = []
        self._mute = mute
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, (host, port) = self._listener.accept()
                self.peers.append(f"ipv4:{host}:{port}")
                threading.Thread(target=self._echo, args=(link,), daemon=True).start()

    def _echo(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError), link:
            while data := link.recv(1 << 16):
                link.sendall(b"" if self._mute else data)
                if data == b"goodbye":
                    return

    def close(self) -> None:
        self._listener.close()


Make = Callable[..., tuple[ConnectionProxy, Echo]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[ConnectionProxy | Echo] = []

    def proxy(**changes: Any) -> tuple[ConnectionProxy, Echo]:
        echo = Echo()
        usual = {"places": 50, "most_of_one": 8, "observer": Observer(LogListener())}
        one = ConnectionProxy(TcpAddress("127.0.0.1", 0), **{**usual, **changes})
        one.start(echo.port)
        made.extend([one, echo])
        return one, echo

    yield proxy
    for each in made:
        each.stop() if isinstance(each, ConnectionProxy) else each.close()


def link(proxy: ConnectionProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.listens.port), PATIENCE_S)


def says(one: socket.socket, data: bytes) -> bytes:
    one.sendall(data)
    got = b""
    while len(got) < len(data) and (more := one.recv(1 << 20)):
        got += more
    return got


def closed(one: socket.socket) -> bool:
    one.settimeout(PATIENCE_S)
    try:
        return one.recv(1) == b""
    except ConnectionError:
        return True


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_bytes_are_copied_both_ways_however_many(make: Make) -> None:
    proxy, echo = make()
    with link(proxy) as one:
        assert says(one, b"hello") == b"hello"
        data = os.urandom(4 << 20)  # more than all buffers on the way
        sending = threading.Thread(target=one.sendall, args=(data,))
        sending.start()
        got = bytearray()
        while len(got) < len(data):
            got += one.recv(1 << 16)
        sending.join()
        assert got == data
        host, port = one.getsockname()
        assert proxy.address(echo.peers[0]) == f"{host}:{port}"
        assert proxy.address("elsewhere") == "elsewhere"
        assert says(one, b"goodbye") == b"goodbye"  # what was said last arrives though the other side has closed
        assert closed(one)
    until(lambda: not proxy._by_peer)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_is_served_and_written_in_brackets() -> None:
    echo = Echo()
    try:
        proxy = ConnectionProxy(TcpAddress("[::1]", 0), places=5, most_of_one=8, observer=Observer())
    except ConfigError:
        pytest.skip("no loopback of IPv6")
    proxy.start(echo.port)
    try:
        with socket.create_connection(("::1", proxy.listens.port), PATIENCE_S) as one:
            assert says(one, b"hello") == b"hello"
            assert proxy.address(echo.peers[0]) == f"[::1]:{one.getsockname()[1]}"
    finally:
        proxy.stop()
        echo.close()


def test_who_says_nothing_or_makes_no_call_is_closed(make: Make) -> None:
    proxy, echo = make(hello_s=0.05, silent_s=0.1)
    with link(proxy) as silent, link(proxy) as greeting, link(proxy) as calling:
        assert says(calling, b"x") == b"x"
        proxy.spoke(echo.peers[0], "clinic")
        assert says(greeting, b"x") == b"x"
        assert closed(silent)
        assert closed(greeting)
        assert len(echo.peers) == 2  # the silent one cost nothing behind the proxy
        assert says(calling, b"still here") == b"still here"


def test_places_go_to_newcomers_and_those_without_a_call_lose_them(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def crowd(proxy: ConnectionProxy, echo: Echo) -> tuple[socket.socket, list[socket.socket], bool]:
        first = link(proxy)
        assert says(first, b"x") == b"x"
        proxy.spoke(echo.peers[0], "clinic")
        until(lambda: proxy.connections[1] == 1)
        many = [link(proxy) for _ in range(20)]
        try:
            with link(proxy) as last:
                last.settimeout(0.3)
                return first, many, says(last, b"y") == b"y" and says(first, b"z") == b"z"
        except OSError:
            return first, many, False

    proxy, echo = make(places=5)
    with capture_logs() as log:
        first, many, served = crowd(proxy, echo)
    assert served
    assert [line["event"] for line in log] == ["silent_connection_closed"]  # of one address, so it is told once
    assert log[0]["address"].startswith("127.0.0.1:")
    assert sum(proxy.connections) <= 5
    assert sum(map(closed, many[:10])) == 10
    first.close()
    for one in many:
        one.close()
    without_check(monkeypatch, Places, "enter", "connections-in-all")
    proxy, echo = make(places=5)
    first, many, served = crowd(proxy, echo)  # the twin: as many as come, until files run out
    assert sum(proxy.connections) > 20
    first.close()
    for one in many:
        one.close()


def test_one_caller_has_so_many_connections_and_the_newest_stay(make: Make) -> None:
    proxy, echo = make(most_of_one=3)
    links = [link(proxy) for _ in range(5)]
    with capture_logs() as log:
        for number, one in enumerate(links):
            assert says(one, b"x") == b"x"
            proxy.spoke(echo.peers[number], "greedy")
        until(lambda: bool(log))
    assert {(line["event"], line["participant"]) for line in log} == {("too_many_connections", "greedy")}
    other = link(proxy)
    assert says(other, b"x") == b"x"
    proxy.spoke(echo.peers[5], "clinic")
    assert closed(links[0])
    assert closed(links[1])
    assert [says(one, b"y") for one in (*links[2:], other)] == [b"y"] * 4
    proxy.drop(echo.peers[5])
    assert closed(other)
    for one in (*links, other):
        one.close()
    until(lambda: proxy.connections == (0, 0))


def test_when_all_speak_the_one_with_most_connections_loses_one(make: Make) -> None:
    proxy, echo = make(places=4)
    links = [link(proxy) for _ in range(4)]
    for number, (one, caller) in enumerate(zip(links, ["clinic", "greedy", "greedy", "greedy"], strict=True)):
        assert says(one, b"x") == b"x"
        proxy.spoke(echo.peers[number], caller)
    until(lambda: proxy.connections == (0, 4))
    with capture_logs() as log, link(proxy) as newcomer:
        assert says(newcomer, b"x") == b"x"
        assert closed(links[1])
        assert [(line["event"], line["participant"]) for line in log] == [("connection_closed_for_another", "greedy")]
        assert says(links[0], b"y") == b"y"
    for one in links:
        one.close()


def test_an_address_that_is_taken_is_a_matter_of_configuration(make: Make) -> None:
    proxy, _ = make()
    for address in (proxy.listens, TcpAddress("no.such.host.invalid", 1)):
        with pytest.raises(ConfigError, match="cannot listen on"):
            ConnectionProxy(address, places=1, most_of_one=1, observer=Observer())


def test_the_limit_of_open_files_is_raised_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, log = [(1024, 4096)], []
    monkeypatch.setattr("resource.getrlimit", lambda _: limits[-1])
    monkeypatch.setattr("resource.setrlimit", lambda _, new: limits.append(new))

    class Log:
        def warning(self, event: str, **values: object) -> None:
            log.append((event, values["open_files"], values["connections"]))

    monkeypatch.setattr("structlog.get_logger", Log)
    assert open_files.places(0) == (4096 - open_files.RESERVED) // 3
    assert limits[-1] == (4096, 4096)
    assert log == []
    limits.append((1024, 1024))
    assert open_files.places(0) == 274
    assert open_files.places(30) == 264
    assert log == [("few_open_files", 1024, 274), ("few_open_files", 1024, 264)]
    limits.append((200, 210))
    with pytest.raises(ConfigError, match="3 connections; raise the hard limit"):
        open_files.places(0)


def refuse(proxy: ConnectionProxy, echo: Echo, count: int) -> None:
    """Connections that grpc hangs up on."""
    for _ in range(count):
        with link(proxy) as one:
            assert says(one, b"goodbye") == b"goodbye"
            assert closed(one)


def test_why_a_connection_was_refused_may_come_after_its_end(make: Make) -> None:
    proxy, echo = make()
    with capture_logs() as log, link(proxy) as one:
        address = "{}:{}".format(*one.getsockname())
        assert says(one, b"goodbye") == b"goodbye"
        assert closed(one)
        proxy.refused(echo.peers[0], "no certificate", "grpc's words")
        proxy.refused("ipv4:127.0.0.1:1", "no certificate", "of nobody")
        until(lambda: not proxy._by_peer)
    told = [(line["event"], line["address"], line["reason"], line["detail"]) for line in log]
    assert told == [("tls_refused", address, "no certificate", "grpc's words")]
    proxy.stop()
    proxy.refused(echo.peers[0], "no certificate", "nobody listens any more")


@pytest.mark.parametrize("first", ["we", "grpc"])
def test_a_connection_that_ends_in_its_handshake_is_told_once(make: Make, first: str) -> None:
    """We close it for a newcomer, and grpc says that its handshake failed; in either order."""
    told: list[ConnectionCause] = []

    def listen(fact: Fact) -> None:
        assert isinstance(fact, ConnectionClosed)
        told.append(fact.cause)

    proxy, echo = make(places=1, observer=Observer(listen))
    with link(proxy) as one:
        assert says(one, b"hello") == b"hello"
        if first == "grpc":
            proxy.refused(echo.peers[0], "hung up", "grpc's words")
            until(lambda: bool(told))
        with link(proxy) as newcomer:
            assert says(newcomer, b"hello") == b"hello"
            proxy.refused(echo.peers[0], "hung up", "grpc's words")
            until(lambda: len(proxy._by_peer) == 1)
    assert told == [ConnectionCause.SILENT if first == "we" else ConnectionCause.TLS_REFUSED]


def test_without_a_reason_the_end_is_told_a_little_later_or_at_the_end(make: Make) -> None:
    proxy, echo = make()
    with capture_logs() as log:
        refuse(proxy, echo, 1)
        until(lambda: not proxy._by_peer)
        assert [line["event"] for line in log] == ["connection_without_call"]
    proxy, echo = make()
    with capture_logs() as log:
        refuse(proxy, echo, 1)
        proxy.stop()
    assert [line["event"] for line in log] == ["connection_without_call"]


def test_ends_that_wait_for_a_reason_are_bounded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg_server.network.proxy._MOST_ENDED", 3)
    monkeypatch.setattr("secagg_server.network.proxy.TOLD_WITHIN_S", 3600.0)
    proxy, echo = make()
    refuse(proxy, echo, 9)
    until(lambda: len(echo.peers) == 9)
    assert len(proxy._by_peer) <= 4
    assert len(proxy._ended) == 3
