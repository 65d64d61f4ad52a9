"""Fixed-point encoding: unbiased, the same for any range, never wrapping, and its error bound."""

from typing import Any

import numpy as np
import pytest

from secagg.config import MAX_PARTICIPANTS
from secagg.crypto.prg import Words, word_dtype
from secagg.crypto.secret import Secret
from secagg.encoding import fixedpoint
from secagg.encoding.arrays import FloatArray
from secagg.encoding.fixedpoint import MAX_WEIGHT, FixedPoint, FixedPointUpdate, decode_mean
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError, InputError, ProtocolViolation


def encoder(
    code: FixedPoint, values: np.ndarray[Any, np.dtype[Any]], weight: int = 1, seed: int = 0
) -> tuple[FixedPointUpdate, Schema]:
    schema = Schema.of(values)
    return FixedPointUpdate(code, schema.check(values), weight, Secret(seed.to_bytes(32, "big"))), schema


def encode(code: FixedPoint, values: np.ndarray[Any, np.dtype[Any]], weight: int = 1, seed: int = 0) -> Words:
    made, _ = encoder(code, values, weight, seed)
    return made.read(0, made.vector_len)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_encoding_is_unbiased(dtype: type) -> None:
    """One value many times: the mean of the integers is the value itself, within six standard errors."""
    code = FixedPoint(1.0, 4)
    for value in (-0.97, -0.3, 0.0, 0.1234, 0.81):
        integers = encode(code, np.full(200_000, value, dtype))[:-1].astype(np.float64)
        decoded = integers * code.step - code.clip
        error = decoded.mean() - float(dtype(value))
        assert abs(error) < 6 * code.step / 2 / np.sqrt(200_000)
        assert set(np.diff(np.unique(integers))) <= {1.0}, "rounded to one of two neighbours"


def test_rounding_down_alone_would_be_biased() -> None:
    """What the test above must be able to catch."""
    code = FixedPoint(1.0, 4)
    exact = (0.1234 + 1) / code.step
    assert abs(np.floor(exact) - exact) * code.step > 6 * code.step / 2 / np.sqrt(200_000)


@pytest.mark.parametrize("value_bits", [2, 8, 13, 16, 31, 32])
def test_any_split_into_ranges_gives_the_same(value_bits: int) -> None:
    values = np.random.default_rng(0).uniform(-2, 2, 40_000).astype(np.float32)
    made, _ = encoder(FixedPoint(1.0, value_bits, 1000), values, weight=777)
    whole = made.read(0, made.vector_len)
    assert np.array_equal(whole, made.read(0, made.vector_len)), "and so does asking again"
    for size in (64, 640, 16_384, 16_448, 39_936):
        parts = [made.read(at, min(at + size, made.vector_len)) for at in range(0, made.vector_len, size)]
        assert np.array_equal(whole, np.concatenate(parts))
    as_ring = made.read(0, made.vector_len, np.dtype("<u8"))
    assert np.array_equal(whole, as_ring)


def test_another_seed_rounds_otherwise() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 1000)
    one, other = encode(FixedPoint(1.0), values), encode(FixedPoint(1.0), values, seed=1)
    assert not np.array_equal(one, other)
    assert np.abs(one.astype(np.int64) - other.astype(np.int64)).max() <= 1


def test_values_are_clipped_and_stay_within_the_code() -> None:
    for value_bits in (2, 16, 32):
        code = FixedPoint(0.7, value_bits)
        values = np.array([-1e30, -0.7, 0.7, 1e30, np.nextafter(0.7, 1), np.finfo(np.float64).max])
        for seed in range(50):
            integers = encode(code, values, seed=seed)[:-1]
            assert integers.max() <= code.levels
            assert integers[0] == 0
            assert integers[1] == 0
            assert (integers[2:] == code.levels).all()


@pytest.mark.parametrize("value_bits", [2, 5, 16, 32])
@pytest.mark.parametrize("weight", [1, 2, 255, 2**16 - 1, 2**31 + 5, MAX_WEIGHT])
def test_weights_travel_exactly(value_bits: int, weight: int) -> None:
    code = FixedPoint(1.0, value_bits, MAX_WEIGHT)
    made, schema = encoder(code, np.zeros(3, np.float32), weight)
    assert made.read(0, made.vector_len)[3:].tolist() == [weight]
    mean = decode_mean(code, schema, made.read(0, made.vector_len, np.dtype("<u8")), 1)
    assert mean.weight == weight


