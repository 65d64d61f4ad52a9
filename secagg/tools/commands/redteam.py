"""`secagg redteam`: attacks on the product through the eyes of each adversary, and a report for reviewers."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from secagg.programs.folders import check_writable

if TYPE_CHECKING:
    from secagg.tools.redteam.results import RedTeamFindings

HELP = """Prove that only aggregates come out, by attacking them.

Exit code 0: controls worked, nothing leaked beyond what the configuration claims.
1: something leaked, by name. 2: a control failed, or there was no run: nothing is proven.
"""

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="rich")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Seed = Annotated[int, typer.Option(min=0, help="The seed of everything that is drawn. The same seed repeats a run.")]
Out = Annotated[Path, typer.Option(help="The folder for report.html, report.json, junit.xml and report.sarif.")]


Jobs = Annotated[
    int,
    typer.Option(
        min=0, help="The number of processes for attacks; 0 takes one for each core. Results do not depend on it."
    ),
]
Model = Annotated[
    str,
    typer.Option(metavar="MODULE:FUNCTION", help="A function of yours that returns a Target: your model and records."),
]


class ProfileName(StrEnum):
    """How many attacks and trials a run has."""

    QUICK = "quick"
    FULL = "full"


@app.command()
def run(
    *,
    profile: Annotated[
        ProfileName, typer.Option(help="quick takes two to three minutes, full much longer.")
    ] = ProfileName.QUICK,
    model: Model = "",
    seed: Seed = 0,
    jobs: Jobs = 0,
    out: Out = Path("redteam-report"),
    as_json: AsJson = False,
) -> None:
    """Audit, protocol games, self-test and attacks; then the report.

    Attacks need the extra `redteam`; without it they are left out, and the report says so.

    Example: secagg redteam run --profile quick

    Example: secagg redteam run --model my_model:clinic
    """
    from secagg.tools.redteam.report import render
    from secagg.tools.redteam.runner import run as play
    from secagg.tools.redteam.workers import cores

    _find_modules_here()
    out.mkdir(parents=True, exist_ok=True)  # now: it would be a pity to find out afterwards
    findings = play(profile.value, seed, tell=_say, clock=perf_counter, jobs=jobs or cores(), model=model)
    _write(findings, render(findings), out)
    _end(findings, out, as_json)


@app.command()
def attack(
    name: Annotated[str, typer.Argument(help="An attack, a protocol game or a check of the audit.")],
    *,
    model: Model = "",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """One attack, game or check alone.

    Example: secagg redteam attack two-survivor-sets

    Example: secagg redteam attack first-layer
    """
    from secagg.tools.redteam.runner import single

    _find_modules_here()
    findings = single(name, seed, model)
    _end(findings, None, as_json)


@app.command()
def benchmark(
    *,
    profile: Annotated[
        ProfileName, typer.Option(help="What is compared where no option names it.")
    ] = ProfileName.QUICK,
    attacks: Annotated[list[str] | None, typer.Option("--attack", help="May be repeated.")] = None,
    defences: Annotated[
        list[str] | None,
        typer.Option("--defence", help="A name, or a function of yours as module:function. May be repeated."),
    ] = None,
    cohorts: Annotated[
        list[int] | None, typer.Option("--cohort", help="The number of participants. May be repeated.")
    ] = None,
    trials: Annotated[
        int, typer.Option(min=0, help="The number of trials of each combination; 0 takes as many as the profile says.")
    ] = 0,
    model: Model = "",
    data: Annotated[
        str, typer.Option(metavar="SET:PATH", help="cifar10, cifar100, mnist, pictures or table, from your disk.")
    ] = "",
    jobs: Jobs = 0,
    out: Annotated[Path | None, typer.Option(help="The file for the JSON document.")] = None,
    as_json: AsJson = False,
) -> None:
    """Attack × defence × cohort with fixed seeds: how far does each defence get, against whom?

    Exit code 0 whatever the figures are: it compares, it does not judge.

    Example: secagg redteam benchmark --attack first-layer --defence none --defence 8-bit --cohort 1 --cohort 8

    Example: secagg redteam benchmark --defence my_defences:top_tenth --data cifar10:cifar-10-batches-bin
    """
    check_writable(out)
    from dataclasses import replace

    from rich.console import Console

    from secagg.tools.redteam.benchmark import FULL, QUICK
    from secagg.tools.redteam.benchmark import run as compare
    from secagg.tools.redteam.targets import Subject
    from secagg.tools.redteam.workers import cores

    _find_modules_here()
    known = FULL if profile is ProfileName.FULL else QUICK
    subject = Subject(model, data)
    plan = replace(
        known,
        attacks=tuple(attacks or (known.attacks if subject.bundled else ("first-layer", "low-rank"))),
        defences=tuple(defences or known.defences),
        cohorts=tuple(cohorts or known.cohorts),
        trials=trials or known.trials,
        targets=subject.target,
    )
    found = compare(plan, _say, jobs or cores())
    document = json.dumps(found.as_json(), indent=2)
    if out is not None:
        out.write_text(document, encoding="utf-8")
    if as_json:
        typer.echo(document)
    else:
        _clear()
        found.show(Console())


@app.command()
def report(*, out: Out = Path("redteam-report"), as_json: AsJson = False) -> None:
    """What the last run in a folder found, and its exit code again.

    Example: secagg redteam report --out redteam-report
    """
    document = json.loads((out / "report.json").read_text(encoding="utf-8"))
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        verdict = ("nothing leaked beyond the claims", "LEAK", "NO PROOF: a control failed")[document["exit_code"]]
        typer.echo(f"{verdict}; profile {document['profile']}, seed {document['seed']}, {document['seconds']} s")
        for said in document["leaks"] + document["broken_controls"]:
            typer.echo(f"  {said}")
        typer.echo(f"page: {out / 'report.html'}")
    sys.exit(document["exit_code"])


@app.command("self-test")
def self_test(*, seed: Seed = 0, as_json: AsJson = False) -> None:
    """Break the product on purpose, flaw by flaw: N of N must be caught.

    Example: secagg redteam self-test
    """
    from secagg.tools.redteam.runner import only_self_test

    findings = only_self_test(seed, tell=_say)
    if not as_json and findings.self_test is not None:
        for verdict in findings.self_test.verdicts:
            typer.echo(
                f"{'caught' if verdict.caught else 'MISSED':<7} {verdict.mutant.title:<55} {verdict.mutant.check}"
            )
    _end(findings, None, as_json)


@app.command("audit-dp")
def audit_dp(
    *,
    claim: Annotated[float, typer.Option(min=0.0, help="The ε that one release is said to cost.")] = 2.5,
    delta: Annotated[float, typer.Option(help="The δ of that claim.")] = 1e-5,
    noise: Annotated[float, typer.Option("--z", help="The noise multiplier that is said to give that ε.")] = 1.634,
    trials: Annotated[
        int, typer.Option(min=200, help="The number of releases with a canary. There are as many without.")
    ] = 4000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """A lower bound on ε from thousands of releases with and without a canary; exit code 1 if it disproves the claim.

    Example: secagg redteam audit-dp --claim 2.5
    """
    from secagg.encoding.pipeline import Pipeline
    from secagg.tools.redteam.arena import rng_of
    from secagg.tools.redteam.dp_audit import AUDITED, audit

    found = audit(
        Pipeline.parse(AUDITED.format(z=noise)), claim, trials=trials, delta=delta, rng=rng_of(seed, "audit-dp")
    )
    if as_json:
        document = {"claim": claim, "delta": delta, "z": noise, "bound": found.bound, "disproved": found.disproved}
        typer.echo(json.dumps(document | {"trials": trials, "seed": seed}, indent=2))
    else:
        verdict = "DISPROVED" if found.disproved else "not disproved"
        typer.echo(
            f"epsilon is at least {found.bound:.2f} (95 %, {trials} trials); the claim of {claim:g} is {verdict}"
        )
    sys.exit(1 if found.disproved else 0)


def _say(what: str) -> None:
    """On stderr, so that `--json` stays clean."""
    if sys.stderr.isatty():
        typer.echo(f"\x1b[2K\r{what[:100]}", err=True, nl=False)


def _clear() -> None:
    if sys.stderr.isatty():
        typer.echo("\x1b[2K\r", err=True, nl=False)


def _find_modules_here() -> None:
    """So that `--model` finds modules of the current folder; at the end, where it can stand in for nothing else."""
    sys.path.append(str(Path.cwd()))


def _write(findings: "RedTeamFindings", page: str, out: Path) -> None:
    from secagg.tools.redteam.formats import to_json, to_junit, to_sarif

    out.mkdir(parents=True, exist_ok=True)
    for name, made in (
        ("report.html", page),
        ("report.json", to_json(findings)),
        ("junit.xml", to_junit(findings)),
        ("report.sarif", to_sarif(findings)),
    ):
        (out / name).write_text(made, encoding="utf-8")


def _end(findings: "RedTeamFindings", out: Path | None, as_json: bool) -> None:
    from secagg.tools.redteam.formats import to_json

    if as_json:
        typer.echo(to_json(findings))
    else:
        _summarise(findings)
        if out is not None:
            typer.echo(f"report: {out / 'report.html'}")
    sys.exit(findings.exit_code)


def _summarise(findings: "RedTeamFindings") -> None:
    _clear()
    for attempt in findings.attempts:
        verdict = "as claimed" if attempt.as_claimed else "NOT AS CLAIMED"
        typer.echo(f"{verdict:<14} {attempt.mode:<20} {attempt.name}: {attempt.sight}: {attempt.achieved}")
    for played in findings.games:
        verdict = "stopped" if played.outcome.stopped else "not stopped"
        typer.echo(f"{verdict:<14} {played.game.title}: {played.outcome.by}")
    if findings.checks:
        silent = sum(not check.said for check in findings.checks)
        typer.echo(f"audit          {silent} of {len(findings.checks)} checks silent")
    if findings.self_test is not None:
        typer.echo(f"self-test      {findings.self_test.score}")
    for reason in findings.left_out:
        typer.echo(f"left out       {reason}")
    for said in findings.leaks:
        typer.echo(f"LEAK           {said}", err=True)
    for said in findings.broken:
        typer.echo(f"NO PROOF       {said}", err=True)
