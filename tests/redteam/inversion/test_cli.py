"""The command line: exit codes, the examples of docs/redteam.md as they stand, and errors without tracebacks."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from secagg.cli.main import main
from secagg.masked.masked_input import AwaitingShares
from secagg.tools.redteam.attacks.inversion import ATTACKS
from secagg.tools.redteam.attacks.inversion.base import Reconstruction, nothing
from secagg.tools.redteam.campaign import tried
from secagg.tools.redteam.scenes import STRONGEST
from secagg.tools.redteam.targets import Subject
from secagg.tools.redteam.workers import Workers
from tests.pages import Code, blocks

PAGE = "docs/redteam.md"


@dataclass(frozen=True)
class Result:
    """How the program ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both."""
        return self.stdout + self.stderr


def redteam(*arguments: str) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(["redteam", *arguments])
    return Result(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's examples, which is the current one."""
    model, defence = blocks(PAGE, "python")
    (tmp_path / "my_model.py").write_text(model)
    (tmp_path / "my_defence.py").write_text(defence)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("my_model", "my_defence"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.runs("docs/redteam.md", "python")
def test_examples_are_short(examples: Path, page: Code) -> None:
    assert len(page.rest("python")) == 2  # the tests below run what the fixture wrote
    for name in ("my_model.py", "my_defence.py"):
        assert len([line for line in (examples / name).read_text().splitlines() if line.strip()]) < 20


def test_a_users_own_model_is_attacked_and_gives_0(examples: Path) -> None:
    result = redteam("attack", "first-layer", "--model", "my_model:clinic", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["command"].endswith("--model my_model:clinic")
    assert {attack["target"] for attack in found["attacks"]} == {"wine"}
    assert [attack["control"] for attack in found["attacks"]] == [True, False, False, False]


def test_masks_that_are_missing_give_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AwaitingShares, "_masks", lambda self, delivery: [])
    result = redteam("attack", "first-layer")
    assert result.exit_code == 1, result.output
    assert (
        "analytic inversion of the first layer on one participant's traffic (masked-active): id@1 100%" in result.output
    )


def test_an_attack_that_finds_nothing_gives_2(monkeypatch: pytest.MonkeyPatch) -> None:
    blind = replace(ATTACKS["first-layer"], run=lambda target, *_: Reconstruction(nothing(target)))
    monkeypatch.setitem(ATTACKS, "first-layer", blind)
    result = redteam("attack", "first-layer")
    assert result.exit_code == 2, result.output
    assert "control of analytic inversion of the first layer" in result.output


def test_a_sum_is_emptied_by_a_malicious_model_as_the_claims_say() -> None:
    result = redteam("attack", "imprint", "--json")
    assert result.exit_code == 0, result.output
    released = json.loads(result.stdout)["attacks"][-1]
    assert released["exposed_by_design"]
    assert released["participants"] == 64
    assert released["least_exact"] > 0.4


@pytest.mark.runs("docs/redteam.md", "sh", "secagg redteam benchmark")
def test_the_benchmark_takes_a_defence_of_ones_own(examples: Path, page: Code) -> None:
    command = page.take("secagg redteam benchmark").removesuffix("--cohort 8\n").split()[2:]
    result = redteam(*command, "--trials", "2", "--jobs", "1", "--out", "figures.json")
    assert result.exit_code == 0, result.output
    assert "my_defence:top_tenth" in result.stdout
    cells = json.loads((examples / "figures.json").read_text())["cells"]
    assert [cell["defence"] for cell in cells] == ["none", "my_defence:top_tenth"]
    assert cells[0]["adaptive"]["broken"]


def test_the_benchmark_takes_larger_data(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (40, 3073), dtype=np.uint8)
    rows[:, 0] = np.arange(40) % 10
    (tmp_path / "data_batch_1.bin").write_bytes(rows.tobytes())
    command = [
        "--attack",
        "first-layer",
        "--defence",
        "none",
        "--cohort",
        "1",
        "--trials",
        "1",
        "--jobs",
        "1",
        "--json",
    ]
    result = redteam("benchmark", "--data", f"cifar10:{tmp_path}", *command)
    assert result.exit_code == 0, result.output
    (cell,) = json.loads(result.stdout)["cells"]
    assert cell["target"] == "mlp-cifar10"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("attack", "first-layer", "--model", "no_such_module_:f"), "cannot import 'no_such_module_'"),
        (("attack", "first-layer", "--model", "my_model:missing"), "module 'my_model' has no function 'missing'"),
        (("attack", "first-layer", "--model", "my_model"), "module:function"),
        (("attack", "first-layer", "--model", "os:getcwd"), "returned str; it must return"),
        (("attack", "text", "--model", "my_model:clinic"), "no embedding of tokens"),
        (("attack", "hope"), "attacks are first-layer"),
        (("benchmark", "--defence", "hope"), "no defence 'hope'"),
        (("benchmark", "--data", "cifar10:nowhere"), "there is no nowhere"),
        (("benchmark", "--data", "hope:."), "SET is one of"),
        (("benchmark", "--data", "table:x", "--model", "my_model:clinic"), "not both"),
        (("report", "--out", "nowhere"), "nowhere/report.json"),
    ],
)
def test_errors_are_one_line_and_code_2(examples: Path, arguments: tuple[str, ...], said: str) -> None:
    result = redteam(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_findings_do_not_depend_on_the_number_of_processes() -> None:
    piece = partial(tried, Subject(), "low-rank", "masked-active", trials=2, seed=3, sights=STRONGEST)
    with Workers(1) as one, Workers(2) as two:
        assert one.begin(piece)() == two.begin(piece)()


def test_models_that_cannot_be_trained_are_refused_in_words(examples: Path) -> None:
    text = (examples / "my_model.py").read_text()
    for name, old, new, said in (
        ("wrong_size", "Linear(13, 64)", "Linear(12, 64)", "cannot be trained on its records"),
        ("few_classes", "Linear(64, 3)", "Linear(64, 2)", "cannot be trained on its records"),
        ("dropping", "torch.nn.ReLU()", "torch.nn.Dropout()", "leave out dropout"),
        ("no_module", "torch.nn.Sequential(*layers)", "layers", "not a torch.nn.Module"),
        ("double", ".astype(np.float32)", "", "features of float32"),
    ):
        (examples / f"{name}.py").write_text(text.replace(old, new))
        result = redteam("attack", "first-layer", "--model", f"{name}:clinic")
        assert result.exit_code == 2, name
        assert said in result.stderr, result.stderr
