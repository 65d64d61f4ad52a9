"""The running server's own view: silent on the product, and loud where something of an update stays behind."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import Gauge
from secagg_server.network import listening
from secagg_server.observability.facts import RoundEvent
from secagg_server.observability.metrics import Metrics
from secagg_server.observability.statuspage.memory import Memory
from secagg_server.observability.traces import TraceListener
from secagg_server.rounds.hosted import HostedRound
from secagg_server.rounds.journalled import JournalledEngine
from secagg_server.storage.memory import MemoryJournal

from secagg.aggregates import Aggregate
from secagg.crypto.authority import load_private_key
from secagg.events import SumReady
from secagg.tools.redteam.served import Served
from secagg.tools.redteam.shell_checks import _site, shell_in_sight


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

    def keeping(self: MemoryJournal, ended: Any) -> Any:
        (folders[-1] / "crash.dump").write_bytes(b"".join(self.spool.written.values()))  # type: ignore[attr-defined]
        return finish(self, ended)

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


def noted(monkeypatch: pytest.MonkeyPatch, leak: Callable[[Any], str]) -> list[str]:
    """What the red team says where the status page has something of an event that it must not have."""
    hear = Memory.__call__

    def telling(self: Memory, fact: Any) -> None:
        hear(self, fact)
        told = leak(fact)
        if told:
            self._note("planted", "warning", told)

    monkeypatch.setattr(Memory, "__call__", telling)
    return shell_in_sight(5)


def aggregate_of(fact: Any) -> Any:
    """The sum that this fact is about, which a listener of the product has no way to."""
    return LATEST[-1] if isinstance(fact, RoundEvent) and isinstance(fact.event, SumReady) else None


LATEST: list[Aggregate] = []


@pytest.fixture(autouse=True)
def _seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a copy of every sum in `LATEST`."""
    outcome = JournalledEngine.outcome

    def seeing(self: JournalledEngine) -> Any:
        if (found := self._engine.aggregate) is not None:
            LATEST.append(replace(found, sums=found.sums.copy()))
        return outcome(self)

    monkeypatch.setattr(JournalledEngine, "outcome", seeing)


def test_a_value_of_the_sum_on_the_status_page_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    said = noted(monkeypatch, lambda fact: str(found.sums[:9].tolist()) if (found := aggregate_of(fact)) else "")
    for path in ("/", "/paused", "/status.json"):
        assert any("pieces of the sum are in" in one and f"what {path} served" in one for one in said), path
    assert "the status differs from that of a round with other data" in said


def test_a_key_on_the_status_page_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator's own, in each form in which a key is written."""
    key = _site().key.expose()
    body = load_private_key(key).private_numbers().private_value.to_bytes(32, "big")
    for text in (body.hex(), b64encode(b"x" + body).decode(), str(int.from_bytes(body))):
        with pytest.MonkeyPatch.context() as patch:
            said = noted(patch, lambda fact, text=text: text if aggregate_of(fact) else "")  # type: ignore[misc]
        assert any("keys, seeds or shares are in what / served" in one for one in said), text


def test_a_value_in_a_metric_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    hear = Metrics.__call__

    def telling(self: Metrics, fact: Any) -> None:
        hear(self, fact)
        if (found := aggregate_of(fact)) is not None:
            for value in found.sums[:200]:
                Gauge(f"planted_{value}", "x", registry=self._registry).set(float(value))

    monkeypatch.setattr(Metrics, "__call__", telling)
    assert any("pieces of the sum are in what /metrics served" in one for one in shell_in_sight(5))


def test_a_value_in_a_trace_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    hear = TraceListener.__call__

    def telling(self: TraceListener, fact: Any) -> None:
        if (found := aggregate_of(fact)) is not None:
            self._rounds[fact.round.round_id].span.set_attribute("planted", str(found.sums[:9].tolist()))
        hear(self, fact)

    monkeypatch.setattr(TraceListener, "__call__", telling)
    assert any("pieces of the sum are in the traces" in one for one in shell_in_sight(5))


def test_a_status_that_follows_the_data_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """No number of the sum, but one that follows from it."""
    said = noted(monkeypatch, lambda fact: f"{int(found.sums[1]) % 97}" if (found := aggregate_of(fact)) else "")
    assert said == ["the status differs from that of a round with other data"]


def test_a_status_port_that_was_not_seen_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object) -> bytes:
        return b'HTTP/1.1 500 \r\n\r\n{"at": 1}'

    monkeypatch.setattr(Served, "_answer", silent)
    assert "nothing was served" in shell_in_sight(5)[0]


def test_a_round_that_left_no_trace_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg.tools.redteam.shell_checks._lines", lambda _: [])
    assert "this check saw no round" in shell_in_sight(5)[0]
