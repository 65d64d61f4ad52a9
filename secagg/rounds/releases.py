"""What several sums of the same model show together: nobody, or at least as many as a sum of their own would need.

Whoever gets the sums of two cohorts that differ by one participant has that participant's update: one sum less the
other (Dwork & Roth 2014, section 1). More than two sums can be combined in more ways. So all releases for one model are
looked at together: they cut the participants into cells, by who is in which cohort. Every combination of the sums has
the same factor for all of a cell. If no cell is smaller than a threshold, no combination holds fewer updates than that.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from secagg.context import RoundId
from secagg.messages import ParticipantId


@dataclass(frozen=True, slots=True)
class Release:
    """A sum that is out, or about to be.

    Attributes:
        model_digest: of the round's configuration; other models are other questions.
        survivors: whose updates are in the sum.
        threshold: t of the round: the fewest that its participants agreed to be summed with.
    """

    model_digest: bytes
    survivors: frozenset[ParticipantId]
    threshold: int


Claim = Callable[[Release], Collection[Release]]
"""Remembers what a round is about to release; answers with the other releases and claims for the same model."""


def nothing_before(_release: Release) -> Collection[Release]:
    """The memory of a coordinator that has no past."""
    return ()


def singled_out(releases: Collection[Release]) -> frozenset[ParticipantId]:
    """The smallest cell that is below the threshold of a release that it is in; empty if there is none."""
    distinct = tuple(dict.fromkeys(releases))
    cells: dict[tuple[bool, ...], set[ParticipantId]] = {}
    for name in frozenset[ParticipantId]().union(*(release.survivors for release in distinct)):
        cells.setdefault(tuple(name in release.survivors for release in distinct), set()).add(name)
    small = [
        names
        for inside, names in cells.items()
        if len(names) < max(release.threshold for release, there in zip(distinct, inside, strict=True) if there)
    ]
    return frozenset(min(small, key=len, default=()))


class ReleaseMemory:
    """The latest releases of a coordinator, by round. Safe to use from several threads: a claim stands before it looks
    at the others, so of two rounds that may not both release, never both do.
    """

    def __init__(self, limit: int) -> None:
        """Args: limit: releases that are remembered; the oldest is forgotten first."""
        self._limit = limit
        self._releases: dict[RoundId, Release] = {}

    def claim(self, round_id: RoundId, release: Release) -> Collection[Release]:
        """Remember what the round is about to release; the others for the same model."""
        self._releases[round_id] = release
        for oldest in tuple(self._releases)[: -self._limit]:
            self._releases.pop(oldest, None)
        known = tuple(self._releases.items())
        return [other for of, other in known if of != round_id and other.model_digest == release.model_digest]

    def withdraw(self, round_id: RoundId) -> None:
        """The round released nothing."""
        self._releases.pop(round_id, None)
