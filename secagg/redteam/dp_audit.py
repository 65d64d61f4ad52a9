"""Auditing ε from outside: a canary of full norm against zeros, through the real encoder, sum and decoder.

The auditor sees released means and knows everything but the noise. From how often it tells the canary apart follows a
lower bound on ε that holds with 95 % (Clopper & Pearson 1934; Jagielski et al. 2020). A bound above the claim disproves
it; one below proves nothing more than itself.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import Code, code_for
from secagg.encoding.pipeline import NoiseBy, Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError
from secagg.redteam.statistics import proportion_interval

VALUES: Final = 64
_CONTEXT: Final = bytes(range(32))
_ALONE: Final = Cohort(1, 1)
"""Everyone else colludes, and their part of the sum is known: the worst case, and the claim must hold in it."""

_SCHEMA: Final = Schema((ArraySpec("values", (VALUES,), "float64"),))

Scores = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit proves.

    Attributes:
        claim: the ε that was claimed.
        bound: ε is at least this, with 95 %.
        trials: releases with the canary, and as many without.
    """

    claim: float
    bound: float
    trials: int

    @property
    def disproved(self) -> bool:
        """Whether the claim cannot hold."""
        return self.bound > self.claim


def audit(pipeline: Pipeline, claim: float, *, trials: int, delta: float, rng: Rng) -> Audited:
    """Play `trials` releases with a canary and as many without.

    Args:
        pipeline: with noise.
        claim: ε of one release at `delta`.
        trials: at least 200 of each.
        delta: δ.
        rng: noise seeds come from it.

    Raises:
        ConfigError: no noise, or not of participants, or too few trials.
    """
    if pipeline.noise is None or pipeline.noise.by is not NoiseBy.PARTICIPANTS or trials < 200:
        raise ConfigError("an audit needs a pipeline with noise of participants, and 200 trials or more")
    code, clip = code_for(pipeline, _SCHEMA, _ALONE, wraps=True), pipeline.clips[-1].l2
    canary = np.eye(1, VALUES, 5)[0] * clip
    with_canary = _scores(code, canary, canary / clip, trials, rng)
    without = _scores(code, np.zeros(VALUES), canary / clip, trials, rng)
    return Audited(claim, lower_bound(with_canary, without, delta), trials)


def _scores(code: Code, update: Scores, direction: Scores, trials: int, rng: Rng) -> Scores:
    """How much of the canary each release shows."""
    out = np.empty(trials)
    for i in range(trials):
        vector = code.encoder(_SCHEMA.check({"values": update}), 1, Secret(rng.token(32)), _CONTEXT)
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
