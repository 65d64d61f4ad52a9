"""Noise tables and streams against the analytic laws: probabilities, χ² with more than 10^7 draws, tails, state."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy.special import ive
from scipy.stats import binom, chi2

from secagg.crypto.rng import SeededRng, SystemRng
from secagg.crypto.secret import Secret
from secagg.errors import ConfigError
from secagg.noise import stream
from secagg.noise.laws import ONE, Law, exp_minus
from secagg.noise.stream import NoiseStream
from secagg.noise.table import PROBABILITY_BITS, NoiseTable, noise_table

VARIANCES = [Fraction(1, 4), Fraction(1), Fraction(7, 3), Fraction(50), Fraction(10_000), Fraction(800**2)]
CASES = [(law, variance) for law in Law for variance in VARIANCES]
DRAWS = 12_000_000
SIGNIFICANCE = 1e-4

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


def pmf(law: Law, variance: Fraction, largest: int) -> Floats:
    """Probabilities of −largest to largest, from the laws' definitions in floating point."""
    x, v = np.arange(-largest, largest + 1), float(variance)
    if law is Law.SKELLAM:
        return np.asarray(ive(np.abs(x), v), np.float64)
    weights = np.exp(-(x.astype(np.float64) ** 2) / (2 * v))
    return np.asarray(weights / weights.sum(), np.float64)


def seed(tag: int = 0) -> Secret:
    return Secret(SeededRng(tag.to_bytes(32, "big")).token(32))


def draw(table: NoiseTable, count: int, tag: int = 0, start: int = 0) -> Integers:
    values = np.zeros(count, np.int64)
    NoiseStream(table, seed(tag)).add_to(values, start)
    return values


def p_value(counts: Floats, expected: Floats) -> float:
    """χ², cells pooled from the tails inwards until each expects at least 20."""
    order = np.argsort(expected)
    counts, expected = counts[order], expected[order]
    small = int(np.searchsorted(np.cumsum(expected), 20)) + 1
    while small < len(expected) and expected[small] < 20:
        small += 1
    pooled = [np.array([a[:small].sum(), *a[small:]]) for a in (counts, expected)]
    statistic = float(((pooled[0] - pooled[1]) ** 2 / pooled[1]).sum())
    return float(chi2.sf(statistic, len(pooled[0]) - 1))


def goodness(law: Law, variance: Fraction, table: NoiseTable, draws: int = DRAWS) -> float:
    counts = np.zeros(2 * table.largest + 1)
    for start in range(0, draws, 1 << 20):
        values = draw(table, min(1 << 20, draws - start), start=start)
        counts += np.bincount(values + table.largest, minlength=len(counts))
    return p_value(counts, pmf(law, variance, table.largest) * draws)


@pytest.mark.parametrize(("law", "variance"), CASES)
def test_a_table_is_as_close_to_its_law_as_it_says(law: Law, variance: Fraction) -> None:
    table = noise_table(law, variance)
    assert 0 < table.distance < Fraction(1, 1 << 70)
    exact = np.array([p / (1 << PROBABILITY_BITS) for p in table.probabilities])
    # `ive` is good to about 1e-13.
    np.testing.assert_allclose(exact, pmf(law, variance, table.largest)[table.largest :], rtol=1e-11, atol=1e-22)


@pytest.mark.parametrize(("law", "variance"), CASES)
def test_columns_give_exactly_the_probabilities(law: Law, variance: Fraction) -> None:
    """Integer for integer: what each column keeps and gives away adds up to the numerators, and those to 2^128."""
    table = noise_table(law, variance)
    capacity = 1 << (PROBABILITY_BITS - table.column_bits)
    got = [0] * (2 * table.largest + 1)
    for column, alias in enumerate(table.alias.tolist()):
        stays = (int(table.threshold[column]) << 64) + int(table.fine[column])
        if column < len(got):
            got[column] += stays
        else:
            assert stays == 0
        got[alias + table.largest] += capacity - stays
    sides = list(table.probabilities[1:])
    assert got == [*reversed(sides), *table.probabilities]
    assert sum(got) == 1 << PROBABILITY_BITS


@pytest.mark.parametrize(("law", "variance"), [(law, v) for law, v in CASES if v in {1, 50, 640_000}])
def test_ten_million_draws_fit_the_law(law: Law, variance: Fraction) -> None:
    assert goodness(law, variance, noise_table(law, variance)) > SIGNIFICANCE


