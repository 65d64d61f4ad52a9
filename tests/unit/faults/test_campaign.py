"""Many histories: what the table counts, and what the command says of it."""

import json
from collections import Counter

import pytest

from secagg.cli.main import main as secagg
from secagg.tools.faults import campaign as campaigns
from secagg.tools.faults.campaign import Found, Table, campaign
from secagg.tools.faults.checker import Ending
from secagg.tools.faults.history import Fault

EXACT, FAILED, WRONG, LOST = Ending.EXACT, Ending.FAILED, Ending.WRONG, Ending.LOST


def found(seed: int, rounds: dict[Ending, int], faults: dict[Fault, int], *findings: str) -> Found:
    return Found(seed, Counter(faults), Counter(rounds), findings, "digest")


def test_a_history_counts_in_the_row_of_each_of_its_faults_and_once_in_all() -> None:
    table = Table()
    table.add(found(1, {EXACT: 2}, {Fault.POWER_CUT: 1, Fault.CONNECTION_CUT: 3}))
    table.add(found(2, {EXACT: 1, FAILED: 1}, {Fault.POWER_CUT: 2}))
    table.add(found(3, {EXACT: 1}, {}))
    assert table.histories == 3
    power, cut = table.rows[Fault.POWER_CUT], table.rows[Fault.CONNECTION_CUT]
    assert (power.injected, power.histories, power.rounds) == (3, 2, Counter({EXACT: 3, FAILED: 1}))
    assert (cut.injected, cut.histories, cut.rounds) == (3, 1, Counter({EXACT: 2}))
    assert (table.whole.histories, table.whole.rounds) == (2, Counter({EXACT: 3, FAILED: 1}))
    assert (table.calm.histories, table.calm.injected, table.calm.rounds) == (1, 0, Counter({EXACT: 1}))
    assert table.good


@pytest.mark.parametrize(
    ("rounds", "findings"), [({WRONG: 1}, ()), ({LOST: 1}, ()), ({EXACT: 1}, ("a rule is broken",))]
)
@pytest.mark.parametrize("faults", [{}, {Fault.POWER_CUT: 1}])
def test_a_table_is_bad_for_each_reason_alone(
    rounds: dict[Ending, int], findings: tuple[str, ...], faults: dict[Fault, int]
) -> None:
    table = Table()
    table.add(found(1, {EXACT: 5}, faults))
    assert table.good
    table.add(found(2, rounds, faults, *findings))
    assert not table.good


def test_the_same_histories_come_out_of_one_process_and_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "BATCH", 3)
    shown: list[int] = []
    one = campaign(1000, 5, 1, lambda table: shown.append(table.histories))
    assert shown == [3, 5]
    assert campaign(1000, 5, 2, lambda _: None).as_json() == one.as_json()


def test_in_a_small_campaign_nothing_is_wrong_and_nothing_lost() -> None:
    table = campaign(1, 25, 1, lambda _: None)
    assert table.good, table.failed
    assert table.whole.histories > 15
    assert table.whole.rounds[EXACT] > table.whole.rounds[FAILED]


def test_the_command_prints_the_table_and_fails_for_a_bad_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def examined(seed: int) -> Found:
        bad = ("a sum is wrong",) if seed == 12 else ()
        return found(seed, {WRONG if bad else EXACT: 1}, {Fault.BIT_ROT: 1}, *bad)

    monkeypatch.setattr(campaigns, "examine", examined)
    run = ["faults", "run", "--jobs", "1", "--json", "-n"]
    assert code_of([*run, "2", "--seed", "10"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["seed"], told["histories"]) == (10, 2)
    assert told["faults"]["bit_rot"]["rounds"] == {"exact": 2, "failed": 0, "wrong": 0, "lost": 0}
    assert code_of([*run, "3", "--seed", "10"]) == 1
    assert json.loads(capsys.readouterr().out)["failed"] == [{"seed": 12, "findings": ["a sum is wrong"]}]
    assert code_of(["faults", "run", "--jobs", "1", "-n", "3", "--seed", "10"]) == 1
    text = capsys.readouterr().out
    assert "3 histories from seed 10 on" in text
    assert "seed 12: a sum is wrong" in text
    assert "secagg faults replay 12" in text


def test_a_replay_tells_what_happened_and_ends_with_the_digest_of_the_campaign(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert code_of(["faults", "replay", "1000", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["digest"] == campaigns._piece(1000, 1001)[0].digest
    assert any("the coordinator begins" in line for line in told["facts"])
    assert not any("is answered" in line for line in told["facts"])
    assert code_of(["faults", "replay", "1000", "--messages"]) == 0
    assert "is answered" in capsys.readouterr().out


def code_of(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        secagg(arguments)
    return int(ended.value.code or 0)
