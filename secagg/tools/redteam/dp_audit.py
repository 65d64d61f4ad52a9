"""Auditing ε from outside: a canary of full norm against zeros, through the real encoder, sum and decoder.

The auditor sees released means and knows everything but the noise. From how often it tells the canary apart follows a
lower bound on ε that holds with 95 % whatever the noise is (Clopper & Pearson 1934; Jagielski et al. 2020), and a much
larger one that holds if the noise is Gaussian, as the sum of many small noises nearly is (Nasr et al. 2023, arXiv
2302.07956). A bound above the claim disproves it; one below proves nothing more than itself.
"""

import math
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import Code, code_for
from secagg.encoding.pipeline import NoiseBy, Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError
from secagg.tools.redteam.arena import rng_of
from secagg.tools.redteam.measured import AuditedClaim
from secagg.tools.redteam.statistics import proportion_interval

CLAIM: Final = 2.5
DELTA: Final = 1e-5
NOISE: Final = 1.634

AUDITED: Final = "clip(l2=1.0) | rotate | quantise(bits=20) | noise(law=skellam, z={z!r})"

VALUES: Final = 64
GATE: Final = 1e-5
"""Error of each of the two proportions behind the bound for Gaussian noise."""

_NORMAL: Final = NormalDist()
_LARGEST_EPSILON: Final = 200.0
_FARTHEST: Final = 20.0
_BISECTIONS: Final = 60
_AUDITS: Final = 200
_RESOLUTION: Final = 0.005
_CONTEXT: Final = bytes(range(32))
_ALONE: Final = Cohort(1, 1)
"""Everyone else colludes, and their part of the sum is known: the worst case, and the claim must hold in it."""

_SCHEMA: Final = Schema((ArraySpec("values", (VALUES,), "float64"),))

Scores = np.ndarray[Any, np.dtype[np.float64]]


def audited_claims(trials: int, seed: int) -> list[AuditedClaim]:
    """The product's noise for its claim; and half of it, which the audit must notice."""
    rng, claims = rng_of(seed, "audit-dp"), []
    for title, z, true in (
        (f"z = {NOISE:g}, as the product adds it", NOISE, True),
        (f"control: z = {NOISE / 2:g}, half the deviation", NOISE / 2, False),
    ):
        pipeline = Pipeline.parse(AUDITED.format(z=z))
        claims.append(audit(pipeline, CLAIM, trials=trials, delta=DELTA, rng=rng, title=title, true=true))
    return claims


def audit(
    pipeline: Pipeline, claim: float, *, trials: int, delta: float, rng: Rng, title: str = "", true: bool = True
) -> AuditedClaim:
    """Play `trials` releases with a canary and as many without.

    Args:
        pipeline: with noise.
        claim: ε of one release at `delta`.
        trials: at least 200 of each.
        delta: δ.
        rng: noise seeds come from it.
        title: of the claim, for reports.
        true: whether it is; a false one must be disproved.

    Raises:
        ConfigError: no noise, or not of participants, or too few trials.
    """
    if pipeline.noise is None or pipeline.noise.by is not NoiseBy.PARTICIPANTS or trials < 200:
        raise ConfigError("an audit needs a pipeline with noise of participants, and 200 trials or more")
    code, clip = code_for(pipeline, _SCHEMA, _ALONE, wraps=True), pipeline.clips[-1].l2
    canary = np.eye(1, VALUES, 5)[0] * clip
    with_canary = _scores(code, canary, canary / clip, trials, rng)
    without = _scores(code, np.zeros(VALUES), canary / clip, trials, rng)
    named, mistaken = (int((scores > clip / 2).sum()) for scores in (with_canary, without))
    shape_free = lower_bound(with_canary, without, delta)
    return AuditedClaim(title, claim, shape_free, gaussian_bound(named, mistaken, trials, delta), trials, true)


