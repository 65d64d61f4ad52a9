"""A generator that remembers what was drawn from it, and by whom."""

import inspect
from dataclasses import dataclass, field

from secagg.crypto.rng import Rng, SystemRng


@dataclass
class RecordingRng:
    """Draws from `source` and remembers each draw.

    Attributes:
        draws: the bytes of each, and the function that asked for them, oldest first.
    """

    source: Rng = field(default_factory=SystemRng)
    draws: list[tuple[str, bytes]] = field(default_factory=list)

    def token(self, size: int) -> bytes:
        """`size` bytes of the source."""
        frame = inspect.currentframe()
        caller = frame.f_back if frame is not None else None
        drawn = self.source.token(size)
        self.draws.append((caller.f_code.co_qualname if caller is not None else "", drawn))
        return drawn

    def of(self, function: str) -> list[bytes]:
        """What this function drew."""
        return [drawn for name, drawn in self.draws if name == function]

    @property
    def drawn(self) -> set[bytes]:
        """Everything."""
        return {drawn for _, drawn in self.draws}
