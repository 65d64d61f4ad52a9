"""Many histories in several processes, and the table of what came of them."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Final

from secagg.tools.faults.checker import Ending, judge
from secagg.tools.faults.history import Fault, Injected
from secagg.tools.faults.recording import digest
from secagg.tools.faults.rows import Row
from secagg.tools.faults.world import play, playing

BATCH: Final = 25
"""Histories in one piece of work. Garbage is collected between two pieces."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one history.

    Attributes:
        seed: repeats it.
        faults: how often each was injected.
        rounds: how they ended, as the checker sees it.
        findings: what the checker found wrong, a sentence each.
        digest: over all facts.
    """

    seed: int
    faults: Counter[Fault]
    rounds: Counter[Ending]
    findings: tuple[str, ...]
    digest: str


@dataclass(slots=True)
class Table:
    """What came of all histories.

    Attributes:
        histories: how many were played.
        faultless: in how many of them no fault happened; their rounds are in no row.
        rows: by fault. A history with two kinds of faults is in two rows.
        whole: all histories with a fault.
        calm: all without.
        failed: those with findings, the lowest seed first.
    """

    histories: int = 0
    rows: dict[Fault, Row] = field(default_factory=lambda: {fault: Row() for fault in Fault})
    whole: Row = field(default_factory=Row)
    calm: Row = field(default_factory=Row)
    failed: list[Found] = field(default_factory=list)

    def add(self, found: Found) -> None:
        """Count one more history."""
        self.histories += 1
        for fault, injected in found.faults.items():
            self.rows[fault].add(injected, found.rounds)
        (self.whole if found.faults else self.calm).add(found.faults.total(), found.rounds)
        if found.findings:
            self.failed.append(found)
            self.failed.sort(key=lambda one: one.seed)

    @property
    def good(self) -> bool:
        """Whether nothing was wrong, nothing lost, and no rule broken."""
        bad = self.whole.rounds + self.calm.rounds
        return not self.failed and not bad[Ending.WRONG] and not bad[Ending.LOST]

    def as_json(self) -> dict[str, object]:
        """The table for programs. Keys of `faults` are the names of `history.Fault`."""
        return {
            "histories": self.histories,
            "with_faults": _row(self.whole),
            "without_faults": _row(self.calm),
            "faults": {fault.name.lower(): _row(row) for fault, row in self.rows.items()},
            "failed": [{"seed": found.seed, "findings": list(found.findings)} for found in self.failed],
        }


def _row(row: Row) -> dict[str, object]:
    return {"injected": row.injected, "histories": row.histories, "rounds": row.endings}


def examine(seed: int) -> Found:
    """Play the history of a seed, and judge it. To be called inside `world.playing`."""
    _, history = play(seed)
    faults = Counter(fact.fault for fact in history.facts if isinstance(fact, Injected))
    judgement = judge(history)
    return Found(seed, faults, Counter(judgement.rounds.values()), judgement.findings, digest(history))


def campaign(seed: int, histories: int, jobs: int, see: Callable[[Table], None]) -> Table:
    """Play the histories of so many seeds, from `seed` on.

    Args:
        seed: the first one.
        histories: how many.
        jobs: processes.
        see: is shown the table now and then while it grows.
    """
    table = Table()
    for piece in _pieces(seed, histories, jobs):
        for found in piece:
            table.add(found)
        see(table)
    return table


def _pieces(seed: int, histories: int, jobs: int) -> Iterator[list[Found]]:
    bounds = [(first, min(first + BATCH, seed + histories)) for first in range(seed, seed + histories, BATCH)]
    if jobs == 1:
        yield from (_piece(first, stop) for first, stop in bounds)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for done in as_completed([pool.submit(partial(_piece, *one)) for one in bounds]):
            yield done.result()


def _piece(first: int, stop: int) -> list[Found]:
    with playing():
        found = [examine(seed) for seed in range(first, stop)]
    gc.collect()
    return found
