"""The Flower apps of the documentation run, in memory, and learn what the plain app learns."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict

from secagg.errors import BudgetExceeded, ConfigError
from secagg.privacy.ledger import Budget
from tests.frameworks.flower.memory_grid import RUN, SERVER, MemoryGrid
from tests.frameworks.flower.run_app import BIN, QUIET, at, superlink
from tests.pages import Code

EXAMPLES = Path(__file__).parents[3] / "docs/examples/flower"
Play = Callable[..., float]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Play:
    """Plays the app of a folder, and says the accuracy that it prints in the end."""

    def play(folder: str, nodes: int, rounds: int, **changes: Any) -> float:
        for name in [name for name in sys.modules if name.split(".")[0] == "digits"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(str(EXAMPLES / folder))
        client_app, server_app = (import_module(f"digits.{name}") for name in ("client_app", "server_app"))
        for name, value in changes.items():
            monkeypatch.setattr(server_app, name, value)
        configs = {1 + at: {"partition-id": at, "num-partitions": nodes} for at in range(nodes)}
        grid = MemoryGrid(dict.fromkeys(configs, client_app.app), configs)
        capsys.readouterr()
        server_app.app(grid, Context(RUN, SERVER, {}, RecordDict(), {"num-server-rounds": rounds}))
        return float(capsys.readouterr().out.split("accuracy ")[-1])

    return play


def test_digits(app: Play) -> None:
    plain = app("plain", 5, 5)
    assert plain > 0.8
    assert abs(app("secure", 5, 5) - plain) <= 0.01  # 3 of 297 images


def test_digits_with_noise_and_a_budget(app: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the images is what guessing gives. Of the ten rounds that the budget of the app is for, a smaller one
    allows two, whoever runs them.
    """
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"there is no folder .* for the privacy ledger; make it"):
        app("noise", 50, 1)
    (tmp_path / "privacy").mkdir(mode=0o700)
    budget = {"Budget": lambda epsilon: Budget(epsilon * 3.4 / 8)}
    assert app("noise", 50, 2, **budget) > 0.12
    with pytest.raises(BudgetExceeded, match=r"of 3\.4 "):
        app("noise", 50, 1, **budget)


@pytest.mark.parametrize("folder", ["plain", "secure", "noise"])
def test_flower_builds_the_app(folder: str, tmp_path: Path) -> None:
    """Flower checks the app's pyproject.toml as it does before a run."""
    place = tmp_path / folder
    shutil.copytree(EXAMPLES / folder, place)
    command = [sys.executable, "-c", "from flwr.cli.app import app; app()", "build", "--app", str(place)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(place.glob("*.fab"))


@pytest.mark.runs("docs/frameworks.md", "sh", "cd docs/examples/flower")
def test_flwr_run_in_flowers_simulation(tmp_path: Path, page: Code) -> None:
    """With what is installed here, as the page says for this; `flwr run` would install torch anew."""
    root = EXAMPLES.parents[2]
    paths = os.pathsep.join(map(str, (root, root / "client")))
    environment = {**os.environ, **QUIET, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": paths}
    environment |= at(tmp_path) | {"FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1"}
    shutil.copytree(EXAMPLES, tmp_path / "docs/examples/flower")
    with superlink(tmp_path, environment):
        done = subprocess.run(
            ["bash", "-eu", "-c", page.take("cd docs/examples/flower")],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(done.stdout.split("accuracy ")[-1].split()[0]) > 0.8
