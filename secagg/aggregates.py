"""What a round gives: the exact sum of its survivors' updates, or of each of its groups, and what it decodes to."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Any

import numpy as np

from secagg.config import RoundConfig
from secagg.crypto.prg import Words
from secagg.encoding.arrays import AnyArray
from secagg.encoding.fixedpoint import WeightedMean
from secagg.encoding.integers import IntegerCode, IntegerSums
from secagg.encoding.schema import Sink
from secagg.encoding.vector import Sums
from secagg.errors import AbortReason, LocalError, PrecisionWarning, ProtocolViolation, RoundAborted
from secagg.robust.combining import combined
from secagg.robust.grouping import Groups


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The exact sum of a round, still encoded. `mean` or `totals` reads it.

    Attributes:
        sums: unsigned words[vector_len], Σ of the survivors' encoded vectors mod 2^b.
        survivors: participant ids whose updates are in the sum, sorted.
    """

    sums: Words
    survivors: tuple[str, ...]

    def mean(self, config: RoundConfig, context: bytes = b"") -> WeightedMean:
        """The weighted mean that the sum encodes. A `PrecisionWarning` says when it is too coarse to be of use.

        Args:
            config: configuration of the round.
            context: context of the round, 32 bytes; needed where the encoding samples coordinates or rotates them.

        Raises:
            ProtocolViolation: no updates of the survivors can have this sum.
            LocalError: the context is needed.
        """
        mean = config.code.decode_mean(self.sums, len(self.survivors), context)
        warn_if_imprecise(mean, config)
        return mean

    def totals(self, config: RoundConfig) -> IntegerSums:
        """The exact integer sums, in a round whose encoding is `Integers`.

        Args:
            config: configuration of the round.

        Raises:
            ProtocolViolation: no updates of the survivors can have this sum.
            LocalError: the round gives a mean.
        """
        if not isinstance(config.code, IntegerCode):
            raise LocalError("this round gives a weighted mean: read it with mean(config) instead of totals")
        return config.code.decode_totals(self.sums, len(self.survivors))


def decoded_into(
    sums: Words | Sums, summands: int, config: RoundConfig, context: bytes, sink: Sink
) -> WeightedMean | IntegerSums:
    """What a sum encodes, wherever it is kept, written range by range to `sink`: the weighted mean, or exact totals.

    Errors and warnings are those of `Aggregate.mean` and `totals`. What is in the sink after an error means nothing.
    """
    if isinstance(config.code, IntegerCode):
        return config.code.decode_totals(sums, summands, sink)
    mean = config.code.decode_mean(sums, summands, context, sink)
    warn_if_imprecise(mean, config)
    return mean


def warn_if_imprecise(mean: WeightedMean, config: RoundConfig) -> None:
    """Emit a `PrecisionWarning` where weights were far below `max_weight`: the mean looks like one and says nothing."""
    if mean.precise or config.encoding.max_weight == 1:
        return
    warnings.warn(
        PrecisionWarning(
            f"the mean of task {config.task!r} may be off by {mean.relative_error:.3g} times the range of its values: "
            f"its total weight is {mean.weight}, and max_weight is {config.encoding.max_weight}; lower max_weight to "
            "about the largest weight that comes, or raise the bits of a value"
        ),
        stacklevel=3,
    )


@dataclass(frozen=True, slots=True)
class GroupSum:
    """The exact sum of one group, in a round in groups.

    Attributes:
        aggregate: the sum, and whose updates are in it.
        context: context of the group's round, 32 bytes; its rotation and its sample of coordinates come from it.
    """

    aggregate: Aggregate
    context: bytes

    def mean(self, config: RoundConfig) -> WeightedMean | None:
        """As `Aggregate.mean`; None if no updates of the survivors can have this sum.

        Args:
            config: configuration of a group of the round, not of the whole, because groups may sample coordinates of
                their own.
        """
        try:
            return self.aggregate.mean(config, self.context)
        except ProtocolViolation:
            return None

    def totals(self, config: RoundConfig) -> IntegerSums | None:
        """As `Aggregate.totals`; None if no updates of the survivors can have this sum."""
        try:
            return self.aggregate.totals(config)
        except ProtocolViolation:
            return None

    def norm(self, config: RoundConfig) -> float:
        """Euclidean norm of the mean over all arrays; infinite for a sum that cannot be decoded."""
        return norm_of(self.aggregate.sums, len(self.aggregate.survivors), config, self.context)


def norm_of(sums: Words | Sums, summands: int, config: RoundConfig, context: bytes) -> float:
    """Euclidean norm of the mean over all arrays that a sum of `summands` updates encodes, read range by range.

    Args:
        sums: wherever they are kept.
        summands: how many updates are in the sum.
        config: configuration of the round, or of the group.
        context: of the round, or of the group.

    Returns:
        Infinity for a sum that no updates can have.
    """
    squares = _Squares()
    try:
        found = decoded_into(sums, summands, config, context, squares)
    except ProtocolViolation:
        return inf
    return sqrt(squares.total) / (found.summands if isinstance(found, IntegerSums) else 1)


class _Squares:
    """A `Sink` that keeps the sum of squares alone."""

    def __init__(self) -> None:
        self.total = 0.0
        self._dtype: np.dtype[Any] = np.dtype(np.float64)

    def begin(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """The next array."""
        del name, shape
        self._dtype = dtype

    def write(self, values: AnyArray) -> None:
        """Its next values."""
        self.total += float(np.square(values.astype(self._dtype, copy=False), dtype=np.float64).sum())

    def end(self) -> dict[str, AnyArray]:
        """Nothing was kept."""
        return {}


@dataclass(frozen=True, slots=True)
class GroupedAggregate:
    """What a round in groups releases: the exact sum of every group that has one.

    Attributes:
        parent: id of the round in groups, 16 bytes.
        groups: the sums by number of the group, in ascending order. No participant is in two groups.
    """

    parent: bytes
    groups: Mapping[int, GroupSum]

    @property
    def survivors(self) -> tuple[str, ...]:
        """Ids of the participants in any of the sums, sorted."""
        return tuple(sorted(name for group in self.groups.values() for name in group.aggregate.survivors))

    def mean(self, config: RoundConfig) -> WeightedMean:
        """The groups' means, combined as the configuration says. A group whose sum cannot be decoded is left out.

        Its `weight` is the weight of all combined groups. Its `error_bounds` are the largest of theirs; they hold for
        every combination, because each is a mean of order statistics or a weighted mean.

        Args:
            config: configuration of the round in groups, or of any of its groups.

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
        decoded is left out; `summands` says how many participants are in the result.

        Args:
            config: configuration of the round in groups, or of any of its groups.

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


def too_few(groups: Groups, fallen: Mapping[int, object]) -> RoundAborted:
    """The error of a round in groups of which too few can have a sum.

    Args:
        groups: the round's groups.
        fallen: how each group ended that can have none, by its number: a `RoundAborted`, or else a sum that cannot be
            decoded.
    """
    why = "; ".join(
        f"group {number}: {outcome if isinstance(outcome, RoundAborted) else 'its sum cannot be decoded'}"
        for number, outcome in fallen.items()
    )
    left = groups.count - len(fallen)
    return RoundAborted(
        AbortReason.BELOW_THRESHOLD,
        f"{left} of {groups.count} groups can have a sum, {groups.text} needs {groups.fewest} ({why})",
    )
