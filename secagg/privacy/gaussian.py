"""The continuous Gaussian mechanism as a yardstick, and what central noise would need (Balle & Wang 2018).

Central noise is added by the coordinator to the sum. Whoever wants it trusts the coordinator with the sum itself.
"""

from math import erfc, exp, sqrt

from secagg.errors import ConfigError


def delta_of(epsilon: float, z: float) -> float:
    """The smallest δ of one release with noise of standard deviation z in units of the sensitivity (theorem 8)."""
    return _normal_cdf(0.5 / z - epsilon * z) - exp(epsilon) * _normal_cdf(-0.5 / z - epsilon * z)


def noise_multiplier(epsilon: float, delta: float, releases: int = 1) -> float:
    """The smallest z for `releases` releases: together they are one with noise z/√releases.

    Raises:
        ConfigError: ε, δ or the number of releases is out of range.
    """
    if not 0 < epsilon <= 500 or not 0 < delta < 1 or releases < 1:
        raise ConfigError("ε must be in (0, 500], δ in (0, 1), and at least one release")
    low, high = 2.0**-40, 2.0**40
    while high / low > 1 + 1e-12:
        middle = sqrt(low * high)
        low, high = (middle, high) if delta_of(epsilon, middle) > delta else (low, middle)
    return high * sqrt(releases)


def _normal_cdf(x: float) -> float:
    return erfc(-x / sqrt(2)) / 2
