"""What keeps the coordinator from starting: one line that says what to change, and exit code 1, from the real program.

`serve` runs as a process of its own, and `check-config` in this one.
"""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from secagg_server.cli import main

from secagg.programs.ledgers.files import MARKER
from tests.spoilt_starts import SITUATIONS, Situation, Start


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """`check-config` chooses where this process logs to."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


def told(result: subprocess.CompletedProcess[str]) -> str:
    """The one line. The log has the same, unless it was not known yet where to log."""
    assert result.returncode == 1, result
    (line,) = result.stderr.splitlines()
    logged = [json.loads(one) for one in result.stdout.splitlines()]
    assert [(one["event"], f"error: {one['detail']}") for one in logged] in ([], [("failed", line)])
    return line


@pytest.mark.parametrize("spoil", SITUATIONS, ids=lambda spoil: spoil.__name__)
def test_what_is_wrong_is_one_line(
    start: Start, spoil: Situation, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = "error: .*" + spoil(start)
    assert re.match(expected, told(start.serve()))
    for name, value in start.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        main(["check-config", *start.arguments])
    assert caught.value.code == 1
    assert re.match(expected, capfd.readouterr().err)


@pytest.mark.parametrize("setting", ["listen", "control", "status", "gateway"])
def test_a_port_in_use_is_one_line(start: Start, setting: str) -> None:
    """gRPC itself would add lines of its own."""
    if setting == "gateway":
        start.gateway()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        start.flags[setting] = f"127.0.0.1:{port}"
        assert told(start.serve()) == (
            f"error: cannot listen on 127.0.0.1:{port} (setting {setting}): another program listens there; stop it, or "
            f"choose another port; run: ss -ltnp 'sport = :{port}'"
        )


def test_a_disk_without_room_is_one_line(start: Start) -> None:
    """Files may be 16 KiB long and no longer: the marker fits, and what a ledger needs does not."""
    start.limit = 16
    folder = start.folder / "ledger"
    assert told(start.serve()) == (
        f"error: the ledger folder {folder} cannot be written: File too large; give this user a folder of its own on a "
        f"disk with room; run: df -h {folder}; ls -ld {folder}"
    )
    assert list(folder.iterdir()) == []


def test_what_the_line_says_mends_it(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing else is wrong with these starts: the command after `run:` is all that they need."""
    Path(start.flags["key"]).chmod(0o644)
    start.flags["control"] = f"unix:{start.folder}/missing/control.sock"
    later = time.time() + 3 * 3600
    ledger = start.ledger
    os.utime(ledger / MARKER, (later, later))
    ledger.chmod(0o777)
    commands = []
    for _ in range(5):
        with pytest.raises(SystemExit) as caught:
            main(["check-config", *start.arguments])
        said = capfd.readouterr().err
        if caught.value.code == 0:
            break
        touch = re.search(r"\((touch [^)]*)\)", said)  # the clock is right: the second of two cures
        commands.append(touch[1] if touch else said.split("; run: ")[1])
        subprocess.run(["sh", "-c", commands[-1]], check=True)
    assert [command.split()[0] for command in commands] == ["chmod", "install", "chmod", "touch"]
