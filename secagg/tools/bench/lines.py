"""What `secagg bench scale` and `secagg bench peers` find, as JSON lines: one object a line, its `kind` first.

`secagg bench draw` and the page on performance read them again, so every line says what it was measured with.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, ClassVar, Final, TypeVar

from secagg.errors import LocalError
from secagg.tools.bench.machine import Machine, describe
from secagg.tools.charts.origin import Origin

See = Callable[[float, int, str], None]
"""Progress: how many works are done, with the share of the one under way; of how many; and which one it is."""

LIMIT: Final = "limit"
"""The section of figures that say what the machine can do at best."""

_SIGNIFICANT: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Where the lines below it come from.

    Attributes:
        bench: name of the command.
        command: what makes the lines again.
        date: to the minute, UTC; empty where the run did not say it.
        commit: of the checkout, or empty.
        machine: what it ran on, and its load before the run.
    """

    kind: ClassVar = "run"
    bench: str
    command: str
    date: str = ""
    commit: str = ""
    machine: Machine

    @classmethod
    def now(cls, bench: str, command: str) -> "Run":
        """The run that begins."""
        origin = Origin.now(command)
        return cls(bench=bench, command=command, date=origin.date, commit=origin.commit, machine=describe())


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One figure that belongs to no curve.

    Attributes:
        section: which figures it belongs with; `limit` for what the machine can do whatever we do.
        name: ends in its unit.
        value: in that unit.
        note: how it was measured.
        at_least: what is aimed at, for a rate or a ratio.
        at_most: what is aimed at, for a time or a size.
    """

    kind: ClassVar = "figure"
    section: str
    name: str
    value: float
    note: str = ""
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Rounds of one size. CPU times are of one round; those of a participant are of one participant.

    Attributes:
        way: `grpc` (processes over TLS on loopback) or `memory` (state machines in one process).
        participants: n.
        values: m.
        threat_model: `active` or `semi_honest`.
        graph: `complete` or `sparse`.
        neighbours: k, of each participant.
        in_flight: rounds at once.
        durable: whether the coordinator's state is in a folder.
        dropped: participants that dropped out before their masked input.
        rounds: how many were played.
        exact: whether every sum was the right one, and nobody reported an error.
        errors: what participants and FL server reported, counted.
        participant_cpu_s: by grpc that of a participant in a process of its own; in memory the mean over all.
        coordinator_cpu_s: of the coordinator.
        unmask_cpu_s: of the coordinator in its last phase; in memory alone.
        round_s: wall clock, the median; by grpc alone.
        phase_s: wall clock of each phase, the median; by grpc alone.
        rest_mib: memory of the coordinator when everybody is connected; by grpc alone.
        peak_mib: most memory of the coordinator; in memory of the whole process, participants included.
        bare_cpu_s: of a gRPC server on asyncio that has as many connections, calls and bytes, and does nothing with
            them: the least that a coordinator could take; by grpc alone.
        bare_mib: most memory of that server.
        growth_mib: of the coordinator's memory from the second quarter of the rounds to the last; None for few rounds.
        bytes_up: what a participant sends; in memory alone.
        bytes_down: what a participant gets; in memory alone.
        expansion: bytes_up over the bytes of the encoded update, value_bits each.
    """

    kind: ClassVar = "point"
    way: str
    participants: int
    values: int
    threat_model: str
    graph: str
    neighbours: int
    in_flight: int = 1
    durable: bool = False
    dropped: int = 0
    rounds: int = 1
    exact: bool
    errors: Mapping[str, int]
    participant_cpu_s: float
    coordinator_cpu_s: float
    unmask_cpu_s: float | None = None
    round_s: float | None = None
    phase_s: Mapping[str, float] | None = None
    rest_mib: float | None = None
    peak_mib: float
    bare_cpu_s: float | None = None
    bare_mib: float | None = None
    growth_mib: float | None = None
    bytes_up: float | None = None
    bytes_down: float | None = None
    expansion: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How a figure grows with the size: value ∝ size^exponent, by least squares on logarithms.

    Attributes:
        curve: the points' way, threat model and graph.
        figure: name of a field of `Point`.
        over: `participants`, `values` or `in_flight`.
        exponent: over all points.
        last_exponent: between the last two, where fixed costs weigh least.
        sizes: from the smallest on.
    """

    kind: ClassVar = "growth"
    curve: str
    figure: str
    over: str
    exponent: float
    last_exponent: float
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The same work, done by us and by another, in turns.

    Attributes:
        work: what was done.
        size: how much of it.
        peer: name and version of the other.
        ours: what of ours it was, such as a suite.
        ours_cpu_s: median.
        peer_cpu_s: median.
        ratio: peer over ours, median of the turns.
        ours_bytes: what is sent, where the work sends something.
        peer_bytes: the same.
        at_least: the ratio that is aimed at.
        note: what differs.
    """

    kind: ClassVar = "beside"
    work: str
    size: str
    peer: str
    ours: str
    ours_cpu_s: float
    peer_cpu_s: float
    ratio: float
    ours_bytes: int | None = None
    peer_bytes: int | None = None
    at_least: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """What else the machine did during the run.

    Attributes:
        elapsed_s: of the run.
        load_before: load average of the last minute when it began.
        load_after: the same when it ended.
        others_share: part of the processors' time that other programs used, 0 to 1.
        stolen_share: part that the hypervisor kept, 0 to 1.
        warnings: whole sentences; none on a quiet machine.
    """

    kind: ClassVar = "busy"
    elapsed_s: float
    load_before: float
    load_after: float
    others_share: float
    stolen_share: float
    warnings: tuple[str, ...] = ()


