"""Divergences, conversion and the finder: against the papers' formulas, dp_accounting and numeric truth."""

import math
import re
import sys
from dataclasses import replace
from fractions import Fraction

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.rdp import rdp_privacy_accountant
from scipy.special import ive

from secagg.encoding.calibration import Calibration, Cohort, calibrate
from secagg.encoding.pipeline import Pipeline
from secagg.errors import ConfigError, MissingExtraError
from secagg.noise.laws import Law
from secagg.privacy import charges, finder
from secagg.privacy.accountant import epsilon_of, sampler_distance
from secagg.privacy.charges import charge_of, cost_of
from secagg.privacy.divergence import (
    ORDERS,
    Sensitivity,
    composed,
    discrete_gaussian,
    not_quite_gaussian,
    release_curve,
    skellam,
)
from secagg.privacy.finder import Task, describe, epsilon_for, find
from secagg.privacy.gaussian import delta_of, noise_multiplier
from secagg.sparse.ring import Ring
from tests.rounds import make_config

COHORT = Cohort(100, 40)


def fine(z: float, law: Law = Law.SKELLAM, dimension: int = 64) -> Calibration:
    return calibrate(law, COHORT, z=z, clip=1.0, bits=28, block=64, dimension=dimension)


@pytest.mark.parametrize(
    ("epsilon", "delta", "z"),
    [(2.5, 1e-5, 1.634), (1.0, 1e-5, 3.730632), (8.0, 1e-5, 0.600), (1.0, 1e-6, 4.224)],
)
def test_the_analytic_gaussian_has_its_published_values(epsilon: float, delta: float, z: float) -> None:
    assert noise_multiplier(epsilon, delta) == pytest.approx(z, rel=5e-4)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 2.5, 8.0])
def test_the_analytic_gaussian_agrees_with_a_loss_distribution(epsilon: float) -> None:
    z = noise_multiplier(epsilon, 1e-5)
    assert delta_of(epsilon, z) == pytest.approx(1e-5, rel=1e-6)
    loss = privacy_loss_distribution.from_gaussian_mechanism(z, value_discretization_interval=1e-4)
    assert loss.get_epsilon_for_delta(1e-5) == pytest.approx(epsilon, abs=2e-4)


def test_releases_of_gaussians_compose_as_one() -> None:
    assert noise_multiplier(2.5, 1e-5, 100) == pytest.approx(10 * noise_multiplier(2.5, 1e-5))


@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize("z", [0.5, 1.634, 5.0])
def test_on_a_fine_grid_the_cost_is_the_gaussians(law: Law, z: float) -> None:
    """α/2z² at every order, and dp_accounting's own ε of a Gaussian event."""
    curve = release_curve(fine(z, law), COHORT.honest)
    expected = [alpha / (2 * z**2) for alpha in ORDERS]
    np.testing.assert_allclose(curve, expected, rtol=2e-3)
    accountant = rdp_privacy_accountant.RdpAccountant(list(ORDERS))
    accountant.compose(dp_accounting.GaussianDpEvent(z))
    assert epsilon_of(curve, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5), rel=5e-3)


@pytest.mark.parametrize("shift", [1, 3])
@pytest.mark.parametrize("variance", [2.0, 50.0])
@pytest.mark.parametrize("alpha", [2, 5, 20])
def test_the_skellam_bound_holds_against_the_true_divergence(alpha: int, variance: float, shift: int) -> None:
    """In one dimension the divergence is a sum that can be taken: the bound is above it, and not by much."""
    x = np.arange(-600, 601)
    with np.errstate(divide="ignore"):
        p, q = (np.log(ive(np.abs(x - move), variance)) for move in (shift, 0))
    known = np.isfinite(p) & np.isfinite(q)
    true = float(np.logaddexp.reduce(alpha * p[known] + (1 - alpha) * q[known]) / (alpha - 1))
    bound = skellam(alpha, Sensitivity(shift**2, shift, 1), variance)
    assert true <= bound * (1 + 1e-9)
    if alpha * shift < variance:
        assert bound < 1.7 * true


