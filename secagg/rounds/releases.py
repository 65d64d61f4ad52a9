"""What several sums of the same model show together: nobody, or at least as many as a sum of their own would need.

Whoever gets the sums of two cohorts that differ by one participant has that participant's update: one sum less the
other (Dwork & Roth 2014, section 1). More than two sums can be combined in more ways. So all sums for one model are
looked at together: they cut the participants into cells, by who is in which cohort. Every combination of the sums has
the same factor for all of a cell. If no cell is smaller than a threshold, no combination holds fewer updates than that.

What may have been opened counts as opened: a claim is checked and recorded in one step, before anything leaves that
opens the sum, and what anybody says afterwards changes nothing.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from secagg.config import METRICS, TRAIN
from secagg.context import RoundId
from secagg.errors import ConfigError
from secagg.messages import ParticipantId


@dataclass(frozen=True, slots=True)
class Release:
    """A sum that is out, or may be.

    Attributes:
        model_digest: of the round; other models are other questions.
        survivors: whose updates are in the sum.
        threshold: t of the round: the fewest that its participants agreed to be summed with.
        purpose: of the round's configuration: what a participant computes for the model; another one is another
            question, too.
    """

    model_digest: bytes
    survivors: frozenset[ParticipantId]
    threshold: int
    purpose: str = TRAIN

    @property
    def question(self) -> tuple[bytes, str]:
        """What its participants were asked: sums of one question are looked at together."""
        return self.model_digest, self.purpose

    @property
    def numbers(self) -> tuple[bytes, str]:
        """Whose sums hold numbers of the same kind, so that they are looked at together: those of one question, and
        those of updates with those of what training reported, for both hold the weights.
        """
        return self.model_digest, TRAIN if self.purpose == METRICS else self.purpose


Claim = Callable[[Release], frozenset[ParticipantId]]
"""Checks and records, in one step, a sum that is about to be opened. The answer is empty, or it holds those whom the
sum would show with the others of the same numbers: then it must not be opened, and nothing was recorded."""


def nothing_before(_release: Release) -> frozenset[ParticipantId]:
    """A memory that holds nothing: every sum may be opened."""
    return frozenset()


def remembering(*before: Release) -> Claim:
    """A memory of these sums, for one round that asks."""
    return lambda own: singled_out([own, *(release for release in before if release.numbers == own.numbers)])


def singled_out(releases: Collection[Release]) -> frozenset[ParticipantId]:
    """The smallest cell that is too small; empty if there is none.

    Sums for one purpose hold the same numbers, so each of its cells needs the largest threshold of the sums that it is
    in. Sums for several purposes have the weights in common, and nothing else. There a cell needs as many as that
    purpose asks for which asks for least: its sums show the weights of so few in any case.
    """
    distinct = tuple(dict.fromkeys(releases))
    by_purpose = [[each for each in distinct if each.purpose == one] for one in {each.purpose for each in distinct}]
    small: list[frozenset[ParticipantId]] = []
    for sums in by_purpose:
        small += [names for names, inside in _cells(sums) if len(names) < max(each.threshold for each in inside)]
    if len(by_purpose) > 1:
        enough = min(max(each.threshold for each in sums) for sums in by_purpose)
        small += [names for names, _ in _cells(distinct) if len(names) < enough]
    return min(small, key=len, default=frozenset())


def _cells(releases: Collection[Release]) -> list[tuple[frozenset[ParticipantId], tuple[Release, ...]]]:
    """Those who are in exactly the same sums, and which these are."""
    cells: dict[tuple[Release, ...], set[ParticipantId]] = {}
    for name in frozenset[ParticipantId]().union(*(release.survivors for release in releases)):
        cells.setdefault(tuple(release for release in releases if name in release.survivors), set()).add(name)
    return [(frozenset(names), inside) for inside, names in cells.items()]


def named(exposed: frozenset[ParticipantId]) -> str:
    """The names of those whom a sum would show, for a message to people; the first five of many."""
    first = sorted(exposed)[:_NAMED]
    return ", ".join(first) + (f" and {len(exposed) - len(first)} more" if len(exposed) > len(first) else "")


_NAMED = 5


MAX_NAMES: Final = 1_000_000
"""Members of remembered cohorts."""


class ReleaseMemory:
    """The latest sums that are out or may be, by round. For one caller at a time: who shares it holds a lock."""

    def __init__(self, limit: int) -> None:
        """Args: limit: sums that are remembered; the oldest is forgotten first. Of very large cohorts, as many as have
        `MAX_NAMES` members together.
        """
        self._limit = limit
        self._releases: dict[RoundId, Release] = {}
        self._failed: set[RoundId] = set()

    def claim(self, round_id: RoundId, release: Release) -> frozenset[ParticipantId]:
        """Check and record a sum, in one step, as `Claim` says. A round that claims another sum replaces its claim; the
        very sum that is recorded is granted again, whatever was recorded since.
        """
        if self._releases.get(round_id) == release:
            return frozenset()
        exposed = self.exposed(round_id, release)
        if not exposed:
            self.record(round_id, release)
        return exposed

    def check_new(self, round_ids: Iterable[RoundId]) -> None:
        """Check that rounds which are opened have no sum on record: the sum of a second round under that id would take
        the place of the first, and would not be compared with it.

        Raises:
            ConfigError: one has.
        """
        for round_id in round_ids:
            if round_id in self._releases:  # check: sum-on-record
                raise ConfigError(f"a sum of round {round_id.hex()} may be out already; draw a fresh id for each round")

    def exposed(self, round_id: RoundId, release: Release) -> frozenset[ParticipantId]:
        """Whom the sum would show with the others of the same numbers."""
        return singled_out([release, *self.others(round_id, release)])

    def others(self, round_id: RoundId, release: Release) -> list[Release]:
        """The remembered sums of the same numbers in other rounds."""
        known = self._releases.items()
        return [other for of, other in known if of != round_id and other.numbers == release.numbers]

    def record(self, round_id: RoundId, release: Release) -> None:
        """Remember a claim that was checked elsewhere, by another process for example."""
        self._releases[round_id] = release
        names = sum(len(each.survivors) for each in self._releases.values())
        for oldest in tuple(self._releases)[:-1]:
            if len(self._releases) <= self._limit and names <= MAX_NAMES:
                break
            names -= len(self._releases[oldest].survivors)
            self._forget(oldest)

    @property
    def rounds(self) -> dict[RoundId, Release]:
        """The sums that are remembered, by round, oldest first."""
        return dict(self._releases)

    @property
    def failed(self) -> frozenset[RoundId]:
        """Of these, the rounds that failed after somebody may have opened the sum."""
        return frozenset(self._failed)

    def _forget(self, round_id: RoundId) -> None:
        del self._releases[round_id]
        self._failed.discard(round_id)

    # --- what only a coordinator knows --------------------------------------------------------------------------------

    def settle(self, round_id: RoundId, *, released: bool, may_be_open: bool) -> None:
        """The round is over. A claim is void only if nobody can have opened its sum, or counts it as opened."""
        release = self._releases.get(round_id)
        if release is None:
            return
        if released:  # nobody needs to ask again
            self._failed -= {of for of in self._failed if self._releases[of].question == release.question}
        elif may_be_open:
            self._failed.add(round_id)
        else:
            self._forget(round_id)

    def admits(self, question: tuple[bytes, str], participant: ParticipantId) -> bool:
        """Whether the participant can be in the next sum of the question: after a round that failed, only those who
        were in it can, for anybody else would stand out. After several, which may share nobody, the latest counts.
        """
        failed = [release for round_id, release in self._releases.items() if round_id in self._failed]
        asked = [release for release in failed if release.question == question]
        return not asked or participant in asked[-1].survivors
