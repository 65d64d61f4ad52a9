"""Vectors that were taken and added up elsewhere: a round with many doors.

A *door* is where participants bring their vectors: the coordinator itself, or an ingress worker beside it. A worker
checks the chunks of those who are connected to it, waits for the engine's word that a whole vector counts (`hold`),
adds it up, and hands over one partial sum when the phase closes (`gather`).

**What a partial sum counts for.** The engine knows for each door whose vectors it confirmed there. A door is asked for
the sum of exactly these, and gives it, or else it is lost. So a vector counts once, at the one door that it was
confirmed at, and whatever else a door may have added up counts for nobody.

**A lost door** takes all that it holds with it. The owners of these vectors have delivered nothing then: they may bring
the same bytes to another door while the phase is open, or count as dropped when it closes. A door that is started anew
is another door.
"""

from collections.abc import Callable
from typing import Final, NewType

from secagg.crypto.prg import Words
from secagg.errors import DecodeError, ProtocolViolation
from secagg.messages import Index, ParticipantId

Door = NewType("Door", bytes)
"""Which worker, in which of its lives: 16 bytes that it drew when that life began."""

DOOR_SIZE: Final = 16

HandOver = Callable[[Door, frozenset[Index]], Words | None]
"""Asks a door for the sum of the vectors of exactly these members, words[vector_len]; None if the door is lost."""


def checked_door(door: bytes) -> Door:
    """Raise `DecodeError` unless that can be the name of a door."""
    if len(door) != DOOR_SIZE:  # check: door-size
        raise DecodeError(f"a door is named by {DOOR_SIZE} bytes, not {len(door)}")
    return Door(door)


def no_doors(door: Door, members: frozenset[Index]) -> Words | None:
    """Every vector comes to the coordinator itself."""
    raise ValueError(f"door {door.hex()} holds {len(members)} vectors, and this round has no doors")


class HeldVectors:
    """Whose whole vectors are at which door, until they are gathered.

    Attributes:
        doors: the door of each member whose vector was confirmed there.
    """

    def __init__(self, hand_over: HandOver) -> None:
        """Args: hand_over: asks a door."""
        self.doors: dict[Index, Door] = {}
        self._hand_over = hand_over

    def hold(self, owner: Index, door: Door, *, name: ParticipantId, whole: bool) -> None:
        """Confirm that the owner's vector counts at this door.

        Args:
            owner: whose it is.
            door: where it is.
            name: of the owner.
            whole: whether the coordinator has the owner's whole vector already.

        Raises:
            ProtocolViolation: a vector of the owner counts already.
        """
        if whole or owner in self.doors:  # check: held-once
            raise ProtocolViolation(f"{name} brought a second vector to another door", culprit=name)
        self.doors[owner] = door

    def lose(self, door: Door) -> set[Index]:
        """The door is lost; whose vectors went with it."""
        lost = {owner for owner, at in self.doors.items() if at == door}
        for owner in lost:
            del self.doors[owner]
        return lost

    def gather(self, take: Callable[[frozenset[Index], Words], None]) -> set[Index]:
        """Ask every door that holds something, and pass each partial sum to `take` with those whose vectors are in it.

        Returns:
            whose vectors were lost with their doors.
        """
        lost: set[Index] = set()
        for door in sorted(set(self.doors.values())):
            members = frozenset(owner for owner, at in self.doors.items() if at == door)
            partial = self._hand_over(door, members)
            self.lose(door)  # it has given what it had, or is gone
            if partial is None:
                lost |= members
            else:
                take(members, partial)
        return lost
