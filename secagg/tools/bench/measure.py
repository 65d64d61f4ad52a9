"""Timing: works that are compared take turns, so that whatever else the machine does hits all of them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from secagg.tools.simulation.stopwatch import Clock

Work = Callable[[], object]

cpu_clock: Clock = time.process_time
"""Seconds of this process on a core: for work on one thread, what an idle core would take, however busy the machine."""

wall_clock: Clock = time.perf_counter
"""Seconds that pass: for work on several threads or processes."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Seconds of each work in every turn."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Seconds of the median turn."""
        return median(self.seconds[name])

    def fastest(self, name: str) -> float:
        """Seconds of the fastest turn: neighbours on a shared machine only ever slow two threads down."""
        return min(self.seconds[name])

    def ratio(self, name: str, reference: str) -> float:
        """How many times as long `name` takes as `reference`: the median over the turns."""
        return median(a / b for a, b in zip(self.seconds[name], self.seconds[reference], strict=True))


def take_turns(works: Mapping[str, Work], repeats: int, clock: Clock = cpu_clock) -> Turns:
    """Run every work once per turn, `repeats` turns; one turn before them warms caches up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = clock()
            work()
            passed = clock() - start
            if turn:
                seconds[name].append(passed)
    return Turns(seconds)


def seconds_each(work: Work, calls: int, repeats: int) -> float:
    """Seconds of one call, from turns of `calls` calls."""

    def many() -> None:
        for _ in range(calls):
            work()

    return take_turns({"calls": many}, repeats).median("calls") / calls
