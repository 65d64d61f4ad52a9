"""How distributed noise and its ring fit together: scale, local variance, norm bound (proto/PROTOCOL.md, "Noise").

Kairouz, Liu & Steinke 2021 (arXiv 2102.06387), section 4 and theorem 2. Lengths are multiplied by the scale s, and
then are whole numbers: the "grid".
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, isqrt, sqrt
from typing import Final

from secagg.errors import ConfigError
from secagg.noise.laws import MIN_VARIANCE, Law
from secagg.scalars import settle

MODULAR_CLIP: Final = 3.9
"""k: the ring holds this many standard deviations of a coordinate's sum to either side, so that one in 10^4 wraps."""

MAX_LOCAL_SIGMA: Final = 8192.0
"""On the grid. A finer one would only make tables and rings larger: rounding adds 1/4 to a variance of 2^26."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """Whom the noise is sized for.

    Attributes:
        summands: n, most participants in a sum.
        honest: survivors whose noise is certain to be in every released sum: t − n_C. Never n: neither dropouts nor
            colluding participants may thin the noise. 1 where the coordinator adds it.
        central: whether there is one draw of noise in a sum, the coordinator's, and none of participants.
    """

    summands: int
    honest: int
    central: bool = False

    def __post_init__(self) -> None:
        settle(self, integers=("summands", "honest"))

    @property
    def draws(self) -> int:
        """Noises in a sum of all."""
        return 1 if self.central else self.summands


@dataclass(frozen=True, slots=True)
class Calibration:
    """Parameters on the grid.

    Attributes:
        scale: s; a coordinate v of a rotated update becomes v·s, rounded.
        variance: of each participant's noise, or of the coordinator's, exact. The parameter σ² of a discrete Gaussian.
        norm_bound: largest Σ x² of a rounded update, Δ₂²; what is rounded beyond is rounded anew.
        dimension: d, coordinates of the rotated update.
        central: whether the noise is the coordinator's, one draw in a sum.
    """

    law: Law
    scale: float
    variance: Fraction
    norm_bound: int
    dimension: int
    central: bool = False

    @property
    def largest_value(self) -> int:
        """No rounded coordinate is larger: one alone could have the whole norm."""
        return isqrt(self.norm_bound)

    def multiplier(self, draws: int) -> float:
        """What so many draws of noise leave of z in a sum: their deviation over the norm of the longest rounded update.

        Rounding to few bits makes an update of many values longer than the clip.
        """
        return sqrt(draws * float(self.variance) / self.norm_bound)


def calibrate(law: Law, cohort: Cohort, *, z: float, clip: float, bits: int, block: int, dimension: int) -> Calibration:
    """The finest grid whose sums fit a ring of `bits` bits.

    Args:
        law: of the noise.
        cohort: whom it is sized for.
        z: noise of the honest together, in units of `clip`.
        clip: c, L2 norm of an update.
        bits: b.
        block: coordinates that a rotation spreads energy over; in the worst case all of it lies in one block.
        dimension: d.

    Raises:
        ConfigError: the ring is too narrow; says which would do.
    """
    if cohort.honest < 1:
        raise ConfigError(
            f"noise is sized for the t − n_C survivors that are certainly honest, which are {cohort.honest} here; "
            "raise threshold or lower max_colluding"
        )
    scale = _scale(z, bits, block, cohort) / clip
    if scale == 0 or (z * clip * scale) ** 2 / cohort.honest < MIN_VARIANCE:
        enough = next((b for b in range(bits + 1, 33) if _fits(z, b, block, cohort)), None)
        hint = f"use {enough} bits" if enough else "lower max_participants"
        raise ConfigError(
            f"a ring of {bits} bits is too narrow for the noise of {cohort.summands} participants; {hint}"
        )
    variance = Fraction((z * clip * scale) ** 2 / cohort.honest)
    return Calibration(law, scale, variance, norm_bound(clip * scale, dimension), dimension, cohort.central)


def _fits(z: float, bits: int, block: int, cohort: Cohort) -> bool:
    return (z * _scale(z, bits, block, cohort)) ** 2 / cohort.honest >= MIN_VARIANCE


def _scale(z: float, bits: int, block: int, cohort: Cohort) -> float:
    """s for c = 1; 0 where no scale fits. ρ = 1 and n²c²/d as if all updates were alike and within one block."""
    n, k = cohort.summands, MODULAR_CLIP
    room = 4.0**bits - n * k**2
    if room <= 0 or 2**bits < n:
        return 0.0
    spread = n**2 / block + cohort.draws * z**2 / cohort.honest
    return min(sqrt(room / spread) / (2 * k), MAX_LOCAL_SIGMA * sqrt(cohort.honest) / z)


def norm_bound(length: float, dimension: int) -> int:
    """Δ₂² on the grid, of updates of L2 norm up to `length`, rounded conditionally with β = e^−½.

    A rounding is within the first bound with probability 1 − β at least, and always within the second.
    """
    typical = length**2 + dimension / 4 + (length + sqrt(dimension) / 2)  # √(2 ln(1/β)) = 1
    return min(int(typical), ceil((length + sqrt(dimension)) ** 2))
