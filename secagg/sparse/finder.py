"""Finds the parameters of a ring (`find_ring`), and says whether a ring is worth it (`choose`)."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import log
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.errors import ConfigError
from secagg.sparse.ring import MIN_DEGREE, Ring
from secagg.sparse.tails import GRINDING_BITS, PRIVACY_BITS, weakness

AVAILABILITY_BITS: Final = 30
"""η: if no more drop out than expected, a round ends for want of shares with a probability of at most 2^−η."""

DROPOUTS: Final = 0.1
"""Share of the members that is expected to drop out, where nobody says more."""


def find_ring(
    *,
    max_participants: int,
    max_colluding: int,
    threshold: int,
    min_participants: int = 0,
    dropouts: float = DROPOUTS,
    active: bool = True,
    privacy_bits: int = PRIVACY_BITS,
    availability_bits: int = AVAILABILITY_BITS,
    grinding_bits: int = GRINDING_BITS,
) -> Ring:
    """The ring of the smallest degree that is safe, and that works if no more drop out than expected.

    Args:
        max_participants: most members, n_max.
        max_colluding: n_C. The smaller it is, the fewer neighbours are needed.
        threshold: fewest survivors of a released sum, t.
        min_participants: fewest members with which the round begins, n_min; with 0 it is `threshold`. Colluders are a
            smaller share of a larger number, so fewer neighbours are needed.
        dropouts: share of the members, 0 to 1, that drops out once the list of members is fixed, in whatever phase. If
            colluders may keep silent, their share is added.
        active: whether the coordinator may lie; else it follows the protocol and reads everything.
        privacy_bits: σ. Participants demand 40.
        availability_bits: η.
        grinding_bits: g, which matters against an active coordinator. Participants demand 60.

    Raises:
        ConfigError: no ring is safe and available.
    """
    n, least, share = max_participants, min_participants or threshold, Fraction(str(float(dropouts)))
    if not 0 <= share <= 1:
        raise ConfigError(f"dropouts must be a share from 0 to 1, not {dropouts}")
    if not 0 <= max_colluding < threshold <= least <= n:
        raise ConfigError(
            f"max_colluding ({max_colluding}) must be below threshold ({threshold}), and that at most min_participants "
            f"({least}), and that at most max_participants ({n})"
        )
    bits = privacy_bits + (grinding_bits if active else 0)
    search = _Search(
        n, least, threshold, max_colluding, int(share * n), active, bits, availability_bits * log(2), 2 * n
    )
    if found := search.ring():
        return found
    raise ConfigError(
        f"no ring is safe for {least} to {n} participants with {max_colluding} colluders, and works with {search.lost} "
        "dropouts; raise min_participants, lower max_colluding or dropouts, or take the complete graph"
    )


@lru_cache(maxsize=64)
def choose(*, max_participants: int, max_colluding: int, threshold: int, active: bool) -> Ring | None:
    """The ring that `graph="auto"` stands for, or None for the complete graph: a ring is worth it where a participant
    has at most half as many peers on it. A peer costs an entry to read, a certificate and a signature to verify where
    members sign, and mostly a mask.

    Arguments as for `find_ring`. The round begins with `threshold` members, as with the complete graph, and a tenth of
    them may drop out.
    """
    lost, bits = int(DROPOUTS * max_participants), PRIVACY_BITS + (GRINDING_BITS if active else 0)
    unavailable, peers = AVAILABILITY_BITS * log(2), (max_participants - 1) // 2
    return _Search(max_participants, threshold, threshold, max_colluding, lost, active, bits, unavailable, peers).ring()


@dataclass(frozen=True, slots=True)
class _Search:
    """What is searched for. Searching goes by logarithms, which are quick; the answer is what the whole numbers of
    `weakness` allow.

    Attributes:
        lost: dropouts that are expected among n_max members.
        bits: all events together are to be as rare as 2^−bits.
        unavailable: natural logarithm of how rarely a round may end for want of shares or signatures, negated.
        peers: most neighbours and members of the committee together.
    """

    most: int
    least: int
    threshold: int
    colluding: int
    lost: int
    active: bool
    bits: int
    unavailable: float
    peers: int

    def ring(self) -> Ring | None:
        """The first that is safe, from the smallest degree on; of that degree, the one that needs the fewest shares."""
        size, signatures = self._committee() if self.active else (0, 0)
        if self.active and not size:
            return None
        for degree in range(MIN_DEGREE, min(self.least - 1, self.peers - size + 1), 2):
            most = self._most_needed(self.most - 1, max(0, self.lost - 1), degree, self.most)
            for shares in range(self._fewest_shares(degree), most + 1):
                found = Ring(
                    degree=degree,
                    neighbour_threshold=shares,
                    committee=size,
                    committee_threshold=signatures,
                    min_participants=self.least,
                )
                if self._safe(found):
                    return found
        return None

    def _safe(self, ring: Ring) -> bool:
        return not weakness(ring, self.threshold, self.most, self.colluding, active=self.active, bits=self.bits)

    def _committee(self) -> tuple[int, int]:
        """Smallest size, and fewest signatures; (0, 0) where there is none."""
        for size in range(3, min(self.least, self.peers) + 1):
            colluders, limit = _log_tails(self.least, self.colluding, size), -(self.bits + 2) * log(2)
            for signatures in range(size // 2 + 1, self._most_needed(self.most, self.lost, size, 1) + 1):
                if colluders[2 * signatures - size] <= limit:
                    return size, signatures
        return 0, 0

    def _most_needed(self, population: int, lost: int, draws: int, places: int) -> int:
        """The most of so many draws that can be needed, if in none of the places too many may have dropped out."""
        tails = _log_tails(population, lost, draws) + log(places)
        return int(draws + 1 - np.argmax(tails < -self.unavailable))

    def _fewest_shares(self, degree: int) -> int:
        """The smallest t_k for which owner and cut look rare enough; more than the degree where there is none."""
        half, colluders = degree // 2, _log_tails(self.least - 1, self.colluding, degree)
        if not self.active:
            return max(2, int(np.argmax(colluders + log(self.least) <= -(self.bits + 1) * log(2) + _SLACK)))
        limit, runs = -(self.bits + 2) * log(2) + _SLACK, _log_tails(self.least, self.colluding, half)
        pairs = log(self.least) + log(self.least - degree - 1) - log(2)
        for shares in range(half + 2, degree + 1):
            owner, cut = colluders[2 * shares - degree - 1], pairs + 2 * runs[shares - 1 - half]
            if owner + log(self.least) <= limit and cut <= limit:
                return shares
        return degree + 1


_SLACK: Final = 1e-6
"""More than the error of a logarithm. What looks just rare enough is counted."""


def _log_tails(population: int, marked: int, draws: int) -> npt.NDArray[np.float64]:
    """log Pr[at least i of the draws are marked], for i from 0 to draws + 1, where it is −∞."""
    logs, taken = _log_factorials(population), np.arange(draws + 1)
    other, left = draws - taken, population - marked
    possible = (taken <= marked) & (other <= left)
    i, j = taken[possible], other[possible]
    chosen = np.full(draws + 1, -np.inf)
    chosen[possible] = logs[marked] - logs[i] - logs[marked - i] + logs[left] - logs[j] - logs[left - j]
    chosen -= logs[population] - logs[draws] - logs[population - draws]
    return np.append(np.logaddexp.accumulate(chosen[::-1])[::-1], -np.inf)


@lru_cache(maxsize=4)
def _log_factorials(most: int) -> npt.NDArray[np.float64]:
    """log i!, for i from 0 to `most`."""
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, most + 1)))))
