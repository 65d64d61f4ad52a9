"""`secagg ledger`: what a task has spent of its privacy budget, and whether that record is whole."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secagg.cli.options import SOCKET, AsJson, Control

if TYPE_CHECKING:
    from secagg.privacy.charges import Charge
    from secagg.privacy.ledger import Ledger

HELP = """Show what tasks spent of their privacy budgets, and check that the record is whole.

A coordinator plans the cost of every round with noise before anybody is offered it, and charges what is released. \
The record is a chain: each entry holds the digest of the entry before it. The digest of the last entry, with the \
number of entries, is the [bold]head[/bold]. Keep heads where the coordinator cannot change them: with a head you \
notice a ledger from which entries were removed.

Name a ledger by its path (the coordinator's folder ledger_dir, or one of the .jsonl files in it), or leave the path \
out to ask a running coordinator.
"""

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="rich")

Where = Annotated[
    Path | None,
    typer.Argument(
        metavar="PATH",
        help="A folder ledger_dir, or one .jsonl file in it. Without a path, the running coordinator is asked.",
    ),
]
Task = Annotated[str | None, typer.Option(help="Only this task. A running coordinator must be asked about one task.")]


@dataclass(frozen=True, slots=True)
class Row:
    """One round in the ledger, with what it cost."""

    round_id: str
    charge: "Charge"
    epsilon: float
    released: bool

    def facts(self) -> dict[str, Any]:
        """What the ledger says of a task, as names and values."""
        from secagg.encoding.pipeline import Pipeline

        noise = Pipeline.parse(self.charge.pipeline).noise
        return {
            "round": self.round_id,
            "law": noise.law.value if noise else None,
            "z": noise.z if noise else None,
            "by": noise.by.value if noise else None,
            "survivors": self.charge.survivors or None,
            "honest": self.charge.honest,
            "view": self.charge.view.value,
            "epsilon_after": _number(self.epsilon),
            "state": "released" if self.released else "planned",
        }


@app.command()
def show(where: Where = None, *, task: Task = None, control: Control = SOCKET, as_json: AsJson = False) -> None:
    """Print what each round cost. Withdrawn rounds cost nothing and are left out. Needs the extra dp.

    A line has the round, the law of its noise and its multiplier z ("central": the coordinator's own), the survivors
    in its sum, how many of them are counted as honest, whose view the cost is about, ε of the task after it, and
    whether the sum was released or the cost is only planned: for a round that is under way, or ended (perhaps by a
    crash) when its sum could be known already.

    The view is that of whoever sees the least noise: the coordinator with those who collude with it; where nobody may,
    a fellow participant, who gets the sum and knows its own noise; where the coordinator adds the noise, a recipient
    of the sum, never the coordinator.

    Examples: secagg ledger show --task digits

    secagg ledger show /var/lib/secagg/ledger --json
    """
    shown = []
    for ledger in _ledgers(where, task, control):
        rows = list(_rows(ledger))
        spent = rows[-1].epsilon if rows else 0.0
        if as_json:
            shown.append({**_facts(ledger), "epsilon": _number(spent), "rounds": [row.facts() for row in rows]})
        else:
            typer.echo("\n".join(_table(ledger, rows, spent)))
    if as_json:
        typer.echo(json.dumps(shown, indent=2))


@app.command()
def verify(
    where: Where = None,
    *,
    task: Task = None,
    head: Annotated[
        str | None,
        typer.Option(metavar="NUMBER:DIGEST", help="A head that was seen before. The ledger must still contain it."),
    ] = None,
    control: Control = SOCKET,
    as_json: AsJson = False,
) -> None:
    """Check that a ledger is whole: its chain, its head, and a head that was seen before.

    Names the first entry that is wrong. Exit code 1 if a ledger is corrupt or was rolled back. Without --head a
    ledger that was exchanged together with its head looks whole: only who kept a head can tell.

    Examples: secagg ledger verify /var/lib/secagg/ledger

    secagg ledger verify --task digits --head 5:2f0c…
    """
    from secagg.errors import ConfigError, LedgerError
    from secagg.privacy.ledger import Head

    seen = None if head is None else Head.parse(head)
    reports: list[dict[str, Any]] = []
    sources = list(_sources(where, task, control))
    if seen is not None and len(sources) != 1:
        raise ConfigError(f"a head belongs to one task, and there are {len(sources)} ledgers: name one with --task")
    for source in sources:
        try:
            ledger = source.ledger()
            if seen is not None:
                ledger.check_head(seen)
            reports.append({"whole": True, **_facts(ledger)})
        except LedgerError as error:
            reports.append({"whole": False, "ledger": source.name, "error": str(error)})
    if as_json:
        typer.echo(json.dumps(reports, indent=2))
    for report in () if as_json else reports:
        line = (
            f"{report['task']}: whole, head {report['head']}"
            if report["whole"]
            else f"{report['ledger']}: {report['error']}"
        )
        typer.echo(line, err=not report["whole"])
    if not all(report["whole"] for report in reports):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _File:
    """A ledger where it lies."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def task(self) -> str | None:
        """The task that the ledger says it is about; None if it does not say."""
        from secagg.errors import LedgerError
        from secagg.privacy.ledger import task_of
        from secagg.programs.ledgers.files import read_files

        try:
            return task_of(read_files(self.path).lines)
        except LedgerError:
            return None

    def ledger(self) -> "Ledger":
        from secagg.programs.ledgers.files import read_ledger

        return read_ledger(self.path)


@dataclass(frozen=True, slots=True)
class _Sidecar:
    """A ledger of a running coordinator."""

    name: str
    control: str

    def ledger(self) -> "Ledger":
        from secagg_client import ControlClient

        with ControlClient(self.control) as client:
            return client.ledger(self.name).ledger


def _sources(where: Path | None, task: str | None, control: str) -> Iterator[_File | _Sidecar]:
    from secagg.errors import ConfigError
    from secagg.programs.ledgers.files import check_format, entries_files

    if where is None:
        if task is None:
            raise ConfigError("name the --task to ask the sidecar about, or the PATH of a ledger")
        yield _Sidecar(task, control)
        return
    paths = entries_files(where) if where.is_dir() else [where]
    if not where.exists():
        raise ConfigError(f"no privacy ledger at {where}")
    if not paths:
        typer.echo(f"no round with noise was opened yet: {where} has no privacy ledger", err=True)
    check_format(where if where.is_dir() else where.parent)
    for path in paths:
        file = _File(path)
        if task is None or file.task in {task, None}:
            yield file


def _ledgers(where: Path | None, task: str | None, control: str) -> Iterator["Ledger"]:
    for source in _sources(where, task, control):
        yield source.ledger()


def _rows(ledger: "Ledger") -> Iterator[Row]:
    from secagg.privacy.charges import epsilon_spent

    so_far: list[Charge] = []
    for round_id, charge in ledger.charges.items():
        so_far.append(charge)
        yield Row(round_id, charge, epsilon_spent(so_far, ledger.budget.delta), round_id in ledger.released)


def _facts(ledger: "Ledger") -> dict[str, Any]:
    budget = {"epsilon": ledger.budget.epsilon, "delta": ledger.budget.delta}
    return {"task": ledger.task, "budget": budget, "entries": ledger.head.entries, "head": ledger.head.text}


def _table(ledger: "Ledger", rows: list[Row], spent: float) -> Iterator[str]:
    yield f"{ledger.task}: ε = {spent:.4g} of {ledger.budget.epsilon:g} spent (δ = {ledger.budget.delta:g})"
    yield f"head {ledger.head.text}"
    if rows:
        yield f"{'round':32}  {'noise':24}  {'survivors':>9}  {'honest':>6}  {'view':11}  {'ε after':>8}  state"
    for row in rows:
        fact = row.facts()
        whose = ", central" if fact["by"] == "coordinator" else ""
        noise, survivors = f"{fact['law']}, z = {fact['z']:g}{whose}", fact["survivors"] or "-"
        seen = f"{fact['honest']:>6}  {fact['view']:11}"
        yield f"{row.round_id}  {noise:24}  {survivors:>9}  {seen}  {row.epsilon:8.4g}  {fact['state']}"


def _number(value: float) -> float | None:
    """JSON knows no infinity: null."""
    from math import isfinite

    return value if isfinite(value) else None
