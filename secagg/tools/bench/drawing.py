"""One page of what runs found: limits of the machine, ratios to others, curves, and whether the machine was busy."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

from markupsafe import Markup

from secagg.errors import LocalError
from secagg.tools.bench.lines import LIMIT, Beside, Busy, Growth, Line, Number, Point, Run, of_kind
from secagg.tools.bench.tables import seconds
from secagg.tools.charts.axes import powers
from secagg.tools.charts.lines import Point as Mark
from secagg.tools.charts.lines import Series, line_chart
from secagg.tools.charts.page import card, page, parts
from secagg.tools.charts.svg import Box, svg, text

_SIZE: Final = (560.0, 330.0)
_STYLES: Final = {
    ("complete", "active"): ("s2", False),
    ("complete", "semi_honest"): ("s6", True),
    ("sparse", "active"): ("s1", False),
    ("sparse", "semi_honest"): ("s3", True),
}
_WAYS: Final = {"grpc": "over gRPC and TLS", "memory": "in memory"}
_MIB: Final = "MiB"
_FINE: Final = 30.0  # ticks of an axis of sizes are powers of ten from this range on
_PARTICIPANT: Final = ("participant_cpu_s", "A participant", "CPU seconds of a participant")
_COORDINATOR: Final = ("coordinator_cpu_s", "The coordinator", "CPU seconds of the coordinator, one round")
_MEMORY: Final = ("peak_mib", "Memory", "MiB at most")
_DOWN: Final = ("bytes_down", "What is sent to a participant", "bytes")
_CURVES: Final = {
    "participants": (_PARTICIPANT, _COORDINATOR, _MEMORY, _DOWN),
    "values": (_PARTICIPANT, _COORDINATOR),
    "in_flight": (_COORDINATOR, _MEMORY),
}
_OVER: Final = {"participants": "participants", "values": "values of an update", "in_flight": "rounds at once"}


def render(lines: Sequence[Line]) -> str:
    """The page.

    Raises:
        LocalError: there is nothing to draw.
    """
    points = of_kind(Point, lines)
    if not any(isinstance(line, Point | Beside | Number) for line in lines):
        raise LocalError("there is nothing to draw: no line is a round, a comparison or a figure")
    return page(
        "bench/drawing.html.j2",
        title="secagg bench",
        heading="What secure aggregation costs on this machine",
        lead="CPU times, with what the machine can do at best and with the same work done by others beside them. "
        "On another machine the times differ; ratios and exponents hardly do.",
        warnings=[words for busy in of_kind(Busy, lines) for words in busy.warnings],
        quiet=bool(of_kind(Busy, lines)),
        wrong=[point for point in points if not point.exact],
        tiles=list(_tiles(lines)),
        pairs=list(_pairs([*_bars(lines), *_curve_cards(points)])),
        ratios=_ratio_table(points),
        growths=_growth_table(lines),
        every=_point_table(points),
        numbers=_number_table(lines),
        runs=of_kind(Run, lines),
        busy=of_kind(Busy, lines),
    )


def _tiles(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    for beside in of_kind(Beside, lines):
        if beside.at_least is not None:
            yield f"{beside.ratio:.1f}×", f"{beside.work} ({beside.ours}), against {beside.peer}: {beside.size}"
    points = [point for point in of_kind(Point, lines) if point.exact]
    if points:
        largest = max(points, key=lambda point: (point.participants, point.values))
        said = f"participants in one round {_WAYS[largest.way]}, {largest.graph} graph"
        yield f"{largest.participants:,}", said
    overhead = [ratio for _, ratio, _, _ in threat_models(points)]
    if overhead:
        yield f"{max(overhead):.2f}×", "CPU time of a round against a coordinator that lies, over one that is curious"
    known = [point.expansion for point in points if point.expansion is not None]
    if known:
        yield f"{min(known):.3f}×", "bytes that a participant sends, over those of its encoded update, at best"


def threat_models(points: Iterable[Point]) -> Iterator[tuple[Point, float, float, float]]:
    """Points in the active threat model with ratios of CPU time to the same in the semi-honest one: of the whole round,
    of a participant, of the coordinator.
    """
    known = list(points)
    for active in known:
        twin = replace(active, threat_model="semi_honest")
        same = [point for point in known if _sizes(point) == _sizes(twin)]
        if active.threat_model == "active" and same:
            other = same[0]
            yield (
                active,
                _whole(active) / _whole(other),
                active.participant_cpu_s / other.participant_cpu_s,
                active.coordinator_cpu_s / other.coordinator_cpu_s,
            )


def _sizes(point: Point) -> tuple[object, ...]:
    places = (point.way, point.graph, point.threat_model, point.durable)
    return (*places, point.participants, point.values, point.in_flight, point.dropped)


def _whole(point: Point) -> float:
    """CPU seconds of everybody in one round."""
    return point.coordinator_cpu_s + point.participants * point.participant_cpu_s


# --- drawings ---------------------------------------------------------------------------------------------------------


def _pairs(cards: Sequence[Markup]) -> Iterator[Sequence[Markup]]:
    for start in range(0, len(cards), 2):
        yield cards[start : start + 2]


def _bars(lines: Sequence[Line]) -> Iterator[Markup]:
    rates = [n for n in of_kind(Number, lines) if n.section in {LIMIT, "mask_stream"} and n.name.endswith("gb_per_s")]
    if rates:
        rows = [(_spelt(rate.name.removesuffix("_gb_per_s")), rate.value, f"{rate.value:.3g} GB/s") for rate in rates]
        note = "10⁹ bytes a second of one core: what a cipher and an addition can do here, and our masks beside them."
        yield card("Masks against the machine", note, _bar_chart("Rates of masks", rows))
    costs = [n for n in of_kind(Number, lines) if n.section == LIMIT and n.name.endswith("cpu_s")]
    if costs:
        rows = [(_spelt(cost.name.removesuffix("_cpu_s")), cost.value, f"{cost.value:.3g} s") for cost in costs]
        note = "CPU seconds for 10⁹ bytes, each end apart: what a round over gRPC cannot be cheaper than."
        yield card("The transport at best", note, _bar_chart("Costs of the transport", rows))
    besides = of_kind(Beside, lines)
    if besides:
        rows = [
            (f"{b.work}, {b.ours}", b.ratio, f"{b.ratio:.1f}× ({seconds(b.ours_cpu_s)}, {seconds(b.peer_cpu_s)})")
            for b in besides
        ]
        peers = ", ".join(dict.fromkeys(beside.peer for beside in besides))
        note = f"CPU time of the peer over ours, in turns; ours and the peer's in brackets. Peers: {peers}."
        yield card("The same work beside others", note, _bar_chart("Ratios to peers", rows))


def _spelt(name: str) -> str:
    return name.replace("_", " ")


def _bar_chart(title: str, rows: Sequence[tuple[str, float, str]]) -> Markup:
    """Bars from 0, with words to the left above each."""
    width, row, top = _SIZE[0], 40.0, 8.0
    most = max(value for _, value, _ in rows)
    room = width - 190.0
    body = []
    for number, (name, value, said) in enumerate(rows):
        y = top + number * row
        length = max(2.0, room * value / most)
        body.append(text(4, y + 12, name, "label"))
        body.append(Box(4, y + 17, length, 13).drawn("bar", f"{name}: {said}"))
        body.append(text(length + 12, y + 28, said, "name s2"))
    height = top + len(rows) * row
    return svg(width, height, body, title)


def _curve_cards(points: Sequence[Point]) -> Iterator[Markup]:
    known = [point for point in points if point.exact]
    for way, words in _WAYS.items():
        here = [point for point in known if point.way == way]
        for over, curves in _CURVES.items():
            for figure, heading, unit in curves:
                series = list(_series(here, over, figure))
                if series:
                    title = f"{heading}, by {_OVER[over]}"
                    drawing = _curves(title, _OVER[over], unit, series)
                    yield card(title, f"Rounds {words}{_whose(figure, way)}. Both axes are logarithmic.", drawing)


def _whose(figure: str, way: str) -> str:
    if figure != "peak_mib":
        return ""
    return ": the coordinator's process" if way == "grpc" else ": one process for everybody"


def _curves(title: str, label: str, unit: str, series: Sequence[Series]) -> Markup:
    xs = [point.x for one in series for point in one.points]
    ys = [point.y for one in series for point in one.points]
    x, y = powers(label, min(xs), max(xs), _FINE), powers(unit, min(ys), max(ys))
    return line_chart(title, x, y, series, size=_SIZE)


def _series(points: Sequence[Point], over: str, figure: str) -> Iterator[Series]:
    """For each graph and threat model the longest curve along which nothing else grows."""
    others = [name for name in _OVER if name != over]

    def fixed(point: Point) -> tuple[str, ...]:
        return (point.graph, point.threat_model, *(str(getattr(point, name)) for name in others))

    longest: dict[tuple[str, str], tuple[tuple[str, ...], list[tuple[int, float]]]] = {}
    for key, group in groupby(sorted(points, key=fixed), fixed):
        known = {getattr(point, over): getattr(point, figure) for point in group}
        marks = [(x, y) for x, y in sorted(known.items()) if y]
        if len(marks) > len(longest.get((key[0], key[1]), (key, [(0, 0.0)]))[1]):
            longest[key[0], key[1]] = key, marks
    for (graph, model), (key, marks) in longest.items():
        style, dashed = _STYLES.get((graph, model), ("s4", False))
        name = f"{graph}, {model.replace('_', '-')}"
        rest = ", ".join(f"{_OVER[other]} {int(value):,}" for other, value in zip(others, key[2:], strict=True))
        made = tuple(Mark(x, y, story=f"{name}, {rest}: {x:,} → {y:,.4g}") for x, y in marks)
        yield Series(name, made, style, dashed=dashed)


# --- tables -----------------------------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int) -> Markup:
    made = [parts().row(head, cells, numbers) for cells in rows]
    table: Markup = parts().table(head, Markup().join(made), numbers) if made else Markup()
    return table


def _ratio_table(points: Sequence[Point]) -> Markup:
    head = ("way", "graph", "participants", "values", "whole round", "participant", "coordinator")
    rows = [
        (
            _WAYS[p.way],
            p.graph,
            f"{p.participants:,}",
            f"{p.values:,}",
            f"{whole:.2f}×",
            f"{participant:.2f}×",
            f"{coordinator:.2f}×",
        )
        for p, whole, participant, coordinator in threat_models(points)
    ]
    return _table(head, rows, 5)


def _growth_table(lines: Sequence[Line]) -> Markup:
    head = ("curve", "figure", "grows with", "exponent", "between the last two", "sizes")
    rows = [
        (
            g.curve.replace("_", "-"),
            _spelt(g.figure),
            _OVER[g.over],
            f"{g.exponent:.2f}",
            f"{g.last_exponent:.2f}",
            f"{g.sizes[0]:,} to {g.sizes[-1]:,}",
        )
        for g in of_kind(Growth, lines)
    ]
    return _table(head, rows, 3)


def _point_table(points: Sequence[Point]) -> Markup:
    head = (
        "way",
        "threat model",
        "graph",
        "n",
        "m",
        "k",
        "at once",
        "participant",
        "coordinator",
        "bare gRPC",
        "unmask",
        _MIB,
        "sent",
    )
    rows = [
        (
            _WAYS[p.way],
            p.threat_model.replace("_", "-"),
            p.graph,
            f"{p.participants:,}",
            f"{p.values:,}",
            f"{p.neighbours:,}",
            str(p.in_flight),
            seconds(p.participant_cpu_s),
            seconds(p.coordinator_cpu_s),
            seconds(p.bare_cpu_s),
            seconds(p.unmask_cpu_s),
            f"{p.peak_mib:,.0f}",
            "" if p.bytes_up is None else f"{p.bytes_up:,.0f}",
        )
        for p in points
    ]
    return _table(head, rows, 9)


def _number_table(lines: Sequence[Line]) -> Markup:
    rows = [(n.section.replace("_", " "), n.name, f"{n.value:,.4g}", _aim(n), n.note) for n in of_kind(Number, lines)]
    return _table(("section", "figure", "value", "aim", "how"), rows, 0)


def _aim(number: Number) -> str:
    if number.at_least is not None:
        return f"≥ {number.at_least:g}"
    return "" if number.at_most is None else f"≤ {number.at_most:g}"
