"""Robust combinations of the sums of groups (Yin et al. 2018, arXiv 1803.01498, on groups instead of participants).

A poisoned update spoils its group's mean and no other. The coordinate-wise median of g groups stands ⌈g/2⌉ − 1 spoilt
ones, a mean trimmed by k on either side stands k.

What it costs: the coordinator sees g sums of n/g updates instead of one of n, so an update hides among fewer, and
every group needs the minimum cohort by itself. With distributed noise each group's sum must carry all of it: local
noise is sized for the honest survivors that are certain *in one group*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secagg.robust.grouping import Combine, Groups

Vector = np.ndarray[Any, np.dtype[Any]]


def combined(means: Sequence[Vector], weights: Sequence[int], plan: Groups) -> Vector:
    """float64 of the means' shape: the combination that `plan` names.

    Args:
        means: at least `plan.fewest` arrays of one shape.
        weights: of the means; they count where the combination is the weighted mean alone.
        plan: what to do.
    """
    stacked = np.stack(means).astype(np.float64)
    match plan.combine:
        case Combine.MEDIAN:
            return np.asarray(np.median(stacked, axis=0))
        case Combine.TRIMMED:
            return np.asarray(np.sort(stacked, axis=0)[plan.trim : len(means) - plan.trim].mean(axis=0))
        case Combine.MEAN:
            return np.asarray(np.average(stacked, axis=0, weights=weights))


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A group whose mean is far longer than the others', or whose sum cannot be decoded.

    Attributes:
        group: number of the group.
        norm: norm of its mean; infinite if its sum cannot be decoded.
        typical: median of the norms of all groups' means.
    """

    group: int
    norm: float
    typical: float


def anomalies(norms: Mapping[int, float], factor: float = 3.0) -> list[Anomaly]:
    """Groups whose mean is more than `factor` times as long as the median group's, by number."""
    typical = float(np.median(list(norms.values()))) if norms else 0.0
    return [Anomaly(group, norm, typical) for group, norm in sorted(norms.items()) if norm > factor * typical]
