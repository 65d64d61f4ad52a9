"""Discrete Gaussian and Skellam distributions as rigorous bounds: integers with directed rounding, no floats.

Both are symmetric about 0, and each half falls by ratios p(k+1)/p(k) < 1 that fall themselves. Bounds on the ratios
give bounds on everything.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from itertools import accumulate
from math import isqrt
from typing import Final

from secagg.errors import ConfigError

PRECISION: Final = 192
"""Bounds are multiples of 2^-192."""

ONE: Final = 1 << PRECISION
MIN_VARIANCE: Final = Fraction(1, 4)
MAX_VARIANCE: Final = Fraction(12_000**2)
"""Beyond it a table would have more than 2^18 columns."""


class Law(Enum):
    """How noise is distributed. The value is its name in a pipeline's text."""

    GAUSSIAN = "gaussian"
    """Discrete Gaussian of parameter σ² (Canonne, Kamath & Steinke 2020): p(x) ∝ exp(−x²/2σ²)."""
    SKELLAM = "skellam"
    """Difference of two Poissons of mean μ/2 (Agarwal et al. 2021): p(x) = exp(−μ) I_x(μ). Sums are Skellam again."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A real number between two multiples of 2^-192."""

    low: int
    high: int

    def __mul__(self, other: "Interval") -> "Interval":
        """The interval of the product; all numbers here are zero or more."""
        return Interval(self.low * other.low >> PRECISION, -(-self.high * other.high >> PRECISION))


@dataclass(frozen=True, slots=True)
class HalfLaw:
    """Bounds on one half of a symmetric law, relative to its centre.

    Attributes:
        relative: p(k)/p(0) for k = 0 to T.
        tail: upper bound on Σ_{k>T} p(k)/p(0), a multiple of 2^-192.
    """

    relative: tuple[Interval, ...]
    tail: int


def half_law(law: Law, variance: Fraction, tail: int) -> HalfLaw:
    """The half of `law` cut off where at most `tail`·2^-192 of p(0) is left.

    Raises:
        ConfigError: a variance outside 1/4 to 12,000².
    """
    if not MIN_VARIANCE <= variance <= MAX_VARIANCE:
        raise ConfigError(
            f"noise of variance {float(variance):.4g} on the integer grid of one participant; "
            f"{float(MIN_VARIANCE)} to {float(MAX_VARIANCE):.4g} are possible: change bits or z"
        )
    ratios = _skellam_ratios(variance) if law is Law.SKELLAM else _gaussian_ratios(variance)
    relative = [Interval(ONE, ONE)]
    for ratio in ratios:
        following = relative[-1] * ratio
        # Ratios fall, so from here on p falls at least as fast as a geometric series of the current ratio.
        left = -(-following.high * ONE // (ONE - ratio.high))
        if left <= tail:
            return HalfLaw(tuple(relative), left)
        relative.append(following)
    raise AssertionError("the recurrence starts far beyond the cut")


def _gaussian_ratios(variance: Fraction) -> Iterator[Interval]:
    """Intervals around P(k+1)/P(k) = exp(−(2k+1)/2σ²), for k = 0, 1, 2 and so on."""
    ratio = exp_minus(1 / (2 * variance))
    step = ratio * ratio
    while True:
        yield ratio
        ratio *= step


def exp_minus(x: Fraction) -> Interval:
    """exp(−x), x > 0: the partial sums of the alternating series lie on both sides of it."""
    halvings = max(0, (2 * x.numerator // x.denominator).bit_length())
    y = x / 2**halvings  # below 1/2
    terms = list(accumulate(range(1, 60), lambda term, k: -term * y / k, initial=Fraction(1)))
    upper, lower = sum(terms[:-1]), sum(terms)  # 60 terms: the last one is negative
    value = Interval(lower.numerator * ONE // lower.denominator, -(-upper.numerator * ONE // upper.denominator))
    for _ in range(halvings):
        value *= value
    return value


def _skellam_ratios(variance: Fraction) -> Iterator[Interval]:
    """I_{k+1}(μ)/I_k(μ), by I_{k−1} = I_{k+1} + (2k/μ) I_k downwards from a ratio known to be in [0, 1].

    Each step down narrows the bounds by the square of the ratio (Olver 1964); far out that is fast.
    """
    numerator, denominator = variance.numerator, variance.denominator
    start = 20 * isqrt(numerator // denominator + 1) + 200
    low, high = 0, ONE
    ratios = [Interval(low, high)]
    for k in range(start, 0, -1):
        step = 2 * k * denominator * ONE
        low, high = ONE * ONE // (-(-step // numerator) + high), -(-ONE * ONE // (step // numerator + low))
        ratios.append(Interval(low, high))
    return reversed(ratios)
