"""One row of a table of faults, for histories and for schedules of real processes."""

from collections import Counter
from dataclasses import dataclass, field

from secagg.tools.faults.checker import Ending


@dataclass(slots=True)
class Row:
    """The histories that had a fault of some kind.

    Attributes:
        injected: how often it was.
        histories: in how many.
        rounds: how the rounds in these ended.
    """

    injected: int = 0
    histories: int = 0
    rounds: Counter[Ending] = field(default_factory=Counter)

    def add(self, injected: int, rounds: Counter[Ending]) -> None:
        """Count one more history."""
        self.injected += injected
        self.histories += 1
        self.rounds += rounds

    @property
    def endings(self) -> dict[str, int]:
        """How many rounds ended in each way, by the names of the ways in small letters, for programs."""
        return {ending.name.lower(): self.rounds[ending] for ending in Ending}

    @property
    def counts(self) -> tuple[int, ...]:
        """All numbers in the order of the columns of a table, the ways to end last."""
        return (self.injected, self.histories, *(self.rounds[ending] for ending in Ending))
