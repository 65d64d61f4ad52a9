"""The front on loopback, before an echo that stands for grpc: who gets a connection, who loses one, what is copied."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from secagg_server.limits import open_files as descriptors
from secagg_server.network.proxy import Front
from structlog.testing import capture_logs

from secagg.errors import ConfigError
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


Make = Callable[..., tuple[Front, Echo]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Front | Echo] = []

    def front(**changes: float) -> tuple[Front, Echo]:
        echo = Echo()
        one = Front(TcpAddress("127.0.0.1", 0), **{"places": 50, "most_of_one": 8, **changes})  # type: ignore[arg-type]
        one.start(echo.port)
        made.extend([one, echo])
        return one, echo

    yield front
    for each in made:
        each.stop() if isinstance(each, Front) else each.close()


def link(front: Front) -> socket.socket:
    return socket.create_connection(("127.0.0.1", front.listens.port), PATIENCE_S)


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
    front, echo = make()
    with link(front) as one:
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
        assert front.address(echo.peers[0]) == f"{host}:{port}"
        assert front.address("elsewhere") == "elsewhere"
        assert says(one, b"goodbye") == b"goodbye"  # what was said last arrives though the other side has closed
        assert closed(one)
    until(lambda: not front._by_peer)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_is_served_and_written_in_brackets() -> None:
    echo = Echo()
    try:
        front = Front(TcpAddress("[::1]", 0), places=5, most_of_one=8)
    except ConfigError:
        pytest.skip("no loopback of IPv6")
    front.start(echo.port)
    try:
        with socket.create_connection(("::1", front.listens.port), PATIENCE_S) as one:
            assert says(one, b"hello") == b"hello"
            assert front.address(echo.peers[0]) == f"[::1]:{one.getsockname()[1]}"
    finally:
        front.stop()
        echo.close()


def test_who_says_nothing_or_makes_no_call_is_closed(make: Make) -> None:
    front, echo = make(hello_s=0.05, silent_s=0.1)
    with link(front) as silent, link(front) as greeting, link(front) as calling:
        assert says(calling, b"x") == b"x"
        front.spoke(echo.peers[0], "clinic")
        assert says(greeting, b"x") == b"x"
        assert closed(silent)
        assert closed(greeting)
        assert len(echo.peers) == 2  # the silent one cost nothing behind the front
        assert says(calling, b"still here") == b"still here"


def test_places_go_to_newcomers_and_those_without_a_call_lose_them(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def crowd(front: Front, echo: Echo) -> tuple[socket.socket, list[socket.socket], bool]:
        first = link(front)
        assert says(first, b"x") == b"x"
        front.spoke(echo.peers[0], "clinic")
        until(lambda: bool(front._speaking))
        many = [link(front) for _ in range(20)]
        try:
            with link(front) as last:
                last.settimeout(0.3)
                return first, many, says(last, b"y") == b"y" and says(first, b"z") == b"z"
        except OSError:
            return first, many, False

    front, echo = make(places=5)
    with capture_logs() as log:
        first, many, served = crowd(front, echo)
    assert served
    assert [line["event"] for line in log] == ["silent_connection_closed"]  # of one address, so it is told once
    assert log[0]["address"].startswith("127.0.0.1:")
    assert front._count <= 5
    assert sum(map(closed, many[:10])) == 10
    first.close()
    for one in many:
        one.close()
    monkeypatch.setattr(Front, "_evict", lambda self: setattr(self, "_places", self._places + 1))
    front, echo = make(places=5)
    first, many, served = crowd(front, echo)  # the twin: as many as come, until files run out
    assert front._count > 20
    first.close()
    for one in many:
        one.close()


def test_one_caller_has_so_many_connections_and_the_newest_stay(make: Make) -> None:
    front, echo = make(most_of_one=3)
    links = [link(front) for _ in range(5)]
    with capture_logs() as log:
        for number, one in enumerate(links):
            assert says(one, b"x") == b"x"
            front.spoke(echo.peers[number], "greedy")
        until(lambda: bool(log))
    assert {(line["event"], line["participant"]) for line in log} == {("too_many_connections", "greedy")}
    other = link(front)
    assert says(other, b"x") == b"x"
    front.spoke(echo.peers[5], "clinic")
    assert closed(links[0])
    assert closed(links[1])
    assert [says(one, b"y") for one in (*links[2:], other)] == [b"y"] * 4
    front.drop(echo.peers[5])
    assert closed(other)
    for one in (*links, other):
        one.close()
    until(lambda: not front._speaking)
    assert front._count == 0


def test_when_all_speak_the_one_with_most_connections_loses_one(make: Make) -> None:
    front, echo = make(places=4)
    links = [link(front) for _ in range(4)]
    for number, (one, caller) in enumerate(zip(links, ["clinic", "greedy", "greedy", "greedy"], strict=True)):
        assert says(one, b"x") == b"x"
        front.spoke(echo.peers[number], caller)
    until(lambda: sum(map(len, front._speaking.values())) == 4)
    with capture_logs() as log, link(front) as newcomer:
        assert says(newcomer, b"x") == b"x"
        assert closed(links[1])
        assert [(line["event"], line["participant"]) for line in log] == [("connection_closed_for_another", "greedy")]
        assert says(links[0], b"y") == b"y"
    for one in links:
        one.close()


def test_an_address_that_is_taken_is_a_matter_of_configuration(make: Make) -> None:
    front, _ = make()
    for address in (front.listens, TcpAddress("no.such.host.invalid", 1)):
        with pytest.raises(ConfigError, match="cannot listen on"):
            Front(address, places=1, most_of_one=1)


def test_the_limit_of_open_files_is_raised_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, log = [(1024, 4096)], []
    monkeypatch.setattr("resource.getrlimit", lambda _: limits[-1])
    monkeypatch.setattr("resource.setrlimit", lambda _, new: limits.append(new))

    class Log:
        def warning(self, event: str, **values: object) -> None:
            log.append((event, values["open_files"], values["connections"]))

    monkeypatch.setattr("structlog.get_logger", Log)
    assert descriptors.places() == (4096 - descriptors.RESERVED) // 3
    assert limits[-1] == (4096, 4096)
    assert log == []
    limits.append((1024, 1024))
    assert descriptors.places() == 274
    assert log == [("few_open_files", 1024, 274)]
    limits.append((200, 210))
    with pytest.raises(ConfigError, match="3 connections; raise the hard limit"):
        descriptors.places()
