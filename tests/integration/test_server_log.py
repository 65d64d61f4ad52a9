"""The log of a real process: handshakes that fail, with address and reason; grpc's own lines; a start that fails."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer
from typing import Any

import grpc
import pytest
from secagg_server.observability.grpc_log import OTHER_REASON, REASONS
from secagg_server.observability.log_events import SECTIONS

from secagg.crypto.authority import IssuedCertificate, create_authority, issue_participant
from tests.integration.test_server_process import Process, flags, run, start, stop
from tests.serving import NAMES, PATIENCE_S, site


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    running = start(flags(tmp_path_factory.mktemp("server"), log_level="info"))
    yield running
    assert stop(running)[1:] == ("", 0)


def valid_from(days: float) -> IssuedCertificate:
    then = datetime.now(UTC) + timedelta(days=days)
    return issue_participant(site().authority, participant_id=NAMES[0], organisation="north", now=then)


def client(
    folder: Path, made: IssuedCertificate | None, *, h2: bool = True, tls13: bool = True
) -> Callable[[socket.socket], None]:
    """Makes a TLS handshake, and waits until the server hangs up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=site().ca_pem.decode())
    if made is not None:
        chain, key = folder / "c.pem", folder / "k.pem"
        chain.write_bytes(made.certificate_pem)
        key.write_bytes(made.key_pem.expose())
        context.load_cert_chain(chain, key)
    if h2:
        context.set_alpn_protocols(["h2"])
    if not tls13:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    def connect(link: socket.socket) -> None:
        with context.wrap_socket(link, server_hostname="localhost") as secure:
            while secure.recv(1 << 16):
                pass

    return connect


def says(data: bytes) -> Callable[[Path], Callable[[socket.socket], None]]:
    def connect(link: socket.socket) -> None:
        link.sendall(data)
        while link.recv(1 << 16):
            pass

    return lambda _: connect


HUNG_UP = "hung up"
CAUSES: dict[str, Callable[[Path], Callable[[socket.socket], None]]] = {
    "no certificate": lambda folder: client(folder, None),
    "unknown CA": lambda folder: client(folder, site().strangers[NAMES[0]]),
    "certificate expired": lambda folder: client(folder, valid_from(-20_000)),
    "certificate not yet valid": lambda folder: client(folder, valid_from(20)),
    "no participant's certificate": lambda folder: client(folder, site().server),
    "TLS older than 1.3": lambda folder: client(folder, site().people[NAMES[0]], tls13=False),
    "no HTTP/2": lambda folder: client(folder, site().people[NAMES[0]], h2=False),
    "not TLS": says(b"GET / HTTP/1.1\r\n\r\n"),
    "not finished": says(b"\x16\x03\x01\x02\x00"),
    OTHER_REASON: says(b"\x16\x03\x01\x00\x05hello"),
}


def next_line(process: Process, event: str) -> dict[str, Any]:
    assert process.child.stdout is not None
    impatient = Timer(PATIENCE_S, process.child.kill)
    impatient.start()
    try:
        for text in process.child.stdout:
            line: dict[str, Any] = json.loads(text)
            if line["event"] == event:
                return line
    finally:
        impatient.cancel()
    raise AssertionError(f"the process ended without {event}")


@pytest.mark.parametrize("reason", CAUSES)
def test_a_refused_handshake_is_told_with_address_and_reason(process: Process, tmp_path: Path, reason: str) -> None:
    connect = CAUSES[reason](tmp_path)
    with socket.create_connection(("127.0.0.1", int(process.port)), PATIENCE_S) as link:
        host, port = link.getsockname()
        with suppress(ssl.SSLError, ConnectionError):
            connect(link)
    line = next_line(process, "tls_refused")
    assert (line["reason"], line["address"]) == (reason, f"{host}:{port}"), line["detail"]
    assert line["detail"]
    assert line["level"] == "info"


def test_a_participant_that_does_not_trust_us_is_told(process: Process) -> None:
    foreign = create_authority(name="elsewhere", now=datetime.now(UTC)).certificate_pem
    with grpc.secure_channel(f"localhost:{process.port}", grpc.ssl_channel_credentials(foreign)) as channel:
        grpc.channel_ready_future(channel)
        line = next_line(process, "tls_refused")
    assert line["reason"] == HUNG_UP, line["detail"]
    assert line["address"].startswith("127.0.0.1:")


def test_every_reason_has_a_handshake_above() -> None:
    assert {*CAUSES, HUNG_UP} == {*dict(REASONS).values(), OTHER_REASON}


def flood(port: int, times: int) -> None:
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with suppress(ConnectionError):
                while stranger.recv(1 << 16):
                    pass


@pytest.mark.parametrize(
    ("verbosity", "event"), [({}, "tls_refused"), ({"GRPC_VERBOSITY": "ERROR"}, "connection_without_call")]
)
def test_handshakes_that_fail_fill_no_disk(tmp_path: Path, verbosity: dict[str, str], event: str) -> None:
    """Where the operator keeps grpc silent, nobody knows the reason, but the address is known."""
    process = start(flags(tmp_path), **verbosity)
    flood(int(process.port), 60)
    lines, err, code = stop(process)
    assert (err, code) == ("", 0)
    told = [line for line in lines if line["event"] in {"tls_refused", "connection_without_call", "grpc_message"}]
    assert {line["event"] for line in told} == {event}
    assert len(told) < 20
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+", line["address"]) for line in told)


def test_everything_that_an_operator_lets_grpc_say_is_bounded_json_too(tmp_path: Path) -> None:
    process = start(flags(tmp_path), GRPC_VERBOSITY="INFO", GRPC_TRACE="handshaker")
    flood(int(process.port), 20)
    lines, err, code = stop(process)
    assert (err, code) == ("", 0)
    assert {"grpc_message", "tls_refused"} <= {line["event"] for line in lines}
    assert {line["event"] for line in lines} <= {name for section in SECTIONS.values() for name in section}
    assert len(lines) < 400


def test_a_failed_start_is_in_the_log_and_on_standard_error(process: Process, tmp_path: Path) -> None:
    done = run(flags(tmp_path, listen=str(process.ready["data_plane"])))
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["event"], line["level"], line["error"]) for line in lines] == [("failed", "error", "ConfigError")]
    assert done.stderr == f"error: {lines[0]['detail']}\n"


def test_the_console_has_the_same_for_people(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "secagg_server", "serve", *flags(tmp_path, log_format="console")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRPC_")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        ready = next(line for line in child.stdout if " ready " in line)
        found = re.search(r"data_plane=127\.0\.0\.1:(\d+)", ready)
        assert found is not None
        flood(int(found[1]), 1)
        line = next(line for line in child.stdout if "tls_refused" in line)
        assert "reason='not TLS'" in line
        child.terminate()
        assert child.communicate(timeout=PATIENCE_S)[1] == ""
        assert child.returncode == 0
