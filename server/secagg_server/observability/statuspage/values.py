"""What the status page shows, as values. `/status.json` has the same, field by field: see `document`.

Times are in seconds since 1970. Every text that a peer chose is one printable line of bounded length, and every list
that peers make longer is cut.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from secagg.errors import printable

NAMES_SHOWN: Final = 16
"""Names of one list: on a page nobody reads more."""

DROPS_SHOWN: Final = 6
BLAME_SHOWN: Final = 6

_NAME_CHARS: Final = 64  # of a participant's name: as many as the protocol allows
_TEXT_CHARS: Final = 300


def name(text: str) -> str:
    """A peer's name, fit for a page."""
    return printable(text, _NAME_CHARS)


def words(text: str) -> str:
    """What a peer or an error says, fit for a page."""
    cut = printable(" ".join(text.split()), _TEXT_CHARS)
    return cut if len(text) <= _TEXT_CHARS else f"{cut[:-1]}…"


@dataclass(frozen=True, slots=True)
class Names:
    """Some of the participants that something is about.

    Attributes:
        shown: the first names.
        more: how many there are beside these.
    """

    shown: tuple[str, ...] = ()
    more: int = 0

    @classmethod
    def of(cls, found: Iterable[str]) -> "Names":
        """The first of `found`, and the number of the others."""
        every = list(found)
        return cls(tuple(map(name, every[:NAMES_SHOWN])), max(0, len(every) - NAMES_SHOWN))

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.shown) + self.more


@dataclass(frozen=True, slots=True)
class PhaseFacts:
    """A phase of a round that has opened.

    Attributes:
        name: as the paper spells it, `MaskedInput`.
        opened: when it opened.
        closed: when it closed; None while it is open.
        expected: how many participants could deliver in it.
        delivered: how many did.
    """

    name: str
    opened: float
    closed: float | None
    expected: int
    delivered: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a participant dropped out.

    Attributes:
        participant: its name.
        phase: in which phase it was missing.
        reason: name of the `DropReason` in small letters.
        told: the reason in words.
    """

    participant: str
    phase: str
    reason: str
    told: str


@dataclass(frozen=True, slots=True)
class BlameFacts:
    """Somebody broke the protocol, or another participant says so.

    Attributes:
        participant: its name.
        proven: whether it is certain. Otherwise it is the word of one participant against another's.
        told: what it did, or what is said of it.
    """

    participant: str
    proven: bool
    told: str


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """One round, or one group of a round in groups.

    Attributes:
        round_id: 32 hexadecimal digits; of a group, its own.
        group_of: the id of the round that this is a group of; None if it is none.
        group: number of the group from 1; None if it is none.
        groups: how many groups the round has, of which this is one or the whole; None if it is not in groups.
        task: name of the task.
        purpose: `train`, `evaluate` and so on.
        scheme: `masked`, `bfv` or `ckks`.
        threat_model: `active` or `semi_honest`.
        threshold: the fewest participants in a released sum.
        max_participants: the most that may take part.
        opened: when it was opened.
    """

    round_id: str
    group_of: str | None
    group: int | None
    groups: int | None
    task: str
    purpose: str
    scheme: str
    threat_model: str
    threshold: int
    max_participants: int
    opened: float


@dataclass(frozen=True, slots=True)
class LiveRound:
    """A round under way.

    Attributes:
        about: which round it is.
        phases: those that have opened, in order. The last one is open.
        to_come: names of the phases that follow, in order. Some schemes leave the last ones out when nobody drops.
        deadline: when the open phase closes at the latest.
        missing: who has not delivered in the open phase. Of the first phase only those are known whom the FL server
            said to expect.
        missing_count: how many can still deliver in it.
        removed_percent: so much of the masks is out of the sum; None unless a long unmasking is under way.
        dropped: why some dropped out, the latest first.
        dropped_count: how many dropped out.
        blame: the latest first.
    """

    about: RoundFacts
    phases: tuple[PhaseFacts, ...]
    to_come: tuple[str, ...]
    deadline: float
    missing: Names
    missing_count: int
    removed_percent: int | None
    dropped: tuple[Drop, ...]
    dropped_count: int
    blame: tuple[BlameFacts, ...]


@dataclass(frozen=True, slots=True)
class FinishedRound:
    """A round that is over.

    Attributes:
        about: which round it is.
        ended: when it ended.
        survivors: how many updates are in the sum; None if there is none.
        reason: name of the `AbortReason` in small letters; None if there is a sum.
        told: the reason in words; empty if there is a sum.
        joined: how many participants had joined.
        dropped: why some dropped out, the latest first.
        dropped_count: how many dropped out.
        blame: the latest first.
        phases: all that opened, in order.
    """

    about: RoundFacts
    ended: float
    survivors: int | None
    reason: str | None
    told: str
    joined: int
    dropped: tuple[Drop, ...]
    dropped_count: int
    blame: tuple[BlameFacts, ...]
    phases: tuple[PhaseFacts, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong, once or often.

    Attributes:
        event: name of the log event.
        severity: `error`, `warning`, or `refusal` for what a peer was refused.
        told: the latest of its kind, in words.
        count: how often, since the coordinator started.
        first: when for the first time.
        last: when for the last time.
    """

    event: str
    severity: str
    told: str
    count: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class TaskBudget:
    """The privacy budget of a task.

    Attributes:
        task: its name.
        epsilon: ε that all its rounds may spend together.
        delta: δ of the budget.
        spent: ε spent so far; planned rounds count in full. None if it is beyond every bound.
    """

    task: str
    epsilon: float
    delta: float
    spent: float | None

    @property
    def left(self) -> float:
        """ε that is left."""
        return 0.0 if self.spent is None else max(0.0, self.epsilon - self.spent)


@dataclass(frozen=True, slots=True)
class Expiry:
    """A certificate of the coordinator or of the participants' CA.

    Attributes:
        what: which one.
        at: when it expires.
    """

    what: str
    at: float


@dataclass(frozen=True, slots=True)
class Use:
    """How much there is of something, and how much there may be.

    Attributes:
        what: in words.
        used: now.
        limit: the most; None where there is no limit.
        unit: `bytes`, or empty for a number of things.
        setting: what raises the limit; empty if nothing does.
    """

    what: str
    used: int
    limit: int | None
    unit: str = ""
    setting: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """A picture of the coordinator.

    Attributes:
        at: when it was taken.
        started: when the coordinator started.
        state: `serving`, or why it does not serve.
        versions: of secagg and of what it runs on, by name.
        addresses: of its planes and of this page, by name.
        live: rounds under way, the newest first.
        finished: rounds that ended since the start, the latest first, as far as they are remembered.
        sums: how many rounds ended with a sum since the start.
        failures: how many ended without one.
        faults: what is wrong with files of the coordinator, until somebody puts it right.
        troubles: the latest first.
        budgets: of tasks with noise.
        expiries: of certificates, the first to expire first.
        uses: of what is limited.
        audit_head: number and digest of the audit log's last checkpoint; empty without an audit log.
    """

    at: float
    started: float
    state: str
    versions: dict[str, str]
    addresses: dict[str, str]
    live: tuple[LiveRound, ...]
    finished: tuple[FinishedRound, ...]
    sums: int
    failures: int
    faults: tuple[str, ...]
    troubles: tuple[Trouble, ...]
    budgets: tuple[TaskBudget, ...]
    expiries: tuple[Expiry, ...]
    uses: tuple[Use, ...]
    audit_head: str = ""
