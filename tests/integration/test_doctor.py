"""The doctor at each side of real deployments that something is wrong with."""

import errno
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from secagg_server.calls.data_plane import DataPlane

from secagg.cli.doctor import control, coordinator, participant
from secagg.cli.doctor.findings import SET_CLOCK, Finding, Level
from secagg.cli.doctor.participant import Participant
from secagg.cli.main import main
from secagg.crypto.authority import Authority, IssuedCertificate, create_authority, issue_participant, issue_server
from secagg.errors import LedgerError
from secagg.privacy.ledger import Budget, Ledger
from secagg.programs.ledgers.files import locked
from secagg.transport.addresses import TcpAddress, parse_tcp
from tests.nobody import as_nobody, place
from tests.serving import NAMES, PATIENCE_S, site, stage, write_site
from tests.spoilt_starts import HOUR, NOW, SITUATIONS, Situation, Start
from tests.taking_part import in_thread


def level_of(findings: list[Finding]) -> dict[str, Level]:
    """By check, the worst."""
    order = list(Level)
    found: dict[str, Level] = {}
    for one in findings:
        found[one.check] = max(found.get(one.check, Level.OK), one.level, key=order.index)
    return found


def troubles(findings: list[Finding]) -> list[str]:
    """What is not fine, as `check: text; run: command`."""
    return [
        f"{one.check}: {one.text}" + (f"; run: {one.mend}" if one.mend else "")
        for one in findings
        if one.level is not Level.OK
    ]


# --- the coordinator's machine ----------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    return Start(tmp_path)


def examined(start: Start, monkeypatch: pytest.MonkeyPatch, address: str | None = None) -> list[Finding]:
    """What the doctor finds; the settings are in the environment, as in a container."""
    for name, value in start.flags.items():
        if name != "config":
            monkeypatch.setenv(f"SECAGG_SERVER_{name.upper()}", value)
    for name, value in start.environment.items():
        monkeypatch.setenv(name, value)
    return list(coordinator.examine(Path(start.flags["config"]), None if address is None else parse_tcp(address)))


