"""`secagg audit`: what a coordinator decided, and whether that record is whole."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secagg.cli.options import AsJson

if TYPE_CHECKING:
    from secagg.audit.entries import Entry
    from secagg.crypto.identity import TrustAnchors
    from secagg.programs.audit.taking_part import Family, Report
    from secagg.programs.audit.verifying import Verdict

HELP = """Show what a coordinator decided, and check that the record is whole.

A coordinator with a state_dir keeps an audit log in the folder [bold]audit[/bold] of it: who joined, was dropped, was \
blamed, which sums were released, who was given them. Each entry holds the digest of the entry before it, and now and \
then the coordinator signs how far the log goes. The number and the digest of such a checkpoint are the \
[bold]head[/bold]. The coordinator writes heads into its ordinary log. Keep them where it cannot change them: with a \
head you notice a log that was cut off.

Name the folder, the state_dir that it is in, or a file that [bold]secagg audit export[/bold] wrote.
"""

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="rich")

Where = Annotated[Path, typer.Argument(metavar="PATH", help="The folder of the log, or an exported file.")]
Ca = Annotated[
    Path,
    typer.Option(help="The certificate of the deployment's CA (PEM), and behind it those that it had before."),
]
MaybeCa = Annotated[
    Path | None,
    typer.Option(help="Verify the log first, with this certificate of the deployment's CA (PEM)."),
]
OfRound = Annotated[
    str, typer.Option("--round", metavar="ID", help="Only this round: its id, or the first digits of it.")
]
OfParticipant = Annotated[str, typer.Option("--participant", metavar="ID", help="Only what names this participant.")]
OfKind = Annotated[
    list[str] | None, typer.Option("--kind", help="Only entries of this kind. Can be given several times.")
]
Since = Annotated[
    str, typer.Option(metavar="TIME", help="Only from then on: a date, or a date with a time; UTC unless it says.")
]


@app.command()
def show(
    where: Where,
    *,
    round_id: OfRound = "",
    participant: OfParticipant = "",
    kind: OfKind = None,
    since: Since = "",
    as_json: AsJson = False,
) -> None:
    """Print entries, one a line. With --json each line is the entry as it stands in the log.

    Nothing is verified: secagg audit verify does that.

    Examples: secagg audit show /var/lib/secagg/state --round 3ea1ec26

    secagg audit show exported.jsonl --kind blamed --kind accused --since 2026-11-01
    """
    from secagg.audit import entries
    from secagg.programs.audit import showing

    for entry in _chosen(where, round_id, participant, kind, since):
        typer.echo(entries.as_line(entry.body).decode() if as_json else showing.text(entry))


@app.command()
def verify(
    where: Where,
    *,
    ca: Ca = Path("ca.pem"),
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBER:DIGEST",
            help="A head that was seen before; the log must still contain it. Can be given several times.",
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER:DIGEST", help="The head of older files that were moved away: the log goes on from there."
        ),
    ] = None,
    coordinator: Annotated[
        str | None, typer.Option(metavar="HOST", help="A host name of the coordinator that must have signed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that every entry follows from the one before it, and that the coordinator signed them.

    Whatever was changed, removed, added or moved before the last checkpoint is named, with its place. What stands
    behind the last checkpoint is not signed yet. Certificates must have been valid when they signed; that they have
    expired since does not matter. A log that was cut off at an older checkpoint, together with its file head, is whole
    in itself: only --head, with a head that was kept elsewhere, shows that.

    The exit code is 0 if nothing is wrong, and 1 if something is.

    Example: secagg audit verify /var/lib/secagg/state --ca ca.pem --coordinator coordinator.example --head "$HEAD"
    """
    from secagg.audit.entries import BEGINNING
    from secagg.privacy.ledger import Head
    from secagg.programs.audit.verifying import verify_files

    verdict = verify_files(
        _log(where),
        _trust(ca),
        after=Head.parse(after) if after else BEGINNING,
        seen=[Head.parse(text) for text in head or ()],
        coordinator=coordinator,
    )
    typer.echo(json.dumps(_facts(verdict), indent=2) if as_json else "\n".join(_told(verdict)))
    raise typer.Exit(0 if verdict.whole else 1)


