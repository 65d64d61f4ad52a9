"""Where values belong on a drawing: two labelled axes and the grid behind them."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log10
from typing import Final

from markupsafe import Markup

from secagg.tools.charts.svg import line, text

_TOP: Final = 30.0
_BOTTOM: Final = 46.0
_LEFT: Final = 52.0
_ONE_TWO_FIVE: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction.

    Attributes:
        label: what is on it, with its unit.
        low: value at its beginning; above 0 where it is logarithmic.
        high: value at its end.
        ticks: values with their words.
        log: whether equal steps are equal factors.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Where `value` lies: 0 at the beginning, 1 at the end."""
        if self.log:
            return log10(value / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing's area for values, within its margins.

    Attributes:
        x: left to right.
        y: bottom to top.
        width: of the drawing.
        height: of the drawing.
        right: room beside the area, for labels.
    """

    x: Axis
    y: Axis
    width: float
    height: float
    right: float

    @property
    def end(self) -> float:
        """Where the area ends on the right."""
        return self.width - self.right

    def across(self, value: float) -> float:
        """Where a value lies on the drawing, from left to right."""
        return _LEFT + self.x.share(value) * (self.end - _LEFT)

    def up(self, value: float) -> float:
        """y of a value; what is beyond an axis stays at its end."""
        share = min(1.0, max(0.0, self.y.share(value)))
        return self.height - _BOTTOM - share * (self.height - _BOTTOM - _TOP)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """x and y of a point on the drawing."""
        return self.across(x), self.up(y)

    def drawn(self) -> Iterator[Markup]:
        """Grid, ticks, and the axes' labels: that of y lies flat above it, where it can be read."""
        bottom = self.height - _BOTTOM
        for value, words in self.y.ticks:
            yield line(_LEFT, self.up(value), self.end, self.up(value), "rule")
            yield text(_LEFT - 8, self.up(value) + 4, words, "tick", "end")
        for value, words in self.x.ticks:
            yield line(self.across(value), bottom, self.across(value), bottom + 5, "axis")
            yield text(self.across(value), bottom + 19, words, "tick", "middle")
        yield line(_LEFT, bottom, self.end, bottom, "axis")
        yield text((_LEFT + self.end) / 2, self.height - 6, self.x.label, "label", "middle")
        yield text(4, 14, self.y.label, "label")


def spread_out(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels, at least `gap` apart, in the order of `wanted` and near it, within [low, high] if they fit."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    places = list(wanted)
    floor = low
    for i in order:
        places[i] = max(places[i], floor)
        floor = places[i] + gap
    ceiling = high
    for i in reversed(order):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    return places


def powers(label: str, low: float, high: float, fine: float = 2e3) -> Axis:
    """A logarithmic axis with ticks at 1, 2 and 5 times powers of ten, or at powers alone where they are many.

    Args:
        label: what is on it, with its unit.
        low: the smallest value, above 0.
        high: the largest value.
        fine: `high` over `low` from which on only powers have ticks.
    """
    steps = _ONE_TWO_FIVE if high / low < fine else (1,)
    known = [step * 10.0**power for power in range(-12, 13) for step in steps]
    below = max(tick for tick in known if tick <= low * (1 + 1e-9))
    above = min(tick for tick in known if tick >= high * (1 - 1e-9) and tick > below)
    return Axis(label, below, above, tuple((t, _spelt(t)) for t in known if below <= t <= above), log=True)


def _spelt(tick: float) -> str:
    return f"{tick:,.0f}" if tick >= 1 else f"{tick:g}"