@pytest.mark.parametrize("weight", [0, -1, 11, 2**40, 1.0, "1", None])
def test_weights_outside_the_task_are_refused(weight: Any) -> None:
    with pytest.raises(InputError, match="must be an integer"):
        encoder(FixedPoint(1.0, 16, 10), np.zeros(1, np.float32), weight)


@pytest.mark.parametrize("value_bits", [2, 16, 32])
@pytest.mark.parametrize("summands", [3, 4, 5, 1024, 1025, MAX_PARTICIPANTS])
def test_the_ring_holds_the_largest_sum(value_bits: int, summands: int) -> None:
    """All inputs at their maximum, n = n_max: 2^b exceeds the sum, and b is no wider than that takes."""
    code = FixedPoint(1.0, value_bits, MAX_WEIGHT)
    bits = code.ring_bits(summands)
    assert summands * code.levels < 1 << bits
    assert 1 << (bits - 1) < summands << max(value_bits, MAX_WEIGHT.bit_length())
    assert FixedPoint(1.0, value_bits, code.levels).ring_bits(summands) == value_bits + (summands - 1).bit_length()
    top = encode(code, np.full(4, 5.0, np.float32), MAX_WEIGHT)
    assert (top[:4] == code.levels).all()
    dtype = word_dtype(bits)
    total = np.zeros(len(top), dtype)
    total += top.astype(dtype) * dtype.type(summands)
    assert [int(v) for v in total] == [int(v) * summands for v in top]


def bound_holds(code: FixedPoint, dtype: type, weights: list[int], seed: int) -> bool:
    rng = np.random.default_rng(seed)
    updates: list[FloatArray] = [rng.uniform(-1.5 * code.clip, 1.5 * code.clip, 300).astype(dtype) for _ in weights]
    schema = Schema((ArraySpec("values", (300,), np.dtype(dtype).name),))
    sums = np.zeros(code.vector_len(schema), np.uint64)
    for i, (values, weight) in enumerate(zip(updates, weights, strict=True)):
        sums += encode(code, values, weight, seed=i).astype(np.uint64)
    mean = decode_mean(code, schema, sums, len(weights))
    clipped = [np.clip(values.astype(np.float64), -code.clip, code.clip) for values in updates]
    exact = np.average(clipped, axis=0, weights=weights)
    assert mean.weight == sum(weights)
    cast = np.abs(exact).max() * np.finfo(dtype).eps
    return bool(np.abs(mean.arrays["values"] - exact).max() <= mean.error_bound + cast)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value_bits", [2, 8, 16, 32])
@pytest.mark.parametrize("clip", [2.0**-64, 1e-3, 1.0, 1e6, 2.0**64])
def test_the_error_bound_holds(dtype: type, value_bits: int, clip: float) -> None:
    assert bound_holds(FixedPoint(clip, value_bits, 1), dtype, [1] * 5, seed=1)
    assert bound_holds(FixedPoint(clip, value_bits, 1000), dtype, [1, 1000, 37, 500], seed=2)
    assert bound_holds(FixedPoint(clip, value_bits, MAX_WEIGHT), dtype, [1, MAX_WEIGHT, 5], seed=3)


def test_the_error_bound_is_not_idle() -> None:
    """Real errors come near it: five summands at four bits reach a third of the bound."""
    code, schema = FixedPoint(1.0, 4), Schema((ArraySpec("values", (300,), "float64"),))
    updates = [np.random.default_rng(i).uniform(-1, 1, 300) for i in range(5)]
    sums = np.sum([encode(code, values, seed=i).astype(np.uint64) for i, values in enumerate(updates)], axis=0)
    mean = decode_mean(code, schema, sums, 5)
    assert np.abs(mean.arrays["values"] - np.mean(updates, axis=0)).max() > mean.error_bound / 5 / 3


