"""`secagg demo`: federated training on real data, with real processes, TLS and dropouts."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from secagg.cli.names import Custody, CustodyName, Scheme, SchemeName, ThreatModelName, ThreatModelOfScheme
from secagg.programs.folders import check_writable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from secagg.tools.demo.results import CoordinatorView, DemoResult, Pictures, PlayedRound

_PICTURES: Final = 8  # neurons shown on the terminal; the report has them all


def demo(
    *,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="The number of federated rounds.")] = 6,
    participants: Annotated[int, typer.Option(min=5, max=40, help="The number of participants, each a process.")] = 10,
    scheme: Scheme = SchemeName.MASKED,
    custody: Custody = CustodyName.PARTICIPANTS,
    threat_model: ThreatModelOfScheme = None,
    seed: Annotated[
        int, typer.Option(min=0, help="The seed of data, training and dropouts. Keys are new in every run.")
    ] = 7,
    report: Annotated[Path, typer.Option(metavar="PATH", help="The file for the HTML report.")] = Path(
        "secagg-demo.html"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document. Progress goes to stderr.")] = False,
) -> None:
    """Train on real data: one sidecar, ten participants, dropouts in every phase, on this machine over TLS.

    A small neural network learns scikit-learn's digits. In every round some participants kill themselves, over the
    demo in each phase of the protocol, once half-way through an upload. Each aggregate is compared with the plain
    weighted mean of the same updates. At the end the very same updates are summed once in each scheme, side by side.

    Takes about 50 seconds, most of it waiting for the deadlines of the dead; about 70 with --scheme ckks or bfv, where
    all updates are encrypted instead of masked. With --custody threshold the participants of the demo also allow what
    is experimental, which nobody's policy does by itself.

    The exit code is 1 if an aggregate is further from the plain mean than rounding explains, or differs by scheme.

    Example: secagg demo --report demo.html
    """
    from rich.console import Console

    from secagg.tools.demo.play import Settings, play
    from secagg.tools.demo.report import render
    from secagg.variants import Variant

    check_writable(report)
    console = Console(stderr=as_json, highlight=False)
    if threat_model is None:
        threat_model = ThreatModelName.ACTIVE if scheme is SchemeName.MASKED else ThreatModelName.SEMI_HONEST
    settings = Settings(
        participants=participants,
        rounds=rounds,
        seed=seed,
        threat_model=threat_model.threat_model(),
        variant=Variant.named(scheme, custody),
    )
    with _Watching(console) as audience:
        findings = play(settings, audience)
    report.write_text(render(findings), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps({**findings.as_json(), "report": str(report)}))
    else:
        _print_findings(console, findings, report)
    if not findings.ok:
        sys.exit(1)


class _Watching:
    """Shows what happens now, and each round when it is over. See `secagg.tools.demo.play.Audience`."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._status = console.status("Loading the data")

    def __enter__(self) -> "_Watching":
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def stage(self, text: str) -> None:
        """Show what happens now."""
        if self._console.is_terminal:
            self._status.update(text)
        else:
            self._console.print(text)

    def played(self, played: "PlayedRound") -> None:
        """Print what came out of a round."""
        self._console.print(_round_table(played))


def _round_table(played: "PlayedRound") -> "Table":
    from rich.table import Table

    from secagg.tools.demo.report import mean_traffic

    up, down = mean_traffic(played)
    table = Table(title=f"Round {played.number}", title_justify="left", show_header=False, min_width=76)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for dropped in played.dropped:
        kept = ", [bold]in the sum[/bold]" if dropped.in_sum else ""
        table.add_row("dropped out", f"{dropped.participant} in {dropped.phase}, {dropped.moment}{kept}")
    table.add_row("in the sum", f"{len(played.survivors)} participants")
    table.add_row(
        "test accuracy", f"[bold]{played.accuracy_secure:.1%}[/bold] secure, {played.accuracy_plain:.1%} in plain text"
    )
    verdict = "[green]within[/green]" if played.within_bound else "[bold red]BEYOND[/bold red]"
    table.add_row(
        "from plain mean", f"{played.largest_difference:.2e} at most, {verdict} the bound {played.error_bound:.2e}"
    )
    table.add_row("bytes each", f"{up:,.0f} up, {down:,.0f} down")
    table.add_row("seconds", f"{played.seconds:.1f}" + (f", attempt {played.attempts}" if played.attempts > 1 else ""))
    return table


