"""What the tests of pages and examples run on: a folder with a deployment as docs/by-hand.md makes it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 120


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Machine:
    """A folder, free ports, and a shell that takes them for the ones in the text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.status_port = free_port(), free_port()
        for name, module in (("secagg", "secagg"), ("secagg-server", "secagg_server")):  # where they are not installed
            program = folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
            program.chmod(0o755)
        for place in ("etc/secagg", "run/secagg", "var/lib/secagg"):
            (folder / place).mkdir(parents=True)

    def placed(self, text: str) -> str:
        for place in ("/etc/secagg", "/run/secagg", "/var/lib/secagg"):
            text = text.replace(place, f"{self.folder}{place}")
        for usual, own in ((7443, self.port), (9464, self.status_port)):
            text = text.replace(f"0.0.0.0:{usual}", f"127.0.0.1:{own}").replace(f":{usual}", f":{own}")
        return text

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{self.folder}/bin:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
        }

    def shell(self, text: str) -> str:
        done = self.start("bash", "-eu", "-c", self.placed(text))
        return self.end(done)

    def python(self, text: str, *arguments: str) -> "subprocess.Popen[str]":
        return self.start(sys.executable, "-c", self.placed(text), *arguments)

    def start(self, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def end(self, process: "subprocess.Popen[str]") -> str:
        out, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, out
        return out

    @contextmanager
    def serving(self, command: str) -> "Iterator[subprocess.Popen[str]]":
        with self.start("bash", "-c", "exec " + self.placed(command)) as process:
            try:
                until(process, "ready")
                yield process
            finally:
                process.terminate()
                process.communicate(timeout=TIMEOUT_S)


def until(process: "subprocess.Popen[str]", event: str) -> str:
    """The log of a coordinator, from where it was read up to the line of an event."""
    assert process.stdout is not None
    end = monotonic() + TIMEOUT_S
    seen = ""
    while f'"event": "{event}"' not in seen:
        line = process.stdout.readline()
        assert line, seen
        assert monotonic() < end, seen
        seen += line
    return seen


def serve_command(texts: list[str]) -> str:
    (command,) = [text for text in texts if text.startswith("secagg-server serve")]
    return command


def make_identities(machine: Machine, texts: list[str]) -> None:
    machine.shell(next(text for text in texts if text.startswith("secagg ca init")))


def play(machine: Machine, example: str) -> str:
    """Run server.py and three times site.py of a folder of docs/examples, and say what the server printed. It prints a
    line once it listens.
    """
    port = str(free_port())
    for file in (ROOT / "docs/examples" / example).glob("*.py"):
        (machine.folder / file.name).write_text(machine.placed(file.read_text()).replace("7000", port))
    server = machine.start(sys.executable, "server.py")
    assert server.stdout is not None
    told = server.stdout.readline()
    for process in [machine.start(sys.executable, "site.py", str(site)) for site in (1, 2, 3)]:
        machine.end(process)
    return told + machine.end(server)
