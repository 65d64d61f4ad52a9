"""Attack × defence × cohort with fixed seeds: how far does each defence get, against whom?

Defences are compared on what is *released*, since that is all that they change; what hides single updates is judged
by the views of real rounds. Adding one takes ten lines: see `secagg.tools.redteam.defences`. Attacks: see
`secagg.tools.redteam.attacks.inversion`. Results are the same for the same seeds, versions and machine.

The field's own data sets are not bundled: `targets` takes whatever `secagg.tools.redteam.larger` reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from secagg import __version__
from secagg.encoding.schema import Update
from secagg.errors import ConfigError
from secagg.tools.redteam.attacks.inversion import ATTACKS, Attack, attack_named
from secagg.tools.redteam.defences import DEFENCES, Defence, Release, defence_named
from secagg.tools.redteam.extra import torch
from secagg.tools.redteam.metrics import Bar, Outcome, Score
from secagg.tools.redteam.target import Target
from secagg.tools.redteam.targets import Subject
from secagg.tools.redteam.trials import Case
from secagg.tools.redteam.workers import Workers, single_threaded

Targets = Callable[[Attack, int], Target]
"""From attack and seed: what is attacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is compared.

    Attributes:
        attacks: by name.
        defences: by name.
        cohorts: numbers of participants whose updates are summed.
        trials: of each combination; seeds are 0 to trials − 1, the same for every combination.
        targets: makes each attack's target; its own bundled one if None.
    """

    attacks: tuple[str, ...]
    defences: tuple[str, ...]
    cohorts: tuple[int, ...]
    trials: int
    targets: Targets | None = None

    def __post_init__(self) -> None:
        for name in self.defences:
            defence_named(name)
        if self.trials < 1 or not self.cohorts or min(self.cohorts) < 1:
            raise ConfigError("a benchmark needs trials and cohorts of 1 or more")
        for name in self.attacks:
            if attack_named(name).rounds > 1:
                raise ConfigError(f"attack {name!r} takes many sums; a benchmark releases one at a time")


QUICK: Final = Plan(
    attacks=("first-layer", "low-rank", "text", "imprint"),
    defences=("none", "8-bit", "sample-.1", "z-.1", "z-1.634"),
    cohorts=(1, 8, 64),
    trials=4,
)
FULL: Final = Plan(
    attacks=tuple(name for name, attack in ATTACKS.items() if not attack.slow and attack.rounds == 1),
    defences=tuple(DEFENCES),
    cohorts=(1, 4, 16, 64),
    trials=10,
)
"""Without the attacks that take seconds a trial: name them to compare them too."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination through the eyes of two attackers."""

    attack: str
    target: str
    defence: str
    cohort: int
    naive: Score
    adaptive: Score

    def as_json(self) -> dict[str, Any]:
        """The cell as it stands in the document of `--json`."""
        bar = ATTACKS[self.attack].bar
        scores = {"naive": score_json(self.naive, bar), "adaptive": score_json(self.adaptive, bar)}
        head = {"attack": self.attack, "target": self.target, "defence": self.defence, "cohort": self.cohort}
        return {**head, **scores}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The benchmark: every attack against every defence in every cohort of a plan, with its score."""

    plan: Plan
    cells: tuple[Cell, ...]

    def as_json(self) -> dict[str, Any]:
        """The document of `--json`: versions, seeds, what attacks and defences are, and every cell."""
        return {
            "benchmark": "secagg redteam",
            "version": __version__,
            "torch": torch.__version__,
            "trials": self.plan.trials,
            "seeds": list(range(self.plan.trials)),
            "attacks": {name: _attack_json(ATTACKS[name]) for name in self.plan.attacks},
            "defences": {name: defence_named(name).title for name in self.plan.defences},
            "cells": [cell.as_json() for cell in self.cells],
        }

    def show(self, console: Console) -> None:
        """For people: one table an attack, id@1 of the naive and the adaptive attacker by cohort."""
        for name in self.plan.attacks:
            console.print(self._table(name))

    def _table(self, attack: str) -> Table:
        table = Table(
            title=f"{ATTACKS[attack].title}: id@1 naive / adaptive, and the adaptive one's worst and best gain"
        )
        table.add_column("defence", no_wrap=True)
        for cohort in self.plan.cohorts:
            table.add_column(f"n = {cohort}", justify="right")
        cells = {(cell.defence, cell.cohort): cell for cell in self.cells if cell.attack == attack}
        for defence in self.plan.defences:
            found = [cells.get((defence, cohort)) for cohort in self.plan.cohorts]
            table.add_row(defence, *["" if cell is None else _summary(cell) for cell in found])
        return table


def run(plan: Plan, say: Callable[[str], None] = lambda line: None, jobs: int = 1) -> Benchmark:
    """Play every trial.

    Args:
        plan: what is compared.
        say: hears of each attack and cohort when it is done.
        jobs: processes; results are the same for any number. With more than one, `plan.targets` must pickle.

    Raises:
        LocalError: an attack does not fit its target, or there are too few records for a cohort.
    """
    single_threaded()
    cells: list[Cell] = []
    with Workers(jobs) as workers:
        pieces = [(name, cohort) for name in plan.attacks for cohort in plan.cohorts]
        results = [workers.begin(partial(_cells, plan, name, cohort)) for name, cohort in pieces]
        for (name, cohort), result in zip(pieces, results, strict=True):
            cells += result()
            say(f"{name}, {cohort} participants")
    return Benchmark(plan, tuple(cells))


def _cells(plan: Plan, name: str, cohort: int) -> list[Cell]:
    """Of one attack on one cohort, against every defence."""
    attack = ATTACKS[name]
    make = plan.targets or Subject().target
    cases = [Case.draw(make(attack, seed), attack, cohort, seed) for seed in range(plan.trials)]
    updates = [case.updates() for case in cases]
    return [_cell(attack, defence_named(defence), cases, updates) for defence in plan.defences]


def _cell(attack: Attack, defence: Defence, cases: Sequence[Case], updates: Sequence[Sequence[Update]]) -> Cell:
    outcomes = [
        _outcomes(case, defence.release(case.target, handed_in, case.seed))
        for case, handed_in in zip(cases, updates, strict=True)
    ]
    naive, adaptive = (Score.of([pair[which] for pair in outcomes]) for which in (0, 1))
    return Cell(attack.name, cases[0].target.name, defence.name, len(cases[0].members), naive, adaptive)


def _outcomes(case: Case, release: Release) -> tuple[Outcome, Outcome]:
    """Of the naive and of the adaptive attacker; where there is nothing to know they are the same."""
    adaptive = case.play(release.adaptive)
    return (adaptive if release.naive is release.adaptive else case.play(release.naive)), adaptive


def score_json(score: Score, bar: Bar) -> dict[str, Any]:
    """For programs; gains of nothing found are null."""
    return {
        "trials": score.trials,
        "id_at_1": score.identified,
        "interval": [round(end, 4) for end in score.interval],
        "chance": score.chance,
        "binomial_p": score.binomial_p,
        "rank_p": score.rank_p,
        "worst_gain_db": _finite(score.worst_gain_db),
        "best_gain_db": _finite(score.best_gain_db),
        "best_excess_db": _finite(score.best_excess_db),
        "exact": score.exact,
        "labels": score.labels,
        "broken": score.reaches(bar),
        "at_chance": score.at_chance,
    }


def _finite(value: float) -> float | None:
    return round(value, 2) if isfinite(value) else None


def _attack_json(attack: Attack) -> dict[str, Any]:
    return {
        "title": attack.title,
        "paper": attack.paper,
        "judged": attack.bar.judged,
        "needs": sorted(need.value for need in attack.needs),
    }


def _summary(cell: Cell) -> str:
    gains = [f"{g:.0f}" if isfinite(g) else "−" for g in (cell.adaptive.worst_gain_db, cell.adaptive.best_gain_db)]
    return f"{cell.naive.identified:.0%} / {cell.adaptive.identified:.0%}  {gains[0]} to {gains[1]} dB"
