"""Where the coordinator listens, and why it cannot."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from secagg_server.network.listening import Occupied, look_at, make_way, tcp_listener

from secagg.errors import ConfigError
from secagg.transport.addresses import TcpAddress
from tests.nobody import as_nobody, place


@pytest.fixture
def folder() -> Iterator[Path]:
    with place() as found:
        yield found


def test_what_is_at_the_path_of_a_socket(folder: Path) -> None:
    path = folder / "control.sock"
    assert look_at(path) is Occupied.FREE
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        assert look_at(path) is Occupied.TAKEN
        with pytest.raises(ConfigError, match="another coordinator is listening there"):
            make_way(path)
        assert path.exists()
    assert look_at(path) is Occupied.STALE
    assert path.exists()  # looking changes nothing
    make_way(path)
    assert look_at(path) is Occupied.FREE


def test_a_folder_that_this_user_may_not_write(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o555)
    with as_nobody(), pytest.raises(ConfigError, match="this user may not make files in its folder") as caught:
        look_at(closed / "control.sock")
    assert caught.value.mend == f"sudo chown $(id -u) {closed}"


def test_a_folder_that_this_user_may_not_search(folder: Path) -> None:
    (folder / "private" / "run").mkdir(parents=True)
    (folder / "private").chmod(0o000)
    with as_nobody(), pytest.raises(ConfigError, match="its folder: Permission denied"):
        look_at(folder / "private" / "run" / "control.sock")
    (folder / "private").chmod(0o700)


def test_a_file_system_without_room_for_a_socket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("secagg_server.network.listening.socket.socket.bind", full)
    with pytest.raises(ConfigError, match="cannot be made: No space left on device; choose another folder"):
        make_way(folder / "control.sock")


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EADDRINUSE, "another program listens there; stop it, or choose another port; run: ss -ltnp"),
        (errno.EADDRNOTAVAIL, "it is not an address of this machine; .* run: ip -brief address"),
        (errno.EACCES, "this user may not take ports below 1024; choose a higher one"),
        (errno.EMFILE, os.strerror(errno.EMFILE)),
    ],
)
def test_why_a_port_cannot_be_taken(number: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> socket.socket:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "create_server", refused)
    with pytest.raises(ConfigError, match=rf"^cannot listen on 127\.0\.0\.1:443 \(setting status\): {told}"):
        tcp_listener(TcpAddress("127.0.0.1", 443), "status")


@pytest.mark.parametrize(
    ("host", "reached"), [("127.0.0.1", "127.0.0.1"), ("[::]", "127.0.0.1"), ("localhost", "localhost")]
)
def test_a_port_that_is_free_is_taken(host: str, reached: str) -> None:
    with tcp_listener(TcpAddress(host, 0), "listen") as one, socket.create_connection((reached, one.getsockname()[1])):
        one.accept()[0].close()
