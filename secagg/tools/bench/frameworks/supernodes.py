"""One run over a SuperLink and SuperNodes, each a process on loopback, without TLS.

`python -m secagg.tools.bench.frameworks.supernodes SETTING FIGURES MODEL UPLOAD`, with the files of `simulation`. What
passes the coordinator is not in the bytes of a round.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from secagg.errors import LocalError
from secagg.tools.bench.frameworks.setting import Setting

SETTING: Final = "SECAGG_BENCH_SETTING"
FILES: Final = "SECAGG_BENCH_FILES"

_BIN: Final = Path(sys.executable).parent
_START_S: Final = 90.0
_RUN_S: Final = 480.0
_STOP_S: Final = 10.0
_PROJECT: Final = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "measured"
version = "1.0.0"
description = "measured"
license = "Apache-2.0"
requires-python = ">=3.11"
dependencies = []
[tool.hatch.build.targets.wheel]
packages = ["measured"]
[tool.flwr.app]
publisher = "secagg"
[tool.flwr.app.components]
serverapp = "measured.apps:server"
clientapp = "measured.apps:client"
[tool.flwr.app.config]
"""
_APPS: Final = """from secagg.tools.bench.frameworks import deployed

client = deployed.client
server = deployed.server
"""


def run(setting: Setting, files: list[Path]) -> None:
    """Play all rounds; the server app writes the files.

    Raises:
        LocalError: a process does not start, or the run fails; the message holds the end of a log.
    """
    from secagg.tools.bench.frameworks.simulation import coordinating  # noqa: PLC0415 - imports Flower

    beside: dict[str, Any] = {}
    with TemporaryDirectory(prefix="secagg-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        held, _ = stack.enter_context(coordinating(setting, beside))
        home, app = folder / "home", folder / "app"
        (app / "measured").mkdir(parents=True)
        home.mkdir()
        (app / "pyproject.toml").write_text(_PROJECT, encoding="utf-8")
        (app / "measured" / "__init__.py").touch()
        (app / "measured" / "apps.py").write_text(_APPS, encoding="utf-8")
        port, *ports = _free(1 + setting.clients)
        here = f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
        (home / "config.toml").write_text(here, encoding="utf-8")
        environment = {
            **os.environ,
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "PATH": f"{_BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            SETTING: held.text(),
            FILES: os.pathsep.join(map(str, files)),
        }
        link = ["flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(port)]
        link.append("--disable-runtime-dependency-installation")
        stack.enter_context(_running(link, folder / "superlink.log", environment))
        _wait_for(port, folder / "superlink.log")
        for node, own in enumerate(ports):
            config = f"partition-id={node} num-partitions={setting.clients}"
            command = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", "--host", "127.0.0.1"]
            command += ["--port", str(own), "--node-config", config]
            stack.enter_context(_running(command, folder / f"node-{node}.log", environment))
        done = subprocess.run(  # noqa: S603, Flower's own command
            [str(_BIN / "flwr"), "run", str(app), "here", "--stream"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_RUN_S,
            check=False,
        )
        if not files[0].exists():
            logs = "".join(path.read_text(encoding="utf-8")[-1000:] for path in folder.glob("*.log"))
            raise LocalError(f"the run gave no figures: {done.stdout[-1000:]}{done.stderr[-1000:]}{logs}")
    found = json.loads(files[0].read_text(encoding="utf-8"))
    files[0].write_text(json.dumps({**found, **beside}), encoding="utf-8")


@contextmanager
def _running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    """A process, ended with the group of those that it starts."""
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603, Flower's own commands
            [str(_BIN / command[0]), *command[1:]], env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def _free(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in taken]


def _wait_for(port: int, log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise LocalError(f"the SuperLink did not start: {log.read_text(encoding='utf-8')[-1000:]}")


if __name__ == "__main__":
    run(Setting.of(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
