"""A participant knows its own noise: what a sum costs is charged in the view of whoever sees least noise.

Adversary: a fellow participant that follows the protocol, colludes with nobody, and takes its own noise off the sum.
"""

from dataclasses import replace
from math import exp, inf, sqrt
from typing import Any

import pytest

from secagg.config import RoundConfig, ThreatModel
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError, PolicyViolation
from secagg.lattice.parameters import Custody, Scheme
from secagg.policy import Policy
from secagg.privacy import charges
from secagg.privacy.accountant import epsilon_of, sampler_distance
from secagg.privacy.charges import View, charge_of, cost_of
from secagg.privacy.divergence import epsilon_bound, release_curve
from secagg.privacy.ledger import Budget, Ledger
from secagg.robust.grouping import Groups
from secagg.variants import Variant

NOISE = "clip(l2=1.0) | rotate | quantise(bits={bits}) | noise(law={law}, z={z}{by})"
CKKS = Variant(Scheme.CKKS, Custody.PARTICIPANTS)
SHARED = Variant(Scheme.BFV, Custody.THRESHOLD)


def config(
    variant: Variant | None = None,
    *,
    size: int = 650,
    bits: int = 16,
    z: float = 2.0,
    by: str = "",
    law: str = "skellam",
    **changes: Any,
) -> RoundConfig:
    variant = variant or Variant()
    given: dict[str, Any] = {
        "task": "t",
        "schema": Schema((ArraySpec("a", (size,)),)),
        "encoding": Pipeline.parse(NOISE.format(bits=bits, z=z, by=by, law=law)),
        "max_participants": 10,
        "threshold": 8,
        "max_colluding": 0,
        "model_digest": bytes(32),
        "threat_model": variant.threat_model(ThreatModel.ACTIVE),
    }
    made = RoundConfig(**(given | changes))
    return variant.encrypting(made)


@pytest.mark.parametrize(
    ("round_", "planned", "view"),
    [
        (config(), 7, View.PARTICIPANT),
        (config(release_to_participants=False), 8, View.COORDINATOR),
        (config(max_colluding=1), 7, View.COORDINATOR),
        (config(max_colluding=3), 5, View.COORDINATOR),
        (config(max_colluding=3, release_to_participants=False), 5, View.COORDINATOR),
        (config(CKKS), 7, View.PARTICIPANT),
        (config(SHARED), 7, View.PARTICIPANT),
        (config(SHARED, release_to_participants=False), 8, View.COORDINATOR),
        (config(SHARED, max_colluding=2), 6, View.COORDINATOR),
        (config(groups=Groups.parse(5, "median")), 7, View.PARTICIPANT),
        (config(groups=Groups.parse(5, "median"), max_colluding=3), 5, View.COORDINATOR),
        (config(by=", by=coordinator"), 1, View.RECIPIENT),
        (config(by=", by=coordinator", max_colluding=3), 1, View.RECIPIENT),
    ],
)
def test_whose_noise_counts(round_: RoundConfig, planned: int, view: View) -> None:
    made = charge_of(round_)
    assert (made.honest, made.view, made.colluding) == (
        planned,
        view,
        0 if view is View.RECIPIENT else round_.max_colluding,
    )
    known = round_.threshold - planned
    for survivors in (8, 6, 4):
        expected = 1 if view is View.RECIPIENT else max(0, min(survivors, 8) - known)
        assert charge_of(round_, survivors).honest == expected
    assert charges.from_json(charges.to_json(made)) == made


def seen_by_a_fellow(round_: RoundConfig, rounds: int) -> float:
    assert round_.code.calibration is not None
    curve = release_curve(round_.code.calibration, round_.guaranteed_honest - 1)
    return epsilon_of(tuple(rounds * cost for cost in curve), 1e-5)


