"""Do numbers look uniform and independent? Tests of mask and ciphertext residues, with one error rate for all together.

A `Battery` collects p-values and speaks only where one is below `FAMILY_ERROR` divided by their number (Bonferroni):
however many tests are in it, and however they depend on each other, a healthy product is accused once in ten million
batteries. The full profile judges 121 of them, so a whole run accuses it less than once in 80,000; `RUN_ERROR` is the
promise. A broken product has p-values of 1e-30 and less; what does not reach that far is not worth an alarm.

Residues are tested as residues: modulo 2^b for masks, modulo each prime for ciphertexts. Serialised ciphertexts are
not uniform bytes, and testing them as such gives false alarms.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np

from secagg.errors import LocalError, MissingExtraError

try:
    from scipy import special as special  # noqa: PLC0414 - exported
except ImportError:
    raise MissingExtraError("the red team's statistics", "redteam") from None

FAMILY_ERROR: Final = 1e-7
"""Of one battery."""

RUN_ERROR: Final = 1e-4
"""Of all batteries and gates of a run together, whatever the profile."""

CELL_COUNT: Final = 40
"""Fewest expected counts in a cell of a χ² test."""

_MAX_CELL_BITS: Final = 8
_LAGS: Final = (1, 2, 3)

Residues = np.ndarray[Any, np.dtype[np.uint64]]
"""uint64[count], each in [0, modulus)."""


@dataclass(frozen=True, slots=True)
class Test:
    """One p-value.

    Attributes:
        sample: what was tested.
        name: how.
        p: how likely a value as extreme as this is, or less, if the sample is uniform and independent.
    """

    sample: str
    name: str
    p: float


@dataclass(slots=True)
class Battery:
    """Statistical tests whose error rate is judged together, by Bonferroni."""

    tests: list[Test] = field(default_factory=list)

    def add(self, sample: str, tests: Iterable[tuple[str, float]]) -> None:
        """Args: tests: (name, p) of one sample."""
        self.tests += [Test(sample, name, p) for name, p in tests]

    @property
    def limit(self) -> float:
        """A p-value below this is an alarm."""
        return FAMILY_ERROR / max(1, len(self.tests))

    @property
    def alarms(self) -> list[Test]:
        """The tests that failed, worst first."""
        return sorted((test for test in self.tests if test.p < self.limit), key=lambda test: test.p)

    @property
    def lowest(self) -> float:
        """The smallest p-value of the battery; 1 if it has no tests."""
        return min((test.p for test in self.tests), default=1.0)

    def said(self) -> list[str]:
        """A sentence for each of the worst alarms; empty if there is none."""
        return [f"{alarm.sample}: {alarm.name} (p = {alarm.p:.1e})" for alarm in self.alarms[:5]]


def ring_tests(values: Residues, bits: int) -> Iterable[tuple[str, float]]:
    """All tests of one sequence of residues mod 2^bits: low and high bits apart, neighbours, repeats."""
    cell = _cell_bits(len(values))
    for low in range(0, bits, cell):
        size = min(cell, bits - low)
        yield f"chi-square of bits {low} to {low + size - 1}", flat_p(_field(values, low, size), 1 << size)
    yield from bit_tests(values, bits)
    half = max(1, _cell_bits(len(values) // 2) // 2)
    yield "serial pairs, low bits", pairs_p(_field(values, 0, half), 1 << half)
    yield "serial pairs, high bits", pairs_p(_field(values, max(0, bits - half), half), 1 << half)
    for lag in _LAGS:
        yield f"correlation at lag {lag}", correlation_p(values[:-lag], values[lag:])
    yield "repeated blocks", repeats_p(values, bits)


def prime_tests(values: Residues, prime: int) -> Iterable[tuple[str, float]]:
    """All tests of one sequence of residues modulo a prime: size, remainders, neighbours, repeats."""
    cell = _cell_bits(len(values))
    yield "chi-square of the high part", flat_p(_high_part(values, prime, cell), 1 << cell)
    yield "chi-square of the low bits", flat_p(_field(values, 0, cell), 1 << cell)
    half = max(1, _cell_bits(len(values) // 2) // 2)
    yield "serial pairs, low bits", pairs_p(_field(values, 0, half), 1 << half)
    yield "serial pairs, high part", pairs_p(_high_part(values, prime, half), 1 << half)
    for lag in _LAGS:
        yield f"correlation at lag {lag}", correlation_p(values[:-lag], values[lag:])
    yield "repeated blocks", repeats_p(values, prime.bit_length() - 1)


def pair_tests(one: Residues, other: Residues) -> Iterable[tuple[str, float]]:
    """Whether two sequences have anything to do with each other: as numbers, in their low bits, word for word."""
    yield "cross-correlation, high part", correlation_p(one, other)
    yield "cross-correlation, low byte", correlation_p(_field(one, 0, 8), _field(other, 0, 8))
    yield "agreement of the lowest bit", coin_p(int(((one ^ other) & np.uint64(1)).sum()), len(one))


def bit_tests(values: Residues, bits: int) -> Iterable[tuple[str, float]]:
    """Each bit: as many ones as zeros."""
    for at in range(bits):
        yield f"bit {at}", coin_p(int(_field(values, at, 1).sum()), len(values))


def birthday_p(blocks: Sequence[bytes]) -> float:
    """Chance that random blocks of this length hold as many repeats; 1 without one."""
    repeats = len(blocks) - len(set(blocks))
    if not repeats:
        return 1.0
    expected = len(blocks) ** 2 / 2 ** (8 * min(map(len, blocks)) + 1)
    return float(min(1.0, expected ** min(repeats, 8)))


def repeats_p(values: Residues, bits: int) -> float:
    """As `birthday_p`, for words of a sequence taken four together, at least 64 bits: a stream that begins anew repeats
    them all.
    """
    width = max(4, -(-64 // bits))
    count = len(values) // width
    blocks = np.ascontiguousarray(values[: count * width]).reshape(count, width)
    distinct = len(np.unique(blocks.view(f"V{8 * width}"))) if count else 0
    repeats = count - distinct
    if not repeats:
        return 1.0
    expected = count**2 / float(2 ** (width * bits + 1))
    return min(1.0, float(expected ** min(repeats, 8)))


def linear_complexity_p(bits: Sequence[int]) -> float:
    """Chance that random bits come out of so short a linear feedback shift register (Massey 1969).

    Half the length is expected and every bit less is four times as unlikely (Rueppel 1986). Generators that are linear
    over GF(2), such as the Mersenne Twister with its 19,937 bits of state, pass every other test here.
    """
    shortfall = len(bits) // 2 - linear_complexity(bits)
    return 1.0 if shortfall <= 0 else float(min(1.0, 2.0 ** (1 - 2 * min(shortfall, 500))))


def linear_complexity(bits: Sequence[int]) -> int:
    """Length of the shortest linear feedback shift register that makes these bits (Berlekamp–Massey over GF(2))."""
    connection, previous, seen, length, since = 1, 1, 0, 0, 1
    for position, bit in enumerate(bits):
        seen = seen << 1 | bit  # the latest bit is the lowest, so that it meets coefficient 0
        if (connection & seen).bit_count() & 1:
            changed = connection ^ previous << since
            if 2 * length <= position:
                length, previous, since = position + 1 - length, connection, 0
            connection = changed
        since += 1
    return length


def flat_p(cells: Residues, count: int) -> float:
    """Pearson's χ² against equal shares of `count` cells."""
    observed = np.bincount(cells.astype(np.int64), minlength=count)
    expected = len(cells) / count
    return chi_square_p(float(((observed - expected) ** 2).sum() / expected), count - 1)


