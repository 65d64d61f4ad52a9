"""Protocol games: a malicious coordinator or colluding participants against real participants.

A game is won by the adversary if it holds the victim's exact update, or what the protocol promised to keep in; not if
it says so. It is stopped if a check ends it by name, or if what the adversary holds at the end is no update. Some games
no secure aggregation stops: they are played all the same, and the table says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from secagg.errors import ProtocolViolation, RemoteError, SecAggError
from secagg.masked.scheme import Participant
from secagg.roster import COORDINATOR
from secagg.rounds.session import Ended


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
class Check:
    """A check of the product that stops an attack, by the marker `# check: …` on its line.

    Attributes:
        owner: the module or class of the function.
        function: its name.
        marker: as it stands behind `# check:`.
    """

    owner: object
    function: str
    marker: str


@dataclass(frozen=True, slots=True)
class Measure:
    """What stops an attack without being a check, such as a mask or a value that is bound to the round.

    Attributes:
        owner: the module or class that has it; by its name, as `pkgutil.resolve_name` takes it, where it belongs to an
            extra.
        name: of the attribute.
        weakened: makes what would stand there without the defence, of what stands there.
    """

    owner: object
    name: str
    weakened: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a participant, or the configuration, says no.

    Attributes:
        error: its class.
        culprit: whom it names.
    """

    error: type[SecAggError] = ProtocolViolation
    culprit: str | None = COORDINATOR


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a game went.

    Attributes:
        stopped: whether the adversary went away without an update.
        by: the check that stopped it, as its error names itself, or what kept the update in; what the adversary got,
            if it was not stopped.
        refused: how it was refused, if it was.
        gave_up: whether whoever refused holds no more secrets of the round; true as well where it was not looked at.
    """

    stopped: bool
    by: str
    refused: Refusal | None = None
    gave_up: bool = True


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
        defences: what must be taken away, all of it, for the adversary to win. Empty where the product does not stop
            it, or where no single place of the code does.
        refused: with what error it is stopped; None where the adversary is told nothing and holds nothing.
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
    defences: tuple[Check | Measure, ...] = ()
    refused: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """A game that was played, with its outcome, to be held against what the product claims."""

    game: Game
    outcome: Outcome

    @property
    def as_claimed(self) -> bool:
        """Whether the game went as the product says: a defence that failed breaks the claim, and so does a gap that
        can no longer be shown.
        """
        return self.outcome.stopped is self.game.stops


def play(game: Game) -> Played:
    """Play one game, against the product as it is at this moment."""
    return Played(game, game.play())


def settle(
    attack: Callable[[], bool], *, got: str, held: str = "nothing", refusing: Participant | None = None
) -> Outcome:
    """The outcome of an attack.

    Args:
        attack: plays, and says whether the adversary holds the update; what a check raises ends it.
        got: what the adversary has if it won.
        held: what kept the update in, where nothing was raised.
        refusing: who is to refuse, and then to give up its secrets.
    """
    try:
        won = attack()
    except SecAggError as error:
        culprit = error.culprit if isinstance(error, RemoteError) else None
        gave_up = refusing is None or refusing._state is Ended.ABORTED
        return Outcome(True, f"{type(error).__name__}: {error}", Refusal(type(error), culprit), gave_up)
    return Outcome(False, got) if won else Outcome(True, held)
