"""What an adversary works on, and what it knows besides."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.tools.redteam.records import Features, Labels

Parameters = Mapping[str, FloatArray]
"""A model's float32 arrays by name; an update has the same names and shapes."""

Bits = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Observation:
    """Named float arrays as decoded from a view, with the adversary's side knowledge.

    Attributes:
        arrays: the update, or the mean of several, or whatever a hidden view looks like when read as one.
        summands: how many updates are in it.
        parameters: the model that participants were given, where it was the attacker's; None for the target's own.
        kept: coordinates that were sent, by array, known from the seed of compression; None where all were sent, and
            to a naive attacker.
        deviation: standard deviation of rounding and noise on each coordinate of `arrays`, known from the
            configuration; 0 for exact arrays, and to a naive attacker.
        labels: of the records, where the attacker is told them.
        partial: float32[d] of the victim's record with NaN where the attacker does not know it (attribute inference).
        sums: float64[rounds, values] of attacks on many sums: released sums, or whatever was seen in their place.
        candidates: records among which the victim's is (membership inference), with their labels.
    """

    arrays: Parameters
    summands: int = 1
    parameters: Parameters | None = None
    kept: Mapping[str, Bits] | None = None
    deviation: float = 0.0
    labels: Labels | None = None
    partial: Features | None = None
    candidates: tuple[Features, Labels] | None = None
    sums: np.ndarray[Any, np.dtype[np.float64]] | None = None

    def mask(self) -> dict[str, Bits]:
        """Which coordinates are known, by array."""
        if self.kept is not None:
            return dict(self.kept)
        return {name: np.ones(array.shape, np.bool_) for name, array in self.arrays.items()}
