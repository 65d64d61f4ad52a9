"""The report's charts, as inline SVG. Colours come from the page's style sheet."""

from collections.abc import Mapping, Sequence
from typing import Final

from markupsafe import Markup

from secagg.messages import INPUT_PHASES
from secagg.tools.charts.svg import Box, dot, line, path, svg, text
from secagg.tools.demo.results import Counted, DemoResult, Dropped, PlayedRound, SchemeRound, Site

_DIGIT_COLOURS: Final = (
    "#1d4ed8", "#0891b2", "#0f766e", "#4d7c0f", "#a16207", "#c2410c", "#be123c", "#a21caf", "#6d28d9", "#475569",
)  # fmt: skip

_BOX: Final = 20.0  # a phase in the grid, with the gap behind it
_LABEL: Final = 90.0  # room for a label beside its bar
_INPUTS: Final = frozenset(map(str, INPUT_PHASES))


def accuracy_chart(findings: DemoResult) -> Markup:
    """Test accuracy by round: secure as a line, plain as rings around its points."""
    width, height, left, bottom = 520.0, 260.0, 44.0, 34.0
    rounds = len(findings.rounds)

    def across(number: float) -> float:
        return left + number / rounds * (width - left - 20)

    def up(accuracy: float) -> float:
        return height - bottom - accuracy * (height - bottom - 16)

    secure = [findings.accuracy_before, *(played.accuracy_secure for played in findings.rounds)]
    plain = [findings.accuracy_before, *(played.accuracy_plain for played in findings.rounds)]
    body = [line(left, up(y / 4), width - 20, up(y / 4), "rule") for y in range(5)]
    body += [text(left - 8, up(y / 4) + 4, f"{25 * y}%", "tick", "end") for y in range(5)]
    body += [text(across(n), height - 12, str(n) if n else "start", "tick", "middle") for n in range(rounds + 1)]
    body.append(path([(across(n), up(y)) for n, y in enumerate(secure)], "curve"))
    body += [dot(across(n), up(y), 7, "ring") for n, y in enumerate(plain)]
    body += [dot(across(n), up(y), 3.2, "dot") for n, y in enumerate(secure)]
    key = (width - 190, up(0.25) + 4)
    body += [line(key[0], key[1], key[0] + 26, key[1], "curve"), text(key[0] + 34, key[1] + 4, "secure aggregation")]
    body.append(dot(key[0] + 13, key[1] + 22, 7, "ring"))
    body += [text(key[0] + 34, key[1] + 26, "plain weighted mean")]
    return svg(width, height, body, "Test accuracy by round")


def difference_chart(rounds: Sequence[PlayedRound]) -> Markup:
    """The largest difference of each round as a bar in the frame of its bound."""
    width, row, left = 520.0, 30.0, 66.0
    largest = max(played.error_bound for played in rounds)
    body = []
    for i, played in enumerate(rounds):
        y = 6 + i * row
        frame = played.error_bound / largest * (width - left - 120)
        bar = played.largest_difference / largest * (width - left - 120)
        body += [
            text(left - 10, y + 14, f"round {played.number}", "tick", "end"),
            Box(left, y, frame, 18).drawn("frame", f"bound {played.error_bound:.2e}"),
            Box(left, y, bar, 18).drawn("good" if played.within_bound else "bad"),
            text(left + frame + 10, y + 14, f"{played.largest_difference:.1e} of {played.error_bound:.1e}", "tick"),
        ]
    return svg(width, 10 + len(rounds) * row, body, "Largest difference from the plain weighted mean, and its bound")


