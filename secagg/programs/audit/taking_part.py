"""The participation report: which sums of an audit log, taken together, say how much about whom."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from secagg.audit.entries import Entry
from secagg.config import METRICS, TRAIN
from secagg.errors import AuditError
from secagg.rounds.participation import KnownSum, Participation, as_facts, take_part

CAVEATS: Final = (
    (
        "Sums of one model: each participant added the same update to all of them, or nearly the same. Whoever has "
        "these sums knows what is shown alone here, unless they carry noise."
    ),
    (
        "Sums of one task over time: a participant trains anew on each model, so its updates differ. What is shown "
        "alone here is known as far as its updates are alike, for example on average. The report cannot tell how "
        "alike they are."
    ),
    ("Noise in the sums blurs all of this. How much it protects is what the privacy ledger says, not this report."),
    (
        "Whoever has a sum may know more: its own update, and those of others that it works with. Take these "
        "participants out of each set: what is left is what they see."
    ),
    ("The report knows the sums of this log: not those of another coordinator, nor those from before the log began."),
    (
        "Smaller sets than those named may exist, since the smallest is hard to find. None is smaller than the "
        "smallest cell: a cell is those who are in exactly the same sums."
    ),
)
"""What the report does not say."""


@dataclass(frozen=True, slots=True)
class Family:
    """Sums that are looked at together.

    Attributes:
        task: name of the task; of sums of one model, of the first of them.
        model: digest of the model in hexadecimal; empty for all sums of a task.
        purpose: `train` and what training reported count as one, because both hold the weights.
        noisy: how many of the sums carry noise.
        unreleased: how many of them belong to rounds that failed when somebody could know the sum already.
        first_ms: when the first ended: milliseconds since 1970.
        last_ms: when the last ended.
        found: what they say together.
    """

    task: str
    model: str
    purpose: str
    noisy: int
    unreleased: int
    first_ms: int
    last_ms: int
    found: Participation


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report.

    Attributes:
        models: sums of one model, where there are several with different cohorts; the most telling first.
        tasks: all sums of one task.
        single: how many models have sums of one cohort only, which say no more together than alone.
    """

    models: tuple[Family, ...]
    tasks: tuple[Family, ...]
    single: int


def report(log: Iterable[Entry], *, task: str = "") -> Report:
    """The report of a log's entries.

    Args:
        log: entries; others than of sums are passed over.
        task: name of the one task that it is about; all if empty.

    Raises:
        AuditError: an entry does not say whose sum it is about.
        ConfigError: there are too many different cohorts to combine.
    """
    ends = [entry for entry in log if _is_known(entry) and (not task or entry.facts.get("task") == task)]
    by_model: dict[tuple[str, str], list[Entry]] = {}
    by_task: dict[tuple[str, str], list[Entry]] = {}
    for entry in ends:
        purpose = TRAIN if entry.facts["purpose"] == METRICS else entry.facts["purpose"]
        by_model.setdefault((entry.facts["model"], purpose), []).append(entry)
        by_task.setdefault((entry.facts["task"], purpose), []).append(entry)
    several = {key: of_it for key, of_it in by_model.items() if len({_survivors(entry) for entry in of_it}) > 1}
    models = [_family(of_it, model, purpose) for (model, purpose), of_it in several.items()]
    models.sort(key=lambda family: len(family.found.shown[0].members))
    tasks = [_family(of_it, "", purpose) for (_, purpose), of_it in sorted(by_task.items())]
    return Report(tuple(models), tuple(tasks), len(by_model) - len(several))


def _is_known(entry: Entry) -> bool:
    """Whether somebody may have a sum by it.

    Raises:
        AuditError: the entry does not say whose sum it is.
    """
    if entry.kind != "sum_released" and not (entry.kind == "round_failed" and "survivors" in entry.facts):
        return False
    names, about = entry.facts.get("survivors"), [entry.facts.get(name) for name in ("task", "model", "purpose")]
    people = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    if not people or not all(isinstance(value, str) for value in about):
        raise AuditError(f"entry {entry.number} does not say whose sum it is about, as a {entry.kind} must")
    return True


def _survivors(entry: Entry) -> frozenset[str]:
    return frozenset(entry.facts["survivors"])


def _family(ends: list[Entry], model: str, purpose: str) -> Family:
    latest = {entry.round_id or str(entry.number): entry for entry in ends}  # a round has one sum, whatever its end
    sums = [KnownSum(name, _survivors(entry)) for name, entry in latest.items()]
    return Family(
        ends[0].facts["task"],
        model,
        purpose,
        sum(1 for entry in latest.values() if entry.facts.get("noise")),
        sum(1 for entry in latest.values() if entry.kind != "sum_released"),
        min(entry.at_ms for entry in ends),
        max(entry.at_ms for entry in ends),
        take_part(sums),
    )


def facts(found: Report) -> dict[str, Any]:
    """All of it as JSON has it."""

    def of(family: Family) -> dict[str, Any]:
        return {
            "task": family.task,
            **({"model": family.model} if family.model else {}),
            "purpose": family.purpose,
            "noisy": family.noisy,
            "unreleased": family.unreleased,
            "first_ms": family.first_ms,
            "last_ms": family.last_ms,
            **as_facts(family.found),
        }

    return {
        "models": [of(family) for family in found.models],
        "models_of_one_cohort": found.single,
        "tasks": [of(family) for family in found.tasks],
        "caveats": list(CAVEATS),
    }
