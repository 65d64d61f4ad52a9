"""What systemd is told of a service with `Type=notify`."""

import socket
from pathlib import Path

import pytest
from secagg_server.supervisor import READY, STOPPING, tell_supervisor


@pytest.fixture
def listener() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def test_states_arrive_in_the_words_of_sd_notify(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listener:
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        tell_supervisor(READY)
        tell_supervisor(STOPPING)
        assert [listener.recv(64), listener.recv(64)] == [b"READY=1", b"STOPPING=1"]


def test_a_name_without_a_file_begins_with_an_at(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    with listener:
        listener.bind("\0secagg-test-notify")
        monkeypatch.setenv("NOTIFY_SOCKET", "@secagg-test-notify")
        tell_supervisor(READY)
        assert listener.recv(64) == b"READY=1"


def test_without_systemd_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    tell_supervisor(READY)
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    tell_supervisor(READY)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    tell_supervisor(READY)
