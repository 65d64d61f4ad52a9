"""The law of the masked protocol: the sum over the survivors, exactly, or a named end.

For every number of participants, threshold, threat model, shape, weight and width; whoever drops out, where and how.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.config import RoundConfig, ThreatModel
from secagg.encoding import packing
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import AbortReason, NotInRoundError, RemoteError, RoundAborted, SecAggError
from secagg.messages import MASKED_PHASES, Leave, LeaveReason, MaskedInputChunk, ParticipantId, Phase
from secagg.phases import phases
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope, Run, Up
from tests.chaos import Chaos
from tests.rounds import ACTIVE, MOST_PEOPLE, SEMI_HONEST, make_config, start, true_sum

SMALL_CHUNK = 512
"""Bytes of a chunk here, so that small vectors have several."""

ORDER = MASKED_PHASES[ACTIVE]
"""Those of a semi-honest round are in the same order."""

HOW = ("silent", "leaves before", "leaves after", "stops half-way")


def before(one: Phase, other: Phase) -> bool:
    return ORDER.index(one) < ORDER.index(other)


@dataclass(frozen=True)
class Dropout:
    """Somebody who leaves in `phase`, and how."""

    phase: Phase
    how: str

    def delivers(self, phase: Phase) -> bool:
        return before(phase, self.phase) or (phase is self.phase and self.how == "leaves after")


@st.composite
def configs(draw: st.DrawFn) -> RoundConfig:
    n = draw(st.integers(3, 9))
    threat_model = draw(st.sampled_from([ACTIVE, SEMI_HONEST]))
    colluding = draw(st.integers(0, min(n - 2, (n - 1) // 2)))
    lowest = (n + colluding) // 2 + 1 if threat_model is ACTIVE else 3
    threshold = draw(st.integers(max(lowest, colluding + 2, 3), n))
    shapes = draw(st.lists(st.lists(st.integers(1, 7), max_size=3), min_size=1, max_size=3))
    arrays = tuple(
        ArraySpec(f"array-{i}", tuple(shape), draw(st.sampled_from(["float32", "float64"])))
        for i, shape in enumerate(shapes)
    )
    encoding = FixedPoint(
        draw(st.sampled_from([0.1, 1.0, 1e6])),
        draw(st.integers(2, 32)),
        draw(st.sampled_from([1, 7, 1000, 2**32 - 1])),
    )
    return make_config(
        n,
        threat_model,
        schema=Schema(arrays),
        encoding=encoding,
        threshold=threshold,
        max_colluding=colluding,
        model_later=draw(st.booleans()),
    )


@st.composite
def dropouts(draw: st.DrawFn, config: RoundConfig) -> dict[ParticipantId, Dropout]:
    """Any subset of the participants, in any phase, in any way."""
    names = participant_names(config.max_participants)
    # Mostly few, so that rounds succeed about as often as they fail.
    most = draw(st.sampled_from([config.max_participants - config.threshold, config.max_participants]))
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=most))
    order = phases(config)
    return {name: Dropout(draw(st.sampled_from(order)), draw(st.sampled_from(HOW))) for name in chosen}


def hook_for(gone: dict[ParticipantId, Dropout], chunks: int) -> Any:
    def hook(envelope: Envelope) -> Iterable[Envelope]:
        dropout = gone.get(envelope.participant)
        if dropout is None or not isinstance(envelope, Up) or before(envelope.phase, dropout.phase):
            return (envelope,)
        if before(dropout.phase, envelope.phase):
            return ()
        leave = Up(envelope.participant, Leave(LeaveReason.CANCELLED), envelope.phase)
        chunk = envelope.message if isinstance(envelope.message, MaskedInputChunk) else None
        last = chunk is None or chunk.number == chunks - 1
        match dropout.how:
            case "leaves before":
                return (leave,) if chunk is None or chunk.number == 0 else ()
            case "leaves after":
                return (envelope, leave) if last else (envelope,)
            case "stops half-way" if chunk is not None and not last:
                return (envelope,)
        return ()

    return hook


def check_outcome(run: Run) -> None:
    """The exact sum or a named end, and named errors only."""
    coordinator = run.coordinator
    if coordinator.aggregate is not None:
        survivors = [ParticipantId(name) for name in coordinator.aggregate.survivors]
        assert coordinator.failure is None
        assert len(survivors) >= coordinator.round.config.threshold
        assert np.array_equal(coordinator.aggregate.sums, true_sum(run, survivors))
    else:
        assert isinstance(coordinator.failure, RoundAborted)
        assert coordinator.failure.reason in {AbortReason.BELOW_THRESHOLD, AbortReason.WRONG_SHARES}
    assert all(isinstance(error, SecAggError) for error in run.errors.values())
    assert all(isinstance(error, RemoteError | NotInRoundError | RoundAborted) for _, error in run.refused)


@pytest.mark.filterwarnings("ignore::secagg.errors.PrecisionWarning")
@given(st.data(), st.integers(0, 2**32))
@settings(max_examples=max(150, settings().max_examples))
def test_the_sum_is_exact_for_every_dropout_pattern(data: st.DataObject, seed: int) -> None:
    config = data.draw(configs())
    gone = data.draw(dropouts(config))
    names = participant_names(config.max_participants)
    weights = {name: data.draw(st.integers(1, config.fixed_point.max_weight)) for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "CHUNK_BYTES", SMALL_CHUNK)
        chunks = -(-config.vector_len // packing.chunk_values(config.ring_bits))
        run = start(config, seed=seed, weights=weights, hook=hook_for(gone, chunks))
        run.play()
    check_outcome(run)
    delivered = {p: [name for name in names if name not in gone or gone[name].delivers(p)] for p in phases(config)}
    if all(len(who) >= config.threshold for who in delivered.values()):
        assert run.coordinator.aggregate is not None
        assert list(run.coordinator.aggregate.survivors) == delivered[Phase.MASKED_INPUT]
        mean = run.coordinator.aggregate.mean(config)
        assert mean.weight == sum(weights[name] for name in delivered[Phase.MASKED_INPUT])
    else:
        assert run.coordinator.failure is not None
        assert run.coordinator.failure.reason is AbortReason.BELOW_THRESHOLD


@given(configs(), st.integers(0, 2**32), st.sampled_from([0.02, 0.1, 0.3]))
@settings(max_examples=max(100, settings().max_examples))
def test_messages_lost_repeated_and_reordered(config: RoundConfig, seed: int, rate: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "CHUNK_BYTES", SMALL_CHUNK)
        run = start(config, seed=seed, hook=Chaos(np.random.default_rng(seed), rate))
        run.play()
    check_outcome(run)


@given(configs(), st.integers(0, 2**32), st.sampled_from([0.02, 0.1, 0.3]))
@settings(max_examples=max(150, settings().max_examples))
def test_participants_that_lie(config: RoundConfig, seed: int, rate: float) -> None:
    """Whatever participants send, the coordinator's sum is exact or there is none."""
    run = start(config, seed=seed, hook=Chaos(np.random.default_rng(seed), rate, lies=True))
    run.play()
    check_outcome(run)


@given(configs(), st.integers(0, 2**32), st.sampled_from([0.05, 0.3]))
@settings(max_examples=max(100, settings().max_examples))
def test_a_coordinator_that_lies(config: RoundConfig, seed: int, rate: float) -> None:
    """Participants end in named errors only. (What such a coordinator adds up is its own affair.)"""
    chaos = Chaos(np.random.default_rng(seed), rate, coordinator_lies=True)
    run = start(config, seed=seed, hook=chaos)
    run.play()
    assert all(isinstance(error, SecAggError) for error in run.errors.values())
    assert all(isinstance(error, RemoteError | NotInRoundError | RoundAborted) for _, error in run.refused)


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
def test_the_largest_cohort_of_identities(threat_model: ThreatModel) -> None:
    run = start(make_config(MOST_PEOPLE, threat_model))
    run.play()
    check_outcome(run)
    assert run.coordinator.aggregate is not None