Line = Run | Number | Point | Growth | Beside | Busy
_KINDS: Final[Mapping[Any, type[Any]]] = {each.kind: each for each in (Run, Number, Point, Growth, Beside, Busy)}
_Found = TypeVar("_Found", Run, Number, Point, Growth, Beside, Busy)


def written(line: Line) -> str:
    """The line, without what is unknown; numbers with four digits that count."""
    told = {name: _rounded(value) for name, value in asdict(line).items() if value not in (None, (), "")}
    return json.dumps({"kind": line.kind, **told}, ensure_ascii=False)


def read(text: str, name: str) -> list[Line]:
    """Lines that `written` made, or the document that another benchmark prints with `--json`.

    Args:
        text: of the file.
        name: of the file, for errors.

    Raises:
        LocalError: anything else.
    """
    if text.startswith("{\n"):
        return list(_document(text, name))
    return [_parsed(row, f"{name}, line {number}") for number, row in enumerate(text.splitlines(), 1) if row.strip()]


def _document(text: str, name: str) -> Iterator[Line]:
    """A report's document, as `secagg.tools.bench.report` makes it."""
    try:
        told = json.loads(text)
        targets, notes = told["targets"], told["notes"]
        options = " ".join(f"{key} {value}" for key, value in told["setting"].items())
        yield Run(bench=told["bench"], command=f"secagg bench {told['bench']} ({options})", machine=told["machine"])
        for section, figures in told["figures"].items():
            for each, value in figures.items():
                aim = targets.get(each, {})
                bounds = {"at_least": aim.get("at_least"), "at_most": aim.get("at_most")}
                yield Number(section=section, name=each, value=value, note=notes.get(each, ""), **bounds)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LocalError(f"{name} is not what a benchmark prints with --json: {error!r}") from error


def of_kind(kind: type[_Found], lines: Iterable[Line]) -> list[_Found]:
    """The lines of one kind, in their order."""
    return [line for line in lines if isinstance(line, kind)]


def _parsed(row: str, place: str) -> Line:
    try:
        told = json.loads(row)
    except ValueError as error:
        raise LocalError(f"{place} is no JSON; give a file that `secagg bench scale --json` wrote") from error
    kind = _KINDS.get(told.pop("kind", None)) if isinstance(told, dict) else None
    if kind is None:
        raise LocalError(f"{place} has none of the kinds {', '.join(_KINDS)}; `secagg bench scale --json` writes them")
    known = {each.name for each in fields(kind)}
    needed = {each.name for each in fields(kind) if each.default is MISSING}
    if (missing := needed - set(told)) or (strange := set(told) - known):
        what = f"lacks {', '.join(sorted(missing))}" if missing else f"has the unknown {', '.join(sorted(strange))}"
        raise LocalError(f"{place}: a line of kind {kind.kind} {what}; another version of secagg wrote it")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    line: Line = kind(**values)
    return line


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.{_SIGNIFICANT}g}")
        case dict():
            return {name: _rounded(each) for name, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
        case _:
            return value
