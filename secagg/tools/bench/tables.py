"""Lines of a run as tables for people, in the terminal."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from secagg.tools.bench.lines import Beside, Growth, Line, Number, Point, Run, of_kind


def show(lines: Sequence[Line], console: Console) -> None:
    """Print a table of each kind that there is."""
    for run in of_kind(Run, lines):
        console.print(escape(", ".join(f"{key} {value}" for key, value in run.machine.items())), style="dim")
    tables = (_numbers(lines), _besides(lines), _points(lines), _growths(lines))
    for table in tables:
        if table.row_count:
            console.print(table)
    wrong = [point for point in of_kind(Point, lines) if not point.exact]
    for point in wrong:
        told = "; ".join(f"{words} ({count})" for words, count in point.errors.items()) or "the sum is not exact"
        console.print(f"[bold red]n = {point.participants}, m = {point.values}:[/] {escape(told)}")
    if of_kind(Point, lines) and not wrong:
        console.print("every sum is exact")


def seconds(value: float | None) -> str:
    """With a unit that suits."""
    if value is None:
        return ""
    return f"{value:,.3g} s" if value >= 1 else f"{value * 1e3:,.3g} ms" if value >= 1e-3 else f"{value * 1e6:,.3g} µs"


def _table(title: str, words: Sequence[str], numbers: Sequence[str], note: str = "") -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for head in words:
        table.add_column(head)
    for head in numbers:
        table.add_column(head, justify="right")
    if note:
        table.add_column(note, ratio=1)
    return table


def _numbers(lines: Iterable[Line]) -> Table:
    table = _table("What the machine can do", ("limit",), ("value",), "note")
    for number in of_kind(Number, lines):
        table.add_row(number.name, f"{number.value:,.4g}", escape(number.note))
    return table


def _besides(lines: Iterable[Line]) -> Table:
    table = _table("The same work, in turns (CPU time)", ("work", "peer"), ("peer's", "ours", "ratio", "aim"))
    for beside in of_kind(Beside, lines):
        table.add_row(
            f"{beside.work}: {beside.size}, {beside.ours}",
            beside.peer,
            seconds(beside.peer_cpu_s),
            seconds(beside.ours_cpu_s),
            f"{beside.ratio:.1f}",
            "" if beside.at_least is None else f"≥ {beside.at_least:g}",
        )
    return table


def _points(lines: Iterable[Line]) -> Table:
    heads = ("participant", "coordinator", "bare gRPC", "unmask", "MiB", "expansion")
    table = _table("A round: CPU time of each side, memory at most, bytes sent over bytes encoded", ("round",), heads)
    for point in of_kind(Point, lines):
        table.add_row(
            described(point),
            seconds(point.participant_cpu_s),
            seconds(point.coordinator_cpu_s),
            seconds(point.bare_cpu_s),
            seconds(point.unmask_cpu_s),
            f"{point.peak_mib:,.0f}",
            "" if point.expansion is None else f"{point.expansion:.3f}",
        )
    return table


def described(point: Point) -> str:
    """What was played, in a few words."""
    sizes = (("n", point.participants), ("m", point.values), ("k", point.neighbours))
    words = [f"{letter} = {size:,}" for letter, size in sizes]
    words += [point.threat_model.replace("_", "-"), point.graph]
    words += [f"{point.in_flight} at once"] if point.in_flight > 1 else []
    words += [f"{point.dropped:,} dropped"] if point.dropped else []
    return ", ".join([*words, point.way])


def _growths(lines: Iterable[Line]) -> Table:
    table = _table("Exponents: figure ∝ size^exponent", ("curve", "figure", "over"), ("exponent", "last two", "sizes"))
    for growth in of_kind(Growth, lines):
        sizes = f"{growth.sizes[0]:,} – {growth.sizes[-1]:,}"
        told = (f"{growth.exponent:.2f}", f"{growth.last_exponent:.2f}", sizes)
        table.add_row(growth.curve.replace("_", "-"), growth.figure, growth.over, *told)
    return table
