"""Alias tables (Walker 1977, Vose 1991) with integer probabilities, and how far they are from the true law."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

import numpy as np

from secagg.noise.laws import ONE, Interval, Law, half_law

PROBABILITY_BITS: Final = 128
TAIL_BITS: Final = 75
"""What is cut off is below 2^-75 of the central probability on either side."""

_LOW: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class NoiseTable:
    """A distribution on the integers −T to T whose probabilities are multiples of 2^-128.

    A sample: column j = low `column_bits` bits of a uniform 64-bit word, f = the other bits; it is j − T if f is below
    `threshold[j]`, `alias[j]` if above. If they are equal, 64 more uniform bits are compared with `fine[j]`.

    Attributes:
        largest: T.
        column_bits: log2 of the number of columns.
        threshold: int64[columns], the first 64 − column_bits bits of the probability to stay in the column; with one
            value more where that is certain.
        fine: uint64[columns], its other 64 bits.
        alias: int32[columns].
        distance: total-variation distance from the true law, an upper bound in exact arithmetic.
        probabilities: numerators over 2^128 of the outcomes 0 to T (and so of −T to 0).
    """

    largest: int
    column_bits: int
    threshold: np.ndarray[Any, np.dtype[np.int64]]
    fine: np.ndarray[Any, np.dtype[np.uint64]]
    alias: np.ndarray[Any, np.dtype[np.int32]]
    distance: Fraction
    probabilities: tuple[int, ...]


@lru_cache(maxsize=8)
def noise_table(law: Law, variance: Fraction) -> NoiseTable:
    """The table of a law. Holds nothing secret and never changes, so that threads and forks share it safely.

    Raises:
        ConfigError: a variance that is too small or too large.
    """
    half = half_law(law, variance, ONE >> TAIL_BITS)
    lowest = 2 * sum(w.low for w in half.relative) - ONE
    highest = 2 * (sum(w.high for w in half.relative) + half.tail) - ONE
    sides = [_rounded_down(w.low, highest) for w in half.relative[1:]]
    probabilities = ((1 << PROBABILITY_BITS) - 2 * sum(sides), *sides)
    distance = _distance(half.relative[1:], sides, half.tail, lowest)
    outcomes = [*reversed(sides), *probabilities]
    return _alias_table(outcomes, distance, probabilities)


def _rounded_down(weight: int, total: int) -> int:
    return (weight << PROBABILITY_BITS) // total


def _distance(sides: tuple[Interval, ...], kept: list[int], tail: int, total: int) -> Fraction:
    """Every outcome but 0 has at most its true probability, so the distance is what these lack, on both sides."""
    true = Fraction(sum(w.high for w in sides) + tail, total)
    return 2 * (true - Fraction(sum(kept), 1 << PROBABILITY_BITS))


def _alias_table(outcomes: list[int], distance: Fraction, probabilities: tuple[int, ...]) -> NoiseTable:
    largest = len(outcomes) // 2
    column_bits = (len(outcomes) - 1).bit_length()
    columns, capacity = 1 << column_bits, 1 << (PROBABILITY_BITS - column_bits)
    stay = outcomes + [0] * (columns - len(outcomes))
    alias = list(range(columns))
    small = [j for j, share in enumerate(stay) if share < capacity]
    large = [j for j, share in enumerate(stay) if share > capacity]
    while small:
        # What is missing in all small columns is what is too much in the large ones, exactly: there is one.
        j, giver = small.pop(), large[-1]
        alias[j] = giver
        stay_of_giver = stay[giver] + stay[j] - capacity
        stay[giver] = stay_of_giver
        if stay_of_giver <= capacity:
            large.pop()
            if stay_of_giver < capacity:
                small.append(giver)
    return NoiseTable(
        largest=largest,
        column_bits=column_bits,
        threshold=_read_only(np.array([share >> 64 for share in stay], np.int64)),
        fine=_read_only(np.array([share & _LOW for share in stay], np.uint64)),
        alias=_read_only(np.array(alias, np.int32) - np.int32(largest)),
        distance=distance,
        probabilities=probabilities,
    )


def _read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array.setflags(write=False)
    return array
