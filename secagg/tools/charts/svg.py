"""The marks of a drawing, as inline SVG. Colours come from the page's style sheet; every text is escaped here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup


def svg(width: float, height: float, body: Sequence[Markup], title: str) -> Markup:
    """A drawing that is as wide as its column. Args: title: for those who cannot see it."""
    return Markup('<svg viewBox="0 0 {:g} {:g}" role="img" aria-label="{}"><title>{}</title>{}</svg>').format(
        width, height, title, title, Markup().join(body)
    )


def text(x: float, y: float, content: str, style: str = "", anchor: str = "start") -> Markup:
    """Words at a place; `anchor` says which end of them is there: `start`, `middle` or `end`."""
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}" text-anchor="{}">{}</text>').format(
        x, y, style, anchor, content
    )


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, by its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float

    def drawn(self, style: str = "", story: str = "", fill: str = "") -> Markup:
        """The mark. Args: story: shows when the mouse rests on it. fill: a colour, in the place of the style's."""
        place = Markup('x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"').format(
            self.x, self.y, self.width, self.height
        )
        look = Markup('fill="{}"').format(fill) if fill else Markup('class="{}"').format(style)
        return Markup('<rect {} rx="{:.2g}" {}>{}</rect>').format(place, min(3.0, self.width / 8), look, _title(story))


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    """A straight line from one point to another."""
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, style)


def path(points: Iterable[tuple[float, float]], style: str) -> Markup:
    """A line through points."""
    return Markup('<polyline points="{}" class="{}"/>').format(" ".join(f"{x:.1f},{y:.1f}" for x, y in points), style)


def dot(x: float, y: float, radius: float, style: str, story: str = "") -> Markup:
    """A disc or a ring, as the style has it. Args: story: shows when the mouse rests on it."""
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:g}" class="{}">{}</circle>').format(
        x, y, radius, style, _title(story)
    )


def cross(x: float, y: float, reach: float, style: str) -> Markup:
    """An ×, for a value that is impossible."""
    return line(x - reach, y - reach, x + reach, y + reach, style) + line(
        x - reach, y + reach, x + reach, y - reach, style
    )


def _title(story: str) -> Markup:
    return Markup("<title>{}</title>").format(story) if story else Markup()
