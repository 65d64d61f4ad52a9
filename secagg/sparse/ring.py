"""A ring of neighbours and a committee: `Ring`, part of the configuration of a round with many participants."""

from dataclasses import dataclass
from typing import Final

from secagg.errors import ConfigError
from secagg.scalars import settle

MIN_DEGREE: Final = 2
"""Two neighbours: with fewer, there is no ring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """A sparse graph (Bell et al. 2020). Members stand on a ring, in an order that nobody chooses. Each shares masks
    and secrets with its `degree` nearest neighbours alone. A committee, drawn in the same way, signs who survived.

    Attributes:
        degree: neighbours of each participant, k; even, half of them on either side.
        neighbour_threshold: shares of a secret that open it, t_k, of the k + 1 that its owner deals: one to each
            neighbour and one to itself. At most k.
        committee: members of the committee, s; 0 in the semi-honest threat model, where nobody signs.
        committee_threshold: signatures of the committee without which nobody reveals anything, t_c; more than half of
            s, or 0 where there is no committee.
        min_participants: fewest members of the round, n_min; at least k + 2. The parameters are safe from there on.
    """

    degree: int
    neighbour_threshold: int
    committee: int = 0
    committee_threshold: int = 0
    min_participants: int

    def __post_init__(self) -> None:
        settle(self, integers=self.__slots__)
        k, least = self.degree, self.min_participants
        if k < MIN_DEGREE or k % 2:  # check: C101-degree
            raise ConfigError(f"the degree of a ring is an even number, {MIN_DEGREE} or more, not {k}")
        if not k + 2 <= least:  # check: C101-least
            raise ConfigError(
                f"a ring of degree {k} needs {k + 2} participants or more, and min_participants is {least}; raise it, "
                "or take the complete graph"
            )
        if not 2 <= self.neighbour_threshold <= k:  # check: C101-neighbour-threshold
            raise ConfigError(f"neighbour_threshold must be 2 to {k}, not {self.neighbour_threshold}")
        if not 0 <= self.committee <= least:  # check: C101-committee
            raise ConfigError(f"the committee has 0 to min_participants ({least}) members, not {self.committee}")
        fewest = self.committee // 2 + 1 if self.committee else 0
        if not fewest <= self.committee_threshold <= self.committee:  # check: C101-committee-threshold
            raise ConfigError(
                f"committee_threshold must be {fewest} to {self.committee} of {self.committee} members, "
                f"not {self.committee_threshold}"
            )
