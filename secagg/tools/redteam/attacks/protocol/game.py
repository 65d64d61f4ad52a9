"""Protocol games: a malicious coordinator or colluding participants against real participants.

A game is won by the adversary if it holds the victim's exact update, or what the protocol promised to keep in; not if
it says so. It is stopped if a check ends it by name, or if what the adversary holds at the end is no update. Some games
no secure aggregation stops: they are played all the same, and the table says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from secagg.errors import SecAggError


class Kind(Enum):
    """What games have in common: counts are made by kind. The value is for people."""

    READING = "reading along"
    COLLUDING = "colluding participants"
    LYING = "a coordinator that lies"
    SYBILS = "Sybils"
    MODELS = "another model for the victim"
    MALICIOUS_MODEL = "a malicious model for everybody"
    SUMS = "several sums put together"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a game went.

    Attributes:
        stopped: whether the adversary went away without an update.
        by: the check that stopped it, as its error names itself, or what kept the update in; what the adversary got,
            if it was not stopped.
    """

    stopped: bool
    by: str


@dataclass(frozen=True, slots=True)
class Game:
    """One attack.

    Attributes:
        name: for the command line and reports.
        title: what the adversary does.
        adversary: who it is.
        source: where the attack is described.
        stops: whether the product claims to stop it.
        answer: what stops it, or what would have to be done.
        play: runs it.
        kind: what it is counted among.
        mode: the way to sum that it is played against, by the name of `secagg.tools.redteam.modes`.
        encrypted: whether it needs TenSEAL.
    """

    name: str
    title: str
    adversary: str
    source: str
    stops: bool
    answer: str
    play: Callable[[], Outcome]
    kind: Kind
    mode: str = "masked-active"
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Played:
    """A game and its outcome."""

    game: Game
    outcome: Outcome

    @property
    def as_claimed(self) -> bool:
        """Whether the game went as the product says: a defence that failed breaks the claim, and so does a gap that
        can no longer be shown.
        """
        return self.outcome.stopped is self.game.stops


def play(game: Game) -> Played:
    """Play one game."""
    return Played(game, game.play())


def settle(attack: Callable[[], bool], *, held: str, got: str) -> Outcome:
    """The outcome of an attack.

    Args:
        attack: plays, and says whether the adversary holds the update; what a check raises ends it.
        held: what kept the update in, where nothing was raised.
        got: what the adversary has if it won.
    """
    try:
        won = attack()
    except SecAggError as error:
        return Outcome(True, f"{type(error).__name__}: {error}")
    return Outcome(False, got) if won else Outcome(True, held)
