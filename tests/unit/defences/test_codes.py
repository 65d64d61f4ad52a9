"""Codes: unbiased, within the norm bound, with as much noise as promised, the same on every read."""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from secagg.config import RoundConfig
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding import code as code_module
from secagg.encoding import noisy
from secagg.encoding.calibration import Calibration, Cohort, calibrate, norm_bound
from secagg.encoding.code import Code, NoisyCode, NoisyVector, code_for
from secagg.encoding.fixedpoint import FixedPoint, WeightedMean
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Flat, Schema
from secagg.encoding.steps.chain import Steps
from secagg.encoding.steps.clip import Clip
from secagg.encoding.steps.feedback import difference, with_carried
from secagg.encoding.vector import EncodedUpdate
from secagg.errors import ConfigError, InputError, LocalError, PolicyViolation, ProtocolViolation
from secagg.noise.laws import Law
from secagg.noise.table import noise_table
from secagg.policy import Policy
from secagg.wire.configuration import decode_config, encode_config

Values = np.ndarray[Any, np.dtype[np.floating[Any]]]
CONTEXT = bytes(range(32))
NOISY = "clip(l2=1.0) | rotate | quantise(bits={bits}) | noise(law={law}, z={z})"
COHORT = Cohort(10, 5)


def flat(size: int) -> Schema:
    return Schema((ArraySpec("v", (size,), "float64"),))


def seed(tag: int = 0) -> Secret:
    return Secret(SeededRng(tag.to_bytes(32, "big")).token(32))


def code_of(text: str, size: int, cohort: Cohort = COHORT, *, wraps: bool = True) -> Code:
    return code_for(Pipeline.parse(text), flat(size), cohort, wraps=wraps)


def noisy_code(size: int, *, law: str = "skellam", bits: int = 16, z: float = 1.0, wraps: bool = True) -> NoisyCode:
    code = code_of(NOISY.format(law=law, bits=bits, z=z), size, wraps=wraps)
    assert isinstance(code, NoisyCode)
    return code


def encode(code: Code, values: Values, tag: int = 0, weight: int = 1, carried: Values | None = None) -> EncodedUpdate:
    update = flat(len(values)).check({"v": values})
    return code.encode(update, weight, seed(tag), CONTEXT, carried)


def summed(code: Code, encoded: list[EncodedUpdate]) -> WeightedMean:
    total = np.zeros(code.vector_len, np.uint64)
    for vector in encoded:
        total += vector.read(0, code.vector_len, np.dtype("<u8"))
    total &= np.uint64((1 << code.ring_bits) - 1)
    return code.decode_mean(total, len(encoded), CONTEXT)


def unit(size: int, length: float, tag: int = 0) -> Values:
    values = np.random.default_rng(tag).normal(size=size)
    return np.asarray(values * (length / np.linalg.norm(values)), np.float64)


@pytest.mark.parametrize(
    "text",
    [
        *(f"quantise(bits={bits}, range=0.5)" for bits in (1, 2, 4, 8, 16)),
        "rotate | quantise(bits=4, range=0.5)",
        "weigh(max=7) | quantise(bits=4, range=0.5)",
    ],
)
def test_quantisation_is_unbiased(text: str) -> None:
    """The mean over many roundings is the value, to five standard errors; a rounding is off by a step at most."""
    code, values, times = code_of(text, 64), np.linspace(-0.4, 0.4, 64) / 4, 1600
    decoded = [summed(code, [encode(code, values, tag, weight=1)]) for tag in range(times)]
    errors = np.stack([d.arrays["v"] for d in decoded]) - values
    assert np.abs(errors).max() <= decoded[0].error_bound
    spread = errors.std(axis=0) / math.sqrt(times)
    assert (np.abs(errors.mean(axis=0)) <= 5 * spread + 1e-9).all()


