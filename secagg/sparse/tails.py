"""Whether a ring is safe: the three events that would show more than the sum, counted in whole numbers (`check`).

Which members collude was settled before the ring was drawn, and every ring is as likely as any other. So each event has
a probability that can be counted: in how many of all draws it happens. proto/PROTOCOL.md, "The sparse graph", says why
nothing is shown unless one of the three events happens.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import comb
from typing import Final

from secagg.errors import ConfigError
from secagg.sparse.ring import Ring

PRIVACY_BITS: Final = 40
"""σ: more than the sum is shown with a probability of at most 2^−σ."""

GRINDING_BITS: Final = 60
"""g: an active coordinator may try 2^g lists of members, and take the one whose ring it likes best."""


@lru_cache(maxsize=256)
def check(ring: Ring, *, threshold: int, max_participants: int, max_colluding: int, active: bool) -> None:
    """Raise `ConfigError` where a ring of some allowed size would show more than the sum too often. It takes a few
    milliseconds; the parties of one process share what it found.

    Args:
        ring: what is checked, for every number of members from its `min_participants` on.
        threshold: t, fewest survivors of the cohort.
        max_participants: n_max.
        max_colluding: n_C, below `threshold`.
        active: whether the coordinator may lie. It then chooses who drops out, knowing the ring, and may have tried
            2^60 of them. Else dropouts do not depend on the ring, and there was one.
    """
    spare = GRINDING_BITS if active else 0
    found = weakness(ring, threshold, max_participants, max_colluding, active=active, bits=PRIVACY_BITS + spare)
    if found:
        raise ConfigError(
            f"with {max_colluding} colluders among {ring.min_participants} participants it is not rare enough that "
            f"{found}; secagg.find_ring finds parameters that are safe, or take the complete graph"
        )


def weakness(
    ring: Ring, threshold: int, max_participants: int, max_colluding: int, *, active: bool, bits: int
) -> str | None:
    """Which event is too frequent for all of them together to be as rare as 2^−`bits`; None where none is. Arguments as
    of `check`.
    """
    if active:
        return active_weakness(ring, max_colluding, bits + 2)
    return semi_honest_weakness(ring, threshold, max_participants, max_colluding, bits + 1)


def active_weakness(ring: Ring, colluding: int, bits: int) -> str | None:
    """Which of three events is more frequent than 2^−`bits` on a ring that was drawn once."""
    n, k, t, s = ring.min_participants, ring.degree, ring.neighbour_threshold, ring.committee
    if not _owner(n, colluding, k, 2 * t - k - 1).rare(bits):  # check: C101-owner
        return _SURROUNDED
    if not _cut(n, colluding, k // 2, t - 1 - k // 2).rare(bits):  # check: C101-cut
        return "colluders cut the ring in two; raise neighbour_threshold or degree"
    if not _two_texts(n, colluding, s, 2 * ring.committee_threshold - s).rare(bits):  # check: C101-two-texts
        return "colluders in the committee sign two lists of survivors; raise committee_threshold or committee"
    return None


def semi_honest_weakness(ring: Ring, threshold: int, members: int, colluding: int, bits: int) -> str | None:
    """The same of two events, where dropouts do not depend on the ring. Of a larger cohort more may be lost while t
    survive, so `members` is the most that there may be.
    """
    k = ring.degree
    if not _owner(ring.min_participants, colluding, k, ring.neighbour_threshold).rare(bits):  # check: C101-owner
        return _SURROUNDED
    lost, pairs = colluding + members - threshold, members * (members - k - 1)
    if pairs * comb(lost, k) << bits > 2 * comb(members, k):  # check: C101-cut
        return "dropouts and colluders cut the ring in two; raise degree or threshold"
    return None


_SURROUNDED: Final = "colluders can open both secrets of a neighbour; raise neighbour_threshold or degree"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that must be rare on every ring of n members or more.

    Attributes:
        places: where it can happen.
        ways: in how many draws it happens at one place.
        draws: how many there are.
        falls: whether places · ways / draws is at most as large with one member more, and so with any number more
            (proto/PROTOCOL.md, "The three tails").
    """

    places: Fraction
    ways: int
    draws: int
    falls: bool

    def rare(self, bits: int) -> bool:
        """Whether its probability is at most 2^−`bits`."""
        if self.ways == 0:
            return True
        if not self.falls:  # check: C101-larger-cohorts
            return False
        return self.places.numerator * self.ways << bits <= self.places.denominator * self.draws


def _owner(n: int, colluding: int, degree: int, least: int) -> Event:
    """Of the neighbours of one of n owners, at least so many collude."""
    ways, draws = upper_tail(n - 1, colluding, degree, least)
    return Event(Fraction(n), ways, draws, (least - 1) * n >= degree * colluding)


def _cut(n: int, colluding: int, half: int, least: int) -> Event:
    """In two stretches of the ring that do not meet, at least so many of half a degree collude."""
    ways, draws = upper_tail(n, colluding, half, least)
    beyond = n - 2 * half - 1
    rises = (n - half) * (n + 1 - half) * (n + 1 - colluding)
    falls = (least * (n + 1) - half * colluding) * n * beyond >= rises
    return Event(Fraction(n * beyond, 2), ways**2, draws**2, falls)


def _two_texts(n: int, colluding: int, committee: int, least: int) -> Event:
    """In the committee, at least so many collude."""
    ways, draws = upper_tail(n, colluding, committee, least)
    return Event(Fraction(1), ways, draws, least * n >= committee * colluding)


def upper_tail(population: int, marked: int, draws: int, least: int) -> tuple[int, int]:
    """How many sets of `draws` members have at least `least` marked ones, and how many sets there are: a hypergeometric
    tail as a fraction.
    """
    first, last = max(least, 0, draws - population + marked), min(draws, marked)
    if first > last:
        return 0, comb(population, draws)
    term = comb(marked, first) * comb(population - marked, draws - first)
    total = term
    for i in range(first, last):
        term = term * (marked - i) * (draws - i) // ((i + 1) * (population - marked - draws + i + 1))
        total += term
    return total, comb(population, draws)