@pytest.mark.parametrize("summands", [1, 10])
def test_the_discrete_gaussian_bound_holds_against_the_true_divergence(summands: int) -> None:
    x = np.arange(-400, 401)
    one = np.exp(-(x.astype(float) ** 2) / (2 * 1.5**2))
    law = one / one.sum()
    for _ in range(summands - 1):
        law = np.convolve(law, one / one.sum(), mode="same")
    for alpha in (2, 5):
        moved = np.roll(law, 1)
        usable = (law > 1e-250) & (moved > 1e-250)
        p, q = np.log(moved[usable]), np.log(law[usable])
        true = float(np.logaddexp.reduce(alpha * p + (1 - alpha) * q)) / (alpha - 1)
        assert true <= discrete_gaussian(alpha, Sensitivity(1, 1, 1), 1.5**2, summands) * (1 + 1e-9)


def test_the_gap_of_summed_discrete_gaussians_is_the_papers() -> None:
    """τ = 10·Σ_{k=1}^{n−1} exp(−2π²σ²·k/(k+1)); none for one, and nothing beyond a σ of 3."""
    assert not_quite_gaussian(1.0, 1) == 0
    assert not_quite_gaussian(1.0, 3) == pytest.approx(10 * (math.exp(-(math.pi**2)) + math.exp(-4 / 3 * math.pi**2)))
    assert not_quite_gaussian(9.0, 1000) < 1e-34


def test_fewer_honest_survivors_cost_more() -> None:
    calibration = fine(1.0)
    curves = [release_curve(calibration, honest) for honest in (40, 20, 10)]
    assert [epsilon_of(c, 1e-5) for c in curves] == sorted(epsilon_of(c, 1e-5) for c in curves)
    assert curves[1] == pytest.approx([2 * cost for cost in curves[0]], rel=1e-3)
    assert epsilon_of(release_curve(calibration, 0), 1e-5) == math.inf


def test_rounding_lengthens_updates() -> None:
    """A coarse grid costs more than a fine one, by (1 + d/4c²s²) and more: the bound, not the clip, is what counts."""
    coarse = calibrate(Law.SKELLAM, COHORT, z=1.0, clip=1.0, bits=12, block=4096, dimension=4096)
    ratio = release_curve(coarse, 40)[0] / release_curve(fine(1.0), 40)[0]
    assert ratio > 1 + 4096 / 4 / coarse.scale**2


def test_curves_add_up() -> None:
    curve = release_curve(fine(2.0), 40)
    assert composed(curve, curve) == tuple(2 * cost for cost in curve)
    assert composed() == (0.0,) * len(ORDERS)


def test_samplers_cost_almost_nothing_and_that_is_counted() -> None:
    calibration = fine(1.0, dimension=1 << 26)
    distance = sampler_distance(calibration, 10_000)
    assert 0 < distance < 1e-9
    curve = release_curve(calibration, 40)
    with pytest.raises(ConfigError, match="too small for the samplers"):
        epsilon_of(curve, 1e-5, 1e-6)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        epsilon_of(curve, 1.0)


def test_a_plan_pays_for_the_samplers_of_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(values=31, cohort=Cohort(10, 4))
    monkeypatch.setattr(finder, "sampler_distance", lambda *_: 3e-9)  # of the 4.9e-9 that there are where ε is small
    monkeypatch.setattr(finder, "_least_z", lambda _: math.inf)
    assert describe(task, 256.0).epsilon < 0.1
    with pytest.raises(ConfigError, match="too small for the samplers"):
        describe(replace(task, rounds=2), 256.0)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting.rdp.rdp_privacy_accountant", None)
    with pytest.raises(MissingExtraError, match=r"'\.\[dp\]'"):
        epsilon_of(release_curve(fine(1.0), 40), 1e-5)


@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize(("epsilon", "rounds"), [(1.0, 1), (2.5, 1), (8.0, 1), (2.5, 20)])
def test_the_finder_meets_the_budget_with_little_to_spare(law: Law, epsilon: float, rounds: int) -> None:
    task = Task(values=650, cohort=COHORT, rounds=rounds, epsilon=epsilon, bits=18, law=law)
    plan = find(task)
    assert 0.995 * epsilon < plan.epsilon <= epsilon
    assert epsilon_for(task, plan.z) == pytest.approx(plan.epsilon)
    assert plan.pipeline.text == f"clip(l2=1.0) | rotate | quantise(bits=18) | noise(law={law.value}, z={plan.z!r})"
    # Rényi accounting and the grid cost some noise over the exact continuous Gaussian, not a third.
    assert noise_multiplier(epsilon, 1e-5, rounds) < plan.z < 1.3 * noise_multiplier(epsilon, 1e-5, rounds)
    assert plan.error / plan.gaussian_error <= 1.05