def test_rounding_to_nearest_is_biased(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: without its random bits one-bit quantisation says +c or −c for ever."""
    code, values = code_of("quantise(bits=1, range=0.5)", 64), np.full(64, 0.1)
    monkeypatch.setattr("secagg.encoding.fixedpoint.KeyStream.next", lambda _s, n: np.full(n, 1 << 31, np.uint32))
    mean = np.mean([summed(code, [encode(code, values, tag)]).arrays["v"] for tag in range(100)], axis=0)
    assert np.abs(mean - values).min() > 0.3


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_rings_follow_the_bits(bits: int) -> None:
    code = code_of(f"quantise(bits={bits}, range=0.5)", 64, Cohort(100, 50))
    assert (code.value_bits, code.ring_bits) == (bits, bits + 7)


def test_sampling_is_unbiased_and_sends_less() -> None:
    code, values, times = code_of("sample(rate=0.25) | quantise(bits=16, range=1.0)", 64), unit(64, 1.0), 3000
    assert code.vector_len == 16 + 1
    total = np.zeros(64)
    for tag in range(times):
        context = tag.to_bytes(32, "big")
        vector = code.encode(flat(64).check({"v": values}), 1, seed(tag), context)
        sums = vector.read(0, code.vector_len, np.dtype("<u8"))
        total += code.decode_mean(sums, 1, context).arrays["v"]
    assert (np.abs(total / times - values) < 5 * 2 * np.abs(values) / math.sqrt(times) + 1e-4).all()


def test_a_sample_of_another_context_is_no_mean() -> None:
    code, values = code_of("sample(rate=0.25) | rotate | quantise(bits=16, range=1.0)", 64), unit(64, 1.0)
    sums = encode(code, values).read(0, code.vector_len, np.dtype("<u8"))
    right, wrong = (code.decode_mean(sums, 1, context).arrays["v"] for context in (CONTEXT, bytes(32)))
    assert np.dot(right, values) > 3 * abs(np.dot(wrong, values))
    with pytest.raises(LocalError, match="pass it"):
        code.decode_mean(sums, 1)


@pytest.mark.parametrize("text", ["feedback | sample(rate=0.2) | quantise(bits=2, range=1.0)",
                                  "feedback | rotate | quantise(bits=1, range=1.0)"])  # fmt: skip
def test_feedback_makes_up_for_what_was_lost(text: str) -> None:
    """Σ of what was sent and what is still carried is Σ of the updates."""
    code, update = code_of(text, 128), unit(128, 1.0)
    sent = np.zeros(128)
    carried: Values = np.zeros(128, np.float32)
    for tag in range(60):
        context = tag.to_bytes(32, "big")
        vector = code.encode(flat(128).check({"v": update}), 1, seed(tag), context, carried)
        sent += code.decode_mean(vector.read(0, code.vector_len, np.dtype("<u8")), 1, context).arrays["v"]
        carried = vector.lost()
    np.testing.assert_allclose(sent + carried, 60 * update, atol=1e-4)
    assert np.linalg.norm(sent / 60 - update) < 0.5 * np.linalg.norm(update)


def test_what_float32_cannot_hold_is_cut_off() -> None:
    """An infinity would stay in every later round."""
    lost = difference(flat(3).check({"v": np.array([1e300, -1e300, 1.0])}), Flat(np.zeros(3)))
    assert lost.dtype == np.float32
    assert np.isfinite(lost).all()
    assert lost[2] == 1


def test_feedback_is_of_a_round_that_says_so() -> None:
    with pytest.raises(LocalError, match="no feedback"):
        encode(code_of("quantise(bits=2, range=1.0)", 8), np.zeros(8), carried=np.zeros(8, np.float32))
    with pytest.raises(LocalError, match="shape"):
        encode(code_of("feedback | quantise(bits=2, range=1.0)", 8), np.zeros(8), carried=np.zeros(9, np.float32))


def test_what_is_carried_is_within_the_clip_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is sized for the norm of what is sent, so the clip comes after what earlier rounds lost is added."""
    text = "feedback | clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0)"
    update, carried = unit(128, 1.0), np.asarray(unit(128, 50.0, 1), np.float32)

    def length() -> float:
        vector = encode(code_of(text, 128), update, carried=carried)
        assert isinstance(vector, NoisyVector)
        return float(np.linalg.norm(vector.rounded().read(0, vector.vector_len)))

    assert length() < 1.1

    # The twin: added behind the clip, it breaks the bound so far that no rounding is within.
    clipped = Steps.clipped
    monkeypatch.setattr("secagg.encoding.code.with_carried", lambda update, carried, feedback: update)
    late = partial(with_carried, carried=carried)
    monkeypatch.setattr(Steps, "clipped", lambda s, values: late(clipped(s, values), feedback=s.feedback))
    with pytest.raises(InputError, match="norm bound"):
        length()


@pytest.mark.parametrize("wraps", [True, False])
@pytest.mark.parametrize("law", ["skellam", "gaussian"])
def test_the_sum_carries_the_promised_noise(law: str, wraps: bool) -> None:
    """Mean right, variance of the noise n/h·(z·c)² within 1 %, by χ²; once rounding is counted."""
    size, n = 40_000, 10
    code = noisy_code(size, law=law, z=0.5, wraps=wraps)
    updates = [unit(size, 1.0, tag) for tag in range(n)]
    got = summed(code, [encode(code, update, tag) for tag, update in enumerate(updates)])
    errors = (got.arrays["v"] - np.mean(updates, axis=0)) * n
    # Padding takes its share of the noise away, for un-rotating spreads it evenly.
    expected = n / COHORT.honest * 0.5**2 + n / 4 / code.calibration.scale**2
    statistic = float((errors**2).sum() / expected)
    assert 1e-4 < chi2.cdf(statistic, size) < 1 - 1e-4
    assert abs(errors.mean()) < 5 * math.sqrt(expected / size)
    assert got.weight == n
    assert got.error_bound == math.inf


def test_half_the_noise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the test above."""
    honest = noise_table
    monkeypatch.setattr(noisy, "noise_table", lambda law, variance: honest(law, variance / 4))
    size = 40_000
    code = noisy_code(size, z=0.5)
    errors = summed(code, [encode(code, np.zeros(size), tag) for tag in range(10)]).arrays["v"] * 10
    assert chi2.cdf(float((errors**2).sum() / (2 * 0.25)), size) < 1e-9


def test_a_participant_without_noise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of ten that forgets its noise leaves a tenth less in the sum; one survivor more than guaranteed hides it."""
    size, code = 40_000, noisy_code(40_000, z=0.5)
    vectors = [encode(code, np.zeros(size), tag) for tag in range(9)]
    monkeypatch.setattr("secagg.noise.stream.NoiseStream.add_to", lambda *_: None)
    forgetful = encode(code, np.zeros(size), 9)
    plain = forgetful.read(0, code.vector_len, np.dtype("<u8"))
    monkeypatch.undo()
    total = sum((v.read(0, code.vector_len, np.dtype("<u8")) for v in vectors), plain) & np.uint64(0xFFFF)
    errors = code.decode_mean(total, 10, CONTEXT).arrays["v"] * 10
    assert chi2.cdf(float((errors**2).sum() / (2 * 0.25)), size) < 1e-9


@pytest.mark.parametrize("wraps", [True, False])
def test_reads_agree_wherever_they_start(wraps: bool) -> None:
    code = noisy_code(200_000, wraps=wraps)
    vector = encode(code, unit(200_000, 1.0))
    whole = vector.read(0, code.vector_len, np.dtype("<u4"))
    for start, stop in [(0, 64), (64, 65_600), (65_536, 131_072), (100_032, 190_001), (code.vector_len - 64,) * 2]:
        assert np.array_equal(vector.read(start, stop, np.dtype("<u4")), whole[start:stop])
    assert int(whole.max()) < 1 << code.value_bits


def test_noise_is_fresh_in_every_update_and_round() -> None:
    """Noise that came back would cancel out between two rounds: only another seed gives another."""
    code, zeros = noisy_code(4096), np.zeros(4096)

    def noise(tag: int) -> Values:
        return summed(code, [encode(code, zeros, tag)]).arrays["v"]

    first, second = noise(1), noise(2)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.08
    assert np.array_equal(first, noise(1))


@pytest.mark.parametrize("size", [8, 700, 5000])
def test_no_rounded_update_is_beyond_the_norm_bound(size: int) -> None:
    code = noisy_code(size, bits=8)
    for tag in range(50):
        vector = encode(code, unit(size, 5.0, tag), tag)
        assert isinstance(vector, NoisyVector)
        rounded = vector.rounded().read(0, vector.vector_len) * code.calibration.scale
        assert float((rounded**2).sum()) <= code.calibration.norm_bound * (1 + 1e-12)


def test_roundings_beyond_the_bound_are_done_anew() -> None:
    """With a bound at the median about half of all roundings are refused; with one that none can keep, all are."""
    code = noisy_code(64, bits=8)
    values = unit(64, 1.0)
    plain = [encode(code, values, tag) for tag in range(200)]
    norms = [
        float((v.rounded().read(0, v.vector_len) ** 2).sum()) * code.calibration.scale**2
        for v in plain
        if isinstance(v, NoisyVector)
    ]
    tight = replace(code, calibration=replace(code.calibration, norm_bound=int(np.median(norms))))
    for tag in range(200):
        vector = encode(tight, values, tag)
        assert isinstance(vector, NoisyVector)
        rounded = vector.rounded().read(0, 64) * code.calibration.scale
        assert (rounded**2).sum() <= tight.calibration.norm_bound + 1e-6
    impossible = replace(code, calibration=replace(code.calibration, norm_bound=0))
    with pytest.raises(InputError, match="no rounding"):
        encode(impossible, values)


def test_the_norm_bound_is_the_papers() -> None:
    """Kairouz et al. 2021, eq. (8), at γ = 1: min(c² + d/4 + √(2 ln 1/β)(c + √d/2), (c + √d)²), β = e^−½."""
    assert norm_bound(100.0, 400) == int(100**2 + 400 / 4 + (100 + 20 / 2))
    assert norm_bound(0.25, 1) == min(int(0.0625 + 0.25 + 0.75), math.ceil(1.25**2))


def test_the_scale_is_the_papers() -> None:
    """§6 of the design: s = √(2^2b − nk²) / (2k √(ρc²n²/d + nσ²)), d the rotation's block, σ = z·c/√h."""
    n, h, b, c, z, block, k = 100, 40, 16, 0.5, 1.5, 4096, 3.9
    made = calibrate(Law.SKELLAM, Cohort(n, h), z=z, clip=c, bits=b, block=block, dimension=8192)
    sigma = z * c / math.sqrt(h)
    expected = math.sqrt(2 ** (2 * b) - n * k**2) / (2 * k * math.sqrt(c**2 * n**2 / block + n * sigma**2))
    assert made.scale == pytest.approx(expected)
    assert float(made.variance) == pytest.approx((sigma * made.scale) ** 2)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_few_coordinates_wrap(bits: int) -> None:
    """All updates alike and of full norm: about one coordinate in 10^4 leaves the ring at most."""
    size = 65_536
    code = noisy_code(size, bits=bits, z=0.5)
    update = unit(size, 1.0)
    errors = summed(code, [encode(code, update, tag) for tag in range(10)]).arrays["v"] - update
    rotated = np.abs(errors)
    # A wrapped coordinate is off by the whole ring, which un-rotating spreads: it shows in the energy.
    energy = float((rotated**2).sum() * 100 / size)
    assert (
        energy < 1.02 * (2 * 0.25 + 10 / 4 / code.calibration.scale**2) + 1e-4 * (2**bits / code.calibration.scale) ** 2
    )


def test_homomorphic_sums_would_show_who_wrapped() -> None:
    """Why integers are raised there: of wrapped ones, the sum without a modulus tells how many were negative."""
    raised, wrapped = noisy_code(64, wraps=False), noisy_code(64, wraps=True)
    table = noise_table(raised.calibration.law, raised.calibration.variance)
    assert raised.grid.raised_by == raised.calibration.largest_value + table.largest
    assert 2 * raised.grid.raised_by < 1 << raised.value_bits
    assert raised.ring_bits == raised.value_bits + 4
    vectors = [encode(wrapped, np.zeros(64), tag) for tag in range(10)]
    total = sum(v.read(0, 64, np.dtype("<u8")) for v in vectors)
    negatives = sum((v.read(0, 64, np.dtype("<u8")) >> np.uint64(15)).astype(int) for v in vectors)
    # A sum is small beside the ring, so whole rings in it are the number of negative summands, give or take one.
    assert (np.abs(np.asarray(total) / 2.0**16 - negatives) < 0.75).all()


def test_sums_beyond_the_code_are_refused() -> None:
    code = noisy_code(64, wraps=False)
    with pytest.raises(ProtocolViolation, match="beyond what 3 participants"):
        code.decode_mean(np.full(64, 6 * code.grid.raised_by + 1, np.uint64), 3, CONTEXT)


def test_weights_with_noise_are_one() -> None:
    with pytest.raises(InputError, match="weight 1, not 2"):
        encode(noisy_code(8), np.zeros(8), weight=2)


@pytest.mark.parametrize(
    ("cohort", "bits", "z", "words"),
    [
        (Cohort(10, 0), 16, 1.0, "t − n_C survivors that are certainly honest, which are 0 here"),
        (Cohort(10_000, 5000), 8, 1.0, "a ring of 8 bits is too narrow for the noise of 10000 participants; use 1"),
        (Cohort(100, 50), 6, 1.0, "too narrow"),
        (Cohort(100, 50), 10, 2.0**-10, "too narrow"),
    ],
)
def test_calibrations_that_do_not_fit(cohort: Cohort, bits: int, z: float, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        calibrate(Law.SKELLAM, cohort, z=z, clip=1.0, bits=bits, block=4096, dimension=4096)
    assert words in str(refusal.value)


@pytest.mark.parametrize("bits", [5, 8, 9])
def test_the_bits_that_a_refusal_names_are_enough(bits: int) -> None:
    def make(bits: int) -> Calibration:
        return calibrate(Law.SKELLAM, Cohort(3000, 100), z=1.0, clip=1.0, bits=bits, block=4096, dimension=4096)

    with pytest.raises(ConfigError) as refusal:
        make(bits)
    enough = int(str(refusal.value).rsplit("use ", 1)[1].split()[0])
    assert make(enough).variance >= Fraction(1, 4)
    with pytest.raises(ConfigError):
        make(enough - 1)


def round_config(encoding: FixedPoint | Pipeline, **changes: Any) -> RoundConfig:
    made: dict[str, Any] = {
        "task": "t",
        "schema": flat(100),
        "encoding": encoding,
        "max_participants": 10,
        "model_digest": bytes(32),
        **changes,
    }
    return RoundConfig(**made)


def test_the_text_is_in_the_configurations_bytes() -> None:
    pipeline = Pipeline.parse(NOISY.format(law="skellam", bits=16, z=1.5))
    data = encode_config(round_config(pipeline))
    assert pipeline.text.encode() in data
    assert decode_config(data).encoding == pipeline
    assert decode_config(data) == round_config(pipeline)


def tampered(change: Callable[[bytes], bytes]) -> bytes:
    return change(encode_config(round_config(Pipeline.parse(NOISY.format(law="skellam", bits=16, z=1.5)))))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.replace(b"rotate", b"rotatE"), "unknown step"),
        (lambda data: data.replace(b"z=1.5", b"z=nan"), "z must be"),
        (lambda data: data.replace(b"bits=16", b"bits=03"), "4 to 32 bits"),
    ],
)
def test_hostile_texts_end_in_a_violation(change: Callable[[bytes], bytes], words: str) -> None:
    with pytest.raises(ProtocolViolation, match=words):
        decode_config(tampered(change))


