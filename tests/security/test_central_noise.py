"""Noise that the coordinator adds: in every sum that leaves it, in no update, and never what a policy takes for
distributed noise.
"""

from dataclasses import replace

import numpy as np
import pytest

from secagg.config import RoundConfig, ThreatModel
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding.noisy import add_noise
from secagg.encoding.pipeline import NoiseBy, Pipeline
from secagg.errors import ConfigError, PolicyViolation
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.noise.stream import NoiseStream
from secagg.noise.table import noise_table
from secagg.policy import Policy
from secagg.privacy.charges import charge_of
from secagg.privacy.divergence import release_curve
from secagg.schemes import coordinate
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.tools.simulation.network import Run
from tests.rounds import NOW, flat_schema

TEXT = "clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=2.0, by=coordinator)"
PEOPLE = participant_names(6)
SIZE = 3000


def config_of(text: str = TEXT, **changes: object) -> RoundConfig:
    config = RoundConfig(
        task="central",
        schema=flat_schema(SIZE),
        encoding=Pipeline.parse(text),
        max_participants=6,
        model_digest=bytes(32),
        threat_model=ThreatModel.SEMI_HONEST,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def a_round(config: RoundConfig, seed: int = 1) -> Run:
    values = np.random.default_rng(7).normal(size=(len(PEOPLE), SIZE)) / SIZE**0.5 / 2
    updates = {name: Contribution({"values": row.astype(np.float32)}) for name, row in zip(PEOPLE, values, strict=True)}
    run = set_up(config, updates, rng=SeededRng(bytes([seed]) * 32), now=NOW)
    run.play()
    return run


def noise_in(run: Run) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The released sum less what participants sent, as signed integers."""
    config, aggregate = run.coordinator.round.config, run.coordinator.aggregate
    assert aggregate is not None
    sent = sum(v.read(0, config.vector_len, config.ring_dtype).astype(np.int64) for v in run.vectors.values())
    half = 1 << (config.ring_bits - 1)
    return (aggregate.sums.astype(np.int64) - sent + half) % (2 * half) - half


def test_the_sum_carries_one_draw_of_the_whole_noise() -> None:
    config = config_of()
    run = a_round(config)
    calibration, noise = config.code.calibration, noise_in(run)
    assert calibration is not None
    sigma = float(calibration.variance) ** 0.5
    assert sigma == pytest.approx(2.0 * calibration.scale)
    assert abs(noise.std() / sigma - 1) < 0.1
    assert abs(noise.mean()) < 5 * sigma / len(noise) ** 0.5
    assert (noise != noise_in(a_round(config, seed=2))).any()
    assert run.coordinator.aggregate is not None
    mean = run.coordinator.aggregate.mean(config, run.coordinator.round.context)
    exact = np.mean([v._clipped.read(0, SIZE) for v in run.vectors.values()], axis=0)  # type: ignore[attr-defined]
    assert (mean.arrays["values"] - exact).std() == pytest.approx(2.0 / 6, rel=0.15)


def test_updates_carry_none() -> None:
    """Twice the same rounding, with a seed that would give other noise."""
    central, distributed = config_of(), config_of(TEXT.replace(", by=coordinator", ""))
    update = central.schema.check({"values": np.full(SIZE, 0.01, np.float32)})
    vector = central.code.encode(update, 1, Secret(bytes(32)), b"context")
    scale = central.code.calibration.scale  # type: ignore[union-attr]
    encoded = vector.read(0, central.vector_len, central.ring_dtype).astype(np.int16)
    np.testing.assert_array_equal(encoded, np.rint(vector.rounded().read(0, central.vector_len) * scale))  # type: ignore[attr-defined]
    noisy = distributed.code.encode(update, 1, Secret(bytes(32)), b"context")
    assert np.abs(noisy.read(0, 3000, distributed.ring_dtype).astype(np.int16)).std() > 2 * encoded.std()


def test_noise_wraps_like_the_sum() -> None:
    calibration = config_of().code.calibration
    assert calibration is not None
    sums = np.full(70_000, (1 << 16) - 1, np.uint16)
    add_noise(sums, calibration, 16, Secret(bytes(32)))
    alone = np.full(70_000, -1, np.int64)
    stream = NoiseStream(noise_table(calibration.law, calibration.variance), Secret(bytes(32)))
    stream.add_to(alone, 0)
    np.testing.assert_array_equal(sums, alone.astype(np.uint16))


def test_a_coordinator_without_a_seed_does_not_begin() -> None:
    run = a_round(config_of(TEXT.replace(", by=coordinator", "")))
    round_ = replace(run.coordinator.round, config=config_of())
    with pytest.raises(ConfigError, match="seed of the system's CSPRNG"):
        coordinate(round_, now=NOW)


def test_the_sum_leaves_without_noise_where_it_is_not_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: what the coordinator alone sees is the exact sum."""
    monkeypatch.setattr("secagg.masked.unmask.add_noise", lambda *_: None)
    assert not noise_in(a_round(config_of())).any()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (TEXT.replace("coordinator", "participants"), "write the pipeline as: .*z=2.0\\)$"),
        (TEXT.replace("coordinator", "nobody"), "by=participants or by=coordinator, not nobody"),
        (TEXT.replace(" | rotate", ""), "noise needs rotate"),
    ],
)
def test_texts(text: str, error: str) -> None:
    assert Pipeline.parse(TEXT).text == TEXT
    with pytest.raises(ConfigError, match=error):
        Pipeline.parse(text)


