"""Auditing ε from outside: a canary of full norm against zeros, through client, sum and release.

The auditor sees released means only, and knows everything but the noise. From how often it tells the canary apart it
computes a lower bound on ε that holds with 95 % (Clopper & Pearson 1934; Jagielski et al. 2020). An honest
implementation stays below its claim; each of the broken ones below does not.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from secagg.config import RoundConfig
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding import noisy
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import Code, code_for
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.noise.laws import Law
from secagg.noise.stream import NoiseStream
from secagg.noise.table import noise_table
from secagg.privacy.finder import Task, find
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from tests.rounds import NOW, SEMI_HONEST

SIZE = 64
DELTA = 1e-5
CONTEXT = bytes(range(32))
SCHEMA = Schema((ArraySpec("v", (SIZE,), "float64"),))
ALONE = Cohort(1, 1)
"""The worst case: everyone else colludes, so that their share of the sum is known."""

Floats = np.ndarray[Any, np.dtype[np.float64]]
CANARY: Floats = np.eye(1, SIZE, 5)[0]
NOTHING: Floats = np.zeros(SIZE)


@cache
def pipeline_for(epsilon: float, cohort: Cohort, law: Law = Law.SKELLAM) -> Pipeline:
    return find(Task(values=SIZE, cohort=cohort, epsilon=epsilon, delta=DELTA, bits=20, law=law)).pipeline


def released(code: Code, update: Floats, tag: int) -> Floats:
    """One round in which this update alone is unknown."""
    seed = Secret(SeededRng(tag.to_bytes(32, "big")).token(32))
    vector = code.encode(SCHEMA.check({"v": update}), 1, seed, CONTEXT)
    sums = vector.read(0, code.vector_len, np.dtype("<u4"))
    return np.asarray(code.decode_mean(sums, 1, CONTEXT).arrays["v"], np.float64)


def scores(code: Code, update: Floats, trials: int, first_tag: int) -> Floats:
    """How much of the canary each release shows."""
    return np.array([released(code, update, first_tag + i) @ CANARY for i in range(trials)])


def lower_bound(with_canary: Floats, without: Floats) -> float:
    """ε that the scores prove, 95 %: the threshold is chosen on a quarter and judged on the rest."""
    part = len(without) // 4
    candidates = np.quantile(without[:part], 1 - np.geomspace(4 / part, 0.5, 12))

    def proven(yes: Floats, no: Floats, threshold: float) -> float:
        hits, false = int((yes > threshold).sum()), int((no > threshold).sum())
        power = beta.ppf(0.025, hits, len(yes) - hits + 1) if hits else 0.0
        error = beta.ppf(0.975, false + 1, len(no) - false) if false < len(no) else 1.0
        return math.log((power - DELTA) / error) if power > DELTA else 0.0

    best = max(candidates, key=lambda threshold: proven(with_canary[:part], without[:part], threshold))
    return proven(with_canary[part:], without[part:], best)


def audit(code: Code, trials: int) -> float:
    return lower_bound(scores(code, CANARY, trials, 0), scores(code, NOTHING, trials, trials))


def code_at(epsilon: float, law: Law = Law.SKELLAM) -> Code:
    return code_for(pipeline_for(epsilon, ALONE, law), SCHEMA, ALONE, wraps=True)


@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize("epsilon", [1.0, 2.5, 8.0])
def test_an_audit_stays_below_the_claim(epsilon: float, law: Law) -> None:
    assert audit(code_at(epsilon, law), 4000) <= epsilon


def test_the_audit_sees_what_there_is() -> None:
    """It is not blind: of a claim of 8 it proves more than 3 with these trials."""
    assert audit(code_at(8.0), 6000) > 3


def test_half_the_noise_exceeds_the_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = noise_table
    monkeypatch.setattr(noisy, "noise_table", lambda law, variance: honest(law, variance / 4))
    assert audit(code_at(2.5), 32_000) > 2.5


def test_forgotten_noise_exceeds_the_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoiseStream, "add_to", lambda *_: None)
    assert audit(code_at(2.5), 1000) > 2.5


def test_seeded_noise_exceeds_the_claim() -> None:
    """Whoever knows the seed takes the noise away again."""
    code = code_at(2.5)

    def known(update: Floats, tag: int) -> float:
        return float((released(code, update, tag) - released(code, NOTHING, tag)) @ CANARY)

    with_canary, without = (np.array([known(u, i) for i in range(600)]) for u in (CANARY, NOTHING))
    assert lower_bound(with_canary, without) > 2.5


def test_noise_reused_over_rounds_exceeds_the_claim() -> None:
    """The same seed in two rounds, the canary in one: their difference is the canary. Fresh seeds do not show it."""
    code = code_at(1.0)

    def difference(reuse: bool, update: Floats, tag: int) -> float:
        later = tag if reuse else tag + 1_000_000
        return float((released(code, update, tag) - released(code, NOTHING, later)) @ CANARY)

    def proven(reuse: bool) -> float:
        sets = [np.array([difference(reuse, u, i) for i in range(600)]) for u in (CANARY, NOTHING)]
        return lower_bound(*sets)

    assert proven(reuse=True) > 2 > proven(reuse=False)


def play(pipeline: Pipeline, canary: bool, tag: int) -> float:
    """A whole masked round of five, one of whom may collude; one of the four others may hold the canary."""
    config = RoundConfig(
        task="audit",
        schema=SCHEMA,
        encoding=pipeline,
        max_participants=5,
        threshold=3,
        max_colluding=1,
        model_digest=bytes(32),
        threat_model=SEMI_HONEST,
    )
    names = participant_names(3)
    brought = {name: Contribution({"v": NOTHING}) for name in names}
    if canary:
        brought[names[0]] = Contribution({"v": CANARY})
    run = set_up(config, brought, rng=SeededRng(tag.to_bytes(32, "big")), now=NOW)
    run.play()
    aggregate = run.coordinator.aggregate
    assert aggregate is not None
    return 3 * float(aggregate.mean(config, run.coordinator.round.context).arrays["v"] @ CANARY)


@pytest.mark.parametrize(
    ("sabotage", "exceeds"),
    [(None, False), (lambda m: m.setattr(NoiseStream, "add_to", lambda *_: None), True)],
)
def test_whole_rounds(
    monkeypatch: pytest.MonkeyPatch, sabotage: Callable[[pytest.MonkeyPatch], None] | None, exceeds: bool
) -> None:
    """Keys, shares, masks, unmasking and all."""
    pipeline = pipeline_for(2.5, Cohort(5, 2))
    if sabotage:
        sabotage(monkeypatch)
    with_canary, without = (np.array([play(pipeline, canary, i) for i in range(200)]) for canary in (True, False))
    assert (lower_bound(with_canary, without) > 2.5) is exceeds
