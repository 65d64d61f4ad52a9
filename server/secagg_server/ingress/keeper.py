"""What rounds ask about doors: whether one is there, for its sum, and to forget what they need no more."""

from typing import Protocol

from secagg.context import RoundId
from secagg.crypto.prg import Words
from secagg.messages import Index
from secagg.rounds.doors import Door, no_doors


class DoorKeeper(Protocol):
    """Knows the doors that are there. Steps of rounds ask it in their threads."""

    @property
    def possible(self) -> bool:
        """Whether there can be any."""
        ...

    def attends(self, door: Door) -> bool:
        """Whether the door is there, and was all the time since its life began."""
        ...

    def hand_over(self, round_id: RoundId, door: Door, members: frozenset[Index]) -> Words | None:
        """Wait for the sum of the vectors of exactly these members of the round; None if the door is lost."""
        ...

    def forget(self, round_id: RoundId) -> None:
        """The inputs of the round are closed, or it is over: no door needs to hold anything of it."""
        ...


class NoDoors:
    """There are none: everybody comes to the coordinator itself."""

    possible = False

    def attends(self, door: Door) -> bool:
        """No door is there."""
        del door
        return False

    def hand_over(self, round_id: RoundId, door: Door, members: frozenset[Index]) -> Words | None:
        """No door has anything."""
        del round_id
        return no_doors(door, members)

    def forget(self, round_id: RoundId) -> None:
        """No door has anything."""
