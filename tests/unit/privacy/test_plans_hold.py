"""What `secagg plan` prints is accepted by everything that it is handed to: configuration, policy, ledger."""

import json
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from secagg.cli.main import main
from secagg.config import RoundConfig, ThreatModel
from secagg.encoding.calibration import Cohort
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import BudgetExceeded
from secagg.noise.laws import Law
from secagg.policy import Policy
from secagg.privacy.accountant import epsilon_of
from secagg.privacy.charges import View, charge_of, cost_of
from secagg.privacy.finder import Task, epsilon_for, find
from secagg.privacy.gaussian import noise_multiplier
from secagg.privacy.ledger import Budget, Ledger
from secagg.variants import WITH_PARTICIPANTS

GUIDE = Path(__file__).parents[3] / "docs" / "guide.md"


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *arguments, "--json"])
    assert not ended.value.code
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def round_of(text: str, values: int, participants: int, **changes: Any) -> RoundConfig:
    given: dict[str, Any] = {
        "task": "t",
        "schema": Schema((ArraySpec("a", (values,)),)),
        "encoding": Pipeline.parse(text),
        "max_participants": participants,
        "model_digest": bytes(32),
    }
    return RoundConfig(**(given | changes))


def fitting(config: RoundConfig, rounds: int, epsilon: float) -> int:
    """How many of so many rounds the ledger holds."""
    ledger = Ledger.open("t", Budget(epsilon))
    for number in range(rounds):
        try:
            ledger = ledger.plan(number.to_bytes(16, "big"), config)
        except BudgetExceeded:
            return number
    return rounds


@pytest.mark.parametrize(
    ("sizes", "more", "changes", "view"),
    [
        ((650, 700, 15), (), {}, View.COORDINATOR),
        ((650, 3, 4), ("--epsilon", "8"), {}, View.PARTICIPANT),
        ((650, 10, 4), ("--bits", "12", "--law", "gaussian", "--epsilon", "5"), {}, View.COORDINATOR),
        ((31, 10, 1), ("--threshold", "8", "--colluding", "0"), {"threshold": 8, "max_colluding": 0}, View.PARTICIPANT),
        (
            (31, 10, 1), ("--threshold", "8", "--colluding", "0", "--receipt-only"),
            {"threshold": 8, "max_colluding": 0, "release_to_participants": False}, View.COORDINATOR,
        ),
    ],
)  # fmt: skip
def test_a_plan_holds(
    capsys: pytest.CaptureFixture[str],
    sizes: tuple[int, int, int],
    more: tuple[str, ...],
    changes: dict[str, Any],
    view: View,
) -> None:
    values, participants, rounds = sizes
    task = ("-m", str(values), "-n", str(participants), "-r", str(rounds), *more)
    facts = planned(capsys, *task)
    budget = float(more[more.index("--epsilon") + 1]) if "--epsilon" in more else 2.5
    config = round_of(facts["pipeline"], values, participants, **changes)
    charge = charge_of(config)
    assert (facts["guaranteed_honest"], facts["noises_counted"]) == (config.guaranteed_honest, charge.honest)
    assert facts["view"] == charge.view.value == view.value
    spent = epsilon_of(tuple(rounds * cost for cost in charge.curve), 1e-5)
    assert facts["epsilon"] == pytest.approx(spent)
    # The participant's side: by default, and with the demands that the plan prints.
    Policy(min_colluding_share=0.3 if config.max_colluding else 0.0).check(config)
    Policy(
        min_colluding_share=0.0,
        require_distributed_noise=True,
        min_noise_multiplier=facts["z_after_rounding"],
        max_epsilon=cost_of(config, 1e-5),
    ).check(config)
    # The coordinator's: the rounds fit the budget, and a tenth more of them does not.
    assert fitting(config, rounds, budget) == rounds
    assert fitting(config, rounds + ceil(rounds / 10), budget) == rounds
    # As many fit with the coordinator's own noise.
    z = ceil(facts["central_z"] * 1e4) / 1e4
    assert z <= facts["z"] * 1.001  # the same noise needs no more; found to 1e-4
    central = facts["pipeline"].replace(f"z={facts['z']!r}", f"z={z!r}, by=coordinator")
    assert fitting(round_of(central, values, participants, **changes), rounds, budget) == rounds
    if values < 100:  # and with less of it, fewer; the small ones tell
        less = facts["pipeline"].replace(f"z={facts['z']!r}", f"z={ceil(z * 9800) / 1e4!r}, by=coordinator")
        assert fitting(round_of(less, values, participants, **changes), rounds, budget) < rounds