def test_the_mean_is_of_the_schemas_shapes_and_dtypes() -> None:
    schema = Schema((ArraySpec("w", (2, 3)), ArraySpec("b", (), "float64")))
    given = {"w": np.full((2, 3), 0.25, np.float32), "b": np.array(-0.5)}
    code = FixedPoint(1.0, 32)
    made = FixedPointUpdate(code, schema.check(given), 1, Secret(bytes(32)))
    mean = decode_mean(code, schema, made.read(0, made.vector_len, np.dtype("<u8")), 1)
    assert mean.arrays["w"].shape == (2, 3)
    assert mean.arrays["w"].dtype == np.float32
    assert mean.arrays["b"].shape == ()
    assert mean.arrays["b"].dtype == np.float64
    assert np.allclose(mean.arrays["w"], 0.25, atol=1e-8)
    assert abs(float(mean.arrays["b"]) + 0.5) < 1e-8


@pytest.mark.parametrize(
    ("sums", "words"),
    [
        ([0, 0], "weight 0"),
        ([5, 2], "weight 2"),
        ([5, 31], "weight 31"),
        ([3 * 65535 + 1, 3], "beyond what 3 participants can encode"),
    ],
)
def test_sums_that_nobody_can_have_encoded(sums: list[int], words: str) -> None:
    """A participant may send anything: the sum of its garbage is refused by name where it shows."""
    with pytest.raises(ProtocolViolation, match=words):
        decode_mean(FixedPoint(1.0, 16, 10), Schema((ArraySpec("v", (1,)),)), np.array(sums, np.uint64), 3)


@pytest.mark.parametrize("clip", [0.0, -1.0, np.nan, np.inf, -np.inf, 1e-300, 1e300])
def test_clips_that_are_refused(clip: float) -> None:
    with pytest.raises(ConfigError, match="clip must be a number from"):
        FixedPoint(clip)


@pytest.mark.parametrize(("value_bits", "max_weight"), [(0, 1), (33, 1), (16, 0), (16, 2**32)])
def test_codes_that_are_refused(value_bits: int, max_weight: int) -> None:
    with pytest.raises(ConfigError, match="must be"):
        FixedPoint(1.0, value_bits, max_weight)


def extreme_sums(code: FixedPoint, schema: Schema, weights: list[int], sign: int) -> Words:
    """Everyone puts in its clip, or the negative of it."""
    values = np.full(schema.size, sign * 3 * code.clip)
    made = [
        FixedPointUpdate(code, schema.check({"v": values}), w, Secret(i.to_bytes(32))) for i, w in enumerate(weights)
    ]
    return np.asarray(np.sum([e.read(0, e.vector_len, np.dtype("<u8")) for e in made], axis=0), np.uint64)


@pytest.mark.parametrize("value_bits", [1, 2, 8, 16, 31, 32])
@pytest.mark.parametrize("weights", [[1, 1, 1], [1, 1000, 37], [1000, 1000, 1000], [1, 1, 1, 2]])
@pytest.mark.parametrize("sign", [-1, 1])
def test_no_honest_mean_is_refused(value_bits: int, weights: list[int], sign: int) -> None:
    """All at the clip, at every precision and weight."""
    schema = Schema((ArraySpec("v", (64,), "float64"),))
    for clip in (2.0**-64, 0.3, 2.0**64):
        code = FixedPoint(clip, value_bits, 1000)
        decode_mean(code, schema, extreme_sums(code, schema, weights, sign), len(weights))


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_mean_beyond_the_clip_is_refused(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator or a participant that adds to the sum: up to the bound it cannot be told, beyond it is refused."""
    schema = Schema((ArraySpec("v", (64,), "float64"),))
    code = FixedPoint(0.3, 16, 1000)
    sums = extreme_sums(code, schema, [10, 10, 10], 1)
    step_of_mean = code.step * 1000 / 30
    sums[5] = np.uint64(int(sums[5]) + 4) if sign > 0 else np.uint64(3 * code.levels - int(sums[5]) - 4)
    with pytest.raises(ProtocolViolation, match=r"the mean has a value of magnitude 0.3\d+; no inputs within the clip"):
        decode_mean(code, schema, sums, 3)
    monkeypatch.setattr(fixedpoint, "check_magnitude", lambda *_: None)
    mean = decode_mean(code, schema, sums, 3)
    assert sign * mean.arrays["v"][5] > 0.3 + 3 * step_of_mean, "the twin: whoever does not look takes it"
