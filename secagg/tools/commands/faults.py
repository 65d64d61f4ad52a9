"""`secagg faults`: whole deployments with everything that goes wrong, each from a seed."""

import json
import os
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from secagg.tools.faults.campaign import Table
    from secagg.tools.faults.machine.table import Table as ProcessTable
    from secagg.tools.faults.mutants import Hunt
    from secagg.tools.faults.rows import Row

HELP = """Simulate everything that can go wrong in a deployment, and judge what comes of it.

Each history has a coordinator, three to twelve participants and an FL server, as they are in production, in one process
on a simulated network, disk and clock. Everything in it follows from its seed.
"""

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="rich")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document. Progress goes to stderr.")]


@app.command()
def run(
    *,
    histories: Annotated[int, typer.Option("--histories", "-n", min=1, help="The number of histories.")] = 1000,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="The seed of the first history; the others have the seeds that follow. Default: a new one.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=0, help="The number of processes; 0 takes one for each core.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Play many histories, and count how their rounds ended.

    A round ends exactly, or it fails by name: everybody who asks is told the same reason. A round is wrong if a sum is
    not the sum of its survivors' updates, and lost if something that was acknowledged is gone.

    Exit code 1 if a round was wrong or lost, or if any rule of the protocol was broken. The seed replays it.

    Example: secagg faults run --histories 2000 --seed 1
    """
    from rich.console import Console

    from secagg.tools.faults.campaign import campaign

    seed = int.from_bytes(os.urandom(4)) if seed is None else seed
    jobs = jobs or len(os.sched_getaffinity(0))
    began = perf_counter()
    with _Bar(histories) as bar:
        table = campaign(seed, histories, jobs, lambda so_far: bar.see(so_far.histories, len(so_far.failed)))
    seconds = perf_counter() - began
    if as_json:
        typer.echo(json.dumps({"seed": seed, "jobs": jobs, "seconds": seconds, **table.as_json()}, indent=2))
    else:
        _print(Console(), table, seed, jobs, seconds)
    if not table.good:
        raise typer.Exit(1)


@app.command()
def replay(
    seed: Annotated[int, typer.Argument(min=0, help="The seed of the history.")],
    *,
    messages: Annotated[bool, typer.Option(help="Show every message, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play one history again, show what happened in it, and judge it.

    Exit code 1 if something in it was wrong.

    Example: secagg faults replay 4711
    """
    from rich.console import Console

    from secagg.tools.faults.checker import judge
    from secagg.tools.faults.recording import digest
    from secagg.tools.faults.telling import lines, title
    from secagg.tools.faults.world import play, playing

    with playing():
        scenario, history = play(seed)
        judgement = judge(history)
    if as_json:
        told = {
            "seed": seed,
            "scenario": title(scenario),
            "facts": list(lines(history, messages=messages)),
            "rounds": {round_id.hex(): ending.name.lower() for round_id, ending in judgement.rounds.items()},
            "findings": list(judgement.findings),
            "digest": digest(history),
        }
        typer.echo(json.dumps(told, indent=2))
    else:
        console = Console(highlight=False, markup=False)
        console.print(title(scenario))
        for line in lines(history, messages=messages):
            console.print(line)
        for round_id, ending in judgement.rounds.items():
            console.print(f"round {round_id.hex()[:8]}: {ending.value}")
        for finding in judgement.findings:
            console.print(f"FOUND: {finding}")
        console.print(f"SHA-256 of all facts: {digest(history)}")
    if judgement.findings:
        raise typer.Exit(1)


@app.command()
def processes(
    *,
    schedules: Annotated[int, typer.Option("--schedules", "-n", min=1, help="The number of schedules.")] = 20,
    seed: Annotated[
        int, typer.Option(min=0, help="The seed of the first schedule; the others have the seeds that follow.")
    ] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="How many are played at a time.")] = 2,
    without_full: Annotated[
        bool, typer.Option("--without-full", help="Fill no file system, which needs a mount and so root.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Play rounds with real processes on this machine, and kill, stop, cut off and fill what a schedule says.

    Each schedule has a coordinator, five participants and an FL server, in processes of their own over TLS. An accident
    follows an event of the coordinator's log, so every phase has its share. What ended badly leaves its folder.

    Exit code 1 if a round was wrong or lost, or if a program wrote a traceback.

    Example: secagg faults processes --schedules 300
    """
    from rich.console import Console

    from secagg.tools.faults.machine.schedule import Kind
    from secagg.tools.faults.machine.table import play_all

    kinds = tuple(kind for kind in Kind if kind is not Kind.FULL or not without_full)
    began = perf_counter()
    with _Bar(schedules, "schedules") as bar:
        table = play_all(seed, schedules, jobs, kinds, lambda so_far: bar.see(so_far.schedules, len(so_far.bad)))
    seconds = perf_counter() - began
    if as_json:
        typer.echo(json.dumps({"seed": seed, "seconds": seconds, **table.as_json()}, indent=2))
    else:
        _print_processes(Console(), table, seconds)
    if table.bad:
        raise typer.Exit(1)


def _print_processes(console: "Console", table: "ProcessTable", seconds: float) -> None:
    console.print(f"{table.schedules:,} schedules in {seconds:.0f} s", highlight=False)
    rows = [(kind.value, row) for kind, row in table.rows.items()]
    rows += [("all with an accident", table.whole), ("all without", table.calm)]
    _print_rows(console, ("accident", "happened", "schedules"), rows)
    for verdict in table.bad:
        for finding in verdict.findings:
            console.print(f"seed {verdict.seed} in {verdict.folder}: {finding}", highlight=False, soft_wrap=True)


@app.command()
def mutants(
    names: Annotated[list[str] | None, typer.Argument(help="The flaws to plant. Default: all.")] = None,
    *,
    histories: Annotated[
        int, typer.Option("--histories", "-n", min=1, help="The most histories that are played for one flaw.")
    ] = 300,
    seed: Annotated[int, typer.Option(min=0, help="The seed from which histories are drawn.")] = 0,
    known: Annotated[bool, typer.Option(help="Try first the history that found the flaw before.")] = True,
    jobs: Annotated[int, typer.Option(min=0, help="The number of flaws at once; 0 takes one for each core.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Plant flaws in the coordinator that lose data, one at a time, and see whether the histories show each.

    Each is a line of the real program: a flush that is left out, an order that is swapped, a check that is gone. A flaw
    counts as found if a history breaks a rule with it, and the same history breaks none without it.

    Exit code 1 if one was not found.

    Example: secagg faults mutants sum-not-flushed --no-known
    """
    from rich.console import Console

    from secagg.errors import ConfigError
    from secagg.tools.faults.mutants import Hunt, chosen, hunt_all

    try:
        flaws = chosen(names or [])
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    stderr = Console(stderr=True, highlight=False)

    def see(hunt: Hunt) -> None:
        stderr.print(f"{hunt.flaw}: " + ("NOT FOUND" if hunt.seed is None else f"found by seed {hunt.seed}"))

    hunts = hunt_all(flaws, seed, histories, jobs or len(os.sched_getaffinity(0)), see, known=known)
    found = sum(hunt.seed is not None for hunt in hunts)
    if as_json:
        typer.echo(
            json.dumps({"found": found, "of": len(hunts), "flaws": [hunt.as_json() for hunt in hunts]}, indent=2)
        )
    else:
        _print_hunts(Console(highlight=False), hunts)
    if found < len(hunts):
        raise typer.Exit(1)


class _Bar:
    """A progress bar on stderr."""

    def __init__(self, total: int, what: str = "histories") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} of {task.total:,}"))
        self._progress = Progress(
            *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True
        )
        self._what = what
        self._task = self._progress.add_task(what, total=total)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def see(self, done: int, bad: int) -> None:
        """Show how far it is."""
        self._progress.update(self._task, completed=done, description=f"{self._what}, {bad} bad" if bad else self._what)


def _print_rows(console: "Console", titles: tuple[str, str, str], rows: "Iterable[tuple[str, Row]]") -> None:
    """A table with the ways to end as its last columns."""
    from rich.table import Table as Grid

    from secagg.tools.faults.checker import Ending

    grid = Grid(box=None, pad_edge=False)
    grid.add_column(titles[0], no_wrap=True)
    for words in (*titles[1:], *(ending.value for ending in Ending)):
        grid.add_column(words, justify="right")
    for words, row in rows:
        grid.add_row(words, *(f"{count:,}" for count in row.counts))
    console.print(grid)


def _print(console: "Console", table: "Table", seed: int, jobs: int, seconds: float) -> None:
    rate = table.histories / seconds
    console.print(
        f"{table.histories:,} histories from seed {seed} on, {table.whole.histories:,} of them with faults, in "
        f"{seconds:.0f} s with {jobs} processes: {rate:.1f} a second; a million would take "
        f"{1e6 / rate / 3600:.1f} hours",
        highlight=False,
        soft_wrap=True,
    )
    rows = [(fault.name.lower().replace("_", " "), row) for fault, row in table.rows.items()]
    rows += [("all histories with a fault", table.whole), ("all without one", table.calm)]
    _print_rows(console, ("fault", "injected", "histories"), rows)
    for found in table.failed:
        for finding in found.findings:
            console.print(f"seed {found.seed}: {finding}", highlight=False, soft_wrap=True)
    if table.failed:
        console.print(f"Replay with: secagg faults replay {table.failed[0].seed}", highlight=False)


def _print_hunts(console: "Console", hunts: "list[Hunt]") -> None:
    from rich.table import Table as Grid

    grid = Grid("flaw", "what is wrong", box=None, pad_edge=False)
    for column in ("histories", "seed"):
        grid.add_column(column, justify="right")
    grid.add_column("rule that was broken")
    for hunt in hunts:
        where = "not found" if hunt.seed is None else str(hunt.seed)
        grid.add_row(hunt.flaw, hunt.what, str(hunt.histories), where, hunt.law)
    console.print(grid)
    console.print(f"{sum(hunt.seed is not None for hunt in hunts)} of {len(hunts)} flaws were found")
