"""Aggregates over many rounds: what someone can work out who has every released sum and knows who was in which.

The view is a participation matrix, one row a round, and the released sums. Where people's updates stay the same, or
nearly so, sums are linear equations: a person's update is determined as soon as a combination of rows is that person
alone, and the rank says how many unknowns are left.
"""

from typing import Any, Final

import numpy as np

_TINY: Final = 1e-6

Rounds = np.ndarray[Any, np.dtype[np.bool_]]
"""bool[rounds, people]: who is in which sum."""

Values = np.ndarray[Any, np.dtype[np.float64]]


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
