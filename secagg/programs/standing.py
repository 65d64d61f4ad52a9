"""Where a round stands, as its events tell it: what the status page and `secagg round watch` show of it.

No names are known of the first phase unless the FL server says who will come: whoever has a certificate may join. From
the second phase on, those are waited for who delivered in the phase before and have not dropped out since.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import assert_never

from secagg.errors import RoundAborted
from secagg.events import (
    Accused,
    DropReason,
    MasksRemoved,
    MessageAccepted,
    ParticipantDropped,
    PhaseStarted,
    RoundFailed,
    Verdict,
    WrongShares,
)
from secagg.messages import ParticipantId, Phase
from secagg.wire.progress import CohortEvent, ResultReady


@dataclass(slots=True)
class PhaseStanding:
    """What is known of a phase that has opened.

    Attributes:
        phase: which one.
        since: when it opened, in seconds since 1970.
        deadline: when it closes at the latest, in seconds since 1970.
        expected: how many may deliver in it; 1 where one delivery is enough.
        delivered: how many have.
        until: when it closed, in seconds since 1970; None while it is open.
    """

    phase: Phase
    since: float
    deadline: float
    expected: int
    delivered: int = 0
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Blame:
    """Somebody did what the protocol does not allow, or another participant says so.

    Attributes:
        participant: who.
        proven: whether it is certain. Otherwise it is the word of one participant against another's.
        told: what it did, or what is said of it.
    """

    participant: ParticipantId
    proven: bool
    told: str

    @classmethod
    def of(cls, event: WrongShares | Accused) -> "Blame":
        """What such an event says."""
        match event:
            case WrongShares(culprit, _):
                return cls(culprit, True, "dealt wrong shares" if event.dealt else "revealed wrong shares")
            case Accused(accused, accuser, verdict):
                return cls(accused, event.proven, f"accused by {accuser}: {_VERDICTS[verdict]}")


class Standing:
    """One cohort: a round, or one group of a round in groups. Give it every event, in order.

    Attributes:
        phases: the phases that have opened, in order; the last one is open unless the round is over.
        joined: who is in the round: who advertised keys and did not leave before the list of members was closed.
        dropped: why each one dropped out that did and has not come again, in order.
        blame: who is to blame for something, or was accused of it, in order.
        removed: how far its unmasking is; None before it is told, which a short one never is.
        outcome: how it ended; None while it runs.
        ended: when, in seconds since 1970.
    """

    def __init__(self) -> None:
        self.phases: list[PhaseStanding] = []
        self.joined: set[ParticipantId] = set()
        self.dropped: dict[ParticipantId, ParticipantDropped] = {}
        self.blame: list[Blame] = []
        self.removed: MasksRemoved | None = None
        self.outcome: ResultReady | RoundAborted | None = None
        self.ended: float | None = None
        self._delivered: set[ParticipantId] = set()  # in the open phase
        self._waited: set[ParticipantId] = set()  # who may deliver in it; not kept for the first one

    @property
    def open(self) -> PhaseStanding | None:
        """The phase that is open; None before the first event and after the end."""
        return self.phases[-1] if self.phases and self.outcome is None else None

    @property
    def _joining(self) -> bool:
        return self.open is not None and self.open.phase is Phase.ADVERTISE_KEYS

    def missing(self, named: Collection[ParticipantId] = ()) -> list[ParticipantId]:
        """Who may still deliver in the open phase, sorted by name. Where one delivery is enough, any of them can be the
        one.

        Args:
            named: who will come, as the FL server says; this is all that is known of the first phase.
        """
        if self.open is None:
            return []
        awaited = set(named) - self.dropped.keys() if self._joining else self._waited
        return sorted(awaited - self._delivered)

    def missing_count(self, named: Collection[ParticipantId] = ()) -> int:
        """How many can still deliver in the open phase; 1 where one delivery is enough. Args as of `missing`."""
        if self.open is None:
            return 0
        if self._joining and not named:
            return max(0, self.open.expected - self.open.delivered)
        return min(len(self.missing(named)), self.open.expected)

    def take(self, at: float, event: CohortEvent) -> None:
        """The next event. Args: at: its time, in seconds since 1970."""
        match event:
            case PhaseStarted(phase, deadline, expected):
                self._started(at, phase, deadline, expected)
            case MessageAccepted(_, participant):
                self._delivered.add(participant)
                self._arrived(participant)
            case ParticipantDropped(_, participant, _):
                self._delivered.discard(participant)
                self._waited.discard(participant)
                self.dropped[participant] = event
                if self._joining:
                    self.joined.discard(participant)
                self._count()
            case WrongShares() | Accused():
                self.blame.append(Blame.of(event))
            case MasksRemoved():
                self.removed = event
            case ResultReady():
                self._over(at, event)
            case RoundFailed(error):
                self._over(at, error)
            case _:
                assert_never(event)

    def _arrived(self, participant: ParticipantId) -> None:
        if self._joining:
            self.joined.add(participant)
            self.dropped.pop(participant, None)  # another process of it, or the same one again
        self._count()

    def _count(self) -> None:
        if self.phases:
            self.phases[-1].delivered = len(self._delivered)

    def _started(self, at: float, phase: Phase, deadline: float, expected: int) -> None:
        if self.phases and self.phases[-1].phase is phase:  # told again: with another deadline, or for the next in turn
            self.phases[-1].deadline, self.phases[-1].expected = deadline, expected
            return
        self._close(at)
        self.phases.append(PhaseStanding(phase, at, deadline, expected))
        self._waited, self._delivered = self._delivered, set()

    def _over(self, at: float, outcome: ResultReady | RoundAborted) -> None:
        self._close(at)
        self.outcome, self.ended = outcome, at

    def _close(self, at: float) -> None:
        if self.phases:
            self.phases[-1].until = at


def told_drop(reason: DropReason) -> str:
    """Why somebody dropped out, in words."""
    return _DROPS[reason]


_VERDICTS = {
    Verdict.HEARSAY: "its word alone, no proof",
    Verdict.PROVEN: "proven, it did not sign what it sent",
    Verdict.UNFOUNDED: "unfounded, it sent something else",
}

_DROPS = {
    DropReason.DEADLINE: "the deadline passed",
    DropReason.CANCELLED: "left: its caller gave up",
    DropReason.REFUSED: "left: it refused the round",
    DropReason.FAILED: "left: something failed on its side",
    DropReason.EXCLUDED: "the FL server excluded it",
    DropReason.EXPIRED: "its certificate expires too soon",
    DropReason.ISOLATED: "too few of its neighbours shared keys",
}
