"""Robust combinations of the sums of groups (Yin et al. 2018, arXiv 1803.01498, on groups instead of participants).

A poisoned update spoils its group's mean and no other. The coordinate-wise median of g groups stands ⌈g/2⌉ − 1 spoilt
ones, a mean trimmed by k on either side stands k.

What it costs: the coordinator sees g sums of n/g updates instead of one of n, so an update hides among fewer, and
every group needs the minimum cohort by itself. With distributed noise each group's sum must carry all of it: local
noise is sized for the honest survivors that are certain *in one group*.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from secagg.config import Aggregate, RoundConfig
from secagg.encoding.fixedpoint import WeightedMean
from secagg.encoding.integers import Integers, IntegerSums
from secagg.encoding.schema import NumberArray
from secagg.errors import LocalError, ProtocolViolation
from secagg.robust.grouping import Combine, Groups

Vector = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class GroupSum:
    """One group's exact sum.

    Attributes:
        aggregate: sum and survivors.
        context: of the group's round; rotation and sample come from it.
    """

    aggregate: Aggregate
    context: bytes

    def mean(self, config: RoundConfig) -> WeightedMean | None:
        """What the sum says; None if no survivors can have put this in. See `Aggregate.mean`.

        Args:
            config: of a group of the round, not of the whole: it names what groups sample by.
        """
        try:
            return self.aggregate.mean(config, self.context)
        except ProtocolViolation:
            return None

    def totals(self, config: RoundConfig) -> IntegerSums | None:
        """The integer sums; None if no survivors can have put them in. See `Aggregate.totals`."""
        try:
            return self.aggregate.totals(config)
        except ProtocolViolation:
            return None

    def norm(self, config: RoundConfig) -> float:
        """Euclidean norm over all arrays of the mean; infinite for a sum that cannot be decoded."""
        if isinstance(config.encoding, Integers):
            totals = self.totals(config)
            return inf if totals is None else _norm(totals.arrays.values()) / totals.summands
        mean = self.mean(config)
        return inf if mean is None else _norm(mean.arrays.values())


@dataclass(frozen=True, slots=True)
class GroupedAggregate:
    """What a round in groups releases: the exact sum of every group that has one.

    Attributes:
        parent: 16 bytes, id of the grouped round.
        groups: sums by number of the group, in ascending order. Nobody is in two.
    """

    parent: bytes
    groups: Mapping[int, GroupSum]

    @property
    def survivors(self) -> tuple[str, ...]:
        """Ids of the participants in any of the sums, sorted."""
        return tuple(sorted(name for group in self.groups.values() for name in group.aggregate.survivors))

    def mean(self, config: RoundConfig) -> WeightedMean:
        """The combination that the configuration names. A group whose sum cannot be decoded counts as one without.

        `weight` is that of all combined groups; `error_bounds` the largest of theirs, which holds for every
        combination: each is a mean of order statistics, or a weighted mean.

        Args:
            config: of the round in groups, or of any of its groups.

        Raises:
            ProtocolViolation: too few groups are left.
        """
        plan = plan_of(config)
        member = replace(config, groups=replace(plan, parent=self.parent, number=1))  # in sampling all are alike
        means = [mean for group in self.groups.values() if (mean := group.mean(member)) is not None]
        if len(means) < plan.fewest:
            raise ProtocolViolation(f"{len(means)} groups' sums can be decoded, {plan.text} needs {plan.fewest}")
        weights = [mean.weight for mean in means]
        arrays = {
            name: combined([mean.arrays[name] for mean in means], weights, plan).astype(first.dtype)
            for name, first in means[0].arrays.items()
        }
        bounds = {name: max(mean.error_bounds[name] for mean in means) for name in arrays}
        return WeightedMean(arrays, sum(weights), bounds, max(mean.relative_error for mean in means))

    def totals(self, config: RoundConfig) -> IntegerSums:
        """The exact integer sums over all groups, in a round whose encoding is `Integers`. A group whose sum cannot be
        decoded counts as one without; `summands` says how many participants are in it.

        Args:
            config: of the round in groups, or of any of its groups.

        Raises:
            ProtocolViolation: no group is left.
            LocalError: the round gives a mean.
        """
        found = [totals for group in self.groups.values() if (totals := group.totals(config)) is not None]
        if not found:
            raise ProtocolViolation("no group's sum can be decoded")
        arrays = {name: sum((one.arrays[name] for one in found[1:]), first) for name, first in found[0].arrays.items()}
        return IntegerSums(arrays, sum(one.summands for one in found))


def plan_of(config: RoundConfig) -> Groups:
    """The round's groups.

    Raises:
        LocalError: it has none.
    """
    if config.groups is None:
        raise LocalError("this round has no groups: its aggregate is one sum")
    return config.groups


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
        group: its number.
        norm: of its mean; infinite if its sum cannot be decoded.
        typical: median norm of all groups' means.
    """

    group: int
    norm: float
    typical: float


def _norm(arrays: Iterable[NumberArray]) -> float:
    return float(np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in arrays)))


def anomalies(norms: Mapping[int, float], factor: float = 3.0) -> list[Anomaly]:
    """Groups whose mean is more than `factor` times as long as the median group's, by number."""
    typical = float(np.median(list(norms.values()))) if norms else 0.0
    return [Anomaly(group, norm, typical) for group, norm in sorted(norms.items()) if norm > factor * typical]
