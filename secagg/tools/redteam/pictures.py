"""How reconstructions look beside their records: rows of pictures, and their quality over many trials."""

from collections.abc import Sequence

import numpy as np

from secagg.tools.redteam import metrics
from secagg.tools.redteam.metrics import Outcome
from secagg.tools.redteam.results import FaceRow, Picture, Quality
from secagg.tools.redteam.target import Target

_RESAMPLES = 1000


def picture(target: Target, vector: Picture) -> Picture:
    """What a record looks like, in [0, 1]; a strip of grey where it is no picture."""
    low, high = target.records.bounds
    shown = target.records.as_picture(vector)
    levels: Picture = ((shown if shown is not None else vector[None]) - low) / (high - low)
    return np.clip(levels, 0, 1)


def best_guess(target: Target, outcome: Outcome) -> Picture:
    """The reconstruction that comes nearest; grey without any."""
    blank = np.full(len(outcome.victim), 0.5, np.float32)
    return picture(target, blank if outcome.best is None else outcome.best)


def row(title: str, target: Target, outcomes: Sequence[Outcome], *, hidden: bool = False) -> FaceRow:
    """The pictures that one adversary sees, side by side."""
    found = tuple(best_guess(target, outcome) for outcome in outcomes)
    pairs = [(f, picture(target, outcome.victim)) for f, outcome in zip(found, outcomes, strict=True)]
    psnr, ssim = (float(np.mean([measure(a, b) for a, b in pairs])) for measure in (metrics.psnr, metrics.ssim))
    return FaceRow(title, found, psnr, ssim, hidden)


def quality(target: Target, outcomes: Sequence[Outcome]) -> Quality | None:
    """PSNR and SSIM over trials, beside the blind guess's; None where records are no pictures."""
    if target.records.picture is None:
        return None
    blind = picture(target, target.records.vectors().mean(axis=0))
    figures = []
    for outcome in outcomes:
        true, found = picture(target, outcome.victim), best_guess(target, outcome)
        figures.append([measure(p, true) for measure in (metrics.psnr, metrics.ssim) for p in (found, blind)])
    psnr, blind_psnr, ssim, blind_ssim = np.array(figures).T
    return Quality(
        float(psnr.mean()),
        _interval(psnr),
        float(ssim.mean()),
        _interval(ssim),
        float(blind_psnr.mean()),
        float(blind_ssim.mean()),
    )


def _interval(values: Picture) -> tuple[float, float]:
    """95 % of the mean, by resampling with a fixed seed (Efron 1979)."""
    draws = np.random.default_rng(0).choice(values, (_RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)