@pytest.mark.parametrize(
    ("custody", "error"),
    [
        (Custody.PARTICIPANTS, "participants decrypt the sum before the coordinator knows it"),
        (Custody.THRESHOLD, "homomorphic sums do not wrap"),
    ],
)
def test_homomorphic_rounds_have_none(custody: Custody, error: str) -> None:
    profile = find_profile(Scheme.BFV, custody, value_bits=16, summands=6)
    with pytest.raises(ConfigError, match=error):
        config_of(homomorphic=profile, threshold=5)


def test_it_is_charged_as_the_noise_of_one_who_is_honest() -> None:
    config = config_of(max_participants=100, threshold=60, max_colluding=20)
    charge = charge_of(config, 90)
    assert config.code.calibration is not None
    assert (charge.honest, charge.colluding, charge.survivors) == (1, 0, 90)
    assert charge.curve == release_curve(config.code.calibration, 1) == charge_of(config).curve
    distributed = charge_of(replace(config, encoding=Pipeline.parse(TEXT.replace(", by=coordinator", ""))), 90)
    assert charge.distance < distributed.distance
    assert charge.curve[0] == pytest.approx(2 / 2 / 2.0**2, rel=0.1)  # αΔ²/2σ² at α = 2


DEMANDS = (Policy(require_distributed_noise=True), Policy(min_noise_multiplier=1.0))


@pytest.mark.parametrize("policy", DEMANDS)
def test_a_policy_that_demands_noise_of_participants_refuses_it(policy: Policy) -> None:
    policy = replace(policy, threat_models=frozenset(ThreatModel), min_colluding_share=0.0)
    with pytest.raises(PolicyViolation, match="no distributed noise; the coordinator sees the sum without any"):
        policy.check(config_of())
    policy.check(config_of(TEXT.replace(", by=coordinator", "")))
    replace(policy, require_distributed_noise=False, min_noise_multiplier=0.0).check(config_of())


@pytest.mark.parametrize("policy", DEMANDS)
def test_it_passes_for_distributed_noise_without_that(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a policy that looks at z alone lets updates go that carry nothing."""
    policy = replace(policy, threat_models=frozenset(ThreatModel), min_colluding_share=0.0)
    config = config_of()
    monkeypatch.setattr(RoundConfig, "central_noise", False)
    policy.check(config)
    assert config.noise is not None
    assert config.noise.by is NoiseBy.COORDINATOR
