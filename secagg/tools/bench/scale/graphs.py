"""The graph of a round of a given size: complete, or a ring that is safe for it."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from secagg.config import Graph, ThreatModel, default_threshold
from secagg.sparse.finder import DROPOUTS, find_ring
from secagg.sparse.ring import Ring

COLLUDING: Final = 0.1
"""Share of the participants that may collude with the coordinator in rounds that are measured, whatever their graph."""


class GraphKind(Enum):
    """Which kind of graph a curve is about."""

    COMPLETE = "complete"
    SPARSE = "sparse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Who takes part in a measured round.

    Attributes:
        participants: n.
        threat_model: ACTIVE or SEMI_HONEST.
        kind: of the graph.
        dropouts: share of the participants that drops out, 0 to 1; a ring is made for a tenth at least.
    """

    participants: int
    threat_model: ThreatModel
    kind: GraphKind
    dropouts: float = 0.0

    @property
    def threshold(self) -> int:
        """t, the default of the threat model."""
        return default_threshold(self.participants, self.threat_model)

    @property
    def max_colluding(self) -> int:
        """n_C."""
        return int(COLLUDING * self.participants)

    @property
    def neighbours(self) -> int:
        """k, of each participant.

        Raises:
            ConfigError: no ring is safe for so few.
        """
        graph = self.graph
        return graph.degree if isinstance(graph, Ring) else self.participants - 1

    @property
    def graph(self) -> Graph | Ring:
        """The graph of the configuration.

        Raises:
            ConfigError: no ring is safe for so few.
        """
        if self.kind is GraphKind.COMPLETE:
            return Graph.COMPLETE
        return find_ring(
            max_participants=self.participants,
            max_colluding=self.max_colluding,
            threshold=self.threshold,
            min_participants=self.participants,  # everybody is connected before the round opens
            dropouts=max(DROPOUTS, self.dropouts),
            active=self.threat_model is ThreatModel.ACTIVE,
        )