@app.command()
def export(
    where: Where,
    *,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    html: Annotated[bool, typer.Option("--html", help="Write a page to look at instead of the log itself.")] = False,
    ca: MaybeCa = None,
    round_id: OfRound = "",
    participant: OfParticipant = "",
    kind: OfKind = None,
    since: Since = "",
    as_json: AsJson = False,
) -> None:
    """Write the log into one file, which others verify with the certificate of the CA alone.

    The file has every entry up to the last checkpoint, as JSON lines. Give whoever gets it the head, too, which this
    command prints: a file that was cut off at an older checkpoint does not reach it. With --html the file is a page
    with the entries that the other options choose, and cannot be verified itself; with --ca the page says what came of
    verifying the log.

    Examples: secagg audit export /var/lib/secagg/state --out audit.jsonl

    secagg audit export /var/lib/secagg/state --html --ca ca.pem --since 2026-11-01 --out november.html
    """
    from secagg.errors import ConfigError
    from secagg.programs.folders import check_writable

    _check_apart(where, out)
    check_writable(out)
    if not html:
        if round_id or participant or kind or since or ca:
            raise ConfigError("a part of a log cannot be verified: leave the choice and --ca out, or add --html")
        head = str(_copy(_log(where), out))
        typer.echo(json.dumps({"out": str(out), "head": head}) if as_json else f"head {head}")
        return
    from secagg.programs.audit.pages import log_page

    found = list(_chosen(where, round_id, participant, kind, since))
    asked = {"round": round_id, "participant": participant, "kind": ", ".join(kind or ()), "since": since}
    chosen = "; ".join(f"{name} {value}" for name, value in asked.items() if value)
    about = f"What the coordinator decided, in the order in which it did. {f'Chosen: {chosen}.' if chosen else ''}"
    out.write_text(log_page(found, _verdict(where, ca), about=about.strip()), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps({"out": str(out), "entries": len(found)}))


