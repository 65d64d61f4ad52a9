"""What the coordinator's phases of a round with a dealt key know together."""

from dataclasses import dataclass, field

from secagg.messages import Index, KeyConfirmation
from secagg.rounds.shared_state import SharedState


@dataclass(slots=True)
class DealtKeyState(SharedState):
    """Adds what the phases of this custody conclude.

    Attributes:
        confirmed: who holds the dealer's key, by sender; the rest cannot send an input.
        sum_digest: of the sum that t participants or more reported, once REPORT_SUM is closed.
        asked: who is to hand in the sum, while RELEASE_SUM is open.
    """

    confirmed: dict[Index, KeyConfirmation] = field(default_factory=dict)
    sum_digest: bytes = b""
    asked: Index | None = None

    @property
    def dealer(self) -> Index:
        """Whose key counts: the first who shared one."""
        return min(self.shared)

    @property
    def key_digest(self) -> bytes:
        """Of the key that counts, as its dealer committed to it."""
        return self.shared[self.dealer].commitment
