"""What a line of grpc's C core becomes in the log."""

from collections.abc import MutableMapping
from typing import Any

import pytest
from secagg_server.observability import grpc_log
from secagg_server.observability.grpc_log import OTHER_REASON, REASONS, GrpcLog, reason_of
from secagg_server.observability.log_events import CONNECTIONS
from secagg_server.observability.logs import MOST_OF_EVENT
from structlog.testing import capture_logs

START = "I1128 03:40:41.848361   20583 handshaker.cc:155] CallNextHandshakerLocked: error="
WORDS = "UNKNOWN: Ssl handshake failed: SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE: OK"
TRACE = "\n=== Source Location Trace: ===\nsrc/core/util/status_helper.cc:68\n shutdown=false index=2, args={"
ENDPOINT = (
    "grpc.internal.endpoint_local_address=ipv4:127.0.0.1:9, grpc.internal.endpoint_peer_address=ipv4:127.0.0.1:53776"
)
FAILED = f"{START}{WORDS}{TRACE}{ENDPOINT}, grpc.so_reuseport=0}}"


class Known:
    """One connection."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def address(self, peer: str) -> str:
        return "192.0.2.7:1234" if peer == "ipv4:127.0.0.1:53776" else peer

    def refused(self, peer: str, reason: str, detail: str) -> None:
        self.told.append((peer, reason, detail))


def taken(*messages: str) -> tuple[list[MutableMapping[str, Any]], Known]:
    log = GrpcLog()
    log.connections = known = Known()
    with capture_logs() as lines:
        for message in messages:
            log.take(message)
    return lines, known


def test_a_handshake_that_failed_is_told_to_who_knows_the_connection() -> None:
    lines, known = taken(FAILED)
    assert lines == []
    assert known.told == [("ipv4:127.0.0.1:53776", "no certificate", WORDS)]


def test_a_handshake_that_went_well_is_no_event() -> None:
    lines, known = taken(f"{START}OK shutdown=false index=1, args={{{ENDPOINT}}}")
    assert (lines, known.told) == ([], [])


def test_a_failure_before_anybody_listens_is_passed_over() -> None:
    log = GrpcLog()
    with capture_logs() as lines:
        log.take(FAILED)
    assert lines == []


def test_a_warning_has_severity_source_and_the_address_of_the_peer() -> None:
    lines, _ = taken("E1128 03:40:41.848361   20583 chttp2_transport.cc:99] ipv4:127.0.0.1:53776: bad\x1b[2J frame")
    (line,) = lines
    assert line == {
        "event": "grpc_message",
        "log_level": "warning",
        "severity": "error",
        "source": "chttp2_transport.cc:99",
        "address": "192.0.2.7:1234",
        "detail": "ipv4:127.0.0.1:53776: bad?[2J frame",
    }


def test_what_is_no_warning_is_there_for_the_handshakes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    info = "I1128 03:40:41.848361   20583 server.cc:1865] Disconnected client"
    about = "W1128 03:40:41.848361   20583 log.cc:102] Log level INFO is not suitable for production. Prefer …"
    assert taken(info, about)[0] == []
    monkeypatch.setattr(grpc_log, "CHOSEN", True)
    assert [line["severity"] for line in taken(info, about)[0]] == ["info", "warning"]


def test_any_other_line_is_an_event_too() -> None:
    lines, _ = taken("free(): invalid pointer")
    assert [(line["event"], line["detail"]) for line in lines] == [("stderr_line", "free(): invalid pointer")]


def test_a_flood_is_a_few_lines() -> None:
    lines, _ = taken(*(f"E1128 03:40:41.848361   20583 a.cc:{n}] x\n" for n in range(500)), *map(str, range(500)))
    events = [line["event"] for line in lines]
    assert events.count("grpc_message") == events.count("stderr_line") == MOST_OF_EVENT


@pytest.mark.parametrize(
    "words", ["", "F", "E1128 03:40:41.848361 1 a.cc:1] ", START, START + "x\n" + "endpoint_peer_address="]
)
def test_odd_lines_are_taken(words: str) -> None:
    taken(words)


def test_every_reason_is_in_the_table_of_events() -> None:
    meaning = CONNECTIONS["tls_refused"].meaning
    assert all(f"`{reason}`" in meaning for reason in [*dict(REASONS).values(), OTHER_REASON])
    assert reason_of("SSL routines:OPENSSL_internal:EXCESSIVE_MESSAGE_SIZE") == OTHER_REASON