@pytest.mark.parametrize("law", Law)
def test_the_test_of_fit_tells_a_wrong_law(law: Law) -> None:
    """Half a percent of σ, the other law, and a table whose aliases are mixed up by one are all found out."""
    right = Fraction(50)
    other = Law.GAUSSIAN if law is Law.SKELLAM else Law.SKELLAM
    table = noise_table(law, right)
    mixed_up = replace(table, alias=np.roll(table.alias, 1))
    for wrong in (noise_table(law, right * Fraction(101, 100)), noise_table(other, right), mixed_up):
        wide = max(wrong.largest, table.largest)
        counts = np.bincount(draw(wrong, DRAWS) + wide, minlength=2 * wide + 1).astype(np.float64)
        assert p_value(counts, pmf(law, right, wide) * DRAWS) < SIGNIFICANCE


@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize("sigmas", [3, 4, 5])
def test_tails(law: Law, sigmas: int) -> None:
    variance = Fraction(100**2)
    table, draws = noise_table(law, variance), 12_000_000
    beyond = sum(int((np.abs(draw(table, 1 << 20, tag)) > sigmas * 100).sum()) for tag in range(draws >> 20))
    outside = np.abs(np.arange(-table.largest, table.largest + 1)) > sigmas * 100
    expected = float(pmf(law, variance, table.largest)[outside].sum())
    count = (draws >> 20) << 20
    assert SIGNIFICANCE < binom.cdf(beyond, count, expected) < 1 - SIGNIFICANCE


def test_reading_by_ranges_gives_the_same_samples() -> None:
    table = noise_table(Law.SKELLAM, Fraction(50))
    whole = draw(table, 50_000)
    assert np.array_equal(whole[6400:33_333], draw(table, 33_333 - 6400, start=6400))
    assert not np.array_equal(whole, draw(table, 50_000, tag=1))


def test_ties_are_broken_by_fresh_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first word equals the threshold the second decides: below `fine` stays, else goes."""
    table = noise_table(Law.SKELLAM, Fraction(50))
    column = int(np.flatnonzero(table.alias + table.largest != np.arange(len(table.alias)))[0])
    word = (int(table.threshold[column]) << table.column_bits) | column
    noise = NoiseStream(table, seed())
    for drawn, outcome in [(int(table.fine[column]) - 1, column - table.largest), (2**64 - 1, table.alias[column])]:
        monkeypatch.setattr(noise, "_fine_word", lambda _index, drawn=drawn: drawn)
        assert noise._samples(np.array([word], np.int64), 0).tolist() == [outcome]


def test_words_for_ties_are_the_streams_own() -> None:
    noise = NoiseStream(noise_table(Law.SKELLAM, Fraction(50)), seed())
    words = [noise._fine_word(i) for i in (0, 1, 63, 64, 1000)]
    assert len(set(words)) == 5
    assert words == [noise._fine_word(i) for i in (0, 1, 63, 64, 1000)]


def test_threads_read_one_stream_without_disturbing_each_other() -> None:
    noise = NoiseStream(noise_table(Law.SKELLAM, Fraction(2500)), seed())

    def read(start: int) -> Integers:
        values = np.zeros(1 << 16, np.int64)
        noise.add_to(values, start)
        return values

    starts = [i << 16 for i in range(16)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(read, starts * 2))
    alone = [read(start) for start in starts]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone * 2, strict=True))


def children(count: int) -> list[bytes]:
    """What forked children draw, each from a seed that it asks the operating system for."""
    table, outcomes = noise_table(Law.SKELLAM, Fraction(2500)), []
    for _ in range(count):
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            values = np.zeros(256, np.int64)
            NoiseStream(table, Secret(SystemRng().token(32))).add_to(values, 0)
            os.write(writer, values.tobytes())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            outcomes.append(pipe.read())
        os.waitpid(child, 0)
    return outcomes


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forks_share_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = children(4)
    assert len(set(drawn)) == 4
    assert all(len(d) == 2048 for d in drawn)
    # The twin: a generator made before the fork gives all children the same noise, and the test above would see it.
    shared = SeededRng(bytes(32))
    monkeypatch.setattr(SystemRng, "token", lambda _self, size: shared.token(size))
    assert len(set(children(4))) == 1


@pytest.mark.parametrize("variance", [Fraction(0), Fraction(-1), Fraction(1, 5), Fraction(13_000**2)])
def test_variances_without_a_table(variance: Fraction) -> None:
    with pytest.raises(ConfigError, match="change bits or z"):
        noise_table(Law.SKELLAM, variance)


@pytest.mark.parametrize("x", [Fraction(1, 10**9), Fraction(1, 3), Fraction(2), Fraction(20)])
def test_bounds_on_the_exponential(x: Fraction) -> None:
    bounds = exp_minus(x)
    assert bounds.low < bounds.high
    assert (bounds.high - bounds.low) / ONE < 1e-50
    assert bounds.low / ONE == pytest.approx(math.exp(-x), rel=1e-14)


def test_the_stride_is_whole_aligned_blocks() -> None:
    assert stream.STRIDE % 64 == 0
