"""What the statistics of the audit can see: of each, the smallest fault that it finds with 95 %.

The figure is computed from the number of values and the limit of the test, and borne out by controls: synthetic values
with a fault of just that size go through the very same test, and 19 of 20 must be noticed on average.
"""

import math
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Final

import numpy as np

from secagg.tools.redteam import cipher_checks, dp_audit, mask_checks, noise_checks
from secagg.tools.redteam.measured import Power
from secagg.tools.redteam.statistics import FAMILY_ERROR, Residues, birthday_p, bit_tests, pair_tests, ring_tests

CONTROLS: Final = 20
_SURE: Final = 0.95
_NORMAL: Final = NormalDist()
_MARGIN: Final = _NORMAL.inv_cdf(_SURE)
_WORD: Final = 32
_CIPHER_VALUES: Final = 8192
"""Residues of one polynomial modulo one prime; profiles have as many or more."""

_MASKS: Final = 6
_PAIRS: Final = 6

Generator = np.random.Generator
Noticed = Callable[[Generator], bool]


def powers(releases: int, seed: int) -> Iterator[Power]:
    """One line a statistic. Args: releases: of the audit of ε, with a canary, and as many without."""
    rng = np.random.default_rng([seed, 41])
    yield from _masks(rng)
    yield _repeats()
    yield _seeds(rng)
    yield from _pairs(rng)
    yield from _variances(rng)
    yield _audit(releases, rng)


def _shown(check: str, fault: str, smallest: str, noticed: Noticed, rng: Generator) -> Power:
    return Power(check, fault, smallest, sum(noticed(rng) for _ in range(CONTROLS)), CONTROLS)


def _deviations(limit: float) -> float:
    """How far out a two-sided test of this limit speaks, and 95 % of the values beyond: in deviations."""
    return -_NORMAL.inv_cdf(limit / 2) + _MARGIN


def _uniform(rng: Generator, count: int) -> Residues:
    return rng.integers(0, 1 << _WORD, count, np.uint64)


def _masks(rng: Generator) -> Iterator[Power]:
    """A bit that is one too often, in the largest layer and in the smallest; and how many tests share the limit."""
    sizes = [mask_checks.MANY - mask_checks.MANY // 4 - 64, mask_checks.MANY // 4, 64]
    tests = sum(len(list(ring_tests(_uniform(rng, size), _WORD))) for size in sizes)
    limit = FAMILY_ERROR / (_MASKS * (tests + 1) + _PAIRS * 3)
    for size in (sizes[0], sizes[-1]):
        bias = min(0.5, _deviations(limit) / (2 * math.sqrt(size)))

        def noticed(rng: Generator, size: int = size, bias: float = bias) -> bool:
            values = _uniform(rng, size) & ~np.uint64(1) | (rng.random(size) < 0.5 + bias).astype(np.uint64)
            return any(p < limit for _, p in bit_tests(values, _WORD))

        fault = f"one bit of {size:,} masks is 1 more often than half the time"
        yield _shown("masks", fault, f"by {bias:.1%}", noticed, rng)
    short = math.ceil((1 + math.log2(1 / limit)) / 2)
    longest = mask_checks.COMPLEXITY_BITS // 2 - short
    yield Power("masks", "masks come from a linear generator", f"of at most {longest:,} bits of state", 0, 0)


def _repeats() -> Power:
    return Power("mask-chunks", "a stream begins anew within a mask", "one block of 16 bytes", 0, 0)


def _seeds(rng: Generator) -> Power:
    """Keys so short that two of them are the same."""
    streams = mask_checks.COHORTS * (mask_checks.COHORT + mask_checks.COHORT * (mask_checks.COHORT - 1) // 2)
    bits = math.floor(math.log2(streams**2 / 2 / -math.log(1 - _SURE)))

    def noticed(rng: Generator) -> bool:
        keys = rng.integers(0, 1 << bits, streams)
        return birthday_p([int(key).to_bytes(16, "big") for key in keys]) < mask_checks.SEEDS_ERROR

    return _shown("seeds", f"keys of {streams:,} mask streams are short", f"{bits} bits or fewer", noticed, rng)


def _pairs(rng: Generator) -> Iterator[Power]:
    """Values that have something to do with each other."""
    rows = (
        ("masks", "masks of two participants correlate", mask_checks.MANY, _MASKS * 200),
        ("two-rounds", "masks of two rounds correlate", mask_checks.SECOND_ROUND, 4 * 3),
        ("fresh-noise", "noise of two participants or rounds correlates", noise_checks.NOISY_VALUES, 6 * 3),
        ("ciphertexts", "ciphertexts of two participants correlate", _CIPHER_VALUES, 200),
    )
    for check, fault, count, tests in rows:
        limit = FAMILY_ERROR / tests
        share = _deviations(limit) / math.sqrt(count)

        def noticed(rng: Generator, count: int = count, limit: float = limit, share: float = share) -> bool:
            one, other = _uniform(rng, count), _uniform(rng, count)
            mixed = np.where(rng.random(count) < share, one, other)
            return any(p < limit for _, p in pair_tests(one, mixed))

        yield _shown(check, fault, f"by {share:.1%}", noticed, rng)


def _variances(rng: Generator) -> Iterator[Power]:
    """How small an error in the size of the noise is noticed."""
    spread = math.sqrt(2 / noise_checks.NOISY_VALUES)
    small = math.sqrt((1 - noise_checks.SIGMAS * spread) / (1 + _MARGIN * spread))

    def missing(rng: Generator) -> bool:
        return noise_checks.too_small(rng.normal(0, small, noise_checks.NOISY_VALUES))

    fault = "noise of the released sum is smaller than promised"
    yield _shown("released-noise", fault, f"{small:.0%} of its deviation", missing, rng)
    spread = math.sqrt(2 / _CIPHER_VALUES)
    smaller = (1 - cipher_checks.SIGMAS * spread) / (1 + _MARGIN * spread)

    def wrong(rng: Generator) -> bool:
        deviation = math.sqrt(cipher_checks.NOISE_VARIANCE * smaller)
        return cipher_checks.wrong_noise(rng.normal(0, deviation, _CIPHER_VALUES))

    yield _shown("encryption-noise", "noise of encryptions is smaller than said", f"{smaller:.0%} of it", wrong, rng)


def _audit(releases: int, rng: Generator) -> Power:
    z = dp_audit.found_with(_SURE, dp_audit.CLAIM, dp_audit.DELTA, releases)

    def noticed(rng: Generator) -> bool:
        named, mistaken = (int((rng.normal(mean, z, releases) > 0.5).sum()) for mean in (1.0, 0.0))
        return dp_audit.gaussian_bound(named, mistaken, releases, dp_audit.DELTA) > dp_audit.CLAIM

    whole = 1 / dp_audit.distance_of(dp_audit.CLAIM, dp_audit.DELTA)
    fault = f"noise is smaller than ε = {dp_audit.CLAIM:g} needs, in 2 × {releases:,} releases"
    return _shown("audit-dp", fault, f"{z / whole:.0%} of its deviation", noticed, rng)
