"""Reports of one benchmark in several variants, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from secagg.tools.bench.machine import Machine
from secagg.tools.bench.report import Figure, Report, as_text

_COLUMNS: Final = {
    "round_s": "seconds",
    "participant_up_bytes": "bytes up",
    "participant_down_bytes": "bytes down",
    "server_peak_mib": "server",
    "participant_peak_mib": "each",
    "worker_peak_mib": "worker",
}
"""What is compared at a glance, memory in MiB; every report has the rest."""

_FORM: Final = {name: "{:.2f}" if name.endswith("_s") else "{:,.0f}" for name in _COLUMNS}
_STAR: Final = "*"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rounds of every variant on the same inputs.

    Attributes:
        bench: its name.
        machine: what all ran on.
        reports: by the variant's name.
        identical: whether every round of every variant gave the very same sum.
    """

    bench: str
    machine: Machine
    reports: Mapping[str, Report]
    identical: bool

    @property
    def exact(self) -> bool:
        """Whether every sum was the right one, and the same in every variant."""
        return self.identical and all(report.exact for report in self.reports.values())

    def as_json(self) -> dict[str, Any]:
        """The values that `--json` prints."""
        reports = {title: report.as_json() for title, report in self.reports.items()}
        return {"bench": self.bench, "machine": self.machine, "identical": self.identical, "variants": reports}

    def show(self, console: Console) -> None:
        """Print tables to the terminal."""
        console.print(escape(", ".join(f"{key} {value}" for key, value in self.machine.items())), style="dim")
        setting = next(iter(self.reports.values())).setting
        told = {key: setting[key] for key in ("participants", "values", "dropouts", "rounds")}
        console.print(escape(", ".join(f"{key} {value}" for key, value in told.items())), style="dim")
        console.print(self._at_a_glance())
        console.print(self._phases())
        verdict = "every variant gave the very same sum" if self.identical else "[bold red]the sums DIFFER[/]"
        console.print(verdict + ("" if self.exact else "; [bold red]a sum is NOT exact[/]"))

    def _at_a_glance(self) -> Table:
        table = _table("A round, the median of each variant (peak memory in MiB)")
        for heading in (*_COLUMNS.values(), "sum"):
            table.add_column(heading, justify="right", no_wrap=True)
        for title, report in self.reports.items():
            found = {figure.name: figure for figure in report.figures()}
            cells = [_FORM[name].format(found[name].value) if name in found else "" for name in _COLUMNS]
            table.add_row(title + _mark(report), *cells, "exact" if report.exact else "[bold red]NOT exact[/]")
        return table

    def _phases(self) -> Table:
        table = _table("Seconds of each phase", caption=f"{_STAR} experimental")
        table.add_column("", ratio=1)
        for title, report in self.reports.items():
            section = next(section for section in report.sections if section.name == "round")
            told = [_told(figure) for figure in section.figures]
            table.add_row(title + _mark(report), ", ".join(told[1:]))
        return table


def _table(title: str, caption: str | None = None) -> Table:
    table = Table(
        title=title, caption=caption, title_justify="left", caption_justify="left", title_style="bold", box=None
    )
    table.add_column("", no_wrap=True)
    return table


def _told(figure: Figure) -> str:
    return f"{figure.name.removesuffix('_s').replace('_', ' ')} {as_text(figure)}"


def _mark(report: Report) -> str:
    return _STAR if report.setting.get("experimental") else ""
