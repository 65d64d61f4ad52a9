"""Which participants are neighbours: they share masks, and hold shares of each other's secrets."""

from collections.abc import Sized
from dataclasses import dataclass
from typing import Protocol

from secagg.config import Graph, RoundConfig
from secagg.messages import Index


class Neighbourhoods(Protocol):
    """A symmetric graph on the roster. All thresholds count a participant's neighbours and itself."""

    def of(self, index: Index) -> tuple[Index, ...]:
        """The neighbours of `index`, ascending, without itself."""
        ...


@dataclass(frozen=True, slots=True)
class CompleteGraph:
    """Everyone with everyone (Bonawitz et al. 2017)."""

    members: int

    def of(self, index: Index) -> tuple[Index, ...]:
        """All indices but `index`."""
        return tuple(Index(i) for i in range(1, self.members + 1) if i != index)


def neighbourhoods(config: RoundConfig, members: Sized) -> Neighbourhoods:
    """The graph of a round with these members."""
    match config.graph:
        case Graph.COMPLETE:
            return CompleteGraph(len(members))
