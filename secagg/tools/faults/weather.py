"""What the network does to messages, drawn from the seed: most arrive soon, some late, some never."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from secagg.tools.faults.history import Fault
from secagg.tools.faults.network import End, Fate
from secagg.tools.faults.processes import Machine

_SOON_S: Final = 0.03
_LATE_S: Final = 40.0
_UNNOTICED_S: Final = 100.0
"""About as long as keepalive leaves a dead connection unnoticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often what happens to a message, or to a call, as a share of them.

    Attributes:
        request_lost: of requests: lost, and the connection breaks.
        reply_lost: of answers: lost, and the connection breaks.
        cut: of all messages: the connection breaks behind it.
        late: of all messages: comes many seconds late, behind messages of other calls that were sent after it.
        repeated: of calls: arrives twice.
        unnoticed: of connections that break: an end does not notice for long, and goes on in vain.
    """

    request_lost: float = 0.0
    reply_lost: float = 0.0
    cut: float = 0.0
    late: float = 0.0
    repeated: float = 0.0
    unnoticed: float = 0.0


class Storm:
    """A `Weather` with these rates, until it is over.

    Attributes:
        over: whether messages only arrive soon from now on.
    """

    def __init__(self, rates: Rates, rng: Random, injected: Callable[[Fault], None]) -> None:
        """Args:
        rates: of the faults.
        rng: decides.
        injected: told of each fault.
        """
        self.over = False
        self._injected = injected
        self._rates = rates
        self._rng = rng
        self._away: dict[Machine, None] = {}

    def cut_off(self, machine: Machine) -> None:
        """Let nothing to the machine or from it."""
        self._away[machine] = None

    def let_back(self, machine: Machine) -> None:
        """Let everything through again."""
        self._away.pop(machine, None)

    def fate(self, sender: Machine, receiver: Machine, *, up: bool, last: bool) -> Fate:
        """What becomes of a message."""
        if sender in self._away or receiver in self._away:
            return Fate(0.0, lost=True, breaks=self.silence())
        drawn = self._rng.random()
        soon = 0.0005 + _SOON_S * drawn * drawn
        if self.over:
            return Fate(soon)
        rates, drawn = self._rates, self._rng.random()
        lost = rates.request_lost if up else rates.reply_lost
        if drawn < lost:
            self._injected(Fault.REQUEST_LOST if up else Fault.REPLY_LOST)
            return Fate(soon, lost=True, breaks=self.silence())
        drawn -= lost
        if drawn < rates.cut:
            self._injected(Fault.CONNECTION_CUT)
            return Fate(soon, breaks=self.silence())
        drawn -= rates.cut
        if drawn < rates.late:
            self._injected(Fault.MESSAGE_DELAYED)
            return Fate(self._rng.uniform(1.0, _LATE_S))
        return Fate(soon)

    def repeats(self) -> float | None:
        """Whether a call arrives a second time, and after how many seconds."""
        if self.over or self._rng.random() >= self._rates.repeated:
            return None
        self._injected(Fault.CALL_REPEATED)
        return self._rng.random() ** 3 * _LATE_S

    def silence(self) -> Mapping[End, float]:
        """After how many seconds each end learns that the other one is gone."""
        found = {}
        for end in End:
            found[end] = self._rng.random() * 0.05
            if not self.over and self._rng.random() < self._rates.unnoticed:
                self._injected(Fault.BREAK_UNNOTICED)
                found[end] = self._rng.uniform(1.0, _UNNOTICED_S)
        return found
