"""A SuperLink and SuperNodes as processes on loopback, with TLS and node authentication, against an active server."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from secagg.crypto.authority import Authority, create_authority, issue_server
from tests.frameworks.flower.run_app import APP, QUIET
from tests.pages import Code

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[3]
NODES = (1, 2, 3)
STARTS_WITHIN = 300.0  # seconds
ENDS_WITHIN = 900.0

SERVER_APP = """
import json, sys
from pathlib import Path
import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from secagg import TrustAnchors
from secagg_client.flower import SecAgg

app = ServerApp()

@app.main()
def main(grid, context):
    trust = TrustAnchors.from_pem(Path(context.run_config["ca"]).read_bytes())
    strategy = SecAgg(
        FedAvg(fraction_evaluate=0.0, min_available_nodes=3), clip=1.0, max_weight=10, trust=trust, phase_s=300.0
    )
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord([np.zeros(4, np.float32)]), num_rounds=2)
    sys.stdout.write("model " + json.dumps([array.tolist() for array in result.arrays.to_numpy_ndarrays()]) + "\\n")
"""


def ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in taken]


@contextmanager
def running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            yield process
        finally:
            os.killpg(process.pid, 15)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)


def tls_files(folder: Path) -> dict[str, str]:
    """A CA of the channel, and the SuperLink's certificate and key."""
    now = datetime.now(UTC)
    ca = create_authority(name="channel", now=now)
    made = issue_server(
        Authority.from_pem(ca.certificate_pem, ca.key_pem.expose()), hosts=["127.0.0.1", "localhost"], now=now
    )
    files = {
        "tls-ca.pem": ca.certificate_pem,
        "tls.pem": made.certificate_pem,
        "tls.key": made.key_pem.expose(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {name: str(folder / name) for name in files}


def node_key(folder: Path, node: int) -> tuple[str, str]:
    """Files of a key with which a SuperNode proves to the SuperLink who it is: private and public."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    paths = folder / f"node-{node}", folder / f"node-{node}.pub"
    paths[0].write_bytes(private)
    paths[1].write_bytes(public)
    return str(paths[0]), str(paths[1])


def wait_until(there: Any, what: str) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        if there():
            return
        time.sleep(0.3)
    raise AssertionError(f"{what} did not start")


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.runs("docs/frameworks.md", "sh", "flower-supernode")
def test_a_job_over_tls_with_authenticated_nodes_and_an_active_server(
    tmp_path: Path, node_configs: dict[int, dict[str, Any]], page: Code
) -> None:
    shown = shlex.split(page.take("flower-supernode").replace("\\\n", " "))
    app, home = tmp_path / "app", tmp_path / "home"
    shutil.copytree(APP, app)
    home.mkdir()
    (app / "quarters" / "server_app.py").write_text(SERVER_APP)
    project = (app / "pyproject.toml").read_text().replace('dependencies = ["secagg[flower]"]', "dependencies = []")
    (app / "pyproject.toml").write_text(f'{project}ca = "{tmp_path / "ca.pem"}"\n')
    tls, (port, *node_ports) = tls_files(tmp_path), ports(1 + len(NODES))
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\n'
        f'root-certificates = "{tls["tls-ca.pem"]}"\n'
    )
    environment = {
        **os.environ,
        **QUIET,
        "FLWR_HOME": str(home),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}",
    }

    def flwr(*arguments: str) -> str:
        done = subprocess.run(
            [str(BIN / "flwr"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=ENDS_WITHIN,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    with ExitStack() as stack:
        link = [str(BIN / "flower-superlink"), "--host", "127.0.0.1", "--port", str(port), "--enable-supernode-auth"]
        link += ["--ssl-certfile", tls["tls.pem"], "--ssl-keyfile", tls["tls.key"], "--ssl-ca-certfile"]
        link += [tls["tls-ca.pem"], "--disable-runtime-dependency-installation"]
        stack.enter_context(running(link, tmp_path / "superlink.log", environment))
        wait_until(lambda: listens(port), "the SuperLink")
        for node, node_port in zip(NODES, node_ports, strict=True):
            private, public = node_key(tmp_path, node)
            flwr("supernode", "register", public, "here")
            ours = {"server.example.org:9092": f"127.0.0.1:{port}", "superlink.pem": tls["tls-ca.pem"]}
            ours[shown[-1]] = " ".join(f'{key}="{value}"' for key, value in node_configs[node].items())
            assert re.findall(r'([a-z-]+)="[^"]+"', shown[-1]) == list(node_configs[node])
            command = [str(BIN / shown[0]), *(ours.get(word, word) for word in shown[1:])]
            command += ["--auth-supernode-private-key", private, "--host", "127.0.0.1", "--port", str(node_port)]
            stack.enter_context(running(command, tmp_path / f"node-{node}.log", environment))
        started = time.monotonic()
        told = flwr("run", str(app), "here", "--stream")
        sys.stdout.write(f"{time.monotonic() - started:.0f} s\n{told}")
        logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    found = re.search(r"^.*model (\[.*)$", told + logs, re.MULTILINE)
    assert found, told + logs
    assert json.loads(found[1])[0] == pytest.approx([0.5] * 4, abs=1e-3)
    assert "SecAgg: the mean of 3 of 3 nodes" in told
    for node in NODES:
        assert (Path(node_configs[node]["secagg-marks"]) / "state-keys").is_dir()
