"""The report's drawings: pictures of faces, and what attacks get against cohort, noise, compression and rounds."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np
from markupsafe import Markup

from secagg.tools.charts.axes import Axis
from secagg.tools.charts.lines import Point, Series, line_chart
from secagg.tools.charts.page import fill
from secagg.tools.charts.png import Rgb, data_uri
from secagg.tools.charts.svg import Box, svg, text
from secagg.tools.redteam.measured import NoisePoint, RoundsPoint, Tried
from secagg.tools.redteam.results import CurvePoint, DefenceRow, FaceRow, Picture, Quality

_GAP: Final = 2
_SCALE: Final = 3
_SIZE: Final = (520.0, 300.0)
_SHARES: Final = tuple((share / 4, f"{25 * share}%") for share in range(5))

Measured = TypeVar("Measured", NoisePoint, RoundsPoint)


# --- pictures ---------------------------------------------------------------------------------------------------------


def face_rows(rows: Sequence[FaceRow]) -> Markup:
    """Pictures of the same records, one row for each eye."""
    return fill("redteam/faces.html.j2", rows=[(row, data_uri(strip(row.pictures))) for row in rows])


def strip(pictures: tuple[Picture, ...]) -> Rgb:
    """Pictures of one size side by side, enlarged."""
    tiles = [np.repeat(np.repeat(_rgb(picture), _SCALE, axis=0), _SCALE, axis=1) for picture in pictures]
    height, width, _ = tiles[0].shape
    step = width + _GAP * _SCALE
    out = np.full((height, step * len(tiles) - _GAP * _SCALE, 3), 255, np.uint8)
    for at, tile in enumerate(tiles):
        out[:, at * step : at * step + width] = tile
    return out


def _rgb(picture: Picture) -> Rgb:
    levels: Rgb = np.round(np.clip(np.nan_to_num(picture), 0, 1) * 255).astype(np.uint8)
    return levels if levels.ndim == 3 else np.repeat(levels[:, :, None], 3, axis=2)


# --- cohorts ----------------------------------------------------------------------------------------------------------


def identification_chart(points: Sequence[CurvePoint]) -> Markup:
    """id@1 of each attack against the cohort, with intervals, and a guess."""
    names = dict.fromkeys(tried.attack for p in points for tried in p.tried)
    series = [
        Series(
            name.partition(" on ")[0],
            tuple(_named(p, t) for p in points for t in p.tried if t.attack == name),
            colour,
        )
        for name, colour in zip(names, ("s4", "s2", "s3"), strict=False)
    ]
    ends, chance = (points[0].participants, points[-1].participants), max(t.chance for p in points for t in p.tried)
    guess = Series(f"a guess, {chance:.1%}", tuple(Point(end, chance) for end in ends), "s1", dashed=True, dots=False)
    title = "Re-identification by size of the cohort"
    return line_chart(title, _cohorts(points), _share(), [*series, guess], size=_SIZE)


def _named(point: CurvePoint, tried: Tried) -> Point:
    story = f"n = {point.participants}: {tried.attack} {tried.told}"
    return Point(point.participants, tried.identified, interval=tried.interval, story=story)


def quality_chart(points: Sequence[CurvePoint]) -> Markup:
    """PSNR of the best guess against the cohort, beside that of the mean record."""
    known = [(p.participants, p.quality) for p in points if p.quality is not None]
    attack = Series("attack", tuple(_psnr(people, quality) for people, quality in known), "s4")
    blind = Series("blind guess", tuple(Point(n, q.blind_psnr) for n, q in known), "s1", dashed=True, dots=False)
    high = max(20.0, 10.0 * np.ceil(max(q.psnr_interval[1] for _, q in known) / 10))
    axis = Axis("PSNR, dB", 0.0, high, tuple((float(d), f"{d:g}") for d in np.arange(0, high + 1, 10)))
    return line_chart("PSNR by size of the cohort", _cohorts(points), axis, [attack, blind], size=_SIZE)


def _psnr(people: int, quality: Quality) -> Point:
    story = f"n = {people}: {quality.psnr:.1f} dB, SSIM {quality.ssim:.2f}"
    return Point(people, quality.psnr, interval=quality.psnr_interval, story=story)


def _cohorts(points: Sequence[CurvePoint]) -> Axis:
    sizes = [p.participants for p in points]
    ticks = tuple((float(n), str(n)) for n in sizes)
    return Axis("participants in the released sum", min(sizes), max(*sizes, min(sizes) + 1), ticks, log=True)


def _share() -> Axis:
    return Axis("victims re-identified (id@1)", 0.0, 1.0, _SHARES)


# --- compression ------------------------------------------------------------------------------------------------------


def defence_chart(rows: Sequence[DefenceRow]) -> Markup:
    """The naive attacker and the strongest that was tried, side by side."""
    width, row, left = 580.0, 26.0, 208.0
    span = width - left - 108
    body = [text(left + span + 8, 12, "naive / strongest", "tick")]
    for i, defence in enumerate(rows):
        y, naive, best = 20 + i * row, defence.naive.identified, defence.strongest
        told = f"{best.attack} {best.told}"
        body += [
            text(left - 8, y + 13, defence.title, "tick", "end"),
            Box(left, y, span * naive + 1, 8).drawn("naive", f"naive {defence.naive.told}"),
            Box(left, y + 9, span * best.identified + 1, 8).drawn("adaptive", told),
            text(left + span + 8, y + 13, f"{naive:.0%} / {best.identified:.0%}", "tick"),
        ]
    return svg(width, 26 + len(rows) * row, body, "Compression against a naive attacker and the strongest one")


# --- noise and rounds -------------------------------------------------------------------------------------------------


def noise_chart(points: Sequence[NoisePoint]) -> Markup:
    """id@1 against z, one line an attack."""
    zs = sorted({p.z for p in points})
    ticks = tuple((z, f"{z:g}") for z in zs)
    axis = Axis("noise multiplier z of the sum (ε = 2.5 needs 1.634)", zs[0], zs[-1], ticks, log=True)

    def point(p: NoisePoint) -> Point:
        return Point(p.z, p.found.identified, interval=p.found.interval, story=f"z = {p.z:g}: {p.found.told}")

    series = _lines(points, point, ("s4", "s2", "s3", "s5"))
    return line_chart("Re-identification by noise", axis, _share(), series, size=_SIZE)


def rounds_chart(points: Sequence[RoundsPoint]) -> Markup:
    """id@1 against the number of released sums, one line a setting."""
    numbers = sorted({p.rounds for p in points})
    axis = Axis("released sums", numbers[0], numbers[-1], tuple((float(n), str(n)) for n in numbers), log=True)

    def point(p: RoundsPoint) -> Point:
        return Point(p.rounds, p.strongest.identified, story=f"{p.rounds} sums: {p.strongest.told}")

    series = _lines(points, point, ("s6", "s4", "s3", "s1"))
    return line_chart("Re-identification by number of released sums", axis, _share(), series, size=(620.0, 300.0))


def _lines(points: Sequence[Measured], point: Callable[[Measured], Point], colours: Sequence[str]) -> list[Series]:
    """One for each attack or setting, in the order in which they come."""
    names = dict.fromkeys(p.line for p in points)
    return [
        Series(name, tuple(point(p) for p in points if p.line == name), colour)
        for name, colour in zip(names, colours, strict=False)
    ]
