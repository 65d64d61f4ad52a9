"""The law of homomorphic rounds: the sum of exactly those who delivered, as the masked mode has it, or a named end."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig
from secagg.errors import AbortReason, NotInRoundError, RemoteError, RoundAborted, SecAggError
from secagg.lattice.parameters import Custody, Scheme
from secagg.messages import ParticipantId, Phase
from secagg.phases import phases
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Down, Envelope, Run
from secagg.wire.results import sums_digest
from tests.encrypted_rounds import (
    CASES,
    DEALT,
    HOW,
    Dropout,
    Gone,
    chunk_counts,
    dropping,
    encrypted_config,
    foreseen,
    masked_sums,
    prepare,
    short_chunks,
)
from tests.rounds import true_sum

NAMES = participant_names(5)
UPLOADS = (Phase.ENCRYPTED_INPUT, Phase.PARTIAL_DECRYPTION, Phase.RELEASE_SUM)


def check_aggregate(run: Run, aggregate: Aggregate, seed: int) -> None:
    """The plain sum of the survivors, integer for integer, and bit for bit what the masked mode releases."""
    config = run.coordinator.round.config
    survivors = [ParticipantId(name) for name in aggregate.survivors]
    assert len(survivors) >= config.threshold
    assert np.array_equal(aggregate.sums, true_sum(run, survivors))
    sums, mean = masked_sums(config, survivors, seed)
    assert (aggregate.sums.dtype, aggregate.sums.tobytes()) == (sums.dtype, sums.tobytes())
    assert aggregate.mean(config).arrays["values"].tobytes() == mean


def check_outcome(run: Run, seed: int) -> bool:
    """Whether there is a sum; if so, everyone who has one has the right one."""
    coordinator = run.coordinator
    assert coordinator.over
    assert all(isinstance(error, SecAggError) for error in run.errors.values())
    assert all(isinstance(error, RemoteError | NotInRoundError | RoundAborted) for _, error in run.refused)
    for participant in run.participants.values():
        if participant.aggregate is not None:
            check_aggregate(run, participant.aggregate, seed)
    if coordinator.aggregate is not None:
        check_aggregate(run, coordinator.aggregate, seed)
        return True
    if coordinator.delivered is not None:
        holders = [p.aggregate for p in run.participants.values() if p.aggregate is not None]
        assert {sums_digest(a, coordinator.round.config) for a in holders} == {coordinator.delivered.sums_digest}
        assert len(holders) >= coordinator.round.config.threshold
        return True
    assert coordinator.failure is not None
    assert coordinator.failure.reason in {AbortReason.BELOW_THRESHOLD, AbortReason.DISAGREEMENT}
    return False


def play(config: RoundConfig, gone: Gone, seed: int) -> None:
    run = prepare(config, seed=seed, hook=dropping(config, gone))
    run.play()
    expected = foreseen(config, gone)
    assert check_outcome(run, seed) == (expected is not None)
    if expected is not None:
        aggregate, delivered = run.coordinator.aggregate, run.coordinator.delivered
        survivors = aggregate.survivors if aggregate else delivered.survivors if delivered else ()
        assert list(survivors) == expected


@pytest.mark.parametrize(("scheme", "custody"), CASES)
@pytest.mark.parametrize("blocks", [(0, 2), (1, -1), (1, 0), (1, 1), (3, 5)])
@pytest.mark.parametrize("several_chunks", [False, True])
def test_every_size(
    monkeypatch: pytest.MonkeyPatch, scheme: Scheme, custody: Custody, blocks: tuple[int, int], several_chunks: bool
) -> None:
    """One value (and its weight), a block less one, a block, one more, and several."""
    if several_chunks:
        short_chunks(monkeypatch)
    profile = encrypted_config(scheme, custody).homomorphic
    assert profile is not None
    play(encrypted_config(scheme, custody, vector_len=blocks[0] * profile.values_per_block + blocks[1]), {}, 1)


@pytest.mark.parametrize(
    ("scheme", "custody", "release"), [(*c, True) for c in CASES] + [(scheme, DEALT, False) for scheme in Scheme]
)
def test_every_phase_and_way_to_drop(
    monkeypatch: pytest.MonkeyPatch, scheme: Scheme, custody: Custody, release: bool
) -> None:
    """Two of five leave, the first of the roster among them: it is the dealer, and the first asked for the sum."""
    short_chunks(monkeypatch)
    config = encrypted_config(scheme, custody, vector_len=17_000, release_to_coordinator=release)
    for phase in phases(config):
        for how in HOW if phase in UPLOADS else (*HOW[:1], *HOW[2:]):
            play(config, {NAMES[0]: Dropout(phase, how), NAMES[3]: Dropout(phase, "silent")}, 2)


@pytest.mark.parametrize(("scheme", "custody"), CASES)
def test_one_drops_in_each_phase(scheme: Scheme, custody: Custody) -> None:
    config = encrypted_config(scheme, custody, 10, threshold=3 if custody is DEALT else 6)
    order = phases(config)
    people = participant_names(10)
    most = 10 - config.threshold
    play(config, {name: Dropout(phase, "silent") for name, phase in zip(people[:most], order, strict=False)}, 3)
    play(config, {name: Dropout(phase, "silent") for name, phase in zip(people[:most], order[::-1], strict=False)}, 3)


@pytest.mark.parametrize("scheme", Scheme)
def test_nobody_is_left_to_hand_in_the_sum(scheme: Scheme) -> None:
    config = encrypted_config(scheme, DEALT)
    gone = {name: Dropout(Phase.RELEASE_SUM, "silent") for name in NAMES}
    play(config, gone, 4)
    del gone[NAMES[4]]  # the last of them does
    play(config, gone, 4)


@st.composite
def configs(draw: st.DrawFn) -> RoundConfig:
    scheme, custody = draw(st.sampled_from(CASES))
    people = draw(st.integers(3, 8))
    lowest = 3 if custody is DEALT else max(3, people // 2 + 1)
    config = encrypted_config(
        scheme,
        custody,
        people,
        vector_len=draw(st.sampled_from([2, 100, 4095, 4096, 4097, 16_500])),
        threshold=draw(st.integers(lowest, people)),
    )
    return replace(config, release_to_coordinator=custody is not DEALT or draw(st.booleans()))


@given(st.data(), configs(), st.integers(0, 1000), st.booleans())
@settings(max_examples=max(60, settings().max_examples))
def test_any_dropout_pattern(data: st.DataObject, config: RoundConfig, seed: int, several_chunks: bool) -> None:
    names = participant_names(config.max_participants)
    most = data.draw(st.sampled_from([config.max_participants - config.threshold, config.max_participants]))
    chosen = data.draw(st.lists(st.sampled_from(names), unique=True, max_size=most))
    dropouts = st.builds(Dropout, st.sampled_from(phases(config)), st.sampled_from(HOW))
    gone = {name: data.draw(dropouts) for name in chosen}
    with pytest.MonkeyPatch.context() as patch:
        if several_chunks:
            short_chunks(patch)
        play(config, gone, seed)


@pytest.mark.parametrize("custody", Custody)
def test_what_arrived_of_an_upload_is_known_after_its_phase(custody: Custody) -> None:
    """An answer that was lost on the way: asked where to go on, the coordinator speaks of the last upload. Where no
    participant has the whole key by itself or by shares, that has as many chunks as the first; else it has fewer.
    """
    config = encrypted_config(Scheme.BFV, custody, vector_len=50 * 8192 if custody is DEALT else 5 * 16384)
    gone = {NAMES[4]: Dropout(Phase.PARTIAL_DECRYPTION, "silent")} if custody is not DEALT else {}
    counts = chunk_counts(config)
    last = Phase.RELEASE_SUM if custody is DEALT else Phase.PARTIAL_DECRYPTION
    told: dict[Phase, int] = {}
    drop = dropping(config, gone)

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Down) and envelope.participant == NAMES[0]:
            told[envelope.phase] = run.coordinator.received_chunks(NAMES[0])
        return drop(envelope)

    run = prepare(config, hook=hook)
    assert run.play().aggregate is not None
    assert (counts[Phase.ENCRYPTED_INPUT] == counts[last]) is (custody is Custody.PARTICIPANTS)
    assert told[Phase.ENCRYPTED_INPUT] == counts[Phase.ENCRYPTED_INPUT]
    assert run.coordinator.received_chunks(NAMES[0]) == counts[last]
    if custody is not DEALT:
        assert told[Phase.PARTIAL_DECRYPTION] == told[Phase.RECOVERY_CHECK] == counts[last]
