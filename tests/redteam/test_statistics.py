"""The statistics know random numbers from others, and do not cry wolf."""

import math
import random

import numpy as np
import pytest

from secagg.tools.redteam import statistics as s

RNG = np.random.default_rng(7)


def uniform(count: int, bits: int = 32) -> s.Residues:
    return RNG.integers(0, 1 << bits, count, dtype=np.uint64)


def test_p_values_of_uniform_residues_are_uniform() -> None:
    """Each test's p-values over many samples: below 0.05 in about one of twenty, and never absurdly small."""
    found = [p for _ in range(60) for name, p in s.ring_tests(uniform(4096), 32) if name != "repeated blocks"]
    share = float(np.mean(np.array(found) < 0.05))
    assert 0.03 < share < 0.07
    assert min(found) > 1e-7


def test_p_values_modulo_a_prime_are_uniform() -> None:
    prime = (1 << 54) - 33 * 8192 + 1
    samples = (RNG.integers(0, prime, 4096, dtype=np.uint64) for _ in range(60))
    found = [p for sample in samples for name, p in s.prime_tests(sample, prime) if name != "repeated blocks"]
    assert 0.02 < float(np.mean(np.array(found) < 0.05)) < 0.08
    assert min(found) > 1e-6


@pytest.mark.parametrize(
    ("spoil", "speaks"),
    [
        (lambda v: v & np.uint64(0xFFFFFF), "bit 31"),
        (lambda v: v | np.uint64(1), "bit 0"),
        (lambda v: v % np.uint64(3_000_000_000), "chi-square of bits 24 to 31"),
        (lambda v: np.repeat(v[::2], 2), "serial pairs, low bits"),
        (lambda v: np.tile(v[: len(v) // 2], 2), "repeated blocks"),
        (lambda v: v - v % np.uint64(256), "chi-square of bits 0 to 7"),
    ],
)
def test_every_kind_of_flaw_has_its_test(spoil, speaks) -> None:  # type: ignore[no-untyped-def]
    battery = s.Battery()
    battery.add("spoilt", s.ring_tests(spoil(uniform(40_000)), 32))
    assert speaks in {alarm.name for alarm in battery.alarms}


def test_serialised_ciphertexts_would_raise_false_alarms_as_bytes() -> None:
    """Residues below a prime are no uniform bit strings, but they are uniform modulo the prime."""
    prime = 3 * (1 << 52) + 1
    residues = RNG.integers(0, prime, 40_000, dtype=np.uint64)
    assert min(p for _, p in s.ring_tests(residues, 54)) < 1e-30
    assert min(p for _, p in s.prime_tests(residues, prime)) > 1e-6


def test_pairs_that_share_low_or_high_bits_are_noticed() -> None:
    one, other = uniform(8192), uniform(8192)
    assert min(p for _, p in s.pair_tests(one, other)) > 1e-6
    low = (other & ~np.uint64(0xFF)) | (one & np.uint64(0xFF))
    assert dict(s.pair_tests(one, low))["cross-correlation, low byte"] == 0
    high = (one & ~np.uint64(0xFFFF)) | (other & np.uint64(0xFFFF))
    assert dict(s.pair_tests(one, high))["cross-correlation, high part"] < 1e-30


def test_the_birthday_of_short_seeds() -> None:
    wide = [RNG.bytes(16) for _ in range(5000)]
    assert s.birthday_p(wide) == 1
    assert s.birthday_p([*wide, wide[0]]) < 1e-28
    two_bytes = [(i % 300).to_bytes(2, "big") for i in range(300)]
    assert s.birthday_p([*two_bytes, two_bytes[0]]) > 0.1  # repeats are expected there


def test_linear_complexity_of_a_register_and_of_chance() -> None:
    state, bits = 0b1, []
    for _ in range(200):  # x^7 + x + 1
        bits.append(state & 1)
        state = state >> 1 | ((state ^ state >> 1) & 1) << 6
    assert s.linear_complexity(bits) == 7
    assert s.linear_complexity([0] * 50) == 0
    chance = [int(b) for b in RNG.integers(0, 2, 3000)]
    assert abs(s.linear_complexity(chance) - 1500) < 12
    assert s.linear_complexity_p(chance) > 1e-6


def test_the_mersenne_twister_passes_everything_but_linear_complexity() -> None:
    twister = random.Random(3)  # noqa: S311, its weakness is the subject
    words = np.array([twister.getrandbits(32) for _ in range(42_000)], np.uint64)
    assert min(p for _, p in s.ring_tests(words, 32)) > 1e-7
    bits = (words & np.uint64(1)).tolist()
    assert s.linear_complexity(bits) == 19_937
    assert s.linear_complexity_p(bits) < 1e-100


def test_tails() -> None:
    assert s.chi_square_p(255, 255) == pytest.approx(0.488, abs=0.01)
    assert s.chi_square_p(400, 255) == pytest.approx(1.66e-8, rel=0.1)  # 1.660e-8 exactly
    assert s.coin_p(500, 1000) == 1
    assert s.coin_p(600, 1000) == pytest.approx(math.erfc(100 / math.sqrt(500)))


def test_the_family_has_one_error_rate() -> None:
    battery = s.Battery()
    battery.add("x", [(str(i), 2 * s.FAMILY_ERROR / 1000) for i in range(1000)])
    assert not battery.alarms
    battery.add("y", [("worse", 0.9 * s.FAMILY_ERROR / 1001)])
    assert [alarm.sample for alarm in battery.alarms] == ["y"]
