"""The Flower apps of the documentation run, in memory, and learn what the plain app learns."""

import math
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, RecordDict

from secagg.config import default_max_colluding
from secagg.errors import BudgetExceeded, ConfigError
from secagg.privacy.ledger import Budget
from tests.frameworks.flower.memory_grid import RUN, SERVER, MemoryGrid
from tests.frameworks.flower.run_app import BIN, QUIET, at, superlink
from tests.pages import Code

EXAMPLES = Path(__file__).parents[3] / "docs/examples/flower"
Vector = np.ndarray[Any, np.dtype[np.float64]]


class Play:
    """Plays the app of a folder of the documentation, with some nodes in memory.

    Attributes:
        modules: of the app that was played last, by name.
        grid: what it was played on.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.modules: dict[str, Any] = {}
        self.grid = MemoryGrid({})

    def __call__(self, folder: str, nodes: int, rounds: int, **changes: Any) -> float:
        """The accuracy that the app prints in the end."""
        for name in [name for name in sys.modules if name.split(".")[0] == "digits"]:
            self._monkeypatch.delitem(sys.modules, name)
        self._monkeypatch.syspath_prepend(str(EXAMPLES / folder))
        self.modules = {name: import_module(f"digits.{name}") for name in ("client_app", "server_app", "task")}
        for name, value in changes.items():
            self._monkeypatch.setattr(self.modules["server_app"], name, value)
        configs = {1 + at: {"partition-id": at, "num-partitions": nodes} for at in range(nodes)}
        self.grid = MemoryGrid(dict.fromkeys(configs, self.modules["client_app"].app), configs)
        self._capsys.readouterr()
        self.modules["server_app"].app(self.grid, Context(RUN, SERVER, {}, RecordDict(), {"num-server-rounds": rounds}))
        return float(self._capsys.readouterr().out.split("accuracy ")[-1])

    def models(self) -> list[Vector]:
        """The models that one node was sent, in order, each as one vector: before and after each round."""
        sent = [message.content for node, way, message in self.grid.seen if (node, way) == (1, "down")]
        return [flat(content["arrays"].to_torch_state_dict()) for content in sent if "arrays" in content]

    def changes(self, nodes: int) -> list[Vector]:
        """How each node alone changes the first model."""
        task, ours = self.modules["task"], self.modules["client_app"].ours
        torch.manual_seed(0)
        first, changed = task.Net(), []
        for node in range(nodes):
            config = {"partition-id": node, "num-partitions": nodes}
            net = deepcopy(first)
            task.fit(net, *task.images(ours(Context(RUN, SERVER, config, RecordDict(), {}), slice(0, 1200))))
            changed.append(flat(net.state_dict()) - flat(first.state_dict()))
        return changed


def flat(state: dict[str, torch.Tensor]) -> Vector:
    return np.concatenate([tensor.numpy().ravel() for tensor in state.values()]).astype(float)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Play:
    return Play(monkeypatch, capsys)


def test_digits(app: Play) -> None:
    plain = app("plain", 5, 5)
    assert plain > 0.8
    assert abs(app("secure", 5, 5) - plain) <= 0.01  # 3 of 297 images


def test_digits_with_noise_and_a_budget(app: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round moves the model by the mean of the nodes' clipped changes and by the noise that the app asks for. Of the
    ten rounds that the budget of the app is for, a smaller one allows two, whoever runs them.

    The noise comes from the system. It is held to what a right one misses with a probability below 1e-9.
    """
    nodes, clip, z = 50, 0.2, 2.0184
    honest = 45 - default_max_colluding(nodes)  # of the smallest sum; each brings its part of the noise
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"there is no folder .* for the privacy ledger; make it"):
        app("noise", nodes, 1)
    (tmp_path / "privacy").mkdir(mode=0o700)
    budget = {"Budget": lambda epsilon: Budget(epsilon * 3.4 / 8)}
    app("noise", nodes, 2, **budget)
    before, after = app.models()[:2]
    expected = np.mean(
        [change * min(1.0, clip / float(np.linalg.norm(change))) for change in app.changes(nodes)], axis=0
    )
    noise, sigma = after - before - expected, z * clip * math.sqrt(nodes / honest) / nodes
    assert abs(np.std(noise) / sigma - 1) < 0.15  # of 1,370 values, whose deviation deviates by 2 %
    assert abs(noise @ expected / np.linalg.norm(expected)) < 6.2 * sigma  # expected is 8 σ long
    with pytest.raises(BudgetExceeded, match=r"of 3\.4 "):
        app("noise", nodes, 1, **budget)


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
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(done.stdout.split("accuracy ")[-1].split()[0]) > 0.8
