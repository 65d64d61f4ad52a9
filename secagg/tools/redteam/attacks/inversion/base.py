"""What every attack on updates or sums declares, and what it hands back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from secagg.tools.redteam.metrics import RECORD, Bar
from secagg.tools.redteam.observation import Bits, Observation, Parameters
from secagg.tools.redteam.records import Features, Labels
from secagg.tools.redteam.target import Target

Generator = np.random.Generator


class Need(Enum):
    """What an attacker has besides its view. The value is said to people."""

    LABELS = "the record's label"
    PARTIAL = "the record's other attributes"
    CANDIDATES = "a list of candidates with the victim's record among them"
    PUBLIC = "public records of the same kind"
    MODEL = "the power to choose the model that participants get"
    MODELS = "the power to give each participant a model of its own"


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What an attack takes from an observation.

    Attributes:
        records: float32[k, d], guesses at records, as `Records.vectors` gives them.
        labels: int64[…], labels that it infers; None where it infers none.
        judged: coordinates that count; None for all. Attribute inference is judged on what it did not know.
    """

    records: Features
    labels: Labels | None = None
    judged: Bits | None = None


Run = Callable[[Target, Observation, Generator], Reconstruction]
Models = Callable[[Target, int, int, Generator], Sequence[Parameters]]
"""From target, participants and the victim's place: the model that each participant gets."""


def honest(target: Target, participants: int, victim: int, rng: Generator) -> Sequence[Parameters]:
    """The target's own model for everyone."""
    return [target.parameters] * participants


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack of the literature.

    Attributes:
        name: for the command line.
        title: for people.
        paper: authors, year and where to find it.
        target: name of the bundled target on which its positive control runs.
        run: from target, observation and randomness.
        needs: side knowledge.
        models: the model that each participant gets; active attacks make their own.
        participants: that the attack is sized for: it aims at their sum. 1 for attacks on a single update.
        rounds: how many sums of overlapping cohorts it takes apart; 1 for attacks on one update or sum.
        bar: what its positive control must reach.
        trials: of the quick profile.
        slow: whether a trial takes a second or more: quick runs then try the strongest adversary alone.
    """

    name: str
    title: str
    paper: str
    target: str
    run: Run
    needs: frozenset[Need] = field(default_factory=frozenset)
    models: Models = honest
    participants: int = 1
    rounds: int = 1
    bar: Bar = RECORD
    trials: int = 5
    slow: bool = False

    @property
    def active(self) -> bool:
        """Whether it departs from the protocol's model."""
        return bool(self.needs & {Need.MODEL, Need.MODELS})


def clipped(target: Target, rows: np.ndarray[Any, Any]) -> Features:
    """float32[k, d] within what features can be; rows that are not finite are left out."""
    rows = rows[np.isfinite(rows).all(axis=1)]
    bounded: Features = np.clip(rows, *target.records.bounds).astype(np.float32)
    return bounded


def nothing(target: Target) -> Features:
    """A reconstruction that guesses nothing, for what the attack cannot read."""
    return np.empty((0, target.records.vectors(np.zeros(1, np.int64)).shape[1]), np.float32)