def test_noise_is_sized_for_the_guaranteed_honest() -> None:
    """More dropouts allowed or more colluding: every survivor adds more, and n alone changes nothing."""
    pipeline = Pipeline.parse(NOISY.format(law="skellam", bits=16, z=1.0))

    def local(**changes: Any) -> float:
        code = round_config(pipeline, **changes).code
        assert code.calibration is not None
        return float(code.calibration.variance) / code.calibration.scale**2

    assert local(threshold=8, max_colluding=2) == pytest.approx(1 / 6)
    assert local(threshold=8, max_colluding=3) == pytest.approx(1 / 5)
    assert local(threshold=8, max_colluding=3, max_participants=11) == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("policy", "text", "refusal"),
    [
        (Policy(require_distributed_noise=True), "quantise(bits=8, range=0.5)", "carry no distributed noise"),
        (Policy(min_noise_multiplier=1.0), "quantise(bits=8, range=0.5)", "carry no distributed noise"),
        (Policy(min_noise_multiplier=1.0), NOISY.format(law="skellam", bits=16, z=0.99), "weaker than 1.0"),
        (Policy(min_noise_multiplier=1.0), NOISY.format(law="gaussian", bits=16, z=1.0), None),
        (Policy(require_distributed_noise=True), NOISY.format(law="gaussian", bits=16, z=0.1), None),
    ],
)
def test_a_policy_demands_noise(policy: Policy, text: str, refusal: str | None) -> None:
    config = round_config(Pipeline.parse(text))
    if refusal is None:
        policy.check(config)
        return
    with pytest.raises(PolicyViolation, match=refusal):
        policy.check(config)