def test_at_sixteen_bits_the_error_is_the_gaussians() -> None:
    plan = find(Task(values=1_000_000, cohort=COHORT, bits=16))
    assert plan.error / plan.gaussian_error <= 1.05
    assert plan.upload_bytes == 2 * (1 << 20)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epsilon": 0.0}, "ε must be above 0"),
        ({"epsilon": -1.0}, "ε must be above 0"),
        ({"epsilon": math.inf}, "ε must be above 0"),
        ({"epsilon": math.nan}, "ε must be above 0"),
        ({"delta": 0.0}, "δ must be between"),
        ({"delta": 1.0}, "δ must be between"),
        ({"delta": 0.01}, "below 1/n = 0.01"),
        ({"rounds": 0}, "at least one round"),
        ({"values": 0}, "at least one value"),
        ({"bits": 33}, "bits must be 4 to 32"),
        ({"bits": 4}, "too narrow for the noise of 100 participants; the nearest possible is"),
        ({"cohort": Cohort(100, 0)}, "certainly honest"),
        ({"bits": 10, "values": 1_000_000}, "the nearest possible is ε = 4"),
        ({"epsilon": 0.001, "bits": 12}, "the nearest possible is"),
    ],
)
def test_the_impossible_is_refused_with_the_reason(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        find(Task(**{"values": 650, "cohort": COHORT, **changes}))  # type: ignore[arg-type]
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (Task(values=1_000_000, cohort=COHORT, bits=12), "ε bits"),
        (Task(values=62, cohort=Cohort(200, 68), bits=8, epsilon=1.0, rounds=10), "ε bits rounds"),
        (Task(values=650, cohort=Cohort(10, 4), bits=8, epsilon=0.5), "ε bits"),
        (Task(values=650, cohort=Cohort(700, 234), bits=8, epsilon=1.0), "bits"),
    ],
)
def test_the_nearest_possible_is_possible(task: Task, says: str) -> None:
    """And each of them by itself is: the ε, the bits, the rounds that the refusal names."""
    with pytest.raises(ConfigError) as refusal:
        find(task)
    _, nearest = str(refusal.value).split("; the nearest possible is ")
    named = {"ε": r"ε = ([\d.]+)", "bits": r"(\d+) bits", "rounds": r"(\d+) round"}
    found = {name: re.search(pattern, nearest) for name, pattern in named.items()}
    values = {name: float(match[1]) for name, match in found.items() if match}
    assert list(values) == says.split()
    for name, value in values.items():
        changed = replace(task, **{"epsilon" if name == "ε" else name: value if name == "ε" else int(value)})  # type: ignore[arg-type]
        assert find(changed).epsilon <= changed.epsilon
        if name == "bits":
            with pytest.raises(ConfigError, match="nearest possible"):
                find(replace(task, bits=changed.bits - 1))
        if name == "rounds":
            with pytest.raises(ConfigError, match="nearest possible"):
                find(replace(task, rounds=changed.rounds + 1))


def test_a_narrow_ring_that_has_room_for_much_noise_is_not_refused() -> None:
    """The noise of z = 1 would be too small for the grid of 8 bits, that of z = 5 is not."""
    task = Task(values=62, cohort=Cohort(200, 68), bits=8, epsilon=14.0, rounds=10)
    with pytest.raises(ConfigError, match="too narrow"):
        task.calibration(1.0)
    assert find(task).epsilon <= 14


def test_a_plan_can_be_had_for_any_noise() -> None:
    task = Task(values=650, cohort=COHORT)
    plans = [describe(task, z) for z in (0.5, 1.0, 2.0)]
    assert [plan.epsilon for plan in plans] == sorted((plan.epsilon for plan in plans), reverse=True)
    assert [plan.error for plan in plans] == sorted(plan.error for plan in plans)
    assert finder.DEFAULT_EPSILON == 2.5
    assert Fraction(plans[0].calibration.variance) > 0


def test_a_ring_costs_its_exception_and_the_complete_graph_none(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring(degree=6, neighbour_threshold=6, committee=5, committee_threshold=4, min_participants=8)
    noisy = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0)")
    complete = make_config(12, encoding=noisy, threshold=7, max_colluding=1)
    on_ring = replace(complete, graph=ring)
    assert charge_of(on_ring).distance == charge_of(complete).distance + 2**-40
    delta = 2**-28
    assert math.isfinite(cost_of(complete, delta))
    assert cost_of(on_ring, delta) == math.inf
    monkeypatch.setattr(charges, "PRIVACY_BITS", 80)
    assert math.isfinite(cost_of(on_ring, delta))
