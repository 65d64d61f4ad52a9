"""`secagg bench`: figures, their targets and the limits they are up against, on this machine."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from secagg.bench.report import Report

HELP = """Measure the real code on real sizes, on this machine.

Every figure has its unit in its name. Limits are measured in the same run:
what AES, numpy or plain gRPC can do here. Rates are in 10^9 bytes a second.

Figures of one core are CPU time, so other work on the machine hardly matters;
those of several threads or processes are wall-clock time: keep it idle.
"""

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="rich")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for programs.")]


@app.command()
def core(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer repeats: seconds instead of a minute.")] = False,
    as_json: AsJson = False,
) -> None:
    """The arithmetic of a round: mask streams, encoding, shares, signatures, masked input, unmasking.

    Example: secagg bench core --quick
    """
    from secagg.bench.core import QUICK, Sizes, measure

    _print(measure(QUICK if quick else Sizes(), _say), as_json)


def _say(matter: str) -> None:
    """Progress, out of the way of the results."""
    typer.echo(f"measuring {matter} …", err=True)


def _print(report: "Report", as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        report.show(Console())