def dropout_grid(findings: DemoResult) -> Markup:
    """Participants × rounds, in bands as wide as the page; each cell has one box for each phase."""
    row, left, top, width = 27.0, 74.0, 30.0, 1070.0
    cell = len(findings.phases) * _BOX + 20
    columns = max(1, int((width - left) / cell))
    names = list(findings.sites)
    band = top + len(names) * row + 14
    body = []
    for number, played in enumerate(findings.rounds):
        x, y = left + number % columns * cell, number // columns * band
        body.append(text(x, y + 16, f"round {played.number}", "head"))
        drops = {dropped.participant: dropped for dropped in played.dropped}
        for i, name in enumerate(names):
            body += _cell(x, y + top + i * row, name, findings.phases, drops.get(name))
            if number % columns == 0:
                body.append(text(left - 12, y + top + i * row + 14, name, "tick", "end"))
    return svg(width, -(-len(findings.rounds) // columns) * band, body, "Who dropped out where")


def _cell(x: float, y: float, name: str, phases: Sequence[str], dropped: Dropped | None) -> list[Markup]:
    """One participant in one round."""
    end = phases.index(dropped.phase) if dropped else len(phases)
    body = []
    for number, phase in enumerate(phases):
        style, story = "done", f"{name}: {phase} delivered"
        if dropped and number == end:
            style, story = "gone", f"{name} dropped out in {phase}, {dropped.moment}"
        elif number > end:
            style, story = "void", f"{name}: dropped out before"
        elif dropped and dropped.in_sum and phase in _INPUTS:
            style, story = "kept", f"{name}: its update is in the sum"
        body.append(Box(x + number * _BOX, y, _BOX - 3, 18).drawn(style, story))
        if style == "kept":
            body.append(text(x + number * _BOX + _BOX / 2 - 1.5, y + 13.5, "Σ", "sum", "middle"))
    return body


def byte_histogram(histogram: Sequence[int], style: str, title: str) -> Markup:
    """256 bars; the line is the mean."""
    width, height, bottom = 520.0, 130.0, 18.0
    unit = (height - bottom - 4) / max(histogram)
    bar = width / len(histogram)
    body = [
        Box(i * bar, height - bottom - count * unit, bar, count * unit).drawn(style)
        for i, count in enumerate(histogram)
        if count
    ]
    mean = height - bottom - sum(histogram) / len(histogram) * unit
    body.append(line(0, mean, width, mean, "mean"))
    body += [text(0, height - 4, "byte 0", "tick"), text(width, height - 4, "255", "tick", "end")]
    body.append(text(width, 10, f"tallest bar {max(histogram)}", "tick", "end"))
    return svg(width, height, body, title)


def scheme_chart(rounds: Sequence[SchemeRound], plain_bytes: int) -> Markup:
    """Bytes of a participant in each scheme, up above down; the line is a plain float32 update."""
    width, row, left = 520.0, 58.0, 66.0
    unit = (width - left - 100) / max(max(played.up, played.down, plain_bytes) for played in rounds)
    bottom = 8 + len(rounds) * row
    body: list[Markup] = []
    for i, played in enumerate(rounds):
        y = 8 + i * row
        body.append(text(left - 10, y + 25, played.scheme, "head", "end"))
        for at, (way, size, style) in enumerate((("up", played.up, "good"), ("down", played.down, "done"))):
            top = y + 21 * at
            body.append(Box(left, top, size * unit, 18).drawn(style, f"{played.scheme}: {size:,} bytes {way}"))
            beyond = max(size, plain_bytes) if abs(size - plain_bytes) * unit < _LABEL else size
            body.append(text(left + beyond * unit + 8, top + 13.5, f"{size:,} {way}", "tick"))
    body.append(line(left + plain_bytes * unit, 4, left + plain_bytes * unit, bottom - 6, "mean"))
    body.append(text(left + plain_bytes * unit, bottom + 8, f"plain float32: {plain_bytes:,}", "tick", "middle"))
    return svg(width, bottom + 14, body, "Bytes of a participant in each scheme")


def count_chart(counted: Counted) -> Markup:
    """Images of each label at all sites together; a frame around each bar is what there really are."""
    width, row, left = 520.0, 24.0, 30.0
    unit = (width - left - 60) / max(*counted.counts, *counted.have, 1)
    body = []
    for label, (count, have) in enumerate(zip(counted.counts, counted.have, strict=True)):
        y = 4 + label * row
        body += [
            text(left - 10, y + 13, str(label), "tick", "end"),
            Box(left, y, have * unit, 17).drawn("frame", f"{have} at the sites"),
            Box(left, y + 3, count * unit, 11).drawn(fill=_DIGIT_COLOURS[label], story=f"{count} images of {label}"),
            text(left + max(count, have) * unit + 6, y + 13, str(count), "tick"),
        ]
    return svg(width, 8 + len(counted.counts) * row, body, "Images of each digit at all sites together")


def label_chart(sites: Mapping[str, Site]) -> Markup:
    """Each site's examples by label: how unlike the sites are."""
    width, row, left = 520.0, 24.0, 60.0
    largest = max(site.examples for site in sites.values())
    body = []
    for i, (name, site) in enumerate(sites.items()):
        x, y = left, 4 + i * row
        body.append(text(left - 10, y + 13, name, "tick", "end"))
        for label, count in enumerate(site.labels):
            size = count / largest * (width - left - 50)
            story = f"{name}: {count} images of {label}"
            body.append(Box(x, y, size, 17).drawn(fill=_DIGIT_COLOURS[label], story=story))
            x += size
        body.append(text(x + 6, y + 13, str(site.examples), "tick"))
    y = 4 + len(sites) * row + 8
    for label, colour in enumerate(_DIGIT_COLOURS):
        body.append(Box(left + label * 40, y, 12, 12).drawn(fill=colour))
        body.append(text(left + label * 40 + 17, y + 10.5, str(label), "tick"))
    return svg(width, y + 18, body, "Examples of each site by label")
