"""Values and closed forms that others have published, beside ours. Every test names its source.

DDG: Kairouz, Liu & Steinke, "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure
Aggregation", ICML 2021, arXiv 2102.06387. SKELLAM: Agarwal, Kairouz & Liu, "The Skellam Mechanism for Differentially
Private Federated Learning", NeurIPS 2021, arXiv 2110.04995. Their authors' code: github.com/google-research/federated,
folder distributed_dp, commit 5e27a86323a3.

Both papers show their results as plots. Where there is no number to compare with, their closed forms are evaluated
here at the settings of a plot, written down anew from the paper and in its own notation.
"""

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import ive
from scipy.stats import norm

from secagg.encoding.calibration import MODULAR_CLIP, Calibration, Cohort, calibrate, norm_bound
from secagg.noise.laws import Law
from secagg.privacy.accountant import epsilon_of
from secagg.privacy.divergence import ORDERS, Sensitivity, discrete_gaussian, not_quite_gaussian, release_curve, skellam
from secagg.privacy.finder import Task, find
from secagg.privacy.gaussian import delta_of, noise_multiplier

# distributed mean estimation: n, d (padded to a power of two) and bits of DDG's and SKELLAM's plots; `dme_run.py`.
PLOTTED = [(n, bits) for n in (100, 1000) for bits in (12, 14, 16)]
DIMENSION = 256  # of 250 values
DELTA = 1e-5
Logs = np.ndarray[Any, np.dtype[np.float64]]
LENGTH = 10.0  # the L2 norm of an update there

# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("epsilon", "delta", "sigma"), [(1.0, 0.5, 0.50706503), (math.log(3), 1e-5, 3.42466239)])
def test_the_gaussian_mechanism_of_tensorflow_federated(epsilon: float, delta: float, sigma: float) -> None:
    """Github.com/google-parfait/tensorflow-federated, commit e2cf8871c2eb: analytics/differential_privacy_test.py.

    Compared there to seven places.
    """
    assert noise_multiplier(epsilon, delta) == pytest.approx(sigma, abs=5e-8)
    assert delta_of(epsilon, sigma) == pytest.approx(delta, rel=1e-6)


def test_one_coordinate_in_ten_thousand_may_wrap() -> None:
    """k of DDG, section 4, for a chance of 10^-4: `modclip_prob` in aggregators/distributed_dp_test.py, ibidem."""
    assert norm.isf(1e-4 / 2) == pytest.approx(MODULAR_CLIP, abs=0.01)


def test_rounding_is_conditional_with_a_beta_of_one_over_the_root_of_e() -> None:
    """β = e^(−1/2) of DDG's and SKELLAM's experiments (`dme_run.py`), which makes √(2·ln(1/β)) = 1."""
    assert math.sqrt(2 * math.log(1 / math.exp(-0.5))) == pytest.approx(1.0)


# --- closed forms, at the settings of the plots -----------------------------------------------------------------------


def rounded_length_squared(c: float, gamma: float, d: int) -> float:
    """Δ₂² of DDG, theorem 1, in the update's own unit."""
    beta = math.exp(-0.5)
    sure = (c + gamma * math.sqrt(d)) ** 2
    likely = c**2 + gamma**2 * d / 4 + math.sqrt(2 * math.log(1 / beta)) * gamma * (c + gamma / 2 * math.sqrt(d))
    return min(sure, likely)


@pytest.mark.parametrize("gamma", [1e-3, 0.1, 1.0, 20.0])
@pytest.mark.parametrize("d", [64, 256, 2**20])
def test_a_rounded_update_is_as_long_as_the_paper_allows(d: int, gamma: float) -> None:
    """Ours is on the grid, where lengths are whole numbers: the floor of a bound is a bound."""
    ours = norm_bound(LENGTH / gamma, d)
    assert ours - 1 <= rounded_length_squared(LENGTH, gamma, d) / gamma**2 * (1 + 1e-12) <= ours + 1


def whole_length(scale: float) -> float:
    """Δ₂ in the update's own unit, of a rounded update at its longest: its square is whole on the grid."""
    return math.sqrt(math.floor(rounded_length_squared(LENGTH, 1 / scale, DIMENSION) * scale**2)) / scale


