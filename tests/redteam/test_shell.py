"""The running server's own view: silent on the product, and loud where something of an update stays behind."""

from pathlib import Path
from typing import Any

import pytest
import structlog
from secagg_server.network import listening
from secagg_server.rounds.hosted import HostedRound
from secagg_server.storage.memory import MemoryJournal

from secagg.tools.redteam.shell_checks import shell_in_sight


def test_nothing_of_an_update_stays_behind() -> None:
    before = structlog.get_config()
    assert shell_in_sight(5) == []
    assert structlog.get_config() == before


def test_a_file_with_an_upload_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that keeps uploads beside the control plane's socket."""
    folders: list[Path] = []
    listen, finish = listening.make_way, MemoryJournal.finish

    def noting(path: Path) -> None:
        folders.append(path.parent)
        listen(path)

    def keeping(self: MemoryJournal, outcome: Any) -> None:
        (folders[-1] / "crash.dump").write_bytes(b"".join(self.spool.written.values()))  # type: ignore[attr-defined]
        finish(self, outcome)

    monkeypatch.setattr("secagg_server.network.listening.make_way", noting)
    monkeypatch.setattr(MemoryJournal, "finish", keeping)
    assert any("crash.dump" in said and "masked" in said for said in shell_in_sight(5))


def test_a_log_line_that_follows_the_data_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """No number of the update, but whether it is flat."""
    receive = HostedRound._receive_chunk

    def telling(self: HostedRound, sender: Any, claim: int, chunk: Any, now: float) -> Any:
        structlog.get_logger().info("chunk", parity=chunk.payload[0] & 0x3F)  # differs between any two rounds
        return receive(self, sender, claim, chunk, now)

    monkeypatch.setattr(HostedRound, "_receive_chunk", telling)
    assert shell_in_sight(5) == ["log lines differ from those of a round with other data"]


def test_a_round_that_left_no_trace_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg.tools.redteam.shell_checks._lines", lambda _: [])
    assert "this check saw no round" in shell_in_sight(5)[0]
