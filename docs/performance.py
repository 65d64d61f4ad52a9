"""Writes `docs/performance.md` from `docs/performance.jsonl`: the lines that benchmarks printed on one machine.

`python -m docs.performance --measure FOLDER --frameworks PYTHON` runs the benchmarks of `RUNS` one after the other, and
keeps what each prints in a file of the folder; a file that is there is not measured again. It takes about an hour of a
quiet machine. `python -m docs.performance FILE…` takes such files into the data, in the place of what was there, and
writes the page. Without files it writes the page alone. A test compares the page with the data.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import Final

from secagg.tools.bench.drawing import threat_models
from secagg.tools.bench.lines import LIMIT, Beside, Busy, Growth, Line, Number, Point, Run, of_kind, read, written
from secagg.tools.bench.tables import described, seconds

HERE: Final = Path(__file__).parent
DATA: Final = HERE / "performance.jsonl"
PAGE: Final = HERE / "performance.md"

_WAYS: Final = {"grpc": "over gRPC", "memory": "in memory"}
_MIB: Final = 1 << 20

RUNS: Final = {
    "peers": "peers",
    "curves": "scale -n 10 -n 40 -n 100 -n 300 -m 10000 -m 1000000 --in-flight 1 --in-flight 8 --simulated 40 "
    "--simulated 100 --simulated 300",
    "thousand": "scale -n 1000 -m 10000 --graph sparse --rounds 1 --no-limits",
    "two-thousand": "scale -n 2000 -m 10000 --graph sparse --threat-model active --rounds 1 --no-limits",
    "large": "large",
    "suites": "core --quick",
    "expansion": "scale --simulated 1024 --simulated-values 1048576 --graph sparse --threat-model active --dropped 0 "
    "--no-limits",
    "ten-thousand": "scale --simulated 1000 --simulated 3000 --simulated 10000 --graph sparse --threat-model active "
    "--no-limits",
    "upload": "upload --values 100000000",
}
"""What is measured for the page, in this order."""

Lines = Sequence[Line]


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure should reach.

    Attributes:
        work: what is done.
        bound: in the unit of `found`.
        at_least: whether more is better.
        found: the figure, or None where the data has no such line.
        told: the figure in words.
        because: why it is not reached, where it is not.
        least: the same figure of something that does none of our work, or None where the data has no such line.
    """

    work: str
    bound: float
    at_least: bool
    found: Callable[[Lines], float | None]
    told: Callable[[float], str]
    because: str = ""
    least: Callable[[Lines], float | None] = lambda _: None

    def row(self, lines: Lines) -> tuple[str, str, str, str]:
        """Work, figure, aim, verdict."""
        found = self.found(lines)
        aim = f"{'≥' if self.at_least else '≤'} {self.told(self.bound)}"
        if found is None:
            return self.work, "not measured", aim, self.because or "not measured"
        met = found >= self.bound if self.at_least else found <= self.bound
        missed = f"not reached: {self.because}" if self.because else "not reached"
        least = self.least(lines)
        beside = "" if least is None else f" (bare gRPC: {self.told(least)})"
        return self.work, self.told(found) + beside, aim, "reached" if met else missed


def _ratio(value: float) -> str:
    return f"{value:.3g}×"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _megabytes(value: float) -> str:
    return f"{value:,.0f} MB"


def beside(work: str, ours: str) -> Callable[[Lines], float | None]:
    """The ratio to a peer, of the line with the most values."""
    return lambda lines: next((b.ratio for b in of_kind(Beside, lines) if (b.work, b.ours) == (work, ours)), None)


def figure(section: str, name: str) -> Callable[[Lines], float | None]:
    """One figure that belongs to no curve."""
    return lambda lines: next((n.value for n in of_kind(Number, lines) if (n.section, n.name) == (section, name)), None)


def point(name: str, **fixed: object) -> Callable[[Lines], float | None]:
    """A field of the exact point whose other fields are these."""

    def found(lines: Lines) -> float | None:
        known = (p for p in of_kind(Point, lines) if p.exact and all(getattr(p, f) == v for f, v in fixed.items()))
        value = next((getattr(p, name) for p in known), None)
        return None if value is None else float(value)

    return found


def large(section: str) -> Callable[[Lines], float | None]:
    """What `secagg bench large` says of a participant or of the unmasking."""
    return figure(section, "participant_cpu_s" if section.startswith("participant") else "unmask_cpu_s")


def megabytes(found: Callable[[Lines], float | None]) -> Callable[[Lines], float | None]:
    """Of a figure in MiB."""
    return lambda lines: None if (value := found(lines)) is None else value * _MIB / 1e6


