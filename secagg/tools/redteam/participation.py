"""Aggregates over many rounds: what someone can work out who has every released sum and knows who was in which.

The view is a participation matrix, one row a round, and the released sums. Where people's updates stay the same, or
nearly so, sums are linear equations: a person's update is determined as soon as a combination of rows is that person
alone, and the rank says how many unknowns are left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from secagg.messages import ParticipantId
from secagg.tools.redteam.views import Recording

_TINY: Final = 1e-6

Rounds = np.ndarray[Any, np.dtype[np.bool_]]
"""bool[rounds, people]: who is in which sum."""

Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class ManyReleases:
    """What an adversary with every release has.

    Attributes:
        people: columns of `rounds`.
        rounds: bool[rounds, people].
        sums: float64[rounds, values], sums (not means) of the cohorts' updates as released.
    """

    people: tuple[ParticipantId, ...]
    rounds: Rounds
    sums: Values

    @classmethod
    def of(cls, recordings: Sequence[Recording]) -> "ManyReleases":
        """Of rounds that released a sum; everyone's weight is 1."""
        cohorts = [tuple(recording.run.participants) for recording in recordings]
        people = tuple(sorted({name for cohort in cohorts for name in cohort}))
        rounds = np.array([[name in cohort for name in people] for cohort in cohorts])
        flat = [np.concatenate([a.reshape(-1) for a in r.released().values()]).astype(np.float64) for r in recordings]
        return cls(people, rounds, np.array([mean * len(cohort) for mean, cohort in zip(flat, cohorts, strict=True)]))

    def estimate(self, name: ParticipantId) -> Values:
        """float64[values]: the combination of sums that comes nearest to one participant's own update."""
        combined: Values = combination(self.rounds, self.people.index(name)) @ self.sums
        return combined


def determined(rounds: Rounds) -> Rounds:
    """bool[people]: whose update is a combination of the sums."""
    return np.array([_distance(rounds, place) < _TINY for place in range(rounds.shape[1])])


def combination(rounds: Rounds, place: int) -> Values:
    """float64[rounds]: factors of the sums that give one person once and everyone else as little as can be."""
    wanted = np.zeros(rounds.shape[1])
    wanted[place] = 1.0
    factors: Values = np.linalg.lstsq(rounds.T.astype(np.float64), wanted, rcond=None)[0]
    return factors


def _distance(rounds: Rounds, place: int) -> float:
    reached = combination(rounds, place) @ rounds.astype(np.float64)
    reached[place] -= 1.0
    return float(np.linalg.norm(reached))
