"""Figures with their targets and limits, as one JSON document or as tables for people."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from secagg.tools.bench.machine import Machine

_SIGNIFICANT: Final = 4
_TIMES: Final = ((1, " s"), (1e3, " ms"), (1e6, " µs"))


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should reach: at least, or at most, so much."""

    bound: float
    at_least: bool

    def met_by(self, value: float) -> bool:
        """Whether a value is on the right side of the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(bound: float) -> Target:
    """A target that a rate or a ratio must reach."""
    return Target(bound, at_least=True)


def at_most(bound: float) -> Target:
    """A target that a time or a size must not exceed."""
    return Target(bound, at_least=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Attributes:
        name: ends in its unit: `_s`, `_gb_per_s` (10^9 bytes), `_bytes`, `_mib`, `_ratio` or `_speedup`.
        value: in that unit.
        target: what it should reach, if anything.
        note: what it is, what it is up against.
    """

    name: str
    value: float
    target: Target | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the report: figures that belong together."""

    name: str
    title: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one run of a benchmark found.

    Attributes:
        bench: its name.
        machine: what it ran on.
        setting: sizes and options by name.
        sections: the figures.
        exact: whether every result that could be checked was right.
        verdict: what that means, for people.
    """

    bench: str
    machine: Machine
    setting: dict[str, Any]
    sections: tuple[Section, ...]
    exact: bool = field(default=True)
    verdict: tuple[str, str] = ("every sum is exact", "a sum is NOT exact")

    def figures(self) -> Iterator[Figure]:
        """The figures of all sections, in their order."""
        return (figure for section in self.sections for figure in section.figures)

    def as_json(self) -> dict[str, Any]:
        """The values that `--json` prints: figures by section and name; targets and notes by name."""
        return {
            "bench": self.bench,
            "machine": self.machine,
            "setting": self.setting,
            "exact": self.exact,
            "figures": {s.name: {f.name: _rounded(f.value) for f in s.figures} for s in self.sections},
            "targets": {f.name: _target(f, f.target) for f in self.figures() if f.target is not None},
            "notes": {f.name: f.note for f in self.figures() if f.note},
        }

    def show(self, console: Console) -> None:
        """Print tables to the terminal."""
        console.print(escape(", ".join(f"{key} {value}" for key, value in self.machine.items())), style="dim")
        console.print(escape(", ".join(f"{key} {value}" for key, value in self.setting.items())), style="dim")
        for section in self.sections:
            console.print(_table(section))
        console.print(self.verdict[0] if self.exact else f"[bold red]{self.verdict[1]}[/]")


def _target(figure: Figure, target: Target) -> dict[str, Any]:
    return {"at_least" if target.at_least else "at_most": target.bound, "met": target.met_by(figure.value)}


def _rounded(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT}g}") if isinstance(value, float) else value


def _table(section: Section) -> Table:
    table = Table(title=section.title, title_justify="left", title_style="bold", expand=True, box=SIMPLE_HEAD)
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    table.add_column("note", ratio=1)
    for figure in section.figures:
        name = figure.name.removeprefix(f"{section.name}_")
        table.add_row(name, as_text(figure), _mark(figure), escape(figure.note))
    return table


def as_text(figure: Figure) -> str:
    """Short times in ms or µs, everything else in the unit of its name."""
    value, unit = figure.value, ""
    if figure.name.endswith("_s") and not figure.name.endswith("_per_s"):
        value, unit = next(((value * k, u) for k, u in _TIMES if value * k >= 1), (value * 1e6, " µs"))
    return (f"{value:,}" if isinstance(value, int) else f"{_rounded(value):,.{_SIGNIFICANT}g}") + unit


def _mark(figure: Figure) -> str:
    if figure.target is None:
        return ""
    bound = f"{'≥' if figure.target.at_least else '≤'} {figure.target.bound:g}"
    return f"[green]{bound} met[/]" if figure.target.met_by(figure.value) else f"[red]{bound} falls short[/]"