def _print_findings(console: "Console", findings: "DemoResult", report: Path) -> None:
    view = findings.view
    console.print(
        f"\n[bold]What {view.participant} sent, and what the coordinator saw of it[/bold] (round {view.round})"
    )
    if console.color_system is not None:
        for label, pictures in _sheets(view):
            console.print(f"\n{label}")
            console.print(_strip(pictures[:_PICTURES]))
    console.print(f"\nFirst bytes that went up: [dim]{view.head_hex[:47]} …[/dim]")
    console.print(_statistics_table(view))
    if findings.side_by_side:
        console.print("\n[bold]The same updates, summed in each scheme[/bold] (every site stays)")
        console.print(_scheme_table(findings))
    if findings.counted is not None:
        counts = ", ".join(f"{label}: {count}" for label, count in enumerate(findings.counted.counts))
        exact = "exact" if findings.counted.exact else "[bold red]WRONG[/bold red]"
        console.print(f"\n[bold]Images of each digit at all sites together[/bold] ({exact})\n{counts}")
    dropouts = sum(len(played.dropped) for played in findings.rounds)
    if findings.missing_phases:
        console.print(f"[bold red]Nobody dropped out in {', '.join(findings.missing_phases)}.[/bold red]")
    verdict = (
        "[green]Every aggregate is the plain mean, to within rounding.[/green]"
        if all(played.within_bound for played in findings.rounds)
        else "[bold red]An aggregate is further from the plain mean than rounding explains.[/bold red]"
    )
    console.print(
        f"\n{verdict}\n{len(findings.rounds)} rounds, {dropouts} dropouts, {findings.seconds:.0f} s. "
        f"The report with pictures: [bold]{report}[/bold]"
    )


def _scheme_table(findings: "DemoResult") -> "Table":
    from rich.table import Table

    table = Table("", "coordinator", box=None)
    for column in ("seconds", "bytes up", "bytes down", "sum (SHA-256)"):
        table.add_column(column, justify="right")
    for played in findings.side_by_side:
        digest = f"{played.sums_sha256[:12]} …" if played.exact else "[bold red]NOT exact[/bold red]"
        coordinator = played.threat_model.replace("_", "-")
        cells = (f"{played.seconds:.2f}", f"{played.up:,}", f"{played.down:,}", digest)
        table.add_row(played.scheme, coordinator, *cells)
    table.caption = "The same sum, bit for bit." if findings.same_aggregate else "[bold red]The sums DIFFER.[/bold red]"
    table.caption_justify = "left"
    return table


def _sheets(view: "CoordinatorView") -> "list[tuple[str, Pictures]]":
    return [
        (f"Its update (first-layer weights of {_PICTURES} hidden neurons, 8 × 8 each):", view.true_pictures),
        ("The same weights as the coordinator got them:", view.seen_pictures),
        ("The same weights of the aggregate, all that came out:", view.mean_pictures),
    ]


def _strip(pictures: "Pictures") -> "Text":
    """Pictures side by side; one character is two pixels, one above the other."""
    from rich.text import Text

    from secagg.tools.charts.png import sheet

    pixels = sheet(pictures, len(pictures))
    strip = Text()
    for top, bottom in zip(pixels[0::2], pixels[1::2], strict=True):
        for above, below in zip(top, bottom, strict=True):
            strip.append("▀", "rgb({},{},{}) on rgb({},{},{})".format(*above, *below))
        strip.append("\n")
    strip.rstrip()
    return strip


def _statistics_table(view: "CoordinatorView") -> "Table":
    from rich.table import Table

    table = Table("", box=None)
    for column in ("bytes", "bits a byte", "uniform?", "correlation"):
        table.add_column(column, justify="right")
    for name, found in (("update, encoded only", view.plain), ("what went up", view.sent)):
        p = f"p = {found.chi_square_p:.2f}" if found.chi_square_p >= 0.001 else "p < 0.001"
        table.add_row(name, f"{found.bytes:,}", f"{found.entropy_bits:.3f}", p, f"{found.correlation:+.3f}")
    return table
