"""`secagg ledger`: what is printed of a ledger where it lies, and what is found wrong with it."""

import json
from pathlib import Path

import pytest

from secagg.cli.main import main
from secagg.privacy.ledger import Budget, LedgerBook
from secagg.programs.ledgers.files import LedgerFolder
from tests.unit.privacy.test_ledger import CONFIG, TASK, config_of, round_id


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["ledger", *map(str, arguments)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tasks; of the first, one round was released, one withdrawn, one is planned."""
    book = LedgerBook(LedgerFolder(tmp_path))
    ledger = book.open(TASK, Budget())
    for number in range(3):
        ledger = ledger.plan(round_id(number), config_of(4.0 + number))
        book.keep(ledger)
        if number == 2:
            break
        ledger = ledger.withdraw(round_id(1)) if number else ledger.release(round_id(0), CONFIG, 18)
        book.keep(ledger)
    book.open("other", Budget(1.0, 1e-6))
    return tmp_path


def entries(folder: Path) -> Path:
    return next(folder.glob(f"{TASK}-*.jsonl"))


def test_a_line_for_each_round(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "show", folder, "--task", TASK)
    assert (code, err) == (0, "")
    head, digest, names, released, planned = out.splitlines()
    ledger = LedgerBook(LedgerFolder(folder)).find(TASK)
    assert ledger is not None
    assert head == f"digits: ε = {ledger.epsilon:.4g} of 2.5 spent (δ = 1e-05)"
    assert digest == f"head {ledger.head.text}"
    assert names.split() == ["round", "noise", "survivors", "honest", "view", "ε", "after", "state"]
    assert released.split()[:-2] == [round_id(0).hex(), "skellam,", "z", "=", "4", "18", "10", "coordinator"]
    assert planned.split()[:-2] == [round_id(2).hex(), "skellam,", "z", "=", "6", "-", "10", "coordinator"]
    assert (released.split()[-1], planned.split()[-1]) == ("released", "planned")
    assert float(planned.split()[-2]) == pytest.approx(ledger.epsilon, rel=1e-3)


def test_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", folder, "--json")
    shown = {item["task"]: item for item in json.loads(out)}
    assert code == 0
    assert shown["other"]["rounds"] == []
    assert shown["other"]["budget"] == {"epsilon": 1.0, "delta": 1e-6}
    assert [item["state"] for item in shown[TASK]["rounds"]] == ["released", "planned"]
    assert shown[TASK]["rounds"][-1]["epsilon_after"] == shown[TASK]["epsilon"]


def test_whole_ledgers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    code, out, err = run(capsys, "verify", folder)
    assert (code, err, out.count(": whole, head ")) == (0, "", 2)
    seen = json.loads(run(capsys, "verify", entries(folder), "--json")[1])[0]["head"]
    ledger = LedgerBook(LedgerFolder(folder)).find(TASK)
    assert ledger is not None
    LedgerBook(LedgerFolder(folder)).keep(ledger.release(round_id(2), config_of(6.0), 14))
    assert run(capsys, "verify", folder, "--task", TASK, "--head", seen)[0] == 0
    assert run(capsys, "verify", folder, "--head", seen)[0] == 1  # of which task?
    assert {path.name for path in before} == {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"honest":10', b'"honest":11', "entry 3 does not follow from the one before it"),
        (b"z=6.0", b"z=5.0", "entry 6 is not the one that the head names"),
        (b'"kind":"opened"', b'"kind":"planned"', "entry 1 does not open this task's ledger"),
        (b'"task":"digits"', b'"task":7', "its first entry names no task"),
    ],
)
def test_the_first_bad_entry_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], old: bytes, new: bytes, words: str
) -> None:
    path = entries(folder)
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new, 1))
    code, out, err = run(capsys, "verify", folder)
    assert code == 1
    assert out.startswith("other: whole")
    assert err.count("\n") == 1
    assert words in err
    code, out, _ = run(capsys, "verify", folder, "--json")
    assert code == 1
    assert [report["whole"] for report in json.loads(out)] == [False, True]
    assert run(capsys, "show", folder)[0] == 1


def test_a_ledger_that_was_rolled_back_as_a_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Consistent in itself: found with a head that was seen before, and with nothing else."""
    seen = json.loads(run(capsys, "verify", entries(folder), "--json")[1])[0]["head"]
    path = entries(folder)
    path.unlink()
    path.with_suffix(".head").unlink()
    LedgerBook(LedgerFolder(folder)).open(TASK, Budget())
    assert run(capsys, "verify", folder)[0] == 0
    code, _, err = run(capsys, "verify", path, "--head", seen)
    assert code == 1
    assert "was rolled back: 1 entries where there were 6" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show",), "name the --task"),
        (("verify", "/nowhere/at/all"), "no privacy ledger at /nowhere"),
        (("verify", "x", "--head", "5:12"), "a head is NUMBER:DIGEST"),
    ],
)
def test_wrong_calls_are_one_line(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 1
    assert err.count("\n") == 1
    assert words in err
