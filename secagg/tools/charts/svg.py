"""Marks of a drawing, as inline SVG. Colours come from the page's style sheet; text is given escaped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def svg(width: float, height: float, body: Sequence[str], title: str) -> str:
    """A drawing that fits its column."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{title}">'
        f"<title>{title}</title>{''.join(body)}</svg>"
    )


def text(x: float, y: float, content: str, style: str = "", anchor: str = "start") -> str:
    """A label."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{content}</text>'


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    def drawn(self, style: str = "", story: str = "", fill: str = "") -> str:
        """Args: story: shows when the mouse rests on it. fill: a colour, instead of the style's."""
        place = f'x="{self.x:.2f}" y="{self.y:.2f}" width="{self.width:.2f}" height="{self.height:.2f}"'
        look = f'fill="{fill}"' if fill else f'class="{style}"'
        return f'<rect {place} rx="{min(3.0, self.width / 8):.2g}" {look}>{_title(story)}</rect>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def path(points: Iterable[tuple[float, float]], style: str) -> str:
    """A line through points."""
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" class="{style}"/>'


def dot(x: float, y: float, radius: float, style: str, story: str = "") -> str:
    """A disc or ring. Args: story: shows when the mouse rests on it."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{style}">{_title(story)}</circle>'


def cross(x: float, y: float, reach: float, style: str) -> str:
    """An ×, for what could not be."""
    return line(x - reach, y - reach, x + reach, y + reach, style) + line(
        x - reach, y + reach, x + reach, y - reach, style
    )


def _title(story: str) -> str:
    return f"<title>{story}</title>" if story else ""
