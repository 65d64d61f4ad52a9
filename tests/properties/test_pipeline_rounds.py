"""The law of rounds with every pipeline: the sum of exactly those who delivered, or a named end, whoever drops out.

Each step by itself and all together, noise of both laws; masked in both threat models, CKKS and BFV in both custodies.
"""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig
from secagg.crypto.rng import SeededRng
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import code_for
from secagg.encoding.pipeline import Noise, Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.encoding.steps.clip import Clip
from secagg.errors import AbortReason, NotInRoundError, RemoteError, RoundAborted, SecAggError
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.messages import ParticipantId
from secagg.noise.laws import Law
from secagg.phases import phases
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.tools.simulation.network import Run
from tests.encrypted_rounds import CASES, HOW, Dropout, Gone, dropping, foreseen
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, deployment, random_update, true_sum

PEOPLE, THRESHOLD, COLLUDING = 6, 4, 1
NAMES = participant_names(PEOPLE)
SCHEMA = Schema((ArraySpec("a", (11, 7)), ArraySpec("b", (5,), "float64")))
LAST = "quantise(bits=6, range=1.0)"
NOISE = "clip(l2=1.0) | rotate | quantise(bits=12) | noise(law={law}, z=0.5)"
STEPS = ("feedback", "clip(l2=1.0)", "clip(l2=1.0, per=array)", "clip(linf=0.5)", "sample(rate=0.3)", "rotate")
ALONE = [
    *(f"quantise(bits={bits}, range=1.0)" for bits in (1, 2, 4, 8, 16)),
    *(f"{step} | {LAST}" for step in (*STEPS, "weigh(max=100)")),
    *(NOISE.format(law=law.value) for law in Law),
]
CLIPS = "clip(linf=0.5) | clip(l2=1.0, per=array) | clip(l2=1.5)"
TOGETHER = [
    f"feedback | {CLIPS} | sample(rate=0.5) | rotate | weigh(max=100) | {LAST}",
    *(
        f"feedback | {CLIPS} | sample(rate=0.5) | rotate | quantise(bits=10) | noise(law={law.value}, z=1.0)"
        for law in Law
    ),
]
LATER = "model-later"
MODES = [ACTIVE, SEMI_HONEST, LATER, *CASES]


@cache
def config_of(pipeline: Pipeline, mode: object) -> RoundConfig:
    """`mode`: a threat model of masked rounds, `LATER`, or scheme and custody."""
    profile, colluding = None, COLLUDING
    if isinstance(mode, tuple):
        scheme, custody = mode
        assert isinstance(scheme, Scheme)
        assert isinstance(custody, Custody)
        colluding = 0 if custody is Custody.PARTICIPANTS else COLLUDING
        bits = code_for(pipeline, SCHEMA, Cohort(PEOPLE, THRESHOLD - colluding), wraps=False).value_bits
        profile = find_profile(scheme, custody, PEOPLE, bits)
    return RoundConfig(
        task="pipelines",
        schema=SCHEMA,
        encoding=pipeline,
        max_participants=PEOPLE,
        threshold=THRESHOLD,
        max_colluding=colluding,
        model_digest=bytes(32),
        threat_model=ACTIVE if mode in {ACTIVE, LATER} else SEMI_HONEST,
        model_later=mode is LATER,
        homomorphic=profile,
    )


def check_aggregate(run: Run, aggregate: Aggregate) -> None:
    """The sum of the survivors' integers, reduced as the ring is; and a mean that is finite."""
    config = run.coordinator.round.config
    total = true_sum(run, [ParticipantId(name) for name in aggregate.survivors])
    wraps = config.noise is not None and config.homomorphic is None
    assert np.array_equal(total & np.uint64((1 << config.ring_bits) - 1) if wraps else total, aggregate.sums)
    mean = aggregate.mean(config, run.coordinator.round.input_context)
    assert all(np.isfinite(array).all() for array in mean.arrays.values())


def play(config: RoundConfig, gone: Gone, tag: int) -> None:
    contributions = {
        name: Contribution(random_update(SCHEMA, tag + i), min(1 + 13 * i, config.encoding.max_weight))
        for i, name in enumerate(NAMES)
    }
    made, rng = deployment() if config.signed else None, SeededRng(tag.to_bytes(32, "big"))
    run = set_up(config, contributions, rng=rng, now=NOW, deployment=made, hook=dropping(config, gone))
    run.play()
    coordinator, expected = run.coordinator, foreseen(config, gone)
    assert all(isinstance(error, SecAggError) for error in run.errors.values())
    assert all(isinstance(error, RemoteError | NotInRoundError | RoundAborted) for _, error in run.refused)
    sums = [person.aggregate for person in run.participants.values()]
    found = [aggregate for aggregate in (coordinator.aggregate, *sums) if aggregate is not None]
    for aggregate in found:
        check_aggregate(run, aggregate)
    if expected is None:
        assert coordinator.failure is not None
        assert coordinator.failure.reason is AbortReason.BELOW_THRESHOLD
    else:
        assert coordinator.failure is None
        assert {aggregate.survivors for aggregate in found} == {tuple(expected)}


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_pipeline_with_dropouts(mode: object) -> None:
    """Two of six leave, in another phase and another way with every pipeline; there is a sum each time."""
    dropped_in = set()
    for number, text in enumerate((*ALONE, *TOGETHER)):
        config = config_of(Pipeline.parse(text), mode)
        order = phases(config)
        here = order[number % len(order)]
        dropped_in.add(here)
        gone = {NAMES[number % PEOPLE]: Dropout(here, HOW[number % len(HOW)]), NAMES[-1]: Dropout(order[-1], "silent")}
        assert foreseen(config, gone) is not None
        play(config, gone, number)
    assert dropped_in == set(order)


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """Any, with rings that the noise of six participants fits."""
    clips = draw(st.lists(st.sampled_from([Clip(linf=0.5), Clip(l2=1.0, per_array=True), Clip(l2=2.0)]), max_size=2))
    steps = {"feedback": draw(st.booleans()), "rate": draw(st.sampled_from([1.0, 0.9, 0.25, 0.01]))}
    law = draw(st.sampled_from([None, *Law]))
    if law is not None:
        bound, noise = Clip(l2=draw(st.sampled_from([0.5, 4.0]))), Noise(law, draw(st.sampled_from([0.25, 1.0, 4.0])))
        bits = draw(st.integers(9, 16))
        return Pipeline(bits=bits, clips=(*clips, bound), rotate=True, noise=noise, **steps)  # type: ignore[arg-type]
    return Pipeline(
        bits=draw(st.integers(1, 16)),
        range=draw(st.sampled_from([0.1, 1.0])),
        clips=tuple(clips),
        rotate=draw(st.booleans()),
        max_weight=draw(st.sampled_from([1, 7, 1000])),
        **steps,  # type: ignore[arg-type]
    )


@pytest.mark.filterwarnings("ignore::secagg.errors.PrecisionWarning")
@given(st.data(), pipelines(), st.sampled_from(MODES), st.integers(0, 1000))
@settings(max_examples=max(60, settings().max_examples))
def test_any_pipeline_and_any_dropouts(data: st.DataObject, pipeline: Pipeline, mode: object, tag: int) -> None:
    assert Pipeline.parse(pipeline.text) == pipeline
    config = config_of(pipeline, mode)
    most = data.draw(st.sampled_from([PEOPLE - THRESHOLD, PEOPLE]))
    chosen = data.draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=most))
    dropouts = st.builds(Dropout, st.sampled_from(phases(config)), st.sampled_from(HOW))
    play(config, {name: data.draw(dropouts) for name in chosen}, tag)
