"""`secagg plan`: parameters for a budget, the way back, and refusals in one line."""

import json
import re
import shlex
from pathlib import Path

import pytest

from secagg.cli.main import main
from secagg.encoding.calibration import Cohort
from secagg.privacy.finder import Task, find
from secagg.tools.commands.plan_page import render


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *arguments])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_there_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    task = ("-m", "650", "-n", "100", "--rounds", "10", "--json")
    code, out, _ = run(capsys, *task)
    there = json.loads(out)
    assert code == 0
    assert 2.4 < there["epsilon"] <= 2.5
    assert there["guaranteed_honest"] == 67 - 33
    back = json.loads(run(capsys, *task, "--z", str(there["z"]))[1])
    assert back == there


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "-m", "650", "-n", "100", "--law", "gaussian")
    assert code == 0
    first, *rows = out.splitlines()
    assert first.startswith("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=gaussian, z=")
    facts = json.loads(run(capsys, "-m", "650", "-n", "100", "--law", "gaussian", "--json")[1])
    assert facts.pop("pipeline") == first
    assert set(facts) <= {word for row in rows for word in row.split()[:1]}
    assert "threshold less colluding" in out


def test_a_plan_is_drawn_with_its_neighbours(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    task = ("-m", "650", "-n", "100", "--rounds", "10", "--bits", "12")
    code, out, _ = run(capsys, *task, "--draw", str(tmp_path / "plan.html"))
    assert code == 0
    assert "plan.html" in out
    document = (tmp_path / "plan.html").read_text()
    for part in ("10 rounds", "12 bits", "impossible", "error of a mean", "continuous", "budget", "ε against rounds"):
        assert f">{part}" in document
    assert document.count("<svg") == 2
    assert not re.search(r"<script|https?:|url\(", document)
    (again,) = re.findall(r"<code>secagg plan (.*?)</code>", document)
    facts = json.loads(run(capsys, *task, "--json")[1])
    assert json.loads(run(capsys, *shlex.split(again), "--json")[1]) == facts


def test_the_command_line_on_the_page_is_no_html() -> None:
    task = Task(values=650, cohort=Cohort(100, 60), rounds=10, bits=16)
    page = render(task, find(task), "<script>plan")
    assert "<script" not in page
    assert "&lt;script&gt;plan" in page


def test_a_plan_of_much_noise_in_one_round_is_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, _ = run(capsys, "-m", "31", "-n", "10", "--bits", "8", "--z", "5", "--draw", str(tmp_path / "plan.html"))
    assert code == 0
    assert "1 round" in (tmp_path / "plan.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--epsilon", "0"), "ε must be above 0"),
        (("--delta", "0.02"), "below 1/n = 0.01"),
        (("--bits", "6"), "too narrow"),
        (("-n", "10", "--bits", "8", "--epsilon", "0.5"), "the nearest possible is ε = 3.67, or 11 bits"),
        (("--bits", "9", "--epsilon", "0.01"), "the nearest possible is ε ="),
        (("--threshold", "34", "--colluding", "34"), "the threshold must be 36 or more"),
    ],
)
def test_the_impossible_is_one_line(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str) -> None:
    code, _, err = run(capsys, "-m", "650", "-n", "100", *arguments)
    assert code == 1
    assert err.count("\n") == 1
    assert words in err


def test_a_plan_says_how_many_peers_a_ring_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    of = ("-m", "650", "--json", "-n")
    assert json.loads(run(capsys, *of, "100")[1])["peers_with_auto_graph"] == 99
    facts = json.loads(run(capsys, *of, "2000", "--threshold", "1600", "--colluding", "100")[1])
    assert facts["peers_with_auto_graph"] == 154 + 113