def overhead(lines: Lines) -> float | None:
    """CPU time of the largest round over gRPC in the active threat model, over that in the semi-honest one."""
    known = threat_models([p for p in of_kind(Point, lines) if p.exact and p.way == "grpc"])
    ratios = {(p.participants, p.values): whole for p, whole, _, _ in known}
    return ratios[max(ratios)] if ratios else None


def growth(figure_name: str, curve: str) -> Callable[[Lines], float | None]:
    """The exponent over participants of a curve, between the last two of the largest sizes."""

    def found(lines: Lines) -> float | None:
        known = (
            g for g in of_kind(Growth, lines) if (g.figure, g.over, g.curve) == (figure_name, "participants", curve)
        )
        largest = max(known, key=lambda g: g.sizes[-1], default=None)
        return largest.last_exponent if largest else None

    return found


_ROUND: Final = {"way": "grpc", "participants": 1000, "threat_model": "active", "in_flight": 1}
_HUGE: Final = {"way": "memory", "participants": 10_000, "values": 1000, "threat_model": "active", "graph": "sparse"}

_LARGE: Final = "n = 1,000, m = 100,000"

AIMS: Final = (
    Aim("Masked input, AES, against Flower (m = 1,000,000, k = 100)", 8, True, beside("masked input", "AES"), _ratio),
    Aim("Masked input, AEGIS, against Flower", 15, True, beside("masked input", "AEGIS"), _ratio),
    Aim("Masks added, against 1/(1/stream + 1/add)", 0.9, True, figure(LIMIT, "add_masks_to_limit_ratio"), _ratio),
    Aim("the same, AEGIS", 0.9, True, figure(LIMIT, "add_aegis_masks_to_limit_ratio"), _ratio),
    Aim("Share keys, against Flower (k = 100)", 100, True, beside("share keys", "semi-honest"), _ratio),
    Aim(
        f"CPU time of a client that verified the others' certificates before, {_LARGE}, complete graph",
        0.4,
        False,
        large("participant_complete_active"),
        seconds,
    ),
    Aim("the same, ring", 0.08, False, large("participant_ring_active"), seconds),
    Aim(
        "CPU time of a client in the hybrid suite, n = 101, m = 100,000, complete graph",
        0.2,
        False,
        figure("suites", "hybrid_client_s"),
        seconds,
    ),
    Aim(
        f"CPU time of unmasking, {_LARGE}, 300 dropped, complete (30 s on two cores)",
        60,
        False,
        large("unmasking_complete_active"),
        seconds,
    ),
    Aim(
        "the same, ring (4 s on two cores)",
        8,
        False,
        large("unmasking_ring_active"),
        seconds,
        "a ring that bears 300 dropouts against a coordinator that lies has hundreds of neighbours; masks and key "
        "agreements alone take about as long as we aim at, which `secagg bench large` measures beside it",
    ),
    Aim("the same, ring, semi-honest", 8, False, large("unmasking_ring_semi_honest"), seconds),
    Aim(
        "CPU time of the coordinator, n = 1,000, m = 10,000, gRPC, sparse graph",
        8,
        False,
        point("coordinator_cpu_s", **_ROUND, values=10_000, graph="sparse"),
        seconds,
        least=point("bare_cpu_s", **_ROUND, values=10_000, graph="sparse"),
    ),
    Aim(
        "its memory at most",
        350,
        False,
        megabytes(point("peak_mib", **_ROUND, values=10_000, graph="sparse")),
        _megabytes,
        least=megabytes(point("bare_mib", **_ROUND, values=10_000, graph="sparse")),
    ),
    Aim(
        "Memory of everybody, n = 10,000 in memory, sparse graph",
        4000,
        False,
        megabytes(point("peak_mib", **_HUGE)),
        _megabytes,
    ),
    Aim(
        "Exponent of the coordinator's CPU time there",
        1.15,
        False,
        growth("coordinator_cpu_s", "memory, active, sparse"),
        _number,
    ),
    Aim(
        "Participants of a round over gRPC on this machine, sparse graph, settings as they are",
        2000,
        True,
        point("participants", **{**_ROUND, "participants": 2000}, graph="sparse"),
        lambda n: f"{n:,.0f}",
    ),
    Aim(
        "Server, uploads of 100,000,000 values, against a plain gRPC stream",
        2,
        False,
        figure("upload", "coordinator_to_plain_ratio"),
        _ratio,
    ),
    Aim("Client, the same, masks included", 4, False, figure("upload", "participant_to_plain_ratio"), _ratio),
    Aim(
        "Bytes sent over bytes of the update, n = 1,024, m = 1,048,576, 16 bits, sparse graph",
        1.65,
        False,
        point("expansion", participants=1024, values=1 << 20, graph="sparse", threat_model="active"),
        _ratio,
    ),
    Aim("CPU time of the largest round over gRPC, active over semi-honest", 1.5, False, overhead, _ratio),
)


