"""Metrics against cases worked out by hand."""

from math import exp, inf, log, log10

import numpy as np
import pytest

from secagg.errors import LocalError
from secagg.tools.redteam import metrics as m
from secagg.tools.redteam.metrics import Standing
from secagg.tools.redteam.statistics import proportion_interval

OTHERS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
VICTIM = np.array([1, 1, 0], np.float32)


def rows(*values: list[float]) -> m.Vectors:
    return np.array(values, np.float32)


def test_a_scaled_copy_of_the_centred_victim_is_identified() -> None:
    centre = np.vstack([VICTIM, OTHERS]).mean(axis=0)
    assert m.identify((centre + 0.01 * (VICTIM - centre))[None].astype("f4"), VICTIM, OTHERS) == Standing(1, 4)


def test_the_best_of_several_guesses_counts_for_every_record_alike() -> None:
    standing = m.identify(np.vstack([OTHERS, VICTIM[None]]), VICTIM, OTHERS)
    assert standing == Standing(4, 4)  # all four are matched perfectly, and ties count against the victim


@pytest.mark.parametrize("guess", [[0.5, 0.5, 0.25], [np.nan, 0, 0], [np.inf, 1, 1]])
def test_the_mean_and_nonsense_identify_nobody(guess: list[float]) -> None:
    assert m.identify(rows(guess), VICTIM, OTHERS) == Standing(4, 4)


def test_no_guess_is_the_last_rank() -> None:
    assert m.identify(np.empty((0, 3), np.float32), VICTIM, OTHERS) == Standing(4, 4)


def test_copies_of_the_victim_are_no_non_participants() -> None:
    assert m.identify(VICTIM[None], VICTIM, np.vstack([OTHERS, VICTIM[None]])) == Standing(1, 4)
    with pytest.raises(LocalError):
        m.identify(VICTIM[None], VICTIM, VICTIM[None])


def test_guesses_of_pure_noise_are_at_chance() -> None:
    """However many guesses there are: the attacker gains nothing by making more of them."""
    rng = np.random.default_rng(1)
    records = rng.random((20, 30)).astype("f4")
    found = [
        m.identify(rng.random((50, 30)).astype("f4"), records[i % 20], np.delete(records, i % 20, 0))
        for i in range(400)
    ]
    assert 0.02 < np.mean([s.identified for s in found]) < 0.09
    assert m.binomial_p(found) > 1e-3
    assert m.rank_p(found) > 1e-3


def test_gain_is_the_quotient_of_squared_errors() -> None:
    blind = np.zeros(3, np.float32)
    assert m.gain_db(rows([1, 1, 0.1]), VICTIM, blind) == pytest.approx(10 * log10(2 / 0.01))
    assert m.gain_db(rows([5, 5, 5], [1, 1, 0.1]), VICTIM, blind) == pytest.approx(23.01, abs=0.01)
    assert m.gain_db(VICTIM[None], VICTIM, blind) == m.MAX_DECIBEL
    assert m.gain_db(np.empty((0, 3), np.float32), VICTIM, blind) == -inf
    assert m.gain_db(rows([np.nan, 0, 0]), VICTIM, blind) == -inf
    with pytest.raises(LocalError):
        m.gain_db(VICTIM[None], VICTIM, VICTIM)


def test_pictures() -> None:
    picture = np.linspace(0, 1, 64, dtype=np.float32)
    assert m.psnr(picture, picture) == m.MAX_DECIBEL
    assert m.psnr(picture, picture + np.float32(0.1)) == pytest.approx(20, abs=1e-4)
    assert m.ssim(picture, picture) == pytest.approx(1)
    assert m.ssim(1 - picture, picture) < 0
    blurred = np.full(64, picture.mean(), np.float32)
    assert m.psnr(blurred, picture) > 10  # a blurred mean looks fine to PSNR …
    assert (
        m.identify(blurred[None], picture, np.stack([1 - picture, picture**2])).identified is False
    )  # … and tells nobody apart


def test_binomial_tail() -> None:
    assert m.upper_tail(2, 3, 0.5) == pytest.approx(0.5)
    assert m.upper_tail(0, 3, 0.5) == 1
    assert m.upper_tail(3, 3, 0.1) == pytest.approx(1e-3)
    assert m.binomial_p([Standing(1, 10), Standing(4, 10), Standing(1, 20)]) == pytest.approx(3 * 0.01 * 0.9 + 0.001)


def test_fisher_of_two_ranks() -> None:
    """Of two uniform numbers, P(uv ≤ c) = c (1 − ln c)."""
    c = 2 / 100
    assert m.rank_p([Standing(1, 10), Standing(2, 10)]) == pytest.approx(c * (1 - log(c)))
    assert m.rank_p([Standing(10, 10)]) == 1
    assert m.rank_p([Standing(1, 1000)]) == pytest.approx(exp(-log(1000)))


def test_ranks_without_leakage_are_no_smaller_than_uniform() -> None:
    rng = np.random.default_rng(2)
    p = [m.rank_p([Standing(int(rng.integers(1, 51)), 50) for _ in range(10)]) for _ in range(2000)]
    assert np.mean(np.array(p) < 0.05) < 0.065
    assert np.mean(np.array(p) < 0.01) < 0.016


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (5, 10, 0.1871, 0.8129), (1, 20, 0.0013, 0.2487)],
)
def test_clopper_pearson_against_published_tables(hits: int, trials: int, low: float, high: float) -> None:
    assert proportion_interval(hits, trials) == pytest.approx((low, high), abs=5e-5)


def test_clopper_pearson_covers() -> None:
    rng, truth = np.random.default_rng(3), 0.3
    intervals = [proportion_interval(int(rng.binomial(25, truth)), 25) for _ in range(500)]
    assert np.mean([low <= truth <= high for low, high in intervals]) >= 0.93
    with pytest.raises(LocalError):
        proportion_interval(3, 2)


def test_luck_is_what_strangers_get_from_the_same_guesses() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.normal(0, 1, (200, 3)).astype("f4"), rng.normal(0, 1, (200, 300)).astype("f4")
    for others, least, most in ((small, 3.0, 60.0), (large, 0.0, 0.0)):
        guesses = rng.normal(0, 1, (64, others.shape[1])).astype("f4")
        assert least <= m.luck_db(guesses, others, others.mean(axis=0)) <= most
    assert m.luck_db(large[:1], large[1:], large.mean(axis=0)) == 0  # the victim's own record is no luck
    assert m.luck_db(small[:0], small, small.mean(axis=0)) == 0
