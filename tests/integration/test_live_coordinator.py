"""Our coordinator is held to the specification by participants that behave, drop out, and misbehave.

`python -m tests.coordinator_mutants` plays all of the cases, and holds that each notices a flaw.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from secagg import __version__
from secagg.cli.main import main
from secagg.tools.runner.cases import Programs, Verdict, judge
from secagg.tools.runner.live_coordinator import cases
from secagg.tools.runner.live_coordinator.scenes import SCENES
from tests import coordinator_mutants
from tests.coordinator_mutants import FLAWS, ROOT, Flaw, caught
from tests.holding import beside, deployed, hold

NUMBERS = [scene.number for scene in SCENES]
SOME = NUMBERS[::8]
"""A round in which somebody is silent takes seconds, so not all are played here."""


def test_every_case_has_a_number_of_its_own() -> None:
    assert len(set(NUMBERS)) == len(NUMBERS) > 110
    assert sorted(NUMBERS) == NUMBERS


async def test_our_coordinator_passes(tmp_path: Path) -> None:
    judged = await hold(tmp_path, SOME)
    assert [(one.case.number, one.text) for one in judged if one.verdict is not Verdict.PASSED] == []
    assert len(judged) == len(SOME)


def conformance(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["conformance", "coordinator", *arguments])
    return int(ended.value.code or 0)


async def test_the_command_judges_a_coordinator_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with deployed(tmp_path) as deployment:
        given = [deployment.address, "--control", f"unix:{tmp_path}/control.sock", "--authority", str(tmp_path)]
        assert await beside(lambda: conformance(*given, "--only", "join-10", "--json")) == 0
        out = capsys.readouterr().out
        told = json.loads(out[out.index("{\n") :])
        assert told["program"]["name"] == f"coordinator at {deployment.address}"
        assert (told["program"]["release"], told["counts"]["passed"]) == (__version__, len(told["cases"]))
        assert await beside(lambda: conformance(*given, "--only", "nothing-is-called-so")) == 2
        assert await beside(lambda: conformance(*given, "--server-name", "elsewhere.example")) == 2
        assert "does not describe itself to a participant of this CA" in capsys.readouterr().err


async def test_a_case_fails_if_the_control_plane_is_gone(tmp_path: Path) -> None:
    async with deployed(tmp_path) as deployment:
        deployment.control.close()
        [judged] = await beside(lambda: list(judge([next(cases(deployment))], Programs(()), frozenset(), {})))
    assert judged.verdict is Verdict.FAILED
    assert "the control plane fails: LocalError" in judged.text


def test_every_flaw_can_be_planted_and_names_a_case() -> None:
    assert len({flaw.name for flaw in FLAWS}) == len(FLAWS) >= 60
    for flaw in FLAWS:
        assert (ROOT / flaw.path).read_text(encoding="utf-8").count(flaw.old) == 1, flaw.name
        assert flaw.case in NUMBERS, flaw.name


@pytest.mark.parametrize("flaw", FLAWS[5::24], ids=lambda flaw: flaw.name)  # each takes seconds
def test_a_case_notices_a_flaw(flaw: Flaw) -> None:
    assert caught(flaw)


def test_a_coordinator_that_gives_no_verdict_is_not_called_unnoticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(coordinator_mutants, "_PATIENCE_S", 0.001)
    assert coordinator_mutants.main([FLAWS[0].name]) == 1
    assert capsys.readouterr().out == f"NO VERDICT  {FLAWS[0].name}: {FLAWS[0].case}\n0 of 1 caught\n"


def test_a_case_notices_no_flaw_where_there_is_none() -> None:
    assert not caught(replace(FLAWS[0], new=FLAWS[0].old))
