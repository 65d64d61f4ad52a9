"""`flwr run` on an app that lists secagg among its dependencies: python run_app.py WHEEL.

Run it with a Python that has `flwr[simulation]` and no secagg, as on a machine whose user knows Flower alone. Flower
itself resolves the app's dependencies, with `uv sync`, and secagg must be among what it installs: the wheel that is
named here, and no package of that name on an index. `uv sync` asks the package index, so this is a step of .ci/run and
no test of tests/frameworks, which ask nobody. The SuperLink and the simulation are on loopback.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

APP = Path(__file__).parent / "app"
BIN = Path(sys.executable).parent
SOURCES = '\n[tool.uv.sources]\nsecagg = {{ path = "{wheel}" }}\n'
"""What the page on frameworks says about where Flower finds the wheel."""

STARTS_WITHIN = 300.0  # seconds
ENDS_WITHIN = 900.0
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def superlink(home: Path, environment: dict[str, str]) -> Iterator[None]:
    """A SuperLink on loopback that simulates the nodes, named in the configuration of `home`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "{address}"\ninsecure = true\n'
    )
    host, port = address.split(":")
    command = [str(BIN / "flower-superlink"), "--insecure", "--simulation", "--host", host, "--port", port]
    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_for(f"http://{address}/health", process)
            yield
        finally:
            process.terminate()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while process.poll() is None and time.monotonic() < until:
        try:
            urlopen(url, timeout=1).close()  # noqa: S310 - loopback
            return
        except (URLError, TimeoutError):
            time.sleep(0.2)
    raise SystemExit("error: the SuperLink did not start")


def at(home: Path) -> dict[str, str]:
    """Variables that give frameworks this home, as in conftest.py. What uv keeps stays where it is."""
    (home / "ray_bootstrap_config.yaml").write_text("cluster_name: tests\nprovider: {type: local}\n")
    kept = subprocess.run([sys.executable, "-m", "uv", "cache", "dir"], capture_output=True, text=True, check=True)
    return {"HOME": str(home), "FLWR_HOME": str(home), "UV_CACHE_DIR": kept.stdout.strip()}


def main(wheel: Path) -> None:
    if find_spec("secagg"):
        raise SystemExit(f"error: {sys.executable} has secagg already; Flower is to install it")
    with tempfile.TemporaryDirectory(prefix="flwr-run-") as folder:
        home, app = Path(folder, "home"), Path(folder, "app")
        home.mkdir()
        shutil.copytree(APP, app)
        with (app / "pyproject.toml").open("a") as project:
            project.write(SOURCES.format(wheel=wheel.resolve(strict=True)))
        environment = {**os.environ, **QUIET, **at(home), "PATH": f"{BIN}:{os.environ['PATH']}"}
        with superlink(home, environment):
            told = subprocess.run(
                [BIN / "flwr", "run", app, "here", "--stream", "--federation-config", "num-supernodes=3"],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=ENDS_WITHIN,
                check=False,
            ).stdout
        sys.stdout.write(told)
        check(told, home)


def check(told: str, home: Path) -> None:
    """Whether secagg came from the environment that Flower made for the run, and the sum is right."""
    ran_on, model = (re.search(rf"^{words} (.*)$", told, re.MULTILINE) for words in ("ran on", "model"))
    if not (ran_on and model):
        raise SystemExit("error: the app did not come to its end")
    installed = json.loads(ran_on[1])
    if not Path(installed["secagg"]).is_relative_to(home / "runtime-envs"):
        raise SystemExit(f"error: secagg was not installed by Flower: {installed['secagg']}")
    values = [value for array in json.loads(model[1]) for value in array]
    if len(values) != 4 or not all(abs(value - 0.5) < 0.001 for value in values):
        raise SystemExit(f"error: two rounds of adding a quarter gave {values}")
    sys.stdout.write(f"Flower installed secagg beside protobuf {installed['protobuf']}; the model is {values}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
