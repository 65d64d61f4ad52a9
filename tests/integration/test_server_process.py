"""The real process: TLS as `openssl s_client` meets it, the ready line, signals, logs, the control socket."""

import asyncio
import base64
import json
import os
import shlex
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from secagg_server.app import running_server
from secagg_server.certificates.callers import Callers
from secagg_server.certificates.renewal import Renewal
from secagg_server.network import listening

from secagg.crypto.authority import IssuedCertificate
from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, AuthenticationError, RoundAborted
from secagg.events import RoundFailed
from secagg.masked.vector import MaskedVector
from secagg.messages import ShareKeys, Unmask
from secagg.wire.calls import CONTROL_PLANE, DATA_PLANE
from secagg.wire.configuration import encode_config
from secagg.wire.v1 import data_plane_pb2 as pb
from tests import stubs
from tests.serving import (
    NAMES,
    PATIENCE_S,
    SEMI_HONEST,
    TASK,
    Director,
    Player,
    channel,
    failure_of,
    make_config,
    make_settings,
    site,
    stage,
    write_site,
)

_STARTED: list[subprocess.Popen[str]] = []


@dataclass
class Process:
    """A coordinator that is ready."""

    child: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def port(self) -> str:
        return str(self.ready["data_plane"]).rsplit(":", 1)[1]


def flags(folder: Path, **changes: str) -> list[str]:
    given = {"listen": "127.0.0.1:0", "control": "127.0.0.1:0", "log_level": "debug"}
    given |= {name: str(path) for name, path in write_site(folder).items()} | changes
    return [item for name, value in given.items() for item in ("--" + name.replace("_", "-"), value)]


