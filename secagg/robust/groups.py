"""Robust combinations of the sums of groups (Yin et al. 2018, arXiv 1803.01498, on groups instead of participants).

A poisoned update spoils its group's mean and no other. The coordinate-wise median of g groups stands ⌈g/2⌉ − 1 spoilt
ones, a mean trimmed by k on either side stands k.

What it costs: the coordinator sees g sums of n/g updates instead of one of n, so an update hides among fewer, and
every group needs the minimum cohort by itself. With distributed noise each group's sum must carry all of it: local
noise is sized for the honest survivors that are certain *in one group*.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from secagg.config import MIN_COHORT
from secagg.crypto import labels
from secagg.crypto.transcript import frame
from secagg.errors import ConfigError
from secagg.messages import ParticipantId

Vector = np.ndarray[Any, np.dtype[np.float64]]

MIN_GROUPS: Final = 3
"""Of two groups neither can be told to be the spoilt one."""


def assign(
    roster_digest: bytes, members: Sequence[ParticipantId], groups: int
) -> tuple[tuple[ParticipantId, ...], ...]:
    """Groups whose sizes differ by one at most, from a hash over the roster: nobody picks their own.

    The coordinator can still try rosters until a victim's group suits it; against that, every group has the minimum
    cohort.

    Raises:
        ConfigError: fewer than three groups, or groups below the minimum cohort.
    """
    if groups < MIN_GROUPS:
        raise ConfigError(f"a robust combination needs {MIN_GROUPS} groups or more, not {groups}")
    if len(members) // groups < MIN_COHORT:
        raise ConfigError(
            f"{len(members)} participants in {groups} groups leave groups below the minimum cohort {MIN_COHORT}; "
            f"use {len(members) // MIN_COHORT} groups or fewer"
        )
    order = sorted(members, key=lambda name: _place(roster_digest, name))
    return tuple(tuple(sorted(order[i::groups])) for i in range(groups))


def _place(roster_digest: bytes, name: ParticipantId) -> bytes:
    return hashlib.sha256(frame(labels.GROUP_ASSIGNMENT, roster_digest, name.encode())).digest()


@dataclass(frozen=True, slots=True)
class GroupMean:
    """What one group's sum says.

    Attributes:
        values: float64[m], mean of the group's updates.
        survivors: how many are in it.
    """

    values: Vector
    survivors: int


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A group whose mean is far longer than the others'.

    Attributes:
        group: its number.
        norm: of its mean.
        typical: median norm of all groups' means.
    """

    group: int
    norm: float
    typical: float


def median(means: Sequence[GroupMean], min_cohort: int = MIN_COHORT) -> Vector:
    """float64[m]: the coordinate-wise median of the groups' means.

    Raises:
        ConfigError: see `check`.
    """
    check(means, min_cohort)
    return np.asarray(np.median(np.stack([mean.values for mean in means]), axis=0), np.float64)


def trimmed_mean(means: Sequence[GroupMean], trim: int, min_cohort: int = MIN_COHORT) -> Vector:
    """float64[m]: in every coordinate the mean without the `trim` largest and the `trim` smallest.

    Raises:
        ConfigError: see `check`; or nothing would be left.
    """
    check(means, min_cohort)
    if not 0 <= 2 * trim < len(means):
        raise ConfigError(f"trimming {trim} on either side leaves nothing of {len(means)} groups")
    ordered = np.sort(np.stack([mean.values for mean in means]), axis=0)
    return np.asarray(ordered[trim : len(means) - trim].mean(axis=0), np.float64)


def check(means: Sequence[GroupMean], min_cohort: int) -> None:
    """Refuse groups that must not be released or cannot be combined.

    Raises:
        ConfigError: fewer than three groups, one below the minimum cohort, or of another length.
    """
    if len(means) < MIN_GROUPS:
        raise ConfigError(f"a robust combination needs {MIN_GROUPS} groups or more, not {len(means)}")
    if (smallest := min(mean.survivors for mean in means)) < max(min_cohort, MIN_COHORT):
        raise ConfigError(f"a group of {smallest} survivors is below the minimum cohort {max(min_cohort, MIN_COHORT)}")
    if len({mean.values.shape for mean in means}) > 1:
        raise ConfigError("groups' means have different lengths; combine those of one task")


def anomalies(means: Mapping[int, GroupMean], factor: float = 3.0) -> list[Anomaly]:
    """Groups whose mean is more than `factor` times as long as the median group's, by number."""
    norms = {group: float(np.linalg.norm(mean.values)) for group, mean in means.items()}
    typical = float(np.median(list(norms.values()))) if norms else 0.0
    return [Anomaly(group, norm, typical) for group, norm in sorted(norms.items()) if norm > factor * typical]