@app.command()
def participation(
    where: Where,
    *,
    task: Annotated[str, typer.Option(help="Only sums of this task.")] = "",
    since: Since = "",
    ca: MaybeCa = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say which released sums, taken together, say how much about whom.

    Whoever has several sums can combine them: one less another one, or many with any factors. The report finds whom
    such a combination holds alone, or among few, from who was in which sum. It looks at the sums of one model together,
    and at all sums of a task over time. It says itself what it does not say.

    Examples: secagg audit participation /var/lib/secagg/state --task digits

    secagg audit participation exported.jsonl --ca ca.pem --html participation.html
    """
    from secagg.programs.audit import taking_part

    found = taking_part.report(_chosen(where, "", "", ["sum_released", "round_failed"], since), task=task)
    if html is not None:
        from secagg.programs.audit.pages import report_page
        from secagg.programs.folders import check_writable

        _check_apart(where, html)
        check_writable(html)
        html.write_text(report_page(found, _verdict(where, ca)), encoding="utf-8")
        return
    verdict = _verdict(where, ca)
    if as_json:
        checked = None if verdict is None else _facts(verdict)
        typer.echo(json.dumps({**taking_part.facts(found), "verified": checked}, indent=2))
    else:
        typer.echo("\n".join([*_told_report(found), "", *(["not verified"] if verdict is None else _told(verdict))]))


def _log(where: Path) -> Path:
    """The folder of the log, or the exported file."""
    return where / "audit" if (where / "audit").is_dir() else where


def _check_apart(where: Path, out: Path) -> None:
    """Keep the log from being written over by what is made of it."""
    from secagg.errors import ConfigError
    from secagg.programs.audit import reading

    source, target = _log(where).resolve(), out.resolve()
    if target == source or (
        target.parent == source and (reading.is_segment(target.name) or target.name == reading.HEAD)
    ):
        raise ConfigError(f"{out} belongs to the log itself, and would be written over: name a file elsewhere")


def _trust(ca: Path) -> "TrustAnchors":
    from secagg.crypto.identity import TrustAnchors
    from secagg.programs.keyfiles import read_public

    return TrustAnchors.from_pem(read_public(ca))


def _verdict(where: Path, ca: Path | None) -> "Verdict | None":
    from secagg.programs.audit.verifying import verify_files

    return None if ca is None else verify_files(_log(where), _trust(ca))


def _chosen(where: Path, round_id: str, participant: str, kind: list[str] | None, since: str) -> "Iterator[Entry]":
    from secagg.programs.audit import reading, showing

    choice = showing.Choice(
        round_id=round_id,
        participant=participant,
        kinds=frozenset(kind or ()),
        since_ms=showing.since(since) if since else 0,
    )
    return showing.chosen(reading.lines(_log(where)), choice)


def _copy(where: Path, out: Path) -> str:
    """Copy the log up to its last checkpoint; the head of that."""
    from secagg.audit import checkpoints, entries
    from secagg.errors import AuditError
    from secagg.programs.audit import reading

    end, head = 0, ""
    with out.open("wb") as file:
        for line in reading.lines(where):
            if not line.whole:
                break
            file.write(line.text + b"\n")
            try:
                entry = entries.read(line.text)
            except AuditError:
                continue  # who verifies the copy finds it there
            if entry.kind == checkpoints.KIND:
                end, head = file.tell(), entry.head.text
        file.truncate(end)
    if not head:
        raise AuditError("the log has no checkpoint, so nothing of it is signed")
    return head


def _facts(verdict: "Verdict") -> dict[str, Any]:
    return {
        "whole": verdict.whole,
        "first": verdict.first,
        "last": verdict.last.entries,
        "head": None if verdict.signed is None else verdict.signed.text,
        "signed_ms": verdict.signed_ms,
        "checkpoints": verdict.checkpoints,
        "unsigned": verdict.unsigned,
        "torn_bytes": verdict.torn,
        "hosts": list(verdict.hosts),
        "damages": [{"entry": d.number, "where": d.where, "what": d.what} for d in verdict.damages],
        "more_damages": verdict.untold,
    }


def _told(verdict: "Verdict") -> Iterator[str]:
    from secagg.programs.audit.showing import moment

    if verdict.signed is not None:
        names = ", ".join(verdict.hosts)
        yield f"entries {verdict.first} to {verdict.last.entries}, {verdict.checkpoints} checkpoints of {names}"
        yield f"head {verdict.signed.text}, signed {moment(verdict.signed_ms)} UTC"
    if verdict.unsigned:
        yield f"not signed yet: {verdict.unsigned} behind the last checkpoint"
    if verdict.torn:
        yield f"not whole: {verdict.torn} bytes behind the last line; a crash leaves such, or a coordinator that writes"
    for damage in verdict.damages:
        yield f"WRONG: {damage.text}"
    if verdict.untold:
        yield f"WRONG: {verdict.untold} more"
    yield "the log is whole" if verdict.whole else "the log is damaged"


def _told_report(found: "Report") -> Iterator[str]:
    from secagg.programs.audit.taking_part import CAVEATS

    for family in (*found.models, *found.tasks):
        yield from _told_family(family)
    if not found.tasks:
        yield "no sum was released"
    if found.single:
        yield f"models with sums of one cohort only, which say no more together than alone: {found.single}"
    yield ""
    yield "What this does not say:"
    yield from (f"- {caveat}" for caveat in CAVEATS)


def _told_family(family: "Family") -> Iterator[str]:
    from secagg.programs.audit.showing import moment

    found = family.found
    model = f", model {family.model[:16]}…" if family.model else ", over time"
    when = f"{moment(family.first_ms)} to {moment(family.last_ms)} UTC"
    yield f"task {family.task}, {family.purpose}{model}: {_count(found.sums, 'sum')}, {when}; {family.noisy} with noise"
    if family.unreleased:
        yield f"  {family.unreleased} of them are of rounds that failed when somebody could know the sum already"
    yield (
        f"  {len(found.standings)} participants, {_count(found.cohorts, 'different cohort')}, "
        f"{_count(found.cells, 'cell')}; rank {found.rank}; smallest cell: {len(found.smallest_cell)}"
    )
    for shown in found.shown[:3]:
        said = "alone" if len(shown.members) == 1 else "as a sum" if shown.alone else "as a difference"
        yield f"  {len(shown.members)} shown {said} by {_count(len(shown.sums), 'sum')}: {_some(shown.members)}"
    yield f"  {'participant':<32}  {'sums':>6}  {'cell':>6}  {'smallest set':>12}"
    for name, each in found.standings.items():
        yield f"  {name:<32}  {each.sums:>6}  {each.cell:>6}  {each.fewest:>12}"
    yield ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