def pairs_p(cells: Residues, count: int) -> float:
    """Pearson's χ² of pairs of neighbours against equal shares; each value is in one pair."""
    even = len(cells) // 2 * 2
    return flat_p(cells[0:even:2] * np.uint64(count) + cells[1:even:2], count * count)


def chi_square_p(statistic: float, freedom: int) -> float:
    """How likely χ² with so many degrees of freedom is to be as large as the statistic, or larger."""
    return float(special.chdtrc(freedom, statistic))


def coin_p(ones: int, count: int) -> float:
    """Two-sided: this many ones among `count` fair bits."""
    return math.erfc(abs(ones - count / 2) / math.sqrt(count / 2))


def correlation_p(one: Residues, other: Residues) -> float:
    """Two-sided: Pearson's correlation of independent sequences."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    a -= a.mean()
    b -= b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    if scale == 0:
        return 0.0  # a constant is not random
    return math.erfc(abs(float(a @ b)) / scale * math.sqrt(len(a) / 2))


def _field(values: Residues, low: int, size: int) -> Residues:
    return (values >> np.uint64(low)) & np.uint64((1 << size) - 1)


def _high_part(values: Residues, prime: int, cell_bits: int) -> Residues:
    """Which of 2^cell_bits equal parts of [0, prime) each residue is in."""
    parts: Residues = np.minimum(values.astype(np.float64) / prime * (1 << cell_bits), (1 << cell_bits) - 1).astype(
        np.uint64
    )
    return parts


def _cell_bits(count: int) -> int:
    """The widest field with enough values in every cell."""
    return max(1, min(_MAX_CELL_BITS, int(math.log2(max(2, count / CELL_COUNT)))))


@lru_cache(maxsize=4096)
def proportion_interval(hits: int, trials: int, error: float = 0.05) -> tuple[float, float]:
    """Two-sided interval of a proportion that covers it with 1 − `error` or more (Clopper & Pearson 1934).

    Raises:
        LocalError: so many hits in so many trials cannot be.
    """
    if not 0 <= hits <= trials or trials < 1:
        raise LocalError(f"{hits} hits in {trials} trials is no proportion")
    low = 0.0 if hits == 0 else float(special.betaincinv(hits, trials - hits + 1, error / 2))
    high = 1.0 if hits == trials else float(special.betaincinv(hits + 1, trials - hits, 1 - error / 2))
    return low, high
