"""Where a simulated round spends its time, on a clock that the caller brings."""

from collections import defaultdict
from collections.abc import Callable
from enum import Enum

from secagg.messages import Phase

Clock = Callable[[], float]
"""Seconds since some fixed moment."""


class Side(Enum):
    """Who spends the time: participants or the coordinator."""

    PARTICIPANT = "participant"
    COORDINATOR = "coordinator"


def standing_still() -> float:
    """A clock for those who do not measure."""
    return 0.0


class Stopwatch:
    """Seconds by side and phase, summed over everyone on that side."""

    def __init__(self, clock: Clock = standing_still) -> None:
        self._clock = clock
        self._begin = clock()
        self.seconds: defaultdict[tuple[Side, Phase], float] = defaultdict(float)

    def start(self) -> None:
        """Begin to measure a piece of work; `count` ends it."""
        self._begin = self._clock()

    def count(self, side: Side, phase: Phase) -> None:
        """What passed since the start was work of `side` in `phase`."""
        self.add(side, phase, self._clock() - self._begin)

    def add(self, side: Side, phase: Phase, seconds: float) -> None:
        """Work of `side` in `phase` that was measured elsewhere."""
        self.seconds[side, phase] += seconds
