"""Statistical tests of ring elements that must look uniform. Thresholds are six standard deviations and inputs are
seeded, so a run that passes passes always.
"""

from math import sqrt
from typing import Any, Final

import numpy as np

from tests.rounds import Integers

SIGMAS: Final = 6.0


def chi_square_sigmas(counts: np.ndarray[Any, np.dtype[np.signedinteger[Any]]]) -> float:
    """How far Pearson's statistic of counts that should be equal is above its mean, in its standard deviations."""
    expected = counts.sum() / len(counts)
    statistic = float(((counts - expected) ** 2).sum() / expected)
    freedom = len(counts) - 1
    return (statistic - freedom) / sqrt(2 * freedom)


def byte_sigmas(values: Integers, bits: int) -> list[float]:
    """For each byte of the elements, the top one cut to what is left of the ring."""
    found = []
    for low in range(0, bits, 8):
        size = 1 << min(8, bits - low)
        found.append(chi_square_sigmas(np.bincount((values >> np.uint64(low)) % np.uint64(size), minlength=size)))
    return found


def bit_sigmas(values: Integers, bits: int) -> list[float]:
    """For each bit, how far its count of ones is from half."""
    n = len(values)
    ones = [int((values >> np.uint64(i) & np.uint64(1)).sum()) for i in range(bits)]
    return [abs(count - n / 2) / sqrt(n / 4) for count in ones]


def correlation_sigmas(one: Integers, other: Integers) -> float:
    """How far the correlation of two vectors is from zero."""
    return abs(float(np.corrcoef(one.astype(np.float64), other.astype(np.float64))[0, 1])) * sqrt(len(one))


def looks_uniform(values: Integers, bits: int) -> bool:
    return max(*byte_sigmas(values, bits), *bit_sigmas(values, bits)) < SIGMAS
