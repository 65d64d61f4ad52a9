"""What a coordinator needs for a round: one vector of words, whatever the number of participants, and a little more.

`tracemalloc` counts what Python and numpy allocate. Participants send their chunks in turns, so that all vectors are
incomplete until the end; each chunk is made when it is sent, and is gone when it was taken.
"""

import gc
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from secagg_server.storage.temporary import TemporarySpool

from secagg.aggregates import Aggregate, norm_of
from secagg.config import RoundConfig, ThreatModel
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding.noisy import add_noise
from secagg.encoding.packed import WordChunks
from secagg.encoding.packing import chunk_values
from secagg.encoding.pipeline import Pipeline
from secagg.masked.vector import MaskedVector
from secagg.messages import ParticipantId, Phase, ShareKeys, Unmask
from secagg.robust.grouping import Groups
from secagg.rounds.engine import Engine
from secagg.schemes import coordinate
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.tools.simulation.network import Run
from secagg.wire.results import PackedAggregate, decode_aggregate
from tests.serving import make_config
from tests.unit.server.test_hosted import NOW

MiB = 1 << 20
SIZE = 2_000_000
UPDATE = {"values": np.full(SIZE, 0.25, np.float32)}
MARGIN = 8 * MiB
"""Chunks under way, temporaries of packing and unmasking, keys and shares: the same for every length."""


@contextmanager
def traced() -> Iterator[list[int]]:
    """The bytes that were allocated at most inside, beyond those at the beginning."""
    gc.collect()
    tracemalloc.start()
    peak: list[int] = []
    yield peak
    peak.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()


def listen(run: Run, engine: Engine, phase: Phase, names: Sequence[ParticipantId]) -> dict[ParticipantId, object]:
    """What each of them says to what closed the phase."""
    return {name: run.participants[name].receive(engine.answer(name, phase), NOW) for name in names}


def peak_of(config: RoundConfig, *, dropouts: int = 0) -> int:
    """Bytes that the coordinator of a round allocates at most, from its opening until the packed sum was read."""
    names = participant_names(config.max_participants)
    run = set_up(config, {name: Contribution(UPDATE) for name in names}, rng=SeededRng(bytes(32)), now=NOW)
    said = {name: participant.advertisement for name, participant in run.participants.items()}
    del run.coordinator._units, run.coordinator._uploading
    with traced() as peak:
        engine = coordinate(run.coordinator.round, now=NOW, spool=TemporarySpool(0), noise_seed=Secret(bytes(32)))
        for name in names:
            engine.receive(name, said[name], NOW)
        shares = {
            name: run.participants[name].receive(engine.answer(name, Phase.ADVERTISE_KEYS), NOW) for name in names
        }
        for name, message in shares.items():
            assert isinstance(message, ShareKeys)
            engine.receive(name, message, NOW)
        vectors = listen(run, engine, Phase.SHARE_KEYS, names)
        for number in range(-(-config.vector_len // chunk_values(config.ring_bits))):
            for name, vector in list(vectors.items())[dropouts if number else 0 :]:
                assert isinstance(vector, MaskedVector)
                engine.receive(name, vector.chunk(number), NOW)
        if dropouts:
            engine.tick(engine.deadline)
        alive = names[dropouts:]
        for name, last in listen(run, engine, Phase.MASKED_INPUT, alive).items():
            assert isinstance(last, Unmask)
            engine.receive(name, last, NOW)
        assert engine.aggregate is not None
        packed = PackedAggregate.of(engine.aggregate, config)
        assert isinstance(packed.payloads, WordChunks)
        packed = PackedAggregate(packed.survivors, packed.payloads.in_place(), packed.digest)
        engine.forget()
        for part in packed.parts():
            del part
    assert decode_aggregate(packed.parts(), config).survivors == tuple(sorted(alive))
    return peak[0]


@pytest.mark.parametrize(("participants", "dropouts"), [(4, 0), (12, 0), (12, 3)])
def test_a_round_takes_one_vector_of_words_whoever_takes_part(participants: int, dropouts: int) -> None:
    config = make_config(participants, ThreatModel.SEMI_HONEST, size=SIZE, threshold=3)
    ring = config.vector_len * config.ring_dtype.itemsize
    assert ring == 4 * (SIZE + 1)
    assert ring < peak_of(config, dropouts=dropouts) < ring + MARGIN


def test_noise_of_the_coordinator_takes_no_second_vector() -> None:
    noisy = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0, by=coordinator)")
    plain = make_config(4, ThreatModel.SEMI_HONEST, size=4 * SIZE)
    config = replace(plain, encoding=noisy)
    calibration = config.code.calibration
    assert calibration is not None
    sums = np.zeros(config.vector_len, config.ring_dtype)
    assert sums.nbytes > MARGIN
    add_noise(sums[:64].copy(), calibration, config.ring_bits, Secret(bytes(32)))  # makes the table, which is kept
    with traced() as peak:
        add_noise(sums, calibration, config.ring_bits, Secret(bytes(32)))
    assert peak[0] < MARGIN
    assert len(np.unique(sums)) > 3


def test_the_length_of_a_group_s_sum_is_found_without_its_arrays() -> None:
    config = replace(
        make_config(4, ThreatModel.SEMI_HONEST, size=SIZE), groups=Groups(count=3, parent=bytes(16), number=1)
    )
    update = {"values": np.random.default_rng(1).uniform(-0.9, 0.9, SIZE).astype(np.float32)}
    one = config.code.encode(config.schema.check(update), 1, Secret(bytes(32)))
    sums = 4 * one.read(0, config.vector_len, config.ring_dtype)
    aggregate = Aggregate(sums, tuple(participant_names(4)))
    mean = aggregate.mean(config)
    packed = PackedAggregate.of(aggregate, config)
    with traced() as peak:
        found = norm_of(packed.sums(config), 4, config, b"")
    assert found == pytest.approx(np.linalg.norm(mean.arrays["values"].astype(np.float64)), rel=1e-12)
    assert peak[0] < MARGIN
    sums[7] = (1 << config.ring_bits) - 1
    assert norm_of(packed.sums(config), 4, config, b"") == np.inf
