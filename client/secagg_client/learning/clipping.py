"""A clip that fits the updates of a job, found without looking at any of them.

Before its first round a job asks everybody for one number: the power of two just above the largest absolute value of
its update. The numbers are added up as a histogram, by a round of exact integer sums whose purpose is `clip`.
"""

from dataclasses import dataclass
from math import frexp
from typing import Final

import numpy as np

from secagg.encoding.integers import IntegerArray, Integers, IntegerSums
from secagg.encoding.schema import ArraySpec, Schema, Update
from secagg.errors import InputError, ProtocolViolation

PURPOSE: Final = "clip"
LOWEST: Final = -40
HIGHEST: Final = 23
"""Exponents of the first and the last bin. Updates below 2^-40 are counted in the first one, as those that change
nothing: the clip follows from the others."""
SPREAD: Final = 4
"""How many powers of two a few participants may lie above the median before they are clipped rather than followed."""
ROOM: Final = 1
"""Powers of two that are added, because updates of later rounds may be larger than those of the first."""

ENCODING: Final = Integers(max=1)
SCHEMA: Final = Schema((ArraySpec("exponents", (HIGHEST - LOWEST + 1,), "int64", bounds=(0, 1)),))


@dataclass(frozen=True, slots=True)
class FoundClip:
    """What the histogram says.

    Attributes:
        clip: the clip, a power of two.
        participants: how many were asked.
        above: how many of them had a value above the clip.
    """

    clip: float
    participants: int
    above: int


def update(values: Update) -> dict[str, IntegerArray]:
    """What a participant contributes: a one in the bin of its largest absolute value.

    Args:
        values: its update, floating arrays by name.

    Raises:
        InputError: a value is NaN, infinite, or 2^23 and above.
    """
    largest = max((float(np.abs(array).max()) for array in values.values() if array.size), default=0.0)
    if not largest < 2.0**HIGHEST:  # nor is NaN
        raise InputError(f"the update has a value that is no finite number below 2^{HIGHEST}")
    exponent = frexp(largest)[1] if largest else LOWEST  # largest < 2^exponent
    bins = np.zeros(HIGHEST - LOWEST + 1, np.int64)
    bins[max(exponent, LOWEST) - LOWEST] = 1
    return {"exponents": bins}


def read(totals: IntegerSums) -> FoundClip | None:
    """The clip that fits: the largest power of two that was counted, but at most 2^4 times the median's, twice. None if
    no update changes anything.

    Raises:
        ProtocolViolation: the histogram does not count everybody once: a participant sent something else.
    """
    bins = totals.arrays["exponents"]
    if int(bins.min()) < 0 or int(bins.sum()) != totals.summands:
        raise ProtocolViolation("the histogram of update sizes does not count every participant once")
    changing = bins.copy()
    changing[0] = 0
    if not changing.any():
        return None
    counted = np.cumsum(changing)
    median = int(np.searchsorted(counted, (int(counted[-1]) + 1) // 2))
    top = min(int(np.flatnonzero(bins)[-1]), median + SPREAD) + ROOM
    return FoundClip(2.0 ** (LOWEST + top), totals.summands, int(bins[top + 1 :].sum()))