def _told(*parts: str) -> str:
    """A paragraph, in lines that are not too long."""
    return fill(" ".join(parts), 118, break_long_words=False, break_on_hyphens=False) + "\n"


def page(lines: Lines) -> Iterator[str]:
    """The page, line by line."""
    yield "# What a round costs\n"
    yield _told(
        "Every figure on this page was measured by the commands at its end, on one machine that other programs used",
        "too. Times are of processors, not of a clock on the wall, so that the others hardly matter; still, trust",
        "ratios and exponents more than seconds. What others take is measured in the same run, by calling their",
        "packages. The page is written from [the lines that these commands printed](performance.jsonl) by",
        "`python -m docs.performance`.",
    )
    yield from _busy(lines)
    yield "## What we aim at\n"
    yield from _table(("Work", "Figure", "Aim", ""), [aim.row(lines) for aim in AIMS])
    yield _told(
        "For comparison, these are figures that Bonawitz et al. published in 2017, of a prototype in Java on machines",
        "of that time, with m = 100,000: 1.7 s for a client among 1,000, and 414 s for the server when 30 % of them",
        "drop out. We did not measure them.",
    )
    yield from _besides(lines)
    yield from _rounds(lines)
    yield from _models(lines)
    yield from _growths(lines)
    yield from _limits(lines)
    yield from _others(lines)
    yield from _again(lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _busy(lines: Lines) -> Iterator[str]:
    busy = of_kind(Busy, lines)
    shares = [each.others_share for each in busy]
    if any(each.warnings for each in busy):
        yield _told(
            f"**The machine was busy.** Other programs used up to {max(shares):.0%} of its processors during these",
            "runs, so a quiet machine gives better figures.",
        )


def _besides(lines: Lines) -> Iterator[str]:
    found = of_kind(Beside, lines)
    if not found:
        return
    yield "## The same work beside others\n"
    yield "CPU time of one process, the median of turns that both sides take in one run. Both results are checked.\n"
    head = ("Work", "the peer's", "ours", "ratio", "bytes sent, peer and ours")
    rows = [
        (
            f"{b.work}: {b.size} ({b.ours}), against {b.peer}",
            seconds(b.peer_cpu_s),
            seconds(b.ours_cpu_s),
            _ratio(b.ratio),
            "" if b.peer_bytes is None or b.ours_bytes is None else f"{b.peer_bytes:,}; {b.ours_bytes:,}",
        )
        for b in found
    ]
    yield from _table(head, rows)
    yield from (f"- {b.work} ({b.ours}): {b.note}." for b in found if b.note)
    yield ""


_HOW: Final = {
    "grpc": _told(
        "Real gRPC and TLS on loopback. The coordinator and one client have processes of their own; the other clients",
        "share two. Everybody is connected before the round opens. Bare gRPC is a server on asyncio that does nothing,",
        "with as many connections, calls and bytes in the same run: no coordinator on it can take less.",
    ),
    "memory": _told(
        "The real state machines in one process, without a network. Memory is that of all participants and the",
        "coordinator together; a participant's time is the mean; certificates are checked once for all.",
    ),
}
_COLUMNS: Final = ("Round", "CPU of a client", "of the coordinator", "of bare gRPC", "MiB", "bytes sent")


def _rounds(lines: Lines) -> Iterator[str]:
    for way, title in _WAYS.items():
        found = sorted((p for p in of_kind(Point, lines) if p.way == way), key=_order)
        if found:
            yield f"## Rounds {title}\n"
            yield _HOW[way]
            yield from _table(_COLUMNS, map(_cells, found))


def _cells(one: Point) -> tuple[str, ...]:
    unmask = f", {seconds(one.unmask_cpu_s)} of it to unmask" if one.unmask_cpu_s else ""
    return (
        described(one).rpartition(",")[0],
        seconds(one.participant_cpu_s) if one.exact else "failed",
        seconds(one.coordinator_cpu_s) + unmask,
        seconds(one.bare_cpu_s),
        f"{one.peak_mib:,.0f}",
        "" if one.bytes_up is None else f"{one.bytes_up:,.0f}",
    )


def _order(one: Point) -> tuple[object, ...]:
    return (one.graph, one.threat_model, one.in_flight, one.values, one.participants)


def _models(lines: Lines) -> Iterator[str]:
    found = list(threat_models([p for p in of_kind(Point, lines) if p.exact]))
    if not found:
        return
    yield "## A coordinator that lies\n"
    yield _told(
        "CPU time in the active threat model over that in the semi-honest one: what certificates, signatures and the",
        "agreement on survivors cost.",
    )
    rows = [(described(p), *map(_ratio, (whole, client, server))) for p, whole, client, server in found]
    yield from _table(("Round", "all", "client", "coordinator"), rows)


def _growths(lines: Lines) -> Iterator[str]:
    found = of_kind(Growth, lines)
    if not found:
        return
    yield "## How it grows\n"
    yield _told(
        "Fitted exponents: a figure grows as size to this power. Fixed costs flatten small sizes; the exponent between",
        "the last two sizes says more of what comes beyond.",
    )
    rows = [
        (
            g.curve.replace("_", "-"),
            g.figure.replace("_", " "),
            f"{g.over}, {g.sizes[0]:,} – {g.sizes[-1]:,}",
            f"{g.exponent:.2f}",
            f"{g.last_exponent:.2f}",
        )
        for g in found
    ]
    yield from _table(("curve", "figure", "over", "exponent", "last two"), rows)


def _limits(lines: Lines) -> Iterator[str]:
    found = [number for number in of_kind(Number, lines) if number.section == LIMIT]
    if not found:
        return
    yield "## What the machine can do\n"
    yield from _table(("Limit", "", "How"), [(f"`{n.name}`", f"{n.value:.4g}", n.note) for n in found])


def _others(lines: Lines) -> Iterator[str]:
    found = [number for number in of_kind(Number, lines) if number.section != LIMIT]
    for section, group in groupby(found, lambda number: number.section):
        yield f"## Other figures: {section.replace('_', ' ')}\n"
        yield from _table(("Figure", "", "How"), [(f"`{n.name}`", f"{n.value:,.4g}", n.note) for n in group])


def _again(lines: Lines) -> Iterator[str]:
    yield "## Make these figures again\n"
    yield _told(
        "Each of these commands takes `--json`. What it printed, with date, commit and machine, is in the data of this",
        "page.",
    )
    commands = dict.fromkeys(run.command for run in of_kind(Run, lines))
    yield "\n".join(["```text", *commands, "```\n"])
    yield "Draw the figures of your machine as one page:\n"
    yield "```text\nsecagg bench scale --json > scale.jsonl\nsecagg bench peers --json > peers.jsonl"
    yield "secagg bench draw scale.jsonl peers.jsonl --report bench.html\n```\n"
    yield from (f"- {words}" for words in dict.fromkeys(map(_machine, of_kind(Run, lines))))


def _machine(run: Run) -> str:
    told = run.machine
    words = f"{told.get('cpu', 'a processor')}, {told.get('cores', 'some')} cores, Python {told.get('python', '3')}"
    return f"{words}{f', {run.date}' if run.date else ''}{f', commit {run.commit}' if run.commit else ''}"


def text(lines: Lines) -> str:
    """The whole page."""
    return "\n".join(page(lines)).rstrip() + "\n"


def measure(folder: Path, frameworks: str, run: Callable[..., object] = subprocess.run) -> None:
    """Run what is not in the folder yet. Args: frameworks: a Python with Flower, FLARE and secagg, for the peers."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, arguments in RUNS.items():
        kept, part = folder / f"{name}.json", folder / f"{name}.part"
        if kept.exists():
            continue
        python = frameworks if arguments.startswith("peers") else sys.executable
        with part.open("w", encoding="utf-8") as out:
            # A size that fails is told in its line, and the exit code says it again: the other lines are good.
            run([python, "-m", "secagg", "bench", *arguments.split(), "--json"], stdout=out, check=False)
        part.rename(kept)


def main(arguments: Sequence[str]) -> None:
    """Measure, or take files into the data if there are any, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m docs.performance")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--measure", type=Path)
    parser.add_argument("--frameworks", default=sys.executable)
    given = parser.parse_args(arguments)
    if given.measure:
        measure(given.measure, given.frameworks)
        return
    if given.files:
        found = [line for path in given.files for line in read(path.read_text(encoding="utf-8"), path.name)]
        DATA.write_text("".join(f"{written(line)}\n" for line in found), encoding="utf-8")
    PAGE.write_text(text(read(DATA.read_text(encoding="utf-8"), DATA.name)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