def test_the_norm_that_a_clip_allows() -> None:
    """Of 100 values in four arrays, each update at the bound of its clip."""
    assert Clip(l2=2.0).norm_bound(4, 100) == 2.0
    assert Clip(l2=2.0, per_array=True).norm_bound(4, 100) == 4.0
    assert Clip(linf=2.0).norm_bound(4, 100) == 20.0


@pytest.mark.parametrize(
    "text",
    [
        "clip(l2=0.5) | quantise(bits=16, range=0.5)",
        "clip(l2=0.5) | rotate | quantise(bits=16, range=0.5)",
        "clip(l2=0.5) | sample(rate=0.5) | rotate | quantise(bits=16, range=0.5)",
        "feedback | clip(linf=9.0) | clip(l2=0.5, per=array) | quantise(bits=16, range=0.5)",
        "clip(linf=0.02) | rotate | weigh(max=3) | quantise(bits=16, range=0.5)",
    ],
)
def test_a_mean_that_is_longer_than_the_clip_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everyone at the bound is taken; four times that, each value within its range, is not."""
    code = code_of(text, 100)
    honest = [encode(code, np.full(100, 1.0), tag) for tag in range(5)]
    summed(code, honest)
    total = sum(vector.read(0, code.vector_len, np.dtype("<u8")).astype(np.int64) for vector in honest)
    middle = 5 * 65535 // 2
    size = code.vector_len - 1  # behind the values stands the weight
    made_up = np.array(total)
    made_up[:size] = np.clip(middle + 4 * (made_up[:size] - middle), 0, 5 * 65535)
    with pytest.raises(ProtocolViolation, match="the mean has norm"):
        code.decode_mean(made_up.astype(np.uint64), 5, CONTEXT)
    monkeypatch.setattr(code_module, "check_length", lambda *_: None)
    code.decode_mean(made_up.astype(np.uint64), 5, CONTEXT)  # the twin
