"""The harness is believed because it notices every planted flaw, and is silent on the healthy product."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from secagg.masked.scheme import Participant
from secagg.roster import check
from secagg.rounds.session import Session
from secagg.tools.redteam import audit
from secagg.tools.redteam.audit import CHECKS
from secagg.tools.redteam.cipher_checks import ciphertext_battery
from secagg.tools.redteam.mask_checks import mask_battery
from secagg.tools.redteam.modes import ENCRYPTED, mode_named
from secagg.tools.redteam.self_test import run as s
from secagg.tools.redteam.self_test.mutants import MUTANTS, Mutant
from secagg.tools.redteam.self_test.patches import Patch, without_check
from secagg.tools.redteam.statistics import FAMILY_ERROR, RUN_ERROR


@pytest.fixture(scope="module")
def found() -> s.SelfTest:
    return s.self_test(seed=3)


def test_every_mutant_is_caught_and_nothing_else_is(found: s.SelfTest) -> None:
    assert [verdict.mutant.name for verdict in found.verdicts if not verdict.caught] == []
    assert found.false_alarms == ()
    assert found.left_out == ()
    assert found.passed
    assert found.score == f"{len(MUTANTS)} of {len(MUTANTS)} caught"
    assert all(verdict.said for verdict in found.verdicts)


def test_a_flaw_that_no_check_sees_fails_the_run() -> None:
    harmless = Mutant("harmless", "nothing is wrong", (), "late-message")
    found = s.self_test(mutants=(harmless,))
    assert not found.passed
    assert found.score == "0 of 1 caught"


def test_a_check_that_speaks_of_the_healthy_product_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHECKS, "two-rounds", replace(CHECKS["two-rounds"], run=lambda _: ["wolf"]))
    found = s.self_test(mutants=tuple(m for m in MUTANTS if m.name == "lasting-keys"))
    assert found.caught == 1
    assert found.false_alarms == ("two-rounds: wolf",)
    assert not found.passed


def test_mutants_whose_library_is_missing_are_not_counted_and_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "homomorphic_available", lambda: False)
    monkeypatch.setattr(audit, "shell_available", lambda: False)
    found = s.self_test(mutants=tuple(m for m in MUTANTS if m.name in {"ckks-same-noise", "log-line", "server-log"}))
    assert [m.name for m in found.left_out] == ["ckks-same-noise", "server-log"]
    assert found.score == "1 of 1 caught; 2 not run: they need the extras ckks, server"


def test_the_product_is_whole_again_after_a_mutant() -> None:
    before = {name: run.run(1) for name, run in CHECKS.items() if name in {"masks", "two-rounds", "values-in-sight"}}
    assert set(map(tuple, before.values())) == {()}


def test_no_alarm_in_200_healthy_runs() -> None:
    """Smaller than the audit's own, and as many tests each. Each run may accuse once in ten million."""
    lowest = 1.0
    for seed in range(200):
        battery = mask_battery(seed, 2048)
        assert battery.alarms == []
        lowest = min(lowest, battery.lowest)
    assert 1e-9 < lowest < 1e-3  # 200 × 400 honest p-values reach far down, and no further


@pytest.mark.parametrize("mode", [mode for mode in ENCRYPTED if not mode.variant.experimental], ids=lambda m: m.name)
def test_no_alarm_in_200_healthy_runs_of_ciphertexts(mode: object) -> None:
    """100 of each scheme; 200 of each of the four custodies were silent when this was written."""
    assert all(ciphertext_battery(mode, seed).alarms == [] for seed in range(100))  # type: ignore[arg-type]


def test_threshold_ciphertexts_are_healthy_too() -> None:
    assert ciphertext_battery(mode_named("bfv-threshold"), 1).alarms == []


def test_a_whole_run_keeps_its_error_rate() -> None:
    """Bonferroni over batteries: those of the audit ten times, as in the full profile, and once in the self-test."""
    judged = [name for name in CHECKS if name.startswith(("mask", "two", "fresh", "cipher", "smudging", "shell"))]
    assert len(judged) == 13
    assert 11 * len(judged) * FAMILY_ERROR < RUN_ERROR / 5


def test_a_patch_is_undone_and_refuses_what_is_not_there() -> None:
    class Thing:
        value = 1

    with Patch() as patch:
        patch.setattr(Thing, "value", 2)
        patch.setattr(Thing, "value", 3)
        assert Thing.value == 3
        with pytest.raises(AttributeError):
            patch.setattr(Thing, "missing", 1)
    assert Thing.value == 1


def test_a_marker_must_stand_in_the_function() -> None:
    import secagg.roster

    with Patch() as patch, pytest.raises(ValueError, match="0 lines marked `# check: no-such-check`"):
        without_check(patch, secagg.roster, "check", "no-such-check")
    assert secagg.roster.check is check


def _two_names() -> list[str]:
    done: list[str] = []
    if (
        len(done) == 0  # check: C1, first
        and not done
    ):
        done.append("refused")
    elif not done:  # check: twice
        done.append("kept")
    done.append("call")  # check: twice
    other = 1  # check: on-no-check
    return [*done, str(other)]


def test_an_inherited_attribute_is_inherited_again() -> None:
    """Else what is done to the base class afterwards would not reach the class that was patched."""
    with Patch() as patch:
        patch.setattr(Participant, "receive", None)
    assert "receive" not in vars(Participant)
    assert Participant.receive is Session.receive


@pytest.mark.parametrize("name", ["C1", "first"])
def test_a_marker_is_found_by_either_name_on_any_line_of_the_condition(name: str) -> None:
    with Patch() as patch:
        without_check(patch, sys.modules[__name__], "_two_names", name)
        assert _two_names() == ["kept", "call", "1"]
    assert _two_names() == ["refused", "call", "1"]


@pytest.mark.parametrize(("name", "said"), [("twice", "has 2 lines marked"), ("on-no-check", "no `if`")])
def test_a_marker_stands_once_and_on_a_check(name: str, said: str) -> None:
    with Patch() as patch, pytest.raises(ValueError, match=said):
        without_check(patch, sys.modules[__name__], "_two_names", name)


def test_only_the_runner_and_its_results_import_what_changes_live_functions() -> None:
    root, package = Path(__file__).parents[2], "secagg.tools.redteam.self_test"
    found = set()
    for path in (path for folder in ("secagg", "client", "server") for path in (root / folder).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if package in path.read_text(encoding="utf-8") and "redteam/self_test/" not in name:
            found.add(name.removeprefix("secagg/tools/redteam/"))
    assert found == {"runner.py", "results.py"}