def _scores(code: Code, update: Scores, direction: Scores, trials: int, rng: Rng) -> Scores:
    """How much of the canary each release shows."""
    out = np.empty(trials)
    for i in range(trials):
        vector = code.encode(_SCHEMA.check({"values": update}), 1, Secret(rng.token(32)), _CONTEXT)
        sums = vector.read(0, code.vector_len, np.dtype("<u4"))
        out[i] = code.decode_mean(sums, 1, _CONTEXT).arrays["values"] @ direction
    return out


def lower_bound(with_canary: Scores, without: Scores, delta: float) -> float:
    """ε that the scores prove with 95 %: the threshold is chosen on a quarter of them and judged on the rest."""
    part = len(without) // 4
    candidates = np.quantile(without[:part], 1 - np.geomspace(4 / part, 0.5, 12))
    best = max(candidates, key=lambda at: _proven(with_canary[:part], without[:part], float(at), delta))
    return _proven(with_canary[part:], without[part:], float(best), delta)


def _proven(yes: Scores, no: Scores, threshold: float, delta: float) -> float:
    power, _ = proportion_interval(int((yes > threshold).sum()), len(yes))
    _, error = proportion_interval(int((no > threshold).sum()), len(no))
    return math.log((power - delta) / error) if power > delta else 0.0


def gaussian_bound(named: int, mistaken: int, trials: int, delta: float) -> float:
    """ε that a threshold halfway to the canary proves if the noise is Gaussian.

    The distance of two Gaussians of one deviation is at least Φ⁻¹ of the least power less Φ⁻¹ of the greatest error.

    Args:
        named: how often a release with the canary was above the threshold.
        mistaken: how often one without was.
        trials: of each.
        delta: δ.
    """
    return epsilon_of(distance_shown(named, mistaken, trials), delta)


def distance_shown(named: int, mistaken: int, trials: int) -> float:
    """The distance itself, in deviations of the noise; 0 where nothing is shown."""
    least, _ = proportion_interval(named, trials, 2 * GATE)
    _, greatest = proportion_interval(mistaken, trials, 2 * GATE)
    if not (0 < least < 1 and 0 < greatest < 1):
        return 0.0
    return _NORMAL.inv_cdf(least) - _NORMAL.inv_cdf(greatest)


def distance_of(epsilon: float, delta: float) -> float:
    """The distance at which Gaussian noise costs ε at δ: the clip over the deviation."""
    low, high = 0.0, _FARTHEST
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if epsilon_of(middle, delta) > epsilon else (middle, high)
    return low


def epsilon_of(distance: float, delta: float) -> float:
    """ε at `delta` of Gaussian noise whose deviation is 1/`distance` of the clip (Balle & Wang 2018, theorem 8)."""
    if distance <= 0:
        return 0.0
    low, high = 0.0, _LARGEST_EPSILON
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if _delta_of(distance, middle) <= delta else (middle, high)
    return high


def _delta_of(distance: float, epsilon: float) -> float:
    """The δ that a Gaussian mechanism of this distance has at `epsilon`."""
    near, far = distance / 2 - epsilon / distance, -distance / 2 - epsilon / distance
    return _NORMAL.cdf(near) - math.exp(epsilon) * _NORMAL.cdf(far)


def found_with(sureness: float, claim: float, delta: float, trials: int) -> float:
    """The largest noise multiplier that disproves `claim` in as many audits as `sureness` says, of Gaussian noise.

    Args:
        sureness: 0 to 1.
        claim: ε.
        delta: δ.
        trials: releases with a canary, and as many without.
    """
    rng, allowed = np.random.default_rng(0), distance_of(claim, delta)

    def share(z: float) -> float:
        power = _NORMAL.cdf(0.5 / z)
        draws = zip(rng.binomial(trials, power, _AUDITS), rng.binomial(trials, 1 - power, _AUDITS), strict=True)
        return sum(distance_shown(int(yes), int(no), trials) > allowed for yes, no in draws) / _AUDITS

    low, high = 1 / _FARTHEST, 10.0
    while high - low > _RESOLUTION:
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) >= sureness else (low, middle)
    return low