@pytest.mark.parametrize("spoil", SITUATIONS, ids=lambda spoil: spoil.__name__)
def test_what_refuses_a_start_is_found(start: Start, spoil: Situation, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of the start itself: both call one check."""
    expected = spoil(start)
    errors = [one for one in examined(start, monkeypatch) if one.level is Level.ERROR]
    said = [f"{one.text}; run: {one.mend}" if one.mend else one.text for one in errors]
    if spoil.__name__ == "file_for_a_ledger_folder":  # which the start finds when it makes the folder
        expected = "ledger is no folder; choose another with the setting ledger_dir"
    assert any(re.search(expected, one) for one in said), said
    clocks = {"clock_behind_the_certificate", "clock_behind_the_ca", "clock_ahead_of_the_certificate"}
    assert len(errors) == 1 or spoil.__name__ in clocks, said


def test_files_that_are_missing_have_a_command_that_brings_them(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("certificate", "participant_ca"):
        Path(start.flags[name]).unlink()
    ca, certificate = (one for one in examined(start, monkeypatch) if one.level is Level.ERROR)
    assert ca.mend == f"install -m 644 secagg-ca/ca.pem {start.flags['participant_ca']}"
    assert certificate.mend == "secagg ca issue server --host $(hostname -f)"


def test_nothing_is_wrong_with_a_start_that_would_succeed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(path.relative_to(start.folder) for path in start.folder.rglob("*"))
    findings = examined(start, monkeypatch, "localhost:7443")
    assert troubles(findings) == []
    assert [one.check for one in findings] == [
        *("settings", "user", "CA", "certificate", "chain", "names", "clock", "control", "data plane", "open files"),
        *("state", "ledger", "disk", "extra", "memory", "suite"),
    ]
    assert sorted(path.relative_to(start.folder) for path in start.folder.rglob("*")) == before


def test_a_gateway_is_looked_at(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start.gateway()
    most = open_files_of(examined(start, monkeypatch))
    findings = examined(start, monkeypatch)
    assert troubles(findings) == []
    said = [one.text for one in findings if one.check.startswith("gateway")]
    assert said[0] == "1 key of tokens"
    assert re.match(r"the gateway's certificate for app\.example: expires on .*, in (29|30) days", said[1])
    assert re.match(r"127\.0\.0\.1:0 is free", said[2])
    start.flags["gateway_connections"] = "301"
    assert open_files_of(examined(start, monkeypatch)) == most + 233, "what the gateway takes, participants have not"


def open_files_of(findings: list[Finding]) -> int:
    """How many connections there may be."""
    (text,) = [one.text for one in findings if one.check == "open files"]
    return int(re.search(r"which is (\d+) connections", text)[1])  # type: ignore[index]


Spoil = Callable[[Start], Any]


def soon(start: Start) -> None:
    start.certificate(NOW, validity=timedelta(days=10))


def gateway_soon(start: Start) -> None:
    start.gateway(validity=timedelta(days=10))


def gateway_for_no_browser(start: Start) -> None:
    start.gateway()
    for name in ("gateway_certificate", "gateway_key"):
        del start.flags[name]
    start.flags["gateway_origins"] = '["https://app.example"]'


def foreign_certificate(start: Start) -> None:
    made = create_authority(name="another", now=NOW)
    Path(start.flags["participant_ca"]).write_bytes(made.certificate_pem)


def stale_socket(start: Start) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(start.flags["control"].removeprefix("unix:"))


def open_folder(start: Start) -> None:
    (start.folder / "run").chmod(0o777)


def no_ledger(start: Start) -> None:
    del start.flags["ledger_dir"]
    start.flags["budgets"] = '{"digits": {"epsilon": 1.0}}'


def all_addresses(start: Start) -> None:
    start.flags["listen"] = "0.0.0.0:0"


@pytest.mark.parametrize(
    ("spoil", "trouble"),
    [
        (soon, r"certificate: localhost: expires on .*, in (9|10) days; run: secagg ca issue server --host localhost$"),
        (
            gateway_soon,
            r"gateway files: the gateway's certificate for app\.example: expires on .*, in (9|10) days; run: ",
        ),
        (
            gateway_for_no_browser,
            r"gateway files: the gateway shows the coordinator's certificate, which no browser be",
        ),
        (
            foreign_certificate,
            r"chain: coordinator's certificate: issued by a foreign CA.*; run: secagg ca issue server",
        ),
        (open_folder, r"control: everybody may exchange the socket in \S+ \(mode 0777\); run: chmod 700 \S+$"),
        (no_ledger, r"ledger: no state_dir or ledger_dir is set, so a restart forgets what was spent"),
        (
            all_addresses,
            r"names: the certificate is for localhost, 127\.0\.0\.1 alone, so participants on other machines ",
        ),
    ],
)
def test_what_will_go_wrong_later_is_a_warning(
    start: Start, spoil: Spoil, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(start)
    findings = examined(start, monkeypatch)
    (said,) = troubles(findings)
    assert re.match(trouble, said)
    assert Level.ERROR not in level_of(findings).values()


def test_everybody_may_write_in_a_sticky_folder(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in /tmp: nobody can exchange another's socket there."""
    (start.folder / "run").chmod(0o1777)
    assert troubles(examined(start, monkeypatch)) == []


def test_a_socket_that_was_left_behind_is_said_and_left(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    stale_socket(start)
    (found,) = [one for one in examined(start, monkeypatch) if one.check == "control"]
    assert found.level is Level.OK
    assert "was left by a sidecar that died" in found.text
    assert Path(start.flags["control"].removeprefix("unix:")).exists()


def test_names_are_compared_with_what_participants_write(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = troubles(examined(start, monkeypatch, "aggregator.example.org:7443"))
    assert said == (
        "names: participants connect to aggregator.example.org, and the certificate is for localhost, 127.0.0.1; "
        "run: secagg ca issue server --host aggregator.example.org --host localhost --host 127.0.0.1"
    )


@pytest.mark.parametrize("setting", ["listen", "control", "status", "gateway"])
def test_who_has_a_port_is_said(start: Start, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has it. A control plane on a port is taken for a sidecar, which does not answer."""
    if setting == "gateway":
        start.gateway()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        start.flags[setting] = f"127.0.0.1:{port}"
        monkeypatch.setattr(coordinator, "_ASK_S", 0.2)
        said = troubles(examined(start, monkeypatch))
    if setting == "control":
        assert re.match(
            rf"running: somebody listens on 127\.0\.0\.1:{port}, and that is no sidecar that works: .*; run: ss",
            said.pop(0),
        )
    assert re.match(
        rf"(data plane|status|control|gateway): cannot listen on 127\.0\.0\.1:{port} .*another program listens there; "
        rf".*\(\S.*, process {os.getpid()}\); run: ss -ltnp",
        said[0],
    )


def test_a_ledger_that_somebody_has(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(Path(start.flags["ledger_dir"])):
        (said,) = troubles(examined(start, monkeypatch))
    assert re.match(r"ledger: \S+ belongs to a coordinator or job that is running$", said)


def test_a_disk_that_is_full(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = start.folder / "ledger"

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("secagg.programs.disk.os.pwrite", full)
    (said,) = troubles(examined(start, monkeypatch))
    assert said.startswith(f"disk: the ledger folder {start.folder} cannot be written: No space left on device; ")
    folder.mkdir(mode=0o700)
    (said,) = troubles(examined(start, monkeypatch))
    assert said.startswith(f"disk: the ledger folder {folder} cannot be written: No space left on device; ")
    assert said.endswith(f"; run: df -h {folder}; ls -ld {folder}")


def test_a_socket_folder_on_a_disk_that_can_only_be_read(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """To give the folder away would not help."""
    read_only = os.statvfs_result((*os.statvfs(start.folder)[:8], os.ST_RDONLY, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: read_only)
    (said,) = [one for one in troubles(examined(start, monkeypatch)) if one.startswith("control")]
    assert said.endswith("its folder can only be read, by everybody; choose another with the setting control")


def test_a_disk_that_is_nearly_full(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "LITTLE_DISK_BYTES", 1 << 62)
    for _ in ("before the folder is made", start.ledger):
        (said,) = troubles(examined(start, monkeypatch))
        assert re.match(r"disk: \S+ MiB are free below .*rounds with noise are refused; run: du ", said)


def test_few_open_files(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg_server.limits.open_files._raised", lambda: 1024)
    (said,) = troubles(examined(start, monkeypatch))
    assert re.match("open files: 1024 files may be open here, which is 274 connections; .*; run: ulimit -Hn", said)
    monkeypatch.setattr("secagg_server.limits.open_files._raised", lambda: 210)
    (said,) = troubles(examined(start, monkeypatch))
    assert re.match("open files: this process may open 210 files, which is 3 connections; raise the hard limit", said)


def test_a_folder_for_the_ledger_that_may_not_be_made(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with place() as closed:
        start.flags["ledger_dir"] = str(closed / "ledger")
        settings = {name: value for name, value in start.flags.items() if name != "config"}
        for name, value in settings.items():
            monkeypatch.setenv(f"SECAGG_SERVER_{name.upper()}", value)
        from secagg_server.settings import load_settings

        loaded = load_settings(None, {})
        closed.chmod(0o555)
        with as_nobody():
            found = list(coordinator._ledger(loaded, time.time(), running=False))
    assert re.match(r"ledger: \S+ does not exist, .* not make it; run: sudo install -d -m 700 -o", troubles(found)[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can look at another user's files")
def test_root_is_told_that_it_sees_less(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(start.flags["key"], 65_532, 65_532)
    (said, *_) = troubles(examined(start, monkeypatch))
    assert said.startswith("user: root may do what the sidecar's user, 65532, may not: ")
    assert said.endswith(f"; run: sudo --preserve-env -u '#65532' secagg doctor --config {start.flags['config']}")


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give files away")
def test_another_user_is_told_whose_the_key_is(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What mends the start of this user would take the files from the sidecar."""
    os.chown(start.flags["key"], 65_532, 65_532)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    (said, *_) = troubles(examined(start, monkeypatch))
    for owner, told in ((65_532, 1), (0, 0), (1234, 0)):  # Kubernetes mounts a key that is root's
        os.chown(start.flags["key"], owner, owner)
        assert sum("this is user 1234" in one.text for one in examined(start, monkeypatch)) == told
    assert said.startswith("user: this is user 1234, and the key belongs to 65532: if the sidecar runs as 65532, run ")
    assert said.endswith(f"; run: sudo --preserve-env -u '#65532' secagg doctor --config {start.flags['config']}")


@pytest.mark.parametrize(
    ("spoil", "check", "mend"),
    [
        (lambda start: start.certificate(NOW + 5 * HOUR), "certificate", SET_CLOCK),
        (lambda start: young_ca(start, NOW + 5 * HOUR), "CA", SET_CLOCK),
        (lambda start: young_ca(start, NOW - 30 * 24 * HOUR), "CA", "secagg ca init --dir secagg-ca-2"),
        (
            lambda start: start.certificate(NOW - 5 * HOUR, HOUR),
            "certificate",
            "secagg ca issue server --host localhost",
        ),
    ],
)
def test_a_command_fits_what_is_wrong_with_the_time(
    start: Start, spoil: Spoil, check: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(start)
    assert [one.mend for one in examined(start, monkeypatch) if one.check == check] == [mend]


def young_ca(start: Start, begin: datetime) -> None:
    made = create_authority(name="another", now=begin, validity=timedelta(days=29))
    Path(start.flags["participant_ca"]).write_bytes(made.certificate_pem)


def test_a_ledger_that_is_damaged(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(start.ledger) as folder:
        for task in ("heart", "lung"):
            ledger = Ledger.open(task, Budget(2.5, 1e-5))
            folder.append(task, ledger.lines[-1], ledger.head)
    assert "has the ledgers of 2 tasks, and they are whole" in str(examined(start, monkeypatch))
    (lung,) = start.ledger.glob("lung*.jsonl")
    lung.write_bytes(lung.read_bytes().replace(b"lung", b"long"))
    for gone in (False, True):  # the head is left
        if gone:
            lung.unlink()
        (said,) = troubles(examined(start, monkeypatch))
        assert re.match(r"ledger: 1 of 2 ledgers damaged, so rounds .* are refused: lung\S+\.jsonl: ", said), said
        assert said.endswith(f"; run: secagg ledger verify {start.ledger}")


def test_a_ledger_that_was_written_to_while_it_was_read(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(start.ledger) as folder:
        ledger = Ledger.open("heart", Budget(2.5, 1e-5))
        folder.append("heart", ledger.lines[-1], ledger.head)
    answers: Iterator[LedgerError | Ledger] = iter([LedgerError("rolled back"), ledger])

    def read(_: Path) -> Ledger:
        found = next(answers)
        if isinstance(found, LedgerError):
            raise found
        return found

    monkeypatch.setattr("secagg.programs.ledgers.files.read_ledger", read)
    assert troubles(examined(start, monkeypatch)) == []


def test_a_task_whose_budget_was_changed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(start.ledger) as folder:
        ledger = Ledger.open("heart", Budget(1.0, 1e-5))
        folder.append("heart", ledger.lines[-1], ledger.head)
    (said,) = troubles(examined(start, monkeypatch))
    assert said.startswith("budget: task heart began with ε = 1, δ = 1e-05, and the settings say ε = 2.5, δ = 1e-05: ")
    start.flags["budgets"] = '{"heart": {"epsilon": 1.0}}'
    assert troubles(examined(start, monkeypatch)) == []


def test_without_the_extras(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "dp_accounting", None)
        (said,) = troubles(examined(start, without))
        assert re.match(r"extra: .* needs the extra dp.*; run: pip install '\.\[server,dp\]'", said)
    monkeypatch.setitem(sys.modules, "secagg_server.settings", None)
    (said,) = troubles(examined(start, monkeypatch))
    assert re.match(r"extra: the coordinator's side needs the extra server.*; run: pip install '\.\[server\]'", said)


async def test_beside_a_running_sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked, and what it has taken is no trouble. Settings that are not its own are noticed."""
    async with stage(tmp_path, ledger_dir=tmp_path / "ledger", status="127.0.0.1:0") as running:
        given = {
            "control": running.server.control_address,
            "listen": running.server.data_address,
            "status": str(running.server.status_address),
            "ledger_dir": str(tmp_path / "ledger"),
            **{name: str(path) for name, path in write_site(tmp_path).items()},
        }
        for name, value in given.items():
            monkeypatch.setenv(f"SECAGG_SERVER_{name.upper()}", value)
        found = await in_thread(lambda: list(coordinator.examine(None, None)))
        assert troubles(found) == []
        assert {"running", "health", "versions", "clocks"} <= set(level_of(found))
        with socket.create_server(("127.0.0.1", 0)) as free:
            monkeypatch.setenv("SECAGG_SERVER_LISTEN", f"127.0.0.1:{free.getsockname()[1]}")
        (said,) = troubles(await in_thread(lambda: list(coordinator.examine(None, None))))
        assert re.match("data plane: nothing listens on .*: the running sidecar was started with other settings", said)


# --- the FL server ----------------------------------------------------------------------------------------------------


async def test_the_control_plane(tmp_path: Path) -> None:
    async with stage(tmp_path) as running:
        found = await in_thread(lambda: list(control.examine(running.server.control_address, PATIENCE_S)))
        assert troubles(found) == []
        assert [one.check for one in found] == ["socket", "health", "versions", "clocks"]
        path = Path(running.server.control_address.removeprefix("unix:"))
        with place() as open_to_all:
            (open_to_all / "control.sock").hardlink_to(path)
            with as_nobody():
                (said,) = troubles([control.socket_file(open_to_all / "control.sock")])
        assert re.match(r"socket: this user may not use \S+ \(mode 0600\).*; run: sudo -u \$\(stat -c %U ", said)


@pytest.mark.parametrize(
    ("target", "trouble"),
    [
        ("unix:{folder}/none.sock", "socket: .*none.sock does not exist: is the sidecar running"),
        ("unix:{folder}/file", "socket: .*file is no socket"),
        ("unix:{folder}/file/below", "socket: .*: Not a directory"),
        ("unix:{folder}/stale", "own call: the sidecar does not answer: cannot reach unix:"),
        ("192.0.2.1:7443", "address: the control plane is on a unix socket or on loopback only"),
        ("127.0.0.1:9", "own call: the sidecar does not answer: cannot reach 127.0.0.1:9"),
    ],
)
def test_a_control_plane_that_cannot_be_used(tmp_path: Path, target: str, trouble: str) -> None:
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "stale"))
    said = troubles(list(control.examine(target.format(folder=tmp_path), 2.0)))
    assert len(said) == 1
    assert re.match(trouble, said[0])


# --- a participant's machine ------------------------------------------------------------------------------------------


def write(folder: Path, made: IssuedCertificate, ca: bytes | None = None) -> Participant:
    """The files of a participant."""
    (folder / "own.pem").write_bytes(made.certificate_pem)
    (folder / "own.key").touch(mode=0o600)
    (folder / "own.key").write_bytes(made.key_pem.expose())
    (folder / "trusted.pem").write_bytes(ca or site().ca_pem)
    files = (folder / "own.pem", folder / "own.key", folder / "trusted.pem")
    return Participant(TcpAddress("127.0.0.1", 9), *files, timeout_s=5.0)


@pytest.fixture
def one(tmp_path: Path) -> Participant:
    return write(tmp_path, site().people[NAMES[0]])


async def seen(one: Participant, address: str) -> list[Finding]:
    return await in_thread(lambda: list(participant.examine(replace(one, address=parse_tcp(address)))))


async def test_a_connection_that_works(tmp_path: Path, one: Participant) -> None:
    async with stage(tmp_path) as running:
        found = await seen(one, running.server.data_address.replace("127.0.0.1", "localhost"))
    assert troubles(found) == []
    assert [each.check for each in found] == [
        *("suite", "certificate", "CA", "chain", "name", "port", "TLS", "clock", "health", "versions", "clocks")
    ]


@pytest.mark.parametrize(("ahead", "level"), [(7200.0, Level.ERROR), (90.0, Level.WARNING)])
async def test_a_coordinator_whose_clock_is_wrong(tmp_path: Path, one: Participant, ahead: float, level: Level) -> None:
    async with stage(tmp_path, clock=lambda: time.time() + ahead) as running:
        found = await seen(one, running.server.data_address)
    (said,) = troubles(found)
    assert re.match(rf"clocks: the coordinator's clock is (2\.0 hours|90\.\d s) ahead of .*; run: {SET_CLOCK}", said)
    assert level_of(found)["clocks"] is level


async def test_a_coordinator_of_an_older_release(
    tmp_path: Path, one: Participant, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_of_them: Any = vars(DataPlane)["answers"].fget
    older = property(lambda plane: {name: do for name, do in all_of_them(plane).items() if name != "Describe"})
    monkeypatch.setattr(DataPlane, "answers", older)
    async with stage(tmp_path) as running:
        (said,) = troubles(await seen(one, running.server.data_address))
    assert re.match("versions: the coordinator does not know the call Describe, so its release is older", said)


async def test_a_coordinator_that_does_not_take_our_certificate(tmp_path: Path) -> None:
    """Another CA has the trust of the coordinator: it closes the connection without a word, after the handshake."""
    own = create_authority(name="theirs", now=NOW)
    people = Authority.from_pem(own.certificate_pem, own.key_pem.expose())
    made = issue_participant(people, participant_id="clinic-1", organisation="north", now=NOW)
    one = write(tmp_path, made, site().ca_pem + own.certificate_pem)
    async with stage(tmp_path) as running:
        (said,) = troubles(await seen(one, running.server.data_address))
    assert re.match("TLS: the coordinator's certificate is right, and it closed the connection when it saw ours", said)


async def test_a_coordinator_is_not_blamed_for_our_own_certificate(tmp_path: Path, one: Participant) -> None:
    expired(one)
    async with stage(tmp_path) as running:
        own, refused = troubles(await seen(one, running.server.data_address))
    assert own.startswith("certificate: the certificate of c-1: expired on ")
    assert refused == (
        "TLS: the coordinator's certificate is right; it closed the connection when it saw ours, for the reason above"
    )


async def test_a_certificate_for_another_host(tmp_path: Path, one: Participant) -> None:
    async with stage(tmp_path) as running:
        elsewhere = replace(one, server_name="aggregator.example.org")
        (said,) = troubles(await seen(elsewhere, running.server.data_address))
    assert said == (
        "TLS: the coordinator's certificate is for localhost, 127.0.0.1, and not for aggregator.example.org: use a "
        "name that it has (--server-name), or issue it for this one too; run: secagg ca issue server --host "
        "aggregator.example.org"
    )


async def test_a_certificate_for_another_name_that_is_meant(tmp_path: Path, one: Participant) -> None:
    made = issue_server(site().authority, hosts=["aggregator.example.org"], now=NOW)
    files = {"certificate": tmp_path / "its.pem", "key": tmp_path / "its.key"}
    files["certificate"].write_bytes(made.certificate_pem)
    files["key"].touch(mode=0o600)
    files["key"].write_bytes(made.key_pem.expose())
    async with stage(tmp_path, certificate=files["certificate"], key=files["key"]) as running:
        found = await seen(replace(one, server_name="aggregator.example.org"), running.server.data_address)
    assert troubles(found) == []
    assert found[-1].check == "clocks"


def test_one_address_of_two_is_enough(one: Participant) -> None:
    with socket.create_server(("127.0.0.1", 0)) as living:
        there = replace(one, address=TcpAddress("localhost", living.getsockname()[1]))
        found = participant._reached(there, ["127.0.0.1", "127.0.0.2"])
        assert found.level is Level.WARNING
        assert re.match(r"nothing listens on port \d+ of 127\.0\.0\.2", found.text)
        assert participant._reached(there, ["127.0.0.1"]).level is Level.OK


async def test_a_coordinator_of_another_deployment(tmp_path: Path) -> None:
    other = create_authority(name="ours", now=NOW)
    people = Authority.from_pem(other.certificate_pem, other.key_pem.expose())
    made = issue_participant(people, participant_id="clinic-1", organisation="north", now=NOW)
    one = write(tmp_path, made, other.certificate_pem)
    async with stage(tmp_path) as running:
        (said,) = troubles(await seen(one, running.server.data_address))
    assert re.match(
        r"TLS: the certificate that 127\.0\.0\.1:\d+ shows is not of the CA in .*; run: secagg ca show ", said
    )


def expired(one: Participant) -> None:
    made = issue_participant(
        site().authority, participant_id="c-1", organisation="A & B", now=NOW - 48 * HOUR, validity=24 * HOUR
    )
    one.certificate.write_bytes(made.certificate_pem)
    one.key.write_bytes(made.key_pem.expose())


def of_tomorrow(one: Participant) -> None:
    made = issue_participant(site().authority, participant_id="c-1", organisation="A", now=NOW + 24 * HOUR)
    one.certificate.write_bytes(made.certificate_pem)
    one.key.write_bytes(made.key_pem.expose())


def nearly_expired(one: Participant) -> None:
    made = issue_participant(site().authority, participant_id="c-1", organisation="A & B", now=NOW, validity=72 * HOUR)
    one.certificate.write_bytes(made.certificate_pem)
    one.key.write_bytes(made.key_pem.expose())


def of_a_stranger(one: Participant) -> None:
    made = site().strangers[NAMES[0]]
    one.certificate.write_bytes(made.certificate_pem)
    one.key.write_bytes(made.key_pem.expose())


def of_a_server(one: Participant) -> None:
    one.certificate.write_bytes(site().server.certificate_pem)


def old_ca(one: Participant) -> None:
    one.ca.write_bytes(create_authority(name="old", now=NOW - 48 * HOUR, validity=24 * HOUR).certificate_pem)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda one: one.certificate.unlink(), [r"certificate: \S+own\.pem: No such file or directory"]),
        (lambda one: one.key.unlink(), [r"certificate: \S+own\.key: No such file or directory"]),
        (lambda one: one.ca.unlink(), [r"CA: \S+trusted\.pem: No such file or directory"]),
        (lambda one: one.key.chmod(0o644), [r"certificate: \S+ can be read by others .*; run: chmod 600 \S+own\.key$"]),
        (lambda one: one.ca.write_text("x"), ["CA: trusted CA file: no readable PEM certificate"]),
        (
            lambda one: one.key.write_bytes(site().people[NAMES[1]].key_pem.expose()),
            ["certificate: the certificate and the private key do not belong together"],
        ),
        (of_a_server, ["certificate: own certificate: not a participant certificate"]),
        (of_a_stranger, ["chain: participant certificate: issued by a foreign CA"]),
        (
            expired,
            [
                "certificate: the certificate of c-1: expired on .*; run: secagg ca issue .* --organisation 'A & B'$",
            ],
        ),
        (
            nearly_expired,
            ["certificate: c-1 of A & B: expires on .*; run: secagg ca issue participant c-1 --organisation 'A & B'$"],
        ),
        (
            of_tomorrow,
            [
                r"certificate: the certificate of c-1: not valid before .*; set the clock$",
                r"clock: .*2[34]\.\d hours before the certificate of c-1 begins to be valid: the clock is behind",
            ],
        ),
        (old_ca, ["CA: CA CN=old: expired on"]),
    ],
)
def test_files_of_a_participant(one: Participant, spoil: Callable[[Participant], Any], expected: list[str]) -> None:
    """Found without any coordinator: nothing listens on the port, which is said too."""
    spoil(one)
    said = [each for each in troubles(list(participant.examine(one))) if not each.startswith("port: ")]
    assert len(said) == len(expected), said
    for each, pattern in zip(said, expected, strict=True):
        assert re.match(pattern, each)


def test_a_name_that_nobody_knows(one: Participant) -> None:
    found = list(participant.examine(replace(one, address=TcpAddress("nowhere.invalid", 7443))))
    (said,) = troubles(found)
    assert re.match("name: no address is known for nowhere.invalid: .*; run: getent hosts nowhere.invalid$", said)


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (ConnectionRefusedError(), "nothing listens on port 9 of 127.0.0.1: is the coordinator running"),
        (TimeoutError(), "127.0.0.1 does not answer on port 9 within 5 s: a firewall, perhaps"),
        (OSError(113, "No route to host"), "127.0.0.1, port 9: No route to host"),
    ],
)
def test_a_port_that_is_not_reached(
    one: Participant, error: OSError, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> socket.socket:
        raise error

    monkeypatch.setattr(socket, "create_connection", refuse)
    (said,) = troubles(list(participant.examine(one)))
    assert said.startswith(f"port: {trouble}")
    assert said.endswith("; run: ip route get 127.0.0.1")


def test_a_proxy_is_told_of_without_its_password(one: Participant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.example.org:3128")
    found = list(participant.examine(one))
    (said,) = [each for each in troubles(found) if each.startswith("proxy: ")]
    assert re.match("proxy: gRPC goes through the proxy in https_proxy, .*; run: export no_proxy=127.0.0.1$", said)
    assert "secret" not in str(found)
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    assert not any(each.startswith("proxy: ") for each in troubles(list(participant.examine(one))))


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something else than a coordinator; its address. Each connection is served in turn."""

    def run() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            with link:
                link.settimeout(5.0)
                with suppress(OSError):
                    serve(link)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE_S)


def tls(
    folder: Path, made: IssuedCertificate, *, alpn: str = "h2", newest: bool = True
) -> Callable[[socket.socket], None]:
    """Serves a TLS of its own, with this certificate."""
    (folder / "tls.pem").write_bytes(made.certificate_pem + made.key_pem.expose())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    context.set_alpn_protocols([alpn])
    if not newest:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    def serve(link: socket.socket) -> None:
        with context.wrap_socket(link, server_side=True) as safe:
            safe.sendall(b"\0")
            safe.recv(1)

    return serve


def shown(begins: timedelta, lasts: timedelta) -> IssuedCertificate:
    return issue_server(site().authority, hosts=["127.0.0.1"], now=datetime.now(UTC) + begins, validity=lasts)


@pytest.mark.parametrize(
    ("serve", "expected"),
    [
        (
            lambda _: lambda link: link.close(),
            [r"TLS: the connection was closed in the handshake( \(.*\))?: something"],
        ),
        (lambda _: lambda link: link.sendall(b"220 mail.example.org ESMTP\r\n"), ["TLS: .* speaks no TLS 1.3"]),
        (lambda _: lambda link: link.recv(4096) and link.recv(4096), ["TLS: .* did not shake hands within 0.5 s"]),
        (lambda folder: tls(folder, site().server, newest=False), ["TLS: .* speaks no TLS 1.3"]),
        (
            lambda folder: tls(folder, site().server, alpn="http/1.1"),
            ["TLS: TLSv1.3, but the other end speaks no HTTP/2"],
        ),
        (
            lambda folder: tls(folder, shown(-5 * HOUR, HOUR)),
            ["TLS: the coordinator's certificate is valid from .*; run: secagg ca issue server --host 127.0.0.1$"],
        ),
        (
            lambda folder: tls(folder, shown(5 * HOUR, 24 * HOUR)),
            [
                f"TLS: the coordinator's certificate is valid from .* to .*; run: {SET_CLOCK}$",
                r"clock: .* 4\.\d hours before the coordinator's certificate begins to be valid: .* behind",
            ],
        ),
    ],
    ids=["closes", "mail", "silent", "tls12", "http1", "expired", "of tomorrow"],
)
def test_something_else_than_a_coordinator(
    tmp_path: Path, one: Participant, serve: Callable[[Path], Callable[[socket.socket], None]], expected: list[str]
) -> None:
    patience = 0.5 if expected[0].endswith("0.5 s") else one.timeout_s
    with listening(serve(tmp_path)) as address:
        said = troubles(list(participant.examine(replace(one, address=parse_tcp(address), timeout_s=patience))))
    assert len(said) == len(expected), said
    for each, pattern in zip(said, expected, strict=True):
        assert re.match(pattern, each), each


@pytest.mark.parametrize("begins", [timedelta(0), -48 * HOUR])
def test_what_an_unknown_server_says_is_in_no_command(tmp_path: Path, one: Participant, begins: timedelta) -> None:
    """Its certificate is refused: a command made of its names would have our CA certify them."""
    made = issue_server(site().authority, hosts=["evil.example.org"], now=NOW + begins, validity=24 * HOUR)
    with listening(tls(tmp_path, made)) as address:
        found = list(participant.examine(replace(one, address=parse_tcp(address))))
    assert level_of(found)["TLS"] is Level.ERROR
    assert not any("evil" in each.mend for each in found)


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SECAGG", "COLUMNS"))}
    program = [sys.executable, "-m", "secagg", "doctor", *arguments]
    return subprocess.run(
        program, env=clean | environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


def test_the_command_without_a_terminal(start: Start) -> None:
    lines = [f'{name} = "{value}"' for name, value in start.flags.items() if name != "config"]
    config = start.folder / "all.toml"
    config.write_text("\n".join(lines))
    good = run("--config", str(config))
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith(f"The sidecar on this machine, settings from {config}\nok       settings ")
    assert good.stdout.endswith("\n\nNothing is wrong.\n")
    Path(start.flags["key"]).chmod(0o644)
    bad = run("--config", str(config), PYTHONIOENCODING="ascii")
    assert bad.returncode == 1
    assert f"run: chmod 600 {start.flags['key']}\n" in bad.stdout
    assert bad.stdout.endswith("\n1 error\n")
    told = run("--config", str(config), "--json")
    assert told.returncode == 1
    report = json.loads(told.stdout)
    assert (report["errors"], report["warnings"]) == (1, 0)
    (error,) = [each for each in report["findings"] if each["level"] == "error"]
    assert (error["side"], error["check"]) == ("coordinator", "certificate")
    assert error["mend"] == f"chmod 600 {start.flags['key']}"


def test_settings_in_the_environment_are_looked_at(start: Start) -> None:
    """As in a container, whose environment has them all."""
    given = {f"SECAGG_SERVER_{name.upper()}": value for name, value in start.flags.items() if name != "config"}
    result = run(**given)
    assert result.returncode == 0, result
    assert result.stdout.startswith("The sidecar on this machine, settings from the environment\n")
    file = run(SECAGG_SERVER_CONFIG="missing.toml")
    assert file.returncode == 1
    assert "ERROR    settings     settings file missing.toml does not exist\n" in file.stdout
    asked = run("--control", "127.0.0.1:9", "--json", **given)  # what was asked for, and nothing else
    assert {each["side"] for each in json.loads(asked.stdout)["findings"]} == {"control"}


def test_each_side_has_its_option(one: Participant) -> None:
    nothing = run()
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert nothing.stderr.startswith("error: say what to look at: --config FILE on the coordinator's machine")
    files = ("--certificate", str(one.certificate), "--key", str(one.key), "--ca", str(one.ca))
    both = run("--address", "127.0.0.1:9", *files, "--control", "127.0.0.1:9", "--json")
    assert both.returncode == 1
    assert {each["side"] for each in json.loads(both.stdout)["findings"]} == {"control", "participant"}
    wrong = run("--address", "nowhere")
    assert wrong.returncode == 1
    assert wrong.stderr == "error: 'nowhere' is no address; write HOST:PORT, IPv6 as [::1]:PORT\n"


def test_a_warning_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = Start(tmp_path)
    soon(start)
    config = tmp_path / "all.toml"
    config.write_text("\n".join(f'{name} = "{value}"' for name, value in start.flags.items() if name != "config"))
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--config", str(config)])
    assert caught.value.code == 0
    assert capsys.readouterr().out.endswith("\n1 warning\n")
