"""Many schedules, some at a time, and how they ended by what went wrong."""

import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from secagg.tools.faults.machine.play import Verdict, context, play
from secagg.tools.faults.machine.schedule import Kind, draw
from secagg.tools.faults.rows import Row


@dataclass(slots=True)
class Table:
    """What came of all schedules.

    Attributes:
        rows: by what went wrong. A schedule with accidents of two kinds is in two rows.
        whole: all schedules in which something went wrong.
        calm: all others: their round was over before their accidents' moment.
        errors: names of the errors that programs ended with, and how often.
        bad: schedules with findings.
    """

    rows: dict[Kind, Row] = field(default_factory=lambda: {kind: Row() for kind in Kind})
    whole: Row = field(default_factory=Row)
    calm: Row = field(default_factory=Row)
    errors: Counter[str] = field(default_factory=Counter)
    bad: list[Verdict] = field(default_factory=list)

    @property
    def schedules(self) -> int:
        """How many were played."""
        return self.whole.histories + self.calm.histories

    def add(self, verdict: Verdict) -> None:
        """Count one more schedule."""
        happened, ended = Counter(verdict.happened), Counter([verdict.ending])
        for kind, times in happened.items():
            self.rows[kind].add(times, ended)
        (self.whole if happened else self.calm).add(happened.total(), ended)
        self.errors.update(verdict.errors)
        if verdict.findings:
            self.bad.append(verdict)

    def as_json(self) -> dict[str, Any]:
        """The values that `--json` prints."""

        def told(row: Row) -> dict[str, Any]:
            return {"happened": row.injected, "schedules": row.histories, **row.endings}

        return {
            "schedules": self.schedules,
            "accidents": {kind.value: told(row) for kind, row in self.rows.items()},
            "with_accidents": told(self.whole),
            "without": told(self.calm),
            "errors": dict(sorted(self.errors.items())),
            "bad": [{"seed": each.seed, "folder": each.folder, "findings": list(each.findings)} for each in self.bad],
        }


def play_all(seed: int, count: int, jobs: int, kinds: tuple[Kind, ...], see: Callable[[Table], None]) -> Table:
    """Play the schedules of `count` seeds.

    Args:
        seed: the first; the others follow it.
        count: how many.
        jobs: how many at a time.
        kinds: what may go wrong.
        see: called after each schedule.

    Raises:
        ConfigError: `kinds` has full file systems, and this user may not mount any.
    """
    forks, table = context(), Table()

    def one(number: int) -> Verdict:
        folder = Path(mkdtemp(prefix=f"secagg-schedule-{number}-"))
        verdict = play(draw(number, kinds), folder, forks)
        if not verdict.findings:  # else somebody wants to look at it
            shutil.rmtree(folder)
        return verdict

    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(one, seed + number) for number in range(count)]):
            table.add(done.result())
            see(table)
    return table