def plotted(law: Law, n: int, bits: int, z: float = 2.0) -> Calibration:
    return calibrate(law, Cohort(n, n), z=z, clip=LENGTH, bits=bits, block=DIMENSION, dimension=DIMENSION)


@pytest.mark.parametrize(("n", "bits"), PLOTTED)
@pytest.mark.parametrize("law", Law)
def test_the_scale_fills_the_ring(law: Law, n: int, bits: int) -> None:
    """2^b = 2k·√((cn)²/d + n·(γ²/4 + σ²))/γ, DDG, section 4: with ρ = 1, and σ the noise of one participant."""
    calibration = plotted(law, n, bits)
    gamma = 1 / calibration.scale
    sigma = gamma * math.sqrt(calibration.variance)
    spread = LENGTH**2 * n**2 / DIMENSION + n * (gamma**2 / 4 + sigma**2)
    assert 2 * MODULAR_CLIP * math.sqrt(spread) / gamma == pytest.approx(2**bits, rel=1e-9)


@pytest.mark.parametrize(("n", "bits"), PLOTTED)
def test_skellam_noise_costs_what_corollary_4_1_says(n: int, bits: int) -> None:
    """SKELLAM, corollary 4.1, in the update's own unit: Δ₂ and Δ₁ after rounding, μ the variance of the sum."""
    calibration = plotted(Law.SKELLAM, n, bits)
    s = calibration.scale
    length = whole_length(s)
    width = length * min(math.sqrt(DIMENSION), s * length)
    mu = n * float(calibration.variance) / s**2
    for alpha, ours in zip(ORDERS, release_curve(calibration, n), strict=True):
        small = ((2 * alpha - 1) * s * length**2 + 6 * width) / (4 * s**3 * mu**2)
        assert ours == pytest.approx(alpha * length**2 / (2 * mu) + min(small, 3 * width / (2 * s * mu)), rel=1e-9)


@pytest.mark.parametrize(("n", "bits"), PLOTTED)
def test_discrete_gaussian_noise_costs_what_proposition_14_says(n: int, bits: int) -> None:
    """DDG, proposition 14, with τ of theorem 1, in the update's own unit."""
    calibration = plotted(Law.GAUSSIAN, n, bits)
    gamma = 1 / calibration.scale
    sigma = gamma * math.sqrt(calibration.variance)
    tau = 10 * sum(math.exp(-2 * math.pi**2 * (sigma / gamma) ** 2 * k / (k + 1)) for k in range(1, n))
    length = whole_length(1 / gamma)
    l2 = length / (math.sqrt(n) * sigma)
    l1 = l2 * min(math.sqrt(DIMENSION), length / gamma)
    for alpha, ours in zip(ORDERS, release_curve(calibration, n), strict=True):
        paper = min(
            alpha / 2 * l2**2 + tau * DIMENSION,
            alpha / 2 * (l2**2 + 2 * l1 * tau + tau**2 * DIMENSION),
            alpha / 2 * (l2 + tau * math.sqrt(DIMENSION)) ** 2,
        )
        assert ours == pytest.approx(paper, rel=1e-9)


@pytest.mark.parametrize("law", Law)
def test_dropouts_cost_as_if_the_noise_were_planned_for_the_rest(law: Law) -> None:
    """The setting of `plot_client_dropout.py` (DDG): 100 participants, 2^20 values, 1,500 rounds; 60 in 100 leave.

    What the plot shows follows from the forms above: the divergence is that of the remaining noise.
    """
    n, rounds, left = 100, 1500, 40
    task = Task(values=2**20, cohort=Cohort(n, n), rounds=rounds, epsilon=8.0, delta=DELTA, bits=32, law=law)
    calibration = find(task).calibration
    full, rest = (tuple(rounds * cost for cost in release_curve(calibration, honest)) for honest in (n, left))
    assert rest == pytest.approx([n / left * cost for cost in full], rel=1e-4)
    assert epsilon_of(full, DELTA) <= 8
    assert 12 < epsilon_of(rest, DELTA) < 8 * n / left


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("epsilon", [1.0, 2.5, 6.0])
def test_at_sixteen_bits_skellam_is_as_good_as_the_central_gaussian(epsilon: float, n: int) -> None:
    """The claim of SKELLAM's abstract and of its plot of mean estimation: the curves of 16 bits lie on the Gaussian's.

    Here: mean squared error at the same ε, of which Rényi accounting has a part that the plots have, too.
    """
    plan = find(Task(values=250, cohort=Cohort(n, n), clip=LENGTH, bits=16, epsilon=epsilon, delta=DELTA))
    gaussian = noise_multiplier(epsilon, DELTA) * LENGTH / n
    assert 1 < (plan.error / gaussian) ** 2 < 1.25
    assert plan.error / plan.gaussian_error < 1.05


