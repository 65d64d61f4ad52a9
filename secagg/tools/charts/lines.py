"""Series of measured values as lines with their spread, each with its name at its end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from secagg.tools.charts.axes import Axis, Frame, spread_out
from secagg.tools.charts.svg import cross, dot, line, path, svg, text

_LETTER: Final = 6.9  # the widest a letter of a label usually is, in the drawing's unit
_ROW: Final = 15.0


@dataclass(frozen=True, slots=True)
class Point:
    """A value and how far it spreads.

    Attributes:
        x: on the axis of x.
        y: on the axis of y.
        spread: half the length of its error bar; 0 draws none.
        interval: both ends of an error bar that is not even; in the place of `spread`.
        story: shows when the mouse rests on it.
    """

    x: float
    y: float
    spread: float = 0.0
    story: str = ""
    interval: tuple[float, float] | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """Where the error bar begins and ends."""
        return self.interval or (self.y - self.spread, self.y + self.spread)


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together.

    Attributes:
        name: at the line's end.
        points: from left to right.
        style: colour, `s1` to `s6` of the style sheet.
        dashed: the second of a pair, with rings instead of discs.
        dots: whether points show; a curve has none.
    """

    name: str
    points: tuple[Point, ...]
    style: str
    dashed: bool = False
    dots: bool = True


@dataclass(frozen=True, slots=True)
class Note:
    """Words at one place of the drawing.

    Attributes:
        x: on the axis of x.
        y: on the axis of y.
        words: what is said there.
        style: of the mark: `chosen` is a ring, `refused` an ×, `said` is none.
        anchor: which end of the words is at the mark: `start`, `middle` or `end`.
    """

    x: float
    y: float
    words: str
    style: str = "chosen"
    anchor: str = "start"


def line_chart(
    title: str, x: Axis, y: Axis, series: Sequence[Series], notes: Sequence[Note] = (), *, size: tuple[float, float]
) -> Markup:
    """A drawing.

    Args:
        title: for those who cannot see it.
        x: left to right.
        y: bottom to top.
        series: the first is drawn first, under the others.
        notes: over everything.
        size: width and height; a column of half a page is about 520 wide.
    """
    room = 22 + max(len(one.name) for one in series) * _LETTER
    frame = Frame(x, y, *size, right=room)
    body = [*frame.drawn()]
    for one in series:
        body += _drawn(frame, one)
    body += _names(frame, series)
    for note in notes:
        body += _noted(frame, note)
    return svg(*size, body, title)


def _drawn(frame: Frame, series: Series) -> Iterator[Markup]:
    places = [frame.place(point.x, point.y) for point in series.points]
    dashed = " dashed" if series.dashed else ""
    for (at, _), point in zip(places, series.points, strict=True):
        if point.spread or point.interval:
            low, high = map(frame.up, point.ends)
            yield line(at, low, at, high, f"whisker {series.style}")
            yield from (line(at - 3, end, at + 3, end, f"whisker {series.style}") for end in (low, high))
    yield path(places, f"curve {series.style}{dashed}")
    if series.dots:
        for (at, height), point in zip(places, series.points, strict=True):
            yield dot(at, height, 3.6, f"{'ring' if series.dashed else 'dot'} {series.style}", point.story)


def _names(frame: Frame, series: Sequence[Series]) -> Iterator[Markup]:
    ends = [frame.up(one.points[-1].y) for one in series]
    places = spread_out(ends, _ROW, 28.0, frame.up(frame.y.low) - 2)
    for one, end, place in zip(series, ends, places, strict=True):
        start = frame.across(one.points[-1].x)
        if abs(place - end) > 1 or start < frame.end - 1:
            yield path([(start + 5, end), (frame.end + 4, place), (frame.end + 8, place)], f"lead {one.style}")
        yield text(frame.end + 11, place + 4, one.name, f"name {one.style}")


def _noted(frame: Frame, note: Note) -> Iterator[Markup]:
    x, y = frame.place(note.x, note.y)
    if note.style == "refused":
        yield cross(x, y, 4.5, "refused")
    elif note.style == "chosen":
        yield dot(x, y, 7, "chosen")
    shift, lift = {"start": (11.0, 4.0), "middle": (0.0, -13.0), "end": (-11.0, 4.0)}[note.anchor]
    yield text(x + shift, y + lift, note.words, f"said {note.style}", note.anchor)
