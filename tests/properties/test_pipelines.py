"""What comes out of rounds with pipelines: means close to the true ones, and of this round alone."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from secagg.config import RoundConfig, ThreatModel
from secagg.context import Context
from secagg.crypto.rng import SeededRng
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import code_for
from secagg.encoding.fixedpoint import WeightedMean
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Flat, Schema
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.messages import ParticipantId
from secagg.tools.simulation.cohort import Contribution, Deployment, participant_names, set_up
from secagg.tools.simulation.network import Run
from tests.rounds import NOW, deployment, random_update, true_sum

PEOPLE = 6
SCHEMA = Schema((ArraySpec("a", (30, 10)), ArraySpec("b", (7,), "float64")))
BOUNDED = [
    *(f"quantise(bits={bits}, range=1.0)" for bits in (1, 2, 4, 8, 16)),
    "clip(linf=0.5) | weigh(max=100) | quantise(bits=8, range=0.5)",
    "clip(l2=0.7, per=array) | clip(l2=0.9) | quantise(bits=12, range=1.0)",
    "sample(rate=0.25) | quantise(bits=4, range=1.0)",
    "clip(l2=3.0) | sample(rate=0.5) | rotate | weigh(max=100) | quantise(bits=8, range=1.0)",
    "feedback | clip(l2=3.0) | rotate | quantise(bits=2, range=1.0)",
]
NOISY = "clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0)"


@cache
def config_of(text: str, scheme: tuple[Scheme, Custody] | None = None) -> RoundConfig:
    pipeline, profile = Pipeline.parse(text), None
    threshold, colluding = 5, 1
    if scheme is not None:
        colluding = 0 if scheme[1] is Custody.PARTICIPANTS else colluding
        bits = code_for(pipeline, SCHEMA, Cohort(PEOPLE, threshold - colluding), wraps=False).value_bits
        profile = find_profile(*scheme, PEOPLE, bits)
    return RoundConfig(
        task="pipelines",
        schema=SCHEMA,
        encoding=pipeline,
        max_participants=PEOPLE,
        threshold=threshold,
        max_colluding=colluding,
        model_digest=bytes(32),
        threat_model=ThreatModel.SEMI_HONEST,
        homomorphic=profile,
    )


def play(config: RoundConfig, *, tag: int = 0) -> Run:
    names = participant_names(PEOPLE)
    contributions = {
        name: Contribution(random_update(SCHEMA, tag + i), min(1 + i, config.encoding.max_weight))
        for i, name in enumerate(names)
    }
    made: Deployment | None = deployment() if config.signed else None
    rng = SeededRng(tag.to_bytes(32, "big"))
    run = set_up(config, contributions, rng=rng, now=NOW, deployment=made)
    run.play()
    return run


def check_exact(run: Run) -> WeightedMean:
    """The released sum is the sum of the survivors' integers, reduced as the ring is and no further."""
    config, aggregate = run.coordinator.round.config, run.coordinator.aggregate
    assert aggregate is not None, run.coordinator.failure
    total = true_sum(run, map(ParticipantId, aggregate.survivors))
    assert np.array_equal(total & np.uint64((1 << config.ring_bits) - 1), aggregate.sums)
    if config.noise is None or config.homomorphic is not None:
        assert np.array_equal(total, aggregate.sums)
    return aggregate.mean(config, run.coordinator.round.context)


@pytest.mark.parametrize("text", BOUNDED)
def test_means_are_within_the_bound(text: str) -> None:
    """Against the mean of what the steps leave of the updates."""
    config = config_of(text)
    run = play(config, tag=7)
    mean, context = check_exact(run), run.coordinator.round.context
    steps, weights, total = config.code.steps, 0, np.zeros(SCHEMA.size)  # type: ignore[attr-defined]
    for i in range(PEOPLE):
        weight = min(1 + i, config.encoding.max_weight)
        source = steps.transformed(steps.clipped(SCHEMA.check(random_update(SCHEMA, 7 + i))), context)
        values = np.clip(source.read(0, steps.size), -config.encoding.code().clip, config.encoding.code().clip)  # type: ignore[union-attr]
        total += weight * steps.undo(Flat(values), context).read(0, SCHEMA.size)
        weights += weight
    assert mean.weight == weights
    got = np.concatenate([mean.arrays["a"].reshape(-1), mean.arrays["b"]])
    assert np.abs(got - total / weights).max() <= mean.error_bound + 1e-6


@pytest.mark.parametrize("text", ["sample(rate=0.5) | quantise(bits=8, range=1.0)", NOISY])
def test_rounds_differ_in_what_they_sample_and_rotate(text: str) -> None:
    """The context decides; a mean read under another round's context is not the mean."""
    run = play(config_of(text))
    config, aggregate = run.coordinator.round.config, run.coordinator.aggregate
    assert aggregate is not None
    right = aggregate.mean(config, run.coordinator.round.context).arrays["a"]
    assert not np.allclose(right, aggregate.mean(config, Context(bytes(32))).arrays["a"], atol=1e-3)


def test_masked_and_homomorphic_integers_are_the_same_but_for_the_raise() -> None:
    masked = play(config_of(NOISY))
    encrypted = play(config_of(NOISY, (Scheme.BFV, Custody.PARTICIPANTS)))
    assert masked.coordinator.round.context != encrypted.coordinator.round.context
    code = encrypted.coordinator.round.config.code
    values = encrypted.vectors[participant_names(1)[0]].read(0, code.vector_len, np.dtype("<u8"))
    assert abs(float(values.astype(float).mean()) - code.grid.raised_by) < code.grid.raised_by / 4  # type: ignore[attr-defined]


def test_an_update_changes_with_the_configuration() -> None:
    """`replace` makes a new code: no stale one stays behind."""
    config = config_of(BOUNDED[3])
    assert replace(config, encoding=Pipeline.parse(BOUNDED[0])).ring_bits == 1 + 3
