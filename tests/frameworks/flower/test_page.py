"""The lines of code on the pages about Flower run as they stand, in an app of their own."""

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from secagg_client.flower import SecAgg, SecAggMod, Sidecar

import secagg
from secagg import TrustAnchors
from tests.frameworks.flower.issued_files import issued
from tests.frameworks.flower.memory_grid import MemoryGrid, app_of, model
from tests.frameworks.flower.run_app import APP, SOURCES
from tests.pages import Code

NODES = range(3)


@pytest.mark.runs("docs/flower.md", "python")
def test_an_app_of_two_lines(page: Code) -> None:
    (text,) = page.rest("python")
    assert np.abs(moved(text) - 5 * 0.01).max() < 1e-3


@pytest.mark.runs("README.md", "python", "app = ")
def test_the_two_lines_of_the_readme(page: Code) -> None:
    assert np.abs(moved(page.take("app = ")) - 3 * 0.01).max() < 1e-3  # three rounds are Flower's default


def moved(text: str) -> Any:
    """How far the model moved from where it began when the two lines ran, at three clients and at the server."""
    told: list[ArrayRecord] = []

    class Told(SecAgg):  # the page does not keep what `start` returns
        def start(self, **arguments: Any) -> Any:  # type: ignore[override]
            result = super().start(**arguments)
            told.append(result.arrays)
            return result

    def client_app(mods: list[object]) -> ClientApp:
        return app_of(mods)

    apps: dict[int, ClientApp] = {}
    first, second = text.strip().split("\n\n")
    for node in NODES:
        names = {"ClientApp": client_app, "SecAggMod": SecAggMod}
        exec(first, names)  # noqa: S102
        apps[1 + node] = names["app"]
    exec(second, {"SecAgg": Told, "FedAvg": FedAvg, "grid": MemoryGrid(apps), "arrays": model()})  # noqa: S102
    return told[0]["bias"].numpy() - model()["bias"].numpy()


@pytest.mark.runs("docs/frameworks.md", "python", "SecAgg(")
def test_strategies_of_the_page_on_frameworks(page: Code, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_bytes(issued()["ca.pem"])
    names = {"SecAgg": SecAgg, "FedAvg": FedAvg, "TrustAnchors": TrustAnchors, "Path": Path, "Sidecar": Sidecar}
    for text in page.rest("python"):
        exec(f"made = {text}", names)  # noqa: S102
        assert type(names["made"]) is SecAgg


@pytest.mark.runs("docs/frameworks.md", "toml")
def test_an_app_that_lists_secagg(page: Code) -> None:
    """.ci/run has Flower install the wheel that a table of this text names (run_app.py)."""
    (text,) = page.rest("toml")
    (dependency,) = tomllib.loads((APP / "pyproject.toml").read_text())["project"]["dependencies"]
    (wheel,) = re.findall(r'path = "(.*)"', text)
    assert (
        text == f'[project]\ndependencies = ["flwr[simulation]>=1.42", "{dependency}"]\n{SOURCES.format(wheel=wheel)}'
    )
    assert Path(wheel).name == f"secagg-{secagg.__version__}-py3-none-any.whl"
