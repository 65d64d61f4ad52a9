"""Exponents: how figures of points grow with the size."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from math import log
from typing import Final

from secagg.tools.bench.lines import Growth, Point

FIGURES: Final = (
    "participant_cpu_s",
    "coordinator_cpu_s",
    "unmask_cpu_s",
    "peak_mib",
    "bytes_up",
    "bytes_down",
)
OVER: Final = ("participants", "values")
_FIXED: Final = ("way", "threat_model", "graph", "in_flight", "durable", "rounds")


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """b of value = a · size^b, by least squares on logarithms. Both are above 0, and two sizes differ."""
    xs, ys = [log(size) for size in sizes], [log(value) for value in values]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def grown(points: Iterable[Point]) -> Iterator[Growth]:
    """The exponents of every curve with two sizes or more. Points belong to a curve of n if all but n is the same
    (dropouts may grow with n), and to a curve of m if all but m is.
    """
    kept = [point for point in points if point.exact]
    for over in OVER:
        fixed = [*_FIXED, *(("values",) if over == "participants" else ("participants", "dropped"))]
        key = _key(fixed)
        for _, group in groupby(sorted(kept, key=key), key):
            curve = sorted(group, key=lambda point: int(getattr(point, over)))
            for figure in FIGURES:
                yield from _grown(curve, over, figure)


def _key(fixed: Sequence[str]) -> Callable[[Point], tuple[str, ...]]:
    return lambda point: tuple(str(getattr(point, name)) for name in fixed)


def _grown(curve: Sequence[Point], over: str, figure: str) -> Iterator[Growth]:
    known = {int(getattr(point, over)): getattr(point, figure) for point in curve if getattr(point, figure)}
    if len(known) < 2:
        return
    sizes, values = list(known), list(known.values())
    first = curve[0]
    yield Growth(
        curve=f"{first.way}, {first.threat_model}, {first.graph}",
        figure=figure,
        over=over,
        exponent=exponent(sizes, values),
        last_exponent=exponent(sizes[-2:], values[-2:]),
        sizes=tuple(sizes),
    )
