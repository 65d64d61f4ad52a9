"""Rényi divergences of sums with distributed noise, on the grid (proto/PROTOCOL.md, "Noise").

Skellam: Agarwal, Kairouz & Liu 2021 (arXiv 2110.04995), theorem 3.5. Discrete Gaussian: Kairouz, Liu & Steinke 2021
(arXiv 2102.06387), proposition 14 and corollary 12.
"""

from dataclasses import dataclass
from math import exp, inf, log, log1p, pi, sqrt
from typing import Final

from secagg.encoding.calibration import Calibration
from secagg.noise.laws import Law

ORDERS: Final = (*range(2, 65), *range(68, 129, 4), *range(144, 257, 16), 320, 384, 512, 768, 1024, 2048, 4096)
"""Where divergences are known. Whole numbers: the Skellam bound holds for those."""

SAMPLER_SHARE: Final = 2.0**-10
"""Of δ, what is kept for the distance of the samplers from their laws."""

_NOTHING_LEFT: Final = 700.0
"""From this ε on nothing is protected, and e^ε is soon no float."""

Curve = tuple[float, ...]
"""ε(α) in nats for every α of `ORDERS`. Of several releases: the sums."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How much one participant can change the sum, on the grid.

    Attributes:
        l2_squared: Δ₂².
        l1: Δ₁.
        dimension: d.
    """

    l2_squared: float
    l1: float
    dimension: int

    @classmethod
    def of(cls, calibration: Calibration) -> "Sensitivity":
        """The norm bound holds for every rounded update. For integers Σ|x| ≤ Σx²."""
        l2_squared, dimension = float(calibration.norm_bound), calibration.dimension
        return cls(l2_squared, min(sqrt(l2_squared * dimension), l2_squared), dimension)


def release_curve(calibration: Calibration, honest: int) -> Curve:
    """What one released sum costs when `honest` participants' noise is in it; infinite without any."""
    if honest < 1:
        return (inf,) * len(ORDERS)
    sensitivity = Sensitivity.of(calibration)
    variance = float(calibration.variance)
    if calibration.law is Law.SKELLAM:
        return tuple(skellam(alpha, sensitivity, honest * variance) for alpha in ORDERS)
    return tuple(discrete_gaussian(alpha, sensitivity, variance, honest) for alpha in ORDERS)


def skellam(alpha: int, sensitivity: Sensitivity, variance: float) -> float:
    """Rényi divergence of order `alpha` of Skellam noise of central variance μ = `variance`."""
    l2_squared, l1 = sensitivity.l2_squared, sensitivity.l1
    first = ((2 * alpha - 1) * l2_squared + 6 * l1) / (4 * variance**2)
    return alpha * l2_squared / (2 * variance) + min(first, 3 * l1 / (2 * variance))


def discrete_gaussian(alpha: int, sensitivity: Sensitivity, variance: float, summands: int) -> float:
    """The curve for the sum of `summands` discrete Gaussians of parameter σ² = `variance` each."""
    l2, l1, d = sqrt(sensitivity.l2_squared), sensitivity.l1, sensitivity.dimension
    total = sqrt(summands * variance)
    gap = not_quite_gaussian(variance, summands)
    return min(
        alpha / 2 * (l2 / total) ** 2 + gap * d,
        alpha / 2 * ((l2 / total) ** 2 + 2 * gap * l1 / total + gap**2 * d),
        alpha / 2 * (l2 / total + gap * sqrt(d)) ** 2,
    )


def not_quite_gaussian(variance: float, summands: int) -> float:
    """τ: how far a sum of discrete Gaussians is from a discrete Gaussian, in largest divergence."""
    return 10 * sum(exp(-2 * pi**2 * variance * k / (k + 1)) for k in range(1, summands))


def composed(*curves: Curve) -> Curve:
    """What several releases cost together, however each was chosen after the ones before it."""
    return tuple(map(sum, zip(*curves, strict=True))) if curves else (0.0,) * len(ORDERS)


def epsilon_bound(curve: Curve, delta: float, distance: float = 0.0) -> float:
    """ε of a curve at δ (Canonne, Kamath & Steinke 2020, proposition 12), in plain arithmetic and never below what the
    accountant says; infinite where the samplers are too far from their law for this δ.

    Args:
        curve: of all releases together.
        delta: δ in (0, 1).
        distance: of all noise in them from its law.
    """
    rest = delta * (1 - SAMPLER_SHARE)
    known = (
        cost + log1p(-1 / alpha) - log(rest * alpha) / (alpha - 1) for alpha, cost in zip(ORDERS, curve, strict=True)
    )
    epsilon = max(0.0, min(known))
    return epsilon if samplers_fit(epsilon, delta, distance) else inf


def samplers_fit(epsilon: float, delta: float, distance: float) -> bool:
    """Whether the part of δ that is kept for the samplers pays for their distance from their law."""
    return epsilon >= _NOTHING_LEFT or (1 + exp(epsilon)) * distance <= delta * SAMPLER_SHARE
