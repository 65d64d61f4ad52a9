"""Schedules for real processes: the same for a seed, and judged by what the programs say."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secagg.tools.faults.checker import Ending
from secagg.tools.faults.machine.play import Log, _judge
from secagg.tools.faults.machine.programs import COORDINATOR, FL_SERVER, log_of, outcome_of
from secagg.tools.faults.machine.schedule import Kind, Schedule, draw, names, update_of
from secagg.tools.faults.machine.table import Table

SCHEDULE = replace(draw(3), accidents=())


class Machine:
    """What programs left in a folder."""

    failures: list[str]

    def __init__(self, folder: Path) -> None:
        self.folder, self.schedule, self.failures, self.happened = folder, SCHEDULE, [], [Kind.CUT]

    def told(self, name: str) -> dict[str, Any] | None:
        path = outcome_of(self.folder, name)
        return json.loads(path.read_text()) if path.exists() else None

    def tell(self, name: str, outcome: dict[str, Any]) -> None:
        outcome_of(self.folder, name).write_text(json.dumps(outcome))

    def ending(self) -> Ending:
        log = Log(log_of(self.folder, COORDINATOR))
        log.read()
        return _judge(self, log).ending  # type: ignore[arg-type]


def result(survivors: list[str], digest: str = "d") -> dict[str, Any]:
    totals = np.sum([update_of(SCHEDULE, name) for name in survivors], axis=0).tolist()
    return {"survivors": survivors, "totals": totals, "digest": digest}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    for name in (FL_SERVER, *names()):
        made.tell(name, result(names()))
    return made


def test_a_seed_says_everything() -> None:
    def told(schedule: Schedule) -> tuple[object, ...]:
        return schedule.config, schedule.accidents, update_of(schedule, names()[0]).tolist()

    assert told(draw(7)) == told(draw(7)) != told(draw(8))


def test_every_kind_and_every_phase_has_its_share() -> None:
    accidents = [accident for seed in range(300) for accident in draw(seed).accidents]
    kinds, events = Counter(each.kind for each in accidents), Counter((each.event, each.phase) for each in accidents)
    assert min(kinds[kind] for kind in Kind) >= 5
    assert kinds[Kind.KILL_COORDINATOR] > 50
    assert len(events) == 11  # each phase, opened and delivered in, and the sum
    assert min(events.values()) >= 5


def test_a_round_is_exact_if_everybody_has_the_sum_of_its_survivors(machine: Machine) -> None:
    assert machine.ending() is Ending.EXACT
    machine.tell(names()[0], {"error": "TransportError", "text": ""})
    assert machine.ending() is Ending.EXACT  # one that came to nothing itself


def test_a_round_that_failed_for_everybody_failed_by_name(machine: Machine) -> None:
    for name in (FL_SERVER, *names()):
        machine.tell(name, {"error": "RoundAborted", "text": ""})
    assert machine.ending() is Ending.FAILED


@pytest.mark.parametrize("who", [FL_SERVER, names()[0]])
def test_another_sum_is_wrong(machine: Machine, who: str) -> None:
    told = result(names())
    told["totals"][0] += 1
    machine.tell(who, told)
    assert machine.ending() is Ending.WRONG


def test_two_survivor_sets_or_two_sums_are_wrong(machine: Machine) -> None:
    machine.tell(names()[0], result(names()[:4]))
    assert machine.ending() is Ending.WRONG
    machine.tell(names()[0], result(names(), "another"))
    assert machine.ending() is Ending.WRONG


def test_a_result_of_one_that_is_not_in_it_is_wrong(machine: Machine) -> None:
    for name in (FL_SERVER, *names()):
        machine.tell(name, result(names()[:4]))
    assert machine.ending() is Ending.WRONG


def test_a_sum_that_the_fl_server_cannot_have_is_lost(machine: Machine) -> None:
    machine.tell(FL_SERVER, {"error": "UnknownRoundError", "text": ""})
    assert machine.ending() is Ending.LOST


def test_who_hangs_or_ends_by_itself_is_lost(machine: Machine) -> None:
    machine.failures = ["coordinator ended by itself with 1"]
    assert machine.ending() is Ending.LOST
    machine.failures = []
    outcome_of(machine.folder, names()[0]).unlink()
    assert machine.ending() is Ending.LOST


@pytest.mark.parametrize("line", ['{"event": "internal_error"}', "Traceback (most recent call last):"])
def test_an_error_without_a_name_at_the_coordinator_is_wrong(machine: Machine, line: str) -> None:
    log_of(machine.folder, COORDINATOR).write_text('{"event": "ready"}\n' + line + "\n")
    assert machine.ending() is Ending.WRONG


def test_the_table_counts_a_schedule_once_for_each_kind(machine: Machine) -> None:
    log = Log(log_of(machine.folder, COORDINATOR))
    verdict = replace(_judge(machine, log), happened=(Kind.CUT, Kind.CUT, Kind.DELAY))  # type: ignore[arg-type]
    table = Table()
    table.add(verdict)
    table.add(replace(verdict, happened=(), ending=Ending.FAILED, errors=("RoundAborted",)))
    table.add(replace(verdict, happened=(Kind.CUT,), ending=Ending.LOST, findings=("gone",)))
    told = table.as_json()
    assert told["accidents"]["connections cut"] == {
        "happened": 3, "schedules": 2, "exact": 1, "failed": 0, "wrong": 0, "lost": 1,
    }  # fmt: skip
    assert told["accidents"]["bytes delayed"]["happened"] == 1
    assert (told["schedules"], told["without"]["failed"], told["errors"]) == (3, 1, {"RoundAborted": 1})
    assert [each["findings"] for each in told["bad"]] == [["gone"]]