def start(arguments: Sequence[str], **grpc: str) -> Process:
    command = [sys.executable, "-m", "secagg_server", "serve", *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRPC_")}  # it sets that itself
    environment |= grpc
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    _STARTED.append(child)
    assert child.stdout is not None
    for text in child.stdout:
        line = json.loads(text)
        if line["event"] == "ready":
            return Process(child, line)
    pytest.fail(child.communicate(timeout=PATIENCE_S)[1])


@pytest.fixture(scope="module", autouse=True)
def no_orphans() -> Iterator[None]:
    """A test that fails half-way leaves no coordinator behind."""
    yield
    for child in _STARTED:
        if child.poll() is None:
            child.kill()
            child.communicate()


def stop(process: Process, number: signal.Signals = signal.SIGTERM) -> tuple[list[dict[str, Any]], str, int]:
    """Log lines after the ready line, stderr, exit code."""
    process.child.send_signal(number)
    out, err = process.child.communicate(timeout=PATIENCE_S)
    return [json.loads(line) for line in out.splitlines()], err, process.child.returncode


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = start(flags(tmp_path_factory.mktemp("server")))
    yield process
    stop(process)


# --- TLS --------------------------------------------------------------------------------------------------------------


def s_client(process: Process, *options: str) -> str:
    """What openssl says about a connection that it keeps open for a moment, to hear what the server thinks of it."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{process.port}", "-alpn", "h2", *options]
    # HTTP/2's preface: a server that accepts the connection answers with its settings.
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        try:
            client.stdin.write(preface)
            client.stdin.flush()
        except BrokenPipeError:
            pass  # the handshake failed first
        found = b""
        while piece := os.read(client.stdout.fileno(), 1 << 16):
            found += piece
            if b"\x00\x00\x04" in found:  # a SETTINGS frame: accepted
                break
        client.kill()
    return found.decode("latin-1")


def certificate_options(folder: Path, made: IssuedCertificate) -> list[str]:
    (folder / "c.pem").write_bytes(made.certificate_pem)
    (folder / "k.pem").write_bytes(made.key_pem.expose())
    (folder / "ca.pem").write_bytes(site().ca_pem)
    return ["-cert", str(folder / "c.pem"), "-key", str(folder / "k.pem"), "-CAfile", str(folder / "ca.pem")]


def accepted(said: str) -> bool:
    return "\x00\x00\x04" in said


def test_tls_1_3_with_a_certificate_is_accepted(running: Process, tmp_path: Path) -> None:
    said = s_client(running, "-tls1_3", *certificate_options(tmp_path, site().people[NAMES[0]]))
    assert "TLSv1.3" in said
    assert "Verify return code: 0 (ok)" in said
    assert accepted(said)


def test_tls_1_2_is_refused(running: Process, tmp_path: Path) -> None:
    said = s_client(running, "-tls1_2", *certificate_options(tmp_path, site().people[NAMES[0]]))
    assert "error:" in said  # the server hangs up without an alert
    assert "Cipher is (NONE)" in said
    assert not accepted(said)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_older_versions_are_refused(running: Process, tmp_path: Path, version: str) -> None:
    said = s_client(running, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "Cipher is (NONE)" in said
    assert not accepted(said)


def test_no_client_certificate_is_refused(running: Process) -> None:
    said = s_client(running, "-tls1_3")
    assert "error:" in said
    assert not accepted(said)


def test_a_certificate_of_a_foreign_ca_is_refused(running: Process, tmp_path: Path) -> None:
    said = s_client(running, "-tls1_3", *certificate_options(tmp_path, site().strangers[NAMES[0]]))
    assert "error:" in said
    assert not accepted(said)


def test_the_environment_is_what_keeps_tls_1_2_out(tmp_path: Path) -> None:
    """The twin: with suites that fit an ECDSA certificate, the same server takes TLS 1.2."""
    (tmp_path / "lax.py").write_text(
        "import os, sys\n"
        "import secagg_server\n"
        "os.environ['GRPC_SSL_CIPHER_SUITES'] = 'ECDHE-ECDSA-AES128-GCM-SHA256'\n"
        "from secagg_server.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, str(tmp_path / "lax.py"), "serve", *flags(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    process = Process(child, json.loads(child.stdout.readline()))
    said = s_client(process, "-tls1_2", *certificate_options(tmp_path, site().people[NAMES[0]]))
    assert "TLSv1.2" in said
    assert accepted(said)
    stop(process)


def test_grpc_imported_first_is_refused_by_name() -> None:
    program = "import grpc\nimport secagg_server"
    environment = {k: v for k, v in os.environ.items() if k != "GRPC_SSL_CIPHER_SUITES"}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "ConfigError: grpc was imported before secagg_server" in result.stderr
    fine = subprocess.run([sys.executable, "-c", "import secagg_server, grpc"], env=environment, check=False)
    assert fine.returncode == 0


def rsa_certificate(folder: Path) -> None:
    now = datetime.now(UTC)
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))


def run(arguments: Sequence[str], command: str = "serve") -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "secagg_server", command, *arguments]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_an_rsa_certificate_is_refused_at_start(tmp_path: Path, command: str) -> None:
    given = flags(tmp_path)
    rsa_certificate(tmp_path)
    result = run(given, command)
    assert result.returncode == 1
    told = "error: server certificate: the key is not ECDSA; secagg takes ECDSA P-256 only (setting certificate, "
    assert result.stderr == f"{told}{tmp_path}/cert.pem)\n"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"control": "0.0.0.0:0"}, "error: the control plane is on a unix socket or on loopback only, not on "),
        (
            {"control": "192.168.0.1:0"},
            "error: the control plane is on a unix socket or on loopback only, not on ",
        ),
        ({"listen": "nowhere"}, "error: 'nowhere' is no address"),
        ({"listen": "192.0.2.1:1"}, "error: cannot listen on 192.0.2.1:1"),
        ({"key": "/nonexistent"}, "error: /nonexistent: No such file or directory"),
        ({"max_calls": "0"}, "error: setting max_calls: input should be greater than or equal to 1"),
    ],
)
def test_a_bad_start_is_one_line(tmp_path: Path, changes: dict[str, str], error: str) -> None:
    result = run(flags(tmp_path, **changes))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(error)
    assert "Traceback" not in result.stderr


def test_a_taken_port_is_refused(running: Process, tmp_path: Path) -> None:
    result = run(flags(tmp_path, listen=str(running.ready["data_plane"])))
    assert result.returncode == 1
    assert "error: cannot listen on" in result.stderr


# --- life and death ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def connected(process: Process) -> AsyncIterator[tuple[Director, Player]]:
    control = grpc.aio.insecure_channel(process.ready["control_plane"])
    data = channel(process.ready["data_plane"], site().people[NAMES[0]])
    async with control, data:
        yield Director(stubs.control_plane(control)), Player(NAMES[0], stubs.data_plane(data))


async def test_health_on_both_planes_and_reflection_on_one(running: Process) -> None:
    async with (
        grpc.aio.insecure_channel(running.ready["control_plane"]) as control,
        channel(running.ready["data_plane"], site().people[NAMES[0]]) as data,
    ):
        for connection, service in ((control, CONTROL_PLANE), (data, DATA_PLANE), (control, ""), (data, "")):
            request = health_pb2.HealthCheckRequest(service=service)
            reply = await health_pb2_grpc.HealthStub(connection).Check(request, timeout=PATIENCE_S)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(control)
        answer = await stub.ServerReflectionInfo(iter([ask]), timeout=PATIENCE_S).read()
        assert CONTROL_PLANE in {s.name for s in answer.list_services_response.service}
        stub = reflection_pb2_grpc.ServerReflectionStub(data)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ServerReflectionInfo(timeout=PATIENCE_S).read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_systemd_is_told_when_it_serves_and_when_it_stops(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(PATIENCE_S)
        process = start(flags(tmp_path), NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert listener.recv(64) == b"READY=1"
        _, _, code = stop(process)
        assert (listener.recv(64), code) == (b"STOPPING=1", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_open_rounds_by_name(tmp_path: Path, number: signal.Signals) -> None:
    process = await asyncio.to_thread(start, flags(tmp_path))
    async with connected(process) as (director, player):
        round_id = await director.open(make_config(3, SEMI_HONEST))
        await player.join(round_id)
        watching = asyncio.create_task(director.watch(round_id))
        waiting = asyncio.create_task(player.say())
        searching = asyncio.create_task(player.find(task="none"))
        await asyncio.sleep(0.2)
        log, err, code = await asyncio.to_thread(stop, process, number)
        events = await watching
        assert isinstance(events[-1], RoundFailed)
        assert events[-1].error.reason is AbortReason.COORDINATOR_SHUTDOWN
        for call in (waiting, searching):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            error = failure_of(caught.value)
            assert isinstance(error, RoundAborted)
            assert error.reason is AbortReason.COORDINATOR_SHUTDOWN
    assert code == 0
    assert err == ""
    assert {"stopping", "round_failed", "stopped"} <= {line["event"] for line in log}


def test_on_sighup_certificates_are_read_again(tmp_path: Path) -> None:
    """Once they have been, it still ends as asked."""
    process = start(flags(tmp_path))
    process.child.send_signal(signal.SIGHUP)
    assert process.child.stdout is not None
    events = [json.loads(process.child.stdout.readline())["event"] for _ in ("state_in_memory", "credentials_renewed")]
    log, err, code = stop(process)
    assert (err, code) == ("", 0)
    assert "credentials_renewed" in [*events, *(line["event"] for line in log)]


def test_sighup_while_it_starts_ends_nothing(tmp_path: Path) -> None:
    """Whoever renews certificates sends it whenever a file has changed."""
    given = flags(tmp_path)
    ca = tmp_path / "ca.pem"
    pem = ca.read_bytes()
    ca.unlink()
    os.mkfifo(ca)
    command = [sys.executable, "-m", "secagg_server", "serve", *given]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        with ca.open("wb") as waiting:  # opens when the coordinator reads it
            child.send_signal(signal.SIGHUP)
            waiting.write(pem)
        assert child.stdout is not None
        ready = any(b'"ready"' in line for line in child.stdout)
        child.kill()
    assert ready


async def test_the_log_holds_no_key_share_or_value(tmp_path: Path) -> None:
    """At level debug: what a whole round's messages hold is looked for in hex, base64 and as text."""
    process = await asyncio.to_thread(start, flags(tmp_path))
    said: list[bytes] = []
    control = grpc.aio.insecure_channel(process.ready["control_plane"])
    channels = [channel(process.ready["data_plane"], site().people[n]) for n in NAMES[:3]]
    director = Director(stubs.control_plane(control))
    people = [Player(n, stubs.data_plane(c)) for n, c in zip(NAMES, channels, strict=False)]
    round_id = await director.open(make_config(3))
    await asyncio.gather(*(p.join(round_id) for p in people))
    for _ in range(5):
        for p in people:
            said += _bytes_of(p.next)
        await asyncio.gather(*(p.say() for p in people))
    await people[0].aggregate()
    with pytest.raises(grpc.aio.AioRpcError):  # and a refused message
        await people[0].stub.LeaveRound(pb.LeaveRequest(round_id=b"short"))
    await asyncio.gather(control.close(), *(c.close() for c in channels))
    log, _, _ = await asyncio.to_thread(stop, process)
    text = "\n".join(json.dumps(line) for line in log)
    assert {"sum_ready", "message_accepted", "call_refused"} <= {line["event"] for line in log}
    assert len(said) > 3 * 5
    for secret in said:
        piece = secret[:12]
        for written in (piece.hex(), base64.b64encode(piece).decode()[:16], repr(piece)[2:-1]):
            assert written not in text
    assert round_id.hex() in text  # what is looked for would be found
    assert "-----BEGIN" not in text


def _bytes_of(message: object) -> list[bytes]:
    match message:
        case ShareKeys():
            return list(message.sealed.values())
        case MaskedVector():
            return [message.chunk(0).payload]
        case Unmask():
            return [share.share.expose() for share in message.shares.values()]
        case _:
            return [getattr(message, "signature", b"") or b"no signature here"]


async def test_a_lost_log_stops_nothing(tmp_path: Path) -> None:
    """Whoever read the log has died: rounds go on, and so does the end."""
    process = await asyncio.to_thread(start, flags(tmp_path))
    assert process.child.stdout is not None
    process.child.stdout.close()
    async with connected(process) as (director, player):
        round_id = await director.open(make_config(3, SEMI_HONEST))
        await player.join(round_id)
        await director.abort(round_id)
        assert isinstance((await director.watch(round_id))[-1], RoundFailed)
    process.child.terminate()
    assert await asyncio.to_thread(process.child.wait, PATIENCE_S) == 0
    assert process.child.stderr is not None
    with process.child.stderr as stderr:
        assert "Traceback" not in stderr.read()


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_start_without_standard_files(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """None of the files that are opened later gets their place, and with it the log."""
    where = f"unix:{tmp_path}/control.sock"
    command = [sys.executable, "-m", "secagg_server", "serve", *flags(tmp_path, control=where)]
    shell = " ".join(["exec", shlex.join(command), *(f"{number}>&-" for number in closed)])
    with subprocess.Popen(["/bin/sh", "-c", shell], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            with grpc.insecure_channel(where) as channel:
                grpc.channel_ready_future(channel).result(PATIENCE_S)
            opened = [Path(f"/proc/{child.pid}/fd/{number}").readlink() for number in closed if number != 2]
            assert set(opened) <= {Path(os.devnull)}
            child.terminate()
            out, err = child.communicate(timeout=PATIENCE_S)
        finally:
            child.kill()
    assert (child.returncode, err) == (0, b"")
    assert (b'"ready"' in out) == (1 not in closed)


@pytest.mark.parametrize("stalled", [True, False])
def test_a_log_that_nobody_reads_stalls_nothing(tmp_path: Path, stalled: bool) -> None:
    process = start(flags(tmp_path))
    assert process.child.stdout is not None
    with open(f"/proc/{process.child.pid}/fd/1", "wb", buffering=0) as log:  # noqa: PTH123
        os.set_blocking(log.fileno(), False)
        while stalled and log.write(b"x" * 4095 + b"\n"):
            pass
    process.child.terminate()
    assert process.child.wait(PATIENCE_S) == 0
    assert ("stopped" in process.child.stdout.read()) is not stalled


# --- the control socket -----------------------------------------------------------------------------------------------


async def test_the_control_socket_is_private_and_goes_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    before = os.umask(0)
    try:
        async with stage(tmp_path) as s:
            assert s.server.control_address == f"unix:{path}"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert await s.director.list(TASK) == []
    finally:
        os.umask(before)
    assert not path.exists()


async def test_a_group_may_be_let_in_and_it_is_the_groups_of_the_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o2750)
    async with stage(tmp_path, control_access="group"):
        found = (tmp_path / "control.sock").stat()
        assert stat.S_IMODE(found.st_mode) == 0o660
        assert found.st_gid == tmp_path.stat().st_gid


async def test_without_the_umask_anyone_could_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin."""
    before = os.umask(0)
    try:
        monkeypatch.setattr(os, "umask", lambda _: 0)
        async with stage(tmp_path):
            assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) & 0o077
    finally:
        monkeypatch.undo()
        os.umask(before)


async def test_without_making_way_a_second_coordinator_takes_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin of the next: grpc itself asks nobody."""
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(listening, "make_way", lambda _: None)
    async with stage(tmp_path) as first, stage(tmp_path / "other", control=f"unix:{tmp_path}/control.sock") as thief:
        round_id = await first.director.open(make_config(3, SEMI_HONEST))  # to its own address, it believes
        assert list(first.server.rounds.newest_first()) == []
        assert [r.record.round_id for r in thief.server.rounds.newest_first()] == [round_id]


async def test_a_stale_socket_is_replaced_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with stage(tmp_path) as s:
        result = await asyncio.to_thread(run, flags(tmp_path, control=f"unix:{path}"))
        assert "another coordinator is listening there" in result.stderr
        assert await s.director.list(TASK) == []


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("precious")
    result = run(flags(tmp_path, control=f"unix:{path}"))
    assert "is no socket" in result.stderr
    assert path.read_text() == "precious"
    assert "folder does not exist" in run(flags(tmp_path, control=f"unix:{tmp_path}/no/such.sock")).stderr
    assert "longer than 107 bytes" in run(flags(tmp_path, control=f"unix:{tmp_path}/{'x' * 100}")).stderr


async def presented(address: str) -> int:
    """The serial number of the certificate that a new connection is shown."""
    host, port = address.rsplit(":", 1)
    context = ssl.create_default_context(cadata=site().ca_pem.decode())
    with tempfile.NamedTemporaryFile() as file:
        made = site().people[NAMES[0]]
        Path(file.name).write_bytes(made.certificate_pem + made.key_pem.expose())
        context.load_cert_chain(file.name)
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
    shown = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(True))
    writer.close()
    return shown.serial_number


@pytest.mark.parametrize("told", [True, False])
async def test_new_connections_get_a_renewed_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """And the old one where grpc is never told of another: the twin. Receipts are signed with the new one, too."""
    if not told:
        monkeypatch.setattr(Renewal, "_changed", lambda _: None)
    async with stage(tmp_path) as s:
        old = await presented(s.server.data_address)
        made = site().another_server()
        (tmp_path / "cert.pem").write_bytes(made.certificate_pem)
        (tmp_path / "key.pem").write_bytes(made.key_pem.expose())
        s.server.renewal.wake()
        while old == x509.load_der_x509_certificate(s.server.renewal.loaded.identity.chain[0]).serial_number:
            await asyncio.sleep(0.02)
        now = await presented(s.server.data_address)
        assert (now != old) is told
        _, people = await s.open(make_config(3, SEMI_HONEST))
        await asyncio.gather(*(p.play() for p in people))


@pytest.mark.parametrize("length", [1, 2, 3, 4])
async def test_participants_of_an_existing_pki(tmp_path: Path, length: int) -> None:
    """Certificates of intermediate CAs; everybody trusts the root alone."""
    root, issued = chain_of(length, NAMES[0])
    settings = make_settings(tmp_path)
    settings.participant_ca.write_bytes(site().ca_pem + root)
    async with running_server(settings) as server:
        opened = await server.rounds.open(os.urandom(16), encode_config(make_config(3, SEMI_HONEST)))
        round_id = opened.record.round_id
        async with channel(server.data_address, issued) as connection:
            player = Player(NAMES[0], stubs.data_plane(connection))
            assert (await player.find(round_id=round_id)).round_id == round_id


def chain_of(length: int, name: str) -> tuple[bytes, IssuedCertificate]:
    """A root in PEM, and a participant's certificate with `length` - 1 intermediate CAs behind it."""
    now = datetime.now(UTC)

    def signed(
        subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, ca: bool
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        )
        if not ca:
            urn = x509.UniformResourceIdentifier(f"urn:secagg:participant:{name}")
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            builder = builder.add_extension(x509.SubjectAlternativeName([urn]), critical=False)
        return builder.sign(by, hashes.SHA256())

    def named(text: str) -> x509.Name:
        organisation = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "north")] if text == name else []
        return x509.Name([*organisation, x509.NameAttribute(NameOID.COMMON_NAME, text)])

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(length + 1)]
    names = [named("root"), *(named(f"CA {i}") for i in range(length - 1)), named(name)]
    above = [0, *range(length)]
    made = [signed(names[i], names[up], keys[i], keys[up], i < length) for i, up in enumerate(above)]
    pem = [certificate.public_bytes(serialization.Encoding.PEM) for certificate in made]
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key = Secret(keys[-1].private_bytes(serialization.Encoding.PEM, *plain))
    return pem[0], IssuedCertificate(b"".join(reversed(pem[1:])), key)


async def test_intermediates_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a server that looks at the certificate alone refuses whoever has one of an intermediate CA."""
    verified = Callers._verified
    monkeypatch.setattr(Callers, "_verified", lambda self, pem, now: verified(self, pem[:1], now))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await test_participants_of_an_existing_pki(tmp_path, 2)
    assert isinstance(failure_of(refused.value), AuthenticationError)
