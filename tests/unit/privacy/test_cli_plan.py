"""`secagg plan`: parameters for a budget, the way back, and refusals in one line."""

import json

import pytest

from secagg.cli.main import main


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


def test_people_get_lines(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "-m", "650", "-n", "100", "--law", "gaussian")
    assert code == 0
    assert "noise(law=gaussian, z=" in out
    assert "ring_bits" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--epsilon", "0"), "ε must be above 0"),
        (("--delta", "0.02"), "below 1/n = 0.01"),
        (("--bits", "6"), "too narrow"),
        (("--bits", "9", "--epsilon", "0.01"), "the nearest possible is ε ="),
        (("--threshold", "34", "--colluding", "34"), "certainly honest"),
    ],
)
def test_the_impossible_is_one_line(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str) -> None:
    code, _, err = run(capsys, "-m", "650", "-n", "100", *arguments)
    assert code == 1
    assert err.count("\n") == 1
    assert words in err
