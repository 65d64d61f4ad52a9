"""What the demo found, as values; `as_json` for programs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Pictures = list[np.ndarray[Any, np.dtype[np.float64]]]
"""float64[8, 8] each."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """One dropout as it happened.

    Attributes:
        participant: who.
        phase: as the paper spells it.
        moment: when within the phase; "unplanned" if the demo did not mean it.
        in_sum: whether its update is in the sum nevertheless.
    """

    participant: str
    phase: str
    moment: str
    in_sum: bool


@dataclass(frozen=True, slots=True)
class Traffic:
    """Message bytes of one participant in one round, without HTTP/2 and TLS; `down` is None for one that died."""

    up: int
    down: int | None


@dataclass(frozen=True, slots=True)
class PlayedRound:
    """One federated round.

    Attributes:
        number: 1, 2, …
        attempts: 1, or more if the machine was too busy for the deadlines.
        seconds: from opening to the aggregate.
        survivors: whose updates are in the sum.
        dropped: who dropped out where.
        accuracy_secure: on the test images, of the model made by secure rounds, 0 to 1.
        accuracy_plain: of the model made by plain weighted means over the same survivors.
        largest_difference: of the aggregate from the plain weighted mean of the very same updates.
        error_bound: what the fixed-point code promises for it.
        traffic: by participant.
    """

    number: int
    attempts: int
    seconds: float
    survivors: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    accuracy_secure: float
    accuracy_plain: float
    largest_difference: float
    error_bound: float
    traffic: Mapping[str, Traffic]

    @property
    def within_bound(self) -> bool:
        """Whether the aggregate is what it must be."""
        return self.largest_difference <= self.error_bound


@dataclass(frozen=True, slots=True)
class Statistics:
    """How random some bytes look.

    Attributes:
        bytes: how many.
        histogram: how often each of the 256 values occurs.
        entropy_bits: per byte, of the histogram; 8 for a uniform one of endless length.
        chi_square_p: probability that uniform bytes give a histogram at least as uneven.
        correlation: Pearson's, of the numbers in the message with the values of the update.
    """

    bytes: int
    histogram: tuple[int, ...]
    entropy_bits: float
    chi_square_p: float
    correlation: float


@dataclass(frozen=True, slots=True)
class CoordinatorView:
    """One participant's update, and what the coordinator got of it.

    Attributes:
        participant: who.
        round: which round.
        head_hex: the first 64 bytes of the payload that went up.
        sent: statistics of that payload.
        plain: statistics of the same update, encoded the same way and not protected.
        true_pictures: first-layer weights of the update, one picture for each hidden neuron.
        seen_pictures: the same weights as the coordinator got them.
        mean_pictures: the same weights of the aggregate: all that came out.
    """

    participant: str
    round: int
    head_hex: str
    sent: Statistics
    plain: Statistics
    true_pictures: Pictures
    seen_pictures: Pictures
    mean_pictures: Pictures


@dataclass(frozen=True, slots=True)
class Site:
    """A participant's own data: examples, and how many of each label."""

    examples: int
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SchemeRound:
    """The same updates, summed in one scheme; nobody dropped out.

    Attributes:
        scheme: masked, ckks or bfv.
        threat_model: what the coordinator may do there.
        seconds: from opening to the aggregate.
        survivors: number of updates in the sum.
        sums_sha256: of the integers of the sum, 8 bytes each, in hex.
        exact: whether every integer of the sum is the right one.
        up: message bytes of a participant, the median.
        down: the same the other way.
    """

    scheme: str
    threat_model: str
    seconds: float
    survivors: int
    sums_sha256: str
    exact: bool
    up: int
    down: int


@dataclass(frozen=True, slots=True)
class Counted:
    """The last round: images of each label at all sites together, as exact integers.

    Attributes:
        counts: what came out, by label.
        have: what the sites really have together.
        survivors: number of sites in the sum; nobody dropped out.
        seconds: from opening to the sum.
    """

    counts: tuple[int, ...]
    have: tuple[int, ...]
    survivors: int
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether every count is the right one."""
        return self.counts == self.have


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo found in all of its rounds, for the report, the terminal and `--json`.

    Attributes:
        deadline_s: of every phase, at first.
        accuracy_before: of the untrained model.
        seconds: from the first process to the last.
        plain_bytes: of an update as float32, unprotected.
        side_by_side: one round in each scheme on the same updates; empty where the demo keeps to one scheme.
        counted: the last round, a histogram; None before it was played.
    """

    scheme: str
    threat_model: str
    seed: int
    threshold: int
    max_colluding: int
    value_bits: int
    ring_bits: int
    values: int
    deadline_s: float
    phases: tuple[str, ...]
    sites: Mapping[str, Site]
    test_examples: int
    accuracy_before: float
    rounds: tuple[PlayedRound, ...]
    view: CoordinatorView
    seconds: float
    plain_bytes: int
    side_by_side: tuple[SchemeRound, ...] = ()
    counted: Counted | None = None

    @property
    def same_aggregate(self) -> bool:
        """Whether all schemes gave the very same sum, and the right one."""
        sums = {(played.survivors, played.sums_sha256) for played in self.side_by_side}
        return len(sums) <= 1 and all(played.exact for played in self.side_by_side)

    @property
    def missing_phases(self) -> tuple[str, ...]:
        """Phases in which nobody dropped out."""
        seen = {dropped.phase for played in self.rounds for dropped in played.dropped}
        return tuple(phase for phase in self.phases if phase not in seen)

    @property
    def ok(self) -> bool:
        """Every aggregate within its bound and the same in all schemes, a dropout in every phase, one of them with its
        update in the sum; and the counts of the last round right.
        """
        in_sum = any(dropped.in_sum for played in self.rounds for dropped in played.dropped)
        within = all(played.within_bound for played in self.rounds)
        counted = self.counted is None or self.counted.exact
        return within and not self.missing_phases and in_sum and self.same_aggregate and counted

    def as_json(self) -> dict[str, Any]:
        """The values that `--json` prints."""
        fields = asdict(self)
        for pictures in ("true_pictures", "seen_pictures", "mean_pictures"):
            fields["view"][pictures] = [np.round(picture, 6).tolist() for picture in fields["view"][pictures]]
        for played, told in zip(self.rounds, fields["rounds"], strict=True):
            told["within_bound"] = played.within_bound
        return {"ok": self.ok, "same_aggregate": self.same_aggregate, **fields}
