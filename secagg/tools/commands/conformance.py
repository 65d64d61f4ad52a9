"""`secagg conformance`: holds a program of anybody's to the protocol."""

import json
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secagg.cli.options import SOCKET, Control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secagg.tools.runner.cases import Case
    from secagg.tools.runner.report import Report

HELP = """Hold a participant or a coordinator that somebody wrote to the protocol.

The cases are the vectors of proto/vectors and live rounds that begin with them, so this runs in a checkout; and whole
rounds over gRPC by a coordinator that lies. docs/conformance.md says what a program must do.
"""

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="rich")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of the table.")]
Junit = Annotated[Path | None, typer.Option(help="Write JUnit's XML into this file.", show_default=False)]
Badge = Annotated[Path | None, typer.Option(help="Write a badge as shields.io reads it.", show_default=False)]
Expected = Annotated[
    Path | None,
    typer.Option(
        help="A list of cases that are known to fail: on each line a number and the reason.", show_default=False
    ),
]
Only = Annotated[str, typer.Option(help="Play only the cases whose number begins so.")]
Limit = Annotated[float, typer.Option(min=0.1, help="How many seconds the program may take for one answer.")]


@app.command()
def participant(
    command: Annotated[list[str], typer.Argument(help="The program and its arguments, behind --.")],
    *,
    only: Only = "",
    expected: Expected = None,
    limit: Limit = 30.0,
    as_json: AsJson = False,
    junit: Junit = None,
    badge: Badge = None,
) -> None:
    """Play every case on a program that takes part in rounds.

    A case is left out if the program does not say that it has what the case needs. Exit code 1 if a case failed that is
    not on the list of expected failures, if one on the list passed, or if no case passed. Exit code 2 if nothing was
    judged, because the command line is wrong or the program does not start.

    Example: secagg conformance participant -- node adapter.js
    """
    _run(command, only, expected, limit, as_json=as_json, junit=junit, badge=badge)


@app.command("self")
def own(*, only: Only = "", as_json: AsJson = False, junit: Junit = None, badge: Badge = None) -> None:
    """Play every case on secagg's own participant.

    Example: secagg conformance self --only failure-
    """
    command = [sys.executable, "-m", "secagg.tools.runner.adapter"]
    _run(command, only, None, 30.0, as_json=as_json, junit=junit, badge=badge)


@app.command()
def coordinator(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The coordinator's data plane.")],
    *,
    authority: Annotated[
        Path,
        typer.Option(
            help="The folder of the CA whose participants the coordinator lets in: ca.pem and ca.key, not encrypted, "
            "as secagg ca init makes them. Certificates of participants are made with it; take a CA for tests alone."
        ),
    ] = Path("secagg-ca"),
    control: Control = SOCKET,
    server_name: Annotated[
        str | None, typer.Option(help="The name in the coordinator's certificate, if it is not the one in HOST:PORT.")
    ] = None,
    only: Only = "",
    expected: Expected = None,
    as_json: AsJson = False,
    junit: Junit = None,
    badge: Badge = None,
) -> None:
    """Play every case on a coordinator that runs.

    Participants join rounds that are opened by the control plane. They behave, drop out in each phase, or misbehave.
    Each round must end with the exact sum of those who did their part, or with a named failure. Exit codes are those of
    participant. The coordinator must let in 5 participants of different organisations, and 2 rounds at once.

    Example: secagg conformance coordinator localhost:7443 --authority secagg-ca
    """
    from secagg_client import ControlClient

    from secagg.crypto.authority import Authority, IssuedCertificate
    from secagg.programs.keyfiles import read_private, read_public
    from secagg.tools.runner import live_coordinator
    from secagg.tools.runner.cases import Programs, judge
    from secagg.tools.runner.live_coordinator.live import Deployment
    from secagg.tools.runner.report import Report

    ca = IssuedCertificate(read_public(authority / "ca.pem"), read_private(authority / "ca.key"))
    Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())  # says what is wrong with them
    with ControlClient(control) as sidecar:
        deployment = Deployment(address, sidecar, ca, server_name)
        described = live_coordinator.describe(deployment)
        chosen, reasons = _chosen(list(live_coordinator.cases(deployment)), only, expected)
        with Programs(()) as nothing:
            report = Report(described, list(judge(chosen, nothing, frozenset(), reasons)))
    _tell(report, as_json=as_json, junit=junit, badge=badge)


def _run(
    command: "Sequence[str]",
    only: str,
    expected: Path | None,
    limit: float,
    *,
    as_json: bool,
    junit: Path | None,
    badge: Path | None,
) -> None:
    from secagg.tools.runner.cases import Programs, judge
    from secagg.tools.runner.every import cases
    from secagg.tools.runner.report import Report

    chosen, reasons = _chosen(list(cases()), only, expected)
    with Programs(command, limit) as programs:
        described = programs.describe()
        report = Report(described, list(judge(chosen, programs, described.features, reasons)))
    _tell(report, as_json=as_json, junit=junit, badge=badge)


def _chosen(every: "list[Case]", only: str, expected: Path | None) -> "tuple[list[Case], dict[str, str]]":
    """The cases to play, and why some are known to fail."""
    from secagg.errors import ConfigError
    from secagg.tools.runner.expected import read

    reasons = {} if expected is None else read(expected, {case.number for case in every})
    chosen = [case for case in every if case.number.startswith(only)]
    if not chosen:
        raise ConfigError(f"no case has a number that begins with {only!r}")
    return chosen, reasons


def _tell(report: "Report", *, as_json: bool, junit: Path | None, badge: Path | None) -> None:
    """Write the files, print the verdicts, and end with their exit code."""
    if junit is not None:
        junit.write_text(report.as_junit(), encoding="utf-8")
    if badge is not None:
        badge.write_text(json.dumps(report.as_badge(datetime.now(UTC).date())) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2))
    else:
        _print(report)
    if not report.good:
        raise typer.Exit(1)


def _print(report: "Report") -> None:
    """The cases that did not pass, what left others out, and how many ended in each way."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from secagg.tools.runner.cases import Verdict

    console, table = Console(), Table("Case", "Check", "Verdict", "What happened")
    for one in report.judged:
        if one.verdict not in (Verdict.PASSED, Verdict.LEFT_OUT):
            table.add_row(one.case.number, one.case.check, one.verdict.value, escape(one.text))
    if table.row_count:
        console.print(table)
    counts = ", ".join(f"{count} {verdict.value}" for verdict, count in sorted(report.counts.items(), key=str))
    for reason, count in sorted(Counter(one.text for one in report.judged if one.verdict is Verdict.LEFT_OUT).items()):
        console.print(f"left out, {reason}: {count}", markup=False)
    console.print(f"{report.program.name} {report.program.release}: {counts}", markup=False)