@pytest.mark.parametrize("variant", [Variant(), CKKS, SHARED], ids=lambda variant: variant.name)
def test_the_ledger_charges_what_a_fellow_participant_sees(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: with everybody's noise counted, the ledger says less than the fellow sees."""
    round_ = config(variant)
    ledger = Ledger.open("t", Budget(epsilon=100.0))
    for number in range(3):
        ledger = ledger.plan(bytes([number]) * 16, round_)
    assert ledger.epsilon >= seen_by_a_fellow(round_, 3) - 1e-9
    monkeypatch.setattr(RoundConfig, "known_noises", property(lambda config: config.max_colluding))
    blind = Ledger.open("t", Budget(epsilon=100.0)).plan(bytes(16), round_)
    assert blind.epsilon < seen_by_a_fellow(round_, 1) - 0.05


def test_a_view_that_nobody_has_is_no_charge() -> None:
    body = charges.to_json(charge_of(config()))
    for wrong in ({"view": "everybody"}, {"view": None}, {"view": ["participant"]}):
        with pytest.raises(ConfigError, match="without a charge"):
            charges.from_json(body | wrong)
    del body["view"]
    with pytest.raises(ConfigError, match="without a charge"):
        charges.from_json(body)


# --- a policy on what a round costs ----------------------------------------------------------------------------------

LARGE: dict[str, Any] = {"size": 1_000_000, "max_participants": 100, "threshold": 67, "max_colluding": 33, "z": 4.0}


def left(round_: RoundConfig) -> float:
    """What the sum really has of z: noise that nobody sees through, over the longest rounded update."""
    grid = round_.code.calibration
    assert grid is not None
    return sqrt((round_.threshold - max(round_.max_colluding, 1)) * float(grid.variance) / grid.norm_bound)


def test_a_policy_wants_nine_tenths_of_z_in_the_sum() -> None:
    """At 8 bits and a million values, noise that is called z = 4 is of z = 0.04, and one round costs ε = 751."""
    policy = Policy(min_noise_multiplier=4.0)
    for bits, good in ((8, False), (14, False), (16, True), (20, True)):
        round_ = config(**LARGE, bits=bits)
        assert (left(round_) >= 0.9 * 4.0) == good
        if good:
            policy.check(round_)
            continue
        with pytest.raises(PolicyViolation, match="is left in the eyes of a coordinator once updates are rounded"):
            policy.check(round_)
    policy.check(config(**(LARGE | {"size": 650}), bits=12))


def test_without_that_the_name_of_z_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = config(**LARGE, bits=8)
    assert cost_of(weak, 1e-5) > 500
    monkeypatch.setattr("secagg.policy.ROUNDING_SHARE", 0.0)
    Policy(min_noise_multiplier=4.0).check(weak)


def test_the_multiplier_is_that_in_a_fellow_participants_view() -> None:
    """Of four noises a fellow knows one: √(3/4) < 0.9."""
    policy = Policy(min_noise_multiplier=2.0, min_colluding_share=0.0)
    few: dict[str, Any] = {"max_participants": 5, "threshold": 4}
    policy.check(config(**few, release_to_participants=False))
    with pytest.raises(PolicyViolation, match="in the eyes of a participant"):
        policy.check(config(**few))


@pytest.mark.parametrize("law", ["skellam", "gaussian"])
@pytest.mark.parametrize("bits", [8, 12])
def test_what_a_round_costs_is_what_the_accountant_says(law: str, bits: int) -> None:
    for z in (0.5, 2.0, 40.0):
        round_ = config(z=z, bits=bits, law=law, max_colluding=2)
        assert round_.code.calibration is not None
        for delta in (1e-5, 1e-2):
            curve = charges.curve_of(round_)
            assert epsilon_bound(curve, delta) == pytest.approx(epsilon_of(curve, delta), rel=1e-12)
            assert cost_of(round_, delta) == epsilon_bound(curve, delta)


def test_a_policy_bounds_what_a_round_costs() -> None:
    round_ = config(max_colluding=3)
    cost = cost_of(round_, 1e-5)
    assert 1 < cost < 5
    Policy(max_epsilon=cost).check(round_)
    with pytest.raises(PolicyViolation, match=r"costs ε = .* at δ = 1e-05 in the eyes of a coordinator, more than"):
        Policy(max_epsilon=cost * 0.999).check(round_)
    with pytest.raises(PolicyViolation, match="costs"):
        Policy(max_epsilon=cost, delta=1e-6).check(round_)
    with pytest.raises(PolicyViolation, match="costs ε = "):  # what named z alone let through
        Policy(max_epsilon=8.0).check(config(**LARGE, bits=8))
    plain = replace(round_, encoding=Pipeline.parse("quantise(bits=8, range=1.0)"))
    for unprotected in (config(by=", by=coordinator", max_colluding=3), plain):
        with pytest.raises(PolicyViolation, match="no distributed noise"):
            Policy(max_epsilon=1000.0).check(unprotected)


def test_the_samplers_are_paid_for() -> None:
    """Their distance from the law, times what ε multiplies it by, must fit into what is kept of δ."""
    curve = charges.curve_of(config())
    epsilon = epsilon_bound(curve, 1e-5)
    most = 1e-5 * 2.0**-10 / (1 + exp(epsilon))
    assert epsilon_bound(curve, 1e-5, 0.999 * most) == epsilon
    assert epsilon_bound(curve, 1e-5, 1.001 * most) == inf


def test_what_a_round_costs_pays_for_its_samplers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody's, or the coordinator's one."""
    planned = config()
    assert planned.code.calibration is not None
    for people, round_ in ((planned.max_participants, planned), (1, config(by=", by=coordinator"))):
        calibration = round_.code.calibration
        assert calibration is not None
        assert charge_of(round_).distance == sampler_distance(calibration, people) > 0
    monkeypatch.setattr(charges, "sampler_distance", lambda *_: 1e-6)
    assert cost_of(planned, 1e-5) == inf
    with pytest.raises(PolicyViolation, match="costs ε = inf"):
        Policy(min_colluding_share=0.0, max_epsilon=1e6).check(planned)


@pytest.mark.parametrize(
    "wrong",
    [{"max_epsilon": 0.0}, {"max_epsilon": inf}, {"delta": 0.0}, {"delta": 1.0}, {"min_noise_multiplier": -1.0}],
)
def test_demands_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Policy(**wrong)