# --- the laws themselves ----------------------------------------------------------------------------------------------


def divergence(p: Logs, q: Logs, alpha: int) -> float:
    """Rényi's, of two vectors of log-probabilities."""
    known = np.isfinite(p) & np.isfinite(q)
    return float(np.logaddexp.reduce(alpha * p[known] + (1 - alpha) * q[known])) / (alpha - 1)


@pytest.mark.parametrize("alpha", [2, 8])
@pytest.mark.parametrize("sigma", [3.0, 5.0, 20.0])
def test_a_discrete_gaussian_costs_what_a_continuous_one_does(sigma: float, alpha: int) -> None:
    """Canonne, Kamath & Steinke 2020 (arXiv 2004.00010): Δ²·α/2σ² for a shift by a whole number."""
    x = np.arange(-400, 401.0)
    p, q = (-((x - shift) ** 2) / (2 * sigma**2) for shift in (1, 0))
    true = divergence(p - np.logaddexp.reduce(p), q - np.logaddexp.reduce(q), alpha)
    assert true == pytest.approx(alpha / (2 * sigma**2), rel=1e-9)
    assert discrete_gaussian(alpha, Sensitivity(1, 1, 1), sigma**2, 1) == pytest.approx(alpha / (2 * sigma**2))


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("variance", [0.5, 1.0, 1.5])
def test_another_share_hardly_changes_the_law(variance: float, k: int) -> None:
    """τ of DDG, theorem 1, has 10·exp(−2π²σ²·k/(k+1)) for the share that comes to k others.

    That is twice what log-probabilities of such a sum may differ by from the discrete Gaussian that it stands for.
    """
    x = np.arange(-40, 41.0)
    one, others, both = (np.exp(-(x**2) / (2 * variance * times)) for times in (1, k, k + 1))
    total = np.convolve(one / one.sum(), others / others.sum(), mode="same")
    middle = slice(30, 51)  # farther out the cut-off shows
    gap = np.abs(np.log(total[middle]) - np.log(both[middle] / both.sum())).max()
    assert 2 * gap <= 10 * math.exp(-2 * math.pi**2 * variance * k / (k + 1)) + 1e-12
    assert 2 * gap <= not_quite_gaussian(variance, k + 1) - not_quite_gaussian(variance, k) + 1e-12


@pytest.mark.parametrize("mu", [10.0, 100.0, 1000.0])
@pytest.mark.parametrize("alpha", [2, 16])
def test_skellam_noise_comes_close_to_the_gaussian_as_one_over_mu(alpha: int, mu: float) -> None:
    """SKELLAM, theorem 3.5, against the true divergence of one dimension; both beside αΔ²/2μ."""
    x = np.arange(-1500, 1501)
    with np.errstate(divide="ignore"):
        p, q = (np.log(ive(np.abs(x - shift), mu)) for shift in (1, 0))
    gaussian = alpha / (2 * mu)
    true, bound = divergence(p, q, alpha), skellam(alpha, Sensitivity(1, 1, 1), mu)
    assert true <= bound <= gaussian * (1 + (2 * alpha + 5) / (2 * alpha * mu) + 1e-9)
    assert true == pytest.approx(gaussian, rel=3 * alpha / mu)  # of a shift by 1 it is a little below


def test_sums_of_skellam_noise_are_skellam() -> None:
    """SKELLAM, abstract: closed under summation, so two shares of variance 8 are one of 16."""
    x = np.arange(-200, 201)
    share = ive(np.abs(x), 8.0)
    np.testing.assert_allclose(np.convolve(share, share, mode="same"), ive(np.abs(x), 16.0), atol=1e-14)
