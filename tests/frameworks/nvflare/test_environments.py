"""FLARE's own environments: its simulator, and a provisioned proof of concept with processes for server and sites."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 900


def run(kind: str, folder: Path) -> str:
    """The log of a job that ran to its end."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "server", ROOT / "client")))
    own = {"HOME": str(folder), "NVFLARE_POC_WORKSPACE": str(folder / "poc"), "PYTHONPATH": path}
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    log = folder / "log"
    with log.open("wb") as out:
        job = subprocess.Popen(
            [sys.executable, "-m", "tests.frameworks.nvflare.run_job", kind, str(folder)],
            stdout=out,
            stderr=out,
            cwd=folder,
            env={**os.environ, **own, "PATH": programs},
        )
        try:
            code = job.wait(TIMEOUT_S)
        finally:
            stop(folder)
    text = log.read_text()
    assert code == 0, text[-3000:]
    return text


def stop(folder: Path) -> None:
    """End what a job that hung has left: processes whose command line names its folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            named = str(folder).encode() in (process / "cmdline").read_bytes()
        except OSError:
            continue
        if named and process.name != str(os.getpid()):
            os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    run("plain", folder)
    return folder


def test_the_simulator_computes_what_it_computes_in_plain(plain: Path, tmp_path: Path) -> None:
    log = run("secure", tmp_path)
    assert log.count("secagg: the mean of 4 of 4 sites, total weight 100") == 3
    expected, found = np.load(plain / "model.npy"), np.load(tmp_path / "model.npy")
    assert found.dtype == expected.dtype
    assert np.allclose(found, expected, atol=3 * 2e-4)
    assert "validation metric 0.2999" in log or "validation metric 0.3000" in log
    assert (plain / "told").exists()  # in plain, each site's tracker reaches the server
    assert not (tmp_path / "told").exists()


def test_a_site_whose_process_dies_costs_one_round_some_seconds(tmp_path: Path) -> None:
    log = run("secure-dies", tmp_path)
    assert "secagg: site-3 is out of the round of train: its process is gone" in log
    assert log.count("secagg: the mean of 3 of 4 sites, total weight 70") == 2
    moved = np.load(tmp_path / "model.npy")
    assert np.allclose(moved, 0.3 + 2 * (1 + 4 + 16) / 70, atol=3 * 2e-4)


def test_a_provisioned_project_in_the_active_model(tmp_path: Path) -> None:
    run("poc", tmp_path)
    assert np.allclose(np.load(tmp_path / "model.npy"), 2 * (1 + 4 + 9) / 60, atol=2 * 2e-4)
    (kit,) = (tmp_path / "poc").rglob("prod_00/site-1")
    assert (kit / "startup/secagg/key.pem").stat().st_mode & 0o777 == 0o600
    assert (kit / "local/secagg/released-sums").exists()
