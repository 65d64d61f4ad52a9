"""An independent judge of histories, written from PROTOCOL alone.

It knows the messages of the wire and nothing of the programs that made a history: `seen` puts the facts in order,
`sums` and `ledgers` compute what must come out, `laws` says what must hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from secagg.tools.faults.checker.laws import BY_PARTICIPANTS, LOSSES, Finding, Law, findings
from secagg.tools.faults.checker.seen import Round, Seen, read
from secagg.tools.faults.history import Fault, History


class Ending(Enum):
    """How a round ended. The value says it to people."""

    EXACT = "finished exactly"
    FAILED = "failed by name"
    WRONG = "wrong"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be said of a history.

    Attributes:
        rounds: how each round ended that was opened; a round in groups is one.
        broken: the laws that were broken, without those that a fault excuses.
        excused: the laws that were broken because a fault left no other way.
    """

    rounds: Mapping[bytes, Ending]
    broken: tuple[Finding, ...]
    excused: tuple[Finding, ...]

    @property
    def findings(self) -> tuple[str, ...]:
        """A sentence for each law that was broken without excuse."""
        return tuple(map(str, self.broken))


def judge(history: History) -> Judgement:
    """What is to be said of a history."""
    seen = read(history)
    every = list(findings(history, seen))
    lenient = _excused(history, seen)
    broken = tuple(found for found in every if found.law not in lenient)
    excused = tuple(found for found in every if found.law in lenient)
    rounds = {
        known.round_id: _ending(known, seen, broken)
        for known in seen.rounds.values()
        if not known.parent and (known.opened is not None or known.ends or known.offers)
    }
    return Judgement(rounds, broken, excused)


def _excused(history: History, seen: Seen) -> frozenset[Law]:
    """The laws that nobody can keep after what was done."""
    forgets = Fault.FLUSH_LIED in seen.faults or (not history.durable and seen.died)
    if forgets:
        return frozenset(Law) - BY_PARTICIPANTS
    if Fault.BIT_ROT in seen.faults:
        return LOSSES - {Law.ENDS}
    return frozenset()


def _ending(known: Round, seen: Seen, broken: tuple[Finding, ...]) -> Ending:
    own = {known.round_id, *(one.round_id for one in seen.rounds.values() if one.parent == known.round_id)}
    laws = {found.law for found in broken if found.round_id in own}
    if laws - LOSSES:
        return Ending.WRONG
    if laws:
        return Ending.LOST
    return Ending.EXACT if any(end.failed is None for end in known.ends) else Ending.FAILED
