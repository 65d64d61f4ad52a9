"""What `secagg bench privacy --accuracy` found: for programs, and as a table for people."""

from dataclasses import dataclass
from enum import Enum
from math import inf, isinf
from statistics import fmean, stdev
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from secagg.encoding.pipeline import Pipeline
from secagg.noise.laws import Law
from secagg.tools.bench.federation import Schedule
from secagg.tools.bench.learning import DataSet
from secagg.tools.bench.machine import Machine

LARGEST_RATIO: Final = 1.05
"""Of the error of a mean to that of continuous Gaussian noise of the same z, at `RATIO_BITS`."""

RATIO_BITS: Final = 16


class Study(Enum):
    """Which of its settings a chart varies."""

    BITS = "bits"
    """ε and bits of a value on the wire, with as many clients as the data set has room for."""
    COHORT = "cohort"
    """ε and the number of clients among whom the same records are shared out."""
    COMPRESSION = "compression"
    """Bits of a value and share of the coordinates that is sent, with and without feedback, without noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One way to train, tried with several seeds.

    Attributes:
        study: what it belongs to.
        data_set: what is learned.
        participants: clients, all of them in every round.
        schedule: rounds, clip and server's step.
        epsilon: of all rounds together, for a client; infinite without noise.
        bits: of a value, on the wire; without noise in `Study.COMPRESSION`, of the value itself.
        pipeline: None for means of plain numbers, or where it was refused.
        refusal: why there is no such pipeline, and the nearest possible.
        instead_of: the bits that were refused, where this is the nearest possible; 0 elsewhere.
    """

    study: Study
    data_set: DataSet
    participants: int
    schedule: Schedule
    epsilon: float = inf
    bits: int = 0
    pipeline: Pipeline | None = None
    refusal: str = ""
    instead_of: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial.

    Attributes:
        trial: what was tried.
        accuracies: on test records, one for each seed; empty where it was refused.
        upload_bytes: of one update on the wire, without seals and signatures; float32 values where there is no
            pipeline.
        error_ratio: of the decoded means' error to that of continuous Gaussian noise of the same z; None without.
    """

    trial: Trial
    accuracies: tuple[float, ...]
    upload_bytes: int
    error_ratio: float | None

    @property
    def mean(self) -> float:
        """The mean accuracy over all trainings of the trial."""
        return fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """Standard deviation of the accuracies."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0

    def as_json(self) -> dict[str, Any]:
        """The values that `--json` prints."""
        trial = self.trial
        return {
            "study": trial.study.value,
            "data_set": trial.data_set.value,
            "participants": trial.participants,
            "rounds": trial.schedule.rounds,
            "epsilon": None if isinf(trial.epsilon) else trial.epsilon,
            "bits": trial.bits,
            "pipeline": trial.pipeline.text if trial.pipeline else None,
            "refusal": trial.refusal or None,
            "nearest_to_bits": trial.instead_of or None,
            "accuracy": round(self.mean, 4) if self.accuracies else None,
            "spread": round(self.spread, 4) if self.accuracies else None,
            "upload_bytes": self.upload_bytes,
            "error_over_continuous_gaussian": self.error_ratio and round(self.error_ratio, 4),
        }


@dataclass(frozen=True, slots=True)
class AccuracyResult:
    """Everything that one run found.

    Attributes:
        machine: what it ran on.
        seeds: how often everything was trained.
        delta: δ of every ε.
        outcomes: of all trials.
        ratios: at 16 bits, by law: `secagg bench privacy`'s own figure, of 100 updates of 20,000 values.
    """

    machine: Machine
    seeds: int
    delta: float
    outcomes: tuple[Outcome, ...]
    ratios: dict[str, float]

    @property
    def exact(self) -> bool:
        """Whether the error at 16 bits is that of continuous Gaussian noise, of many enough values to judge."""
        return max(self.ratios.values()) <= LARGEST_RATIO

    def of(self, study: Study, data_set: DataSet) -> list[Outcome]:
        """The outcomes of one study on one data set, which make one chart."""
        return [o for o in self.outcomes if (o.trial.study, o.trial.data_set) == (study, data_set)]

    def as_json(self) -> dict[str, Any]:
        """The values that `--json` prints."""
        return {
            "bench": "accuracy",
            "machine": self.machine,
            "setting": {"seeds": self.seeds, "delta": self.delta, "law": Law.SKELLAM.value},
            "exact": self.exact,
            "error_ratio_at_16_bits": {law: round(ratio, 4) for law, ratio in self.ratios.items()},
            "outcomes": [outcome.as_json() for outcome in self.outcomes],
        }

    def show(self, console: Console) -> None:
        """Print tables to the terminal."""
        for data_set in DataSet:
            for study in Study:
                if outcomes := self.of(study, data_set):
                    console.print(_table(f"{data_set.value}, {study.value}", outcomes))
        ratios = ", ".join(f"{ratio:.3f} with {law} noise" for law, ratio in self.ratios.items())
        console.print(f"error over continuous Gaussian noise at {RATIO_BITS} bits: {ratios}")
        if not self.exact:
            console.print(f"[bold red]it is above {LARGEST_RATIO}[/]")


def as_percent(outcome: Outcome) -> str:
    """Mean and spread of the accuracies."""
    spread = f" ± {outcome.spread * 100:.1f}" if len(outcome.accuracies) > 1 else ""
    return f"{outcome.mean * 100:.1f}{spread} %"


def _table(title: str, outcomes: list[Outcome]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", expand=True, box=SIMPLE_HEAD)
    for name in ("clients", "ε", "bits", "accuracy", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("pipeline", ratio=1)
    for outcome in outcomes:
        trial = outcome.trial
        pipeline = trial.pipeline.text if trial.pipeline else "plain numbers"
        table.add_row(
            str(trial.participants),
            "∞" if isinf(trial.epsilon) else f"{trial.epsilon:g}",
            str(trial.bits or ""),
            as_percent(outcome) if outcome.accuracies else "refused",
            f"{outcome.upload_bytes:,}" if outcome.accuracies else "",
            escape(trial.refusal or pipeline),
        )
    return table
