"""Whether the machine had other work during a run, from the kernel's own account (Linux).

Figures of a busy machine mean less, so a run says it.
"""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.tools.bench.lines import Busy

OTHERS_SHARE: Final = 0.10
"""Part of the processors that others may use before a run warns."""

STOLEN_SHARE: Final = 0.02
LOAD_A_CORE: Final = 0.5
"""Load average before a run, for each processor, above which it warns."""

STAT: Final = Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class Account:
    """Of processors, in seconds since some fixed moment.

    Attributes:
        at: wall clock.
        busy: of all processors together, whoever used them.
        stolen: kept by the hypervisor.
        own: used by this process and its children that have ended.
        load: average of the last minute.
    """

    at: float
    busy: float
    stolen: float
    own: float
    load: float

    @classmethod
    def now(cls) -> "Account":
        """Where the kernel tells nothing of all processors, others seem to use none."""
        busy, stolen = _of_all(STAT.read_text(encoding="ascii")) if STAT.exists() else (0.0, 0.0)
        used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        own = sum(each.ru_utime + each.ru_stime for each in used)
        return cls(time.monotonic(), busy, stolen, own, os.getloadavg()[0])

    def until(self, end: "Account", processors: int) -> Busy:
        """What happened between this moment and a later one. Args: processors: of the machine."""
        elapsed = max(end.at - self.at, 1e-9)
        offered = elapsed * processors
        others = min(1.0, max(0.0, (end.busy - self.busy) - (end.own - self.own)) / offered)
        stolen = min(1.0, max(0.0, end.stolen - self.stolen) / offered)
        warnings = []
        if self.load > LOAD_A_CORE * processors:
            warnings.append(f"The load average was {self.load:.1f} on {processors} processors before the run began.")
        if others > OTHERS_SHARE:
            warnings.append(f"Other programs used {others:.0%} of the processors during the run.")
        if stolen > STOLEN_SHARE:
            warnings.append(f"The hypervisor kept {stolen:.0%} of the processors' time during the run.")
        return Busy(
            elapsed_s=elapsed,
            load_before=self.load,
            load_after=end.load,
            others_share=others,
            stolen_share=stolen,
            warnings=tuple(warnings),
        )


def processors() -> int:
    """Of the machine, as `/proc/stat` counts them."""
    return os.cpu_count() or 1


def _of_all(stat: str) -> tuple[float, float]:
    """Busy and stolen seconds, of the line that begins with `cpu` (proc(5))."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, stat.splitlines()[0].split()[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / tick, steal / tick