def test_continuous_accounting_would_plan_too_little_central_noise() -> None:
    """Twin: the multiplier of continuous noise, which the ledger does not charge."""
    task = Task(values=650, cohort=Cohort(700, 234), rounds=15)
    plan = find(task)
    z = noise_multiplier(plan.epsilon, task.delta, task.rounds)
    text = f"clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z={ceil(z * 1e4) / 1e4}, by=coordinator)"
    assert fitting(round_of(text, 650, 700), 15, 2.5) < 15


@pytest.mark.parametrize("participants", [3, 4, 10])
def test_plans_are_for_the_cohort_that_a_configuration_has_by_default(
    capsys: pytest.CaptureFixture[str], participants: int
) -> None:
    facts = planned(capsys, "-m", "31", "-n", str(participants), "--z", "8")
    config = round_of(facts["pipeline"], 31, participants)
    assert (facts["guaranteed_honest"], facts["noises_counted"]) == (config.guaranteed_honest, charge_of(config).honest)


@pytest.mark.parametrize("participants", [4, 10])
def test_rounds_whose_key_is_with_the_participants_are_planned_as_the_help_says(
    capsys: pytest.CaptureFixture[str], participants: int
) -> None:
    """By default the plan is for a masked round, and these rounds cost more."""
    sizes = ("-m", "31", "-n", str(participants), "--z", "8")
    least = max(3, participants // 2 + 1)
    told = planned(capsys, *sizes, "--colluding", "0", "--threshold", str(least))
    by_default = planned(capsys, *sizes)
    masked = round_of(told["pipeline"], 31, participants, threat_model=ThreatModel.SEMI_HONEST)
    config = WITH_PARTICIPANTS[0].encrypting(masked)
    assert (config.threshold, config.max_colluding) == (least, 0)
    cost = epsilon_of(charge_of(config).curve, 1e-5)
    assert told["epsilon"] == pytest.approx(cost)
    assert told["pipeline"] == by_default["pipeline"]
    assert by_default["epsilon"] < 0.98 * cost


def test_a_lower_threshold_has_fewer_that_may_collude(capsys: pytest.CaptureFixture[str]) -> None:
    """As a configuration has by default."""
    facts = planned(capsys, "-m", "31", "-n", "10", "--threshold", "4", "--z", "8")
    changes = {"threshold": 4, "threat_model": ThreatModel.SEMI_HONEST}
    config = round_of(facts["pipeline"], 31, 10, **changes)
    assert (facts["guaranteed_honest"], facts["noises_counted"]) == (config.guaranteed_honest, charge_of(config).honest)


@pytest.mark.parametrize("bits", [5, 6, 8, 12, 16])
@pytest.mark.parametrize("law", Law)
def test_more_noise_never_costs_more_in_one_ring(bits: int, law: Law) -> None:
    """So a multiplier may be rounded up, and the search for the least may halve."""
    task = Task(values=650, cohort=Cohort(10, 4), bits=bits, law=law)
    costs = [epsilon_for(task, 0.25 * 1.01**step) for step in range(0, 800, 7)]
    assert all(after <= before * (1 + 1e-9) for before, after in pairwise(costs))


# --- the guide's sentence about bits --------------------------------------------------------------------------------


def left_of_z(values: int, participants: int, bits: int, z: float, law: Law = Law.SKELLAM) -> float:
    text = f"clip(l2=1.0) | rotate | quantise(bits={bits}) | noise(law={law.value}, z={z})"
    config = round_of(text, values, participants, max_colluding=max(1, (participants - 1) // 3))
    assert config.code.calibration is not None
    return config.code.calibration.multiplier(config.guaranteed_honest) / z


def test_the_guide_says_how_many_bits_are_as_good_as_continuous_noise() -> None:
    words = " ".join(GUIDE.read_text(encoding="utf-8").split())
    assert "up to 10,000 values 16 bits are as good as continuous noise, and up to a million 18 are" in words
    assert "with 10 to 1,000 participants and z up to 4, 99 % of z are left" in words
    for most, bits in ((10_000, 16), (1_000_000, 18)):
        for values in (100, 650, 5_000, most):
            for participants in (10, 30, 100, 300, 1000):
                for z in (0.5, 1.0, 4.0):
                    for law in Law:
                        assert left_of_z(values, participants, bits, z, law) >= 0.99
    assert "a million values in 16 bits leave 92 % at z = 4 and 100 participants, in 12 bits 15 %" in words
    assert round(left_of_z(1_000_000, 100, 16, 4.0), 2) == 0.92
    assert round(left_of_z(1_000_000, 100, 12, 4.0), 2) == 0.15
