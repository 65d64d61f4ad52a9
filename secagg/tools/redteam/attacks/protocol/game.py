"""Protocol games: a malicious coordinator or colluding participants against real participants.

A game is won by the adversary if it holds the victim's exact update, or what the protocol promised to keep in; not if
it says so. It is stopped if a check ends it by name, or if what the adversary holds at the end is no update. Some games
no secure aggregation stops: they are played all the same, and the table says so.

An adversary that cannot even begin is stopped too, and proves nothing. So it is not enough that a game is stopped: it
must be refused by the very check that it names, which the error's traceback tells, or by nobody where it says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from secagg.errors import ProtocolViolation, RemoteError, SecAggError
from secagg.masked.scheme import Participant
from secagg.roster import COORDINATOR
from secagg.rounds.session import Ended
from secagg.tools.redteam.markers import Trail, marked_check, trail_of


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

    def raised(self, trail: Trail) -> bool:
        """Whether the error that left this trail came out of this check. A check that is not there raises nothing."""
        try:
            return marked_check(self.owner, self.function, self.marker).raised(trail)
        except (ValueError, OSError):  # no such marker, or a function that was made at run time
            return False


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
    """How a participant, the coordinator or the configuration is to say no.

    Attributes:
        error: its class.
        culprit: whom it names.
        at: the check that raises it, where the game's defence is no check, but this one notices what the defence does;
            a part of its text, where no check with a marker raises it. None if one of the game's defences does.
    """

    error: type[SecAggError] = ProtocolViolation
    culprit: str | None = COORDINATOR
    at: Check | str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """How somebody did say no. It keeps no traceback, whose frames would keep whole rounds in memory.

    Attributes:
        error: its class.
        culprit: whom it names.
        text: for people.
        trail: where it came from.
    """

    error: type[SecAggError]
    culprit: str | None
    text: str
    trail: Trail

    @classmethod
    def by(cls, error: SecAggError) -> "Refused":
        """What `error` says, and where it was raised."""
        culprit = error.culprit if isinstance(error, RemoteError) else None
        return cls(type(error), culprit, str(error), trail_of(error))


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
    refused: Refused | None = None
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

    def claims(self, found: Refused | None) -> bool:
        """Whether it is to be refused in this way: by this error, at one of these places; or not at all."""
        wanted = self.refused
        if wanted is None or found is None:
            return wanted is None and found is None
        if (wanted.error, wanted.culprit) != (found.error, found.culprit):
            return False
        if isinstance(wanted.at, str):
            return wanted.at in found.text
        named = (wanted.at,) if wanted.at else tuple(d for d in self.defences if isinstance(d, Check))
        return any(check.raised(found.trail) for check in named)


@dataclass(frozen=True, slots=True)
class Played:
    """A game that was played, with its outcome, to be held against what the product claims."""

    game: Game
    outcome: Outcome

    @property
    def as_claimed(self) -> bool:
        """Whether the game went as the product says: a defence that failed breaks the claim, and so do a gap that can
        no longer be shown and a refusal of which the game says nothing.
        """
        return self.outcome.stopped is self.game.stops and not self.astray

    @property
    def astray(self) -> bool:
        """Whether the adversary was stopped by something else than the game names. Its attack was not tried then."""
        return self.outcome.stopped and self.game.stops and not self.game.claims(self.outcome.refused)


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
        gave_up = refusing is None or refusing._state is Ended.ABORTED
        return Outcome(True, f"{type(error).__name__}: {error}", Refused.by(error), gave_up)
    return Outcome(False, got) if won else Outcome(True, held)
