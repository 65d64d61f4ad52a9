"""How much of a record came back: re-identification first, decibels second, pictures last.

A blurred mean scores well on PSNR and SSIM and tells nobody apart; therefore the gate is re-identification. id@1: of
all non-participants and the victim, the record that a reconstruction resembles most is the victim. Without leakage
the victim is any one of them, so id@1 and the rank have exact p-values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log, log10
from typing import Any, Final

import numpy as np

from secagg.errors import LocalError
from secagg.tools.redteam.statistics import chi_square_p, proportion_interval, special

MAX_DECIBEL: Final = 60.0
"""What an exact reconstruction counts as: six decimal digits are float32's own limit."""

EXACT_DECIBEL: Final = 30.0
"""A reconstruction with this gain is called exact: its error is a thousandth of the blind guess's."""

HIDDEN_P: Final = 1e-4
"""A hidden view is no less probable than this under chance."""

HIDDEN_GAIN_DB: Final = 3.0
"""No trial on a hidden view gains more."""

_LUCK: Final = 0.95
_SURE: Final = 0.95
_SSIM_K: Final = (0.01, 0.03)

Vectors = np.ndarray[Any, np.dtype[np.float32]]
"""float32[count, d]: one record or reconstruction a row."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the victim stands among those who could have been it.

    Attributes:
        rank: 1 for the record that reconstructions resemble most; ties count against the victim.
        pool: number of records, the victim's included.
    """

    rank: int
    pool: int

    @property
    def identified(self) -> bool:
        """Whether the true record is the nearest to the guess of all candidates (id@1)."""
        return self.rank == 1


@dataclass(frozen=True, slots=True)
class Bar:
    """What an attack must reach on its positive control, far beyond any guess; else its failures prove nothing.

    Attributes:
        judged: what counts as success, for people.
        identified: least share of trials with id@1.
        gain_db: least gain over the blind guess in every trial; −∞ where distance says nothing.
        exact: least share of the whole cohort's records that come back exactly in every trial.
        labels: least share of trials in which the label is inferred, of attacks that infer one.
    """

    judged: str = "the victim's record: id@1 in 90 % of the trials, 10 dB over the blind guess in every trial"
    identified: float = 0.9
    gain_db: float = 10.0
    exact: float = 0.0
    labels: float = 0.9


RECORD: Final = Bar()
COHORT: Final = Bar("the cohort's records: 40 % of them exact in every trial", identified=0, gain_db=-inf, exact=0.4)
MEMBER: Final = Bar("which of 300 candidates took part: the right one in 90 % of the trials", gain_db=-inf)


def identify(candidates: Vectors, victim: Vectors, others: Vectors) -> Standing:
    """Compare every reconstruction with every record by mean-centred cosine; each record counts with its best one.

    The attacker does not say which of its reconstructions is the victim, so many of them raise no one's chance.

    Args:
        candidates: float32[k, d], k ≥ 0.
        victim: float32[d].
        others: float32[m, d], non-participants; copies of the victim's record are left out.
    """
    others = others[np.any(others != victim, axis=1)]
    if not len(others):
        raise LocalError("re-identification needs non-participants whose records differ from the victim's")
    pool = np.concatenate([victim[None], others]).astype(np.float64)
    if not len(candidates):
        return Standing(len(pool), len(pool))
    centre = pool.mean(axis=0)
    likeness = (_directions(pool - centre) @ _directions(candidates - centre).T).max(axis=1)
    return Standing(1 + int(np.sum(likeness[1:] >= likeness[0])), len(pool))


def _directions(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Rows of length 1; rows that are zero or not finite become zero, which resembles nothing."""
    rows = np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, 0.0).astype(np.float64)
    scale = np.abs(rows).max(axis=1, keepdims=True)
    rows = rows / np.where(scale == 0, 1.0, scale)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    directions: np.ndarray[Any, np.dtype[np.float64]] = rows / np.where(lengths == 0, 1.0, lengths)
    return directions


def gain_db(candidates: Vectors, victim: Vectors, blind: Vectors) -> float:
    """How far the best guess's squared error lies below the blind guess's, at most 60 dB; −∞ without a finite one."""
    if not len(candidates):
        return -inf
    errors = np.mean((candidates.astype(np.float64) - victim) ** 2, axis=1)
    error = float(np.min(np.where(np.isfinite(errors), errors, inf)))
    guess = float(np.mean((blind.astype(np.float64) - victim) ** 2))
    if guess == 0:
        raise LocalError("the blind guess is the victim's record; draw another victim")
    if error == inf:
        return -inf
    return min(MAX_DECIBEL, 10 * log10(guess / error)) if error else MAX_DECIBEL


def luck_db(candidates: Vectors, others: Vectors, blind: Vectors) -> float:
    """The gain that 95 % of non-participants stay below with the same guesses; at least 0.

    They gave nothing to guess from, so as much is luck: of many guesses at records of few values, one comes near.
    """
    if not len(candidates):
        return 0.0
    guesses, records = candidates.astype(np.float64), others.astype(np.float64)
    squares = (guesses**2).sum(axis=1)[None] - 2 * records @ guesses.T + (records**2).sum(axis=1)[:, None]
    nearest = np.maximum(squares.min(axis=1), np.finfo(np.float32).tiny)
    misses = np.maximum(((records - blind) ** 2).sum(axis=1), np.finfo(np.float32).tiny)
    return max(0.0, float(np.quantile(10 * np.log10(misses / nearest), _LUCK)))


def psnr(picture: Vectors, original: Vectors, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB, at most 60."""
    error = float(np.mean((picture.astype(np.float64) - original) ** 2))
    return min(MAX_DECIBEL, 10 * log10(peak**2 / error)) if error else MAX_DECIBEL


def ssim(picture: Vectors, original: Vectors, peak: float = 1.0) -> float:
    """Structural similarity over the whole picture as one window, −1 to 1 (Wang et al. 2004, equation 13)."""
    x, y = picture.astype(np.float64).ravel(), original.astype(np.float64).ravel()
    c1, c2 = ((k * peak) ** 2 for k in _SSIM_K)
    covariance = float(np.mean((x - x.mean()) * (y - y.mean())))
    likeness = (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)
    return float(likeness * (2 * covariance + c2) / (x.var() + y.var() + c2))


def binomial_p(standings: Sequence[Standing]) -> float:
    """Probability of at least as many identifications if every victim is any one of its pool.

    Pools of different sizes: chance is taken from the smallest, which makes p larger, never smaller.
    """
    chance = 1 / min(standing.pool for standing in standings)
    return upper_tail(sum(s.identified for s in standings), len(standings), chance)


def rank_p(standings: Sequence[Standing]) -> float:
    """Fisher's combination of the trials' rank/pool. They are no smaller than uniform numbers, so p is an upper bound.

    −2 Σ ln p is χ² with 2T degrees of freedom.
    """
    return chi_square_p(-2 * sum(log(s.rank / s.pool) for s in standings), 2 * len(standings))


def upper_tail(hits: int, trials: int, chance: float) -> float:
    """How likely a binomial variable is to be `hits` or more."""
    return float(special.bdtrc(hits - 1, trials, chance)) if hits else 1.0


def smallest_leak(trials: int, chance: float) -> float:
    """The smallest share of named victims that the gate of hidden views finds with 95 % in so many trials; inf if none.

    The gate speaks where chance would name as many or more with a probability below 1e-4.
    """
    needed = next((hits for hits in range(1, trials + 1) if upper_tail(hits, trials, chance) < HIDDEN_P), None)
    if needed is None:
        return inf
    return float(special.betaincinv(needed, trials - needed + 1, _SURE))  # where as many are named with 95 %


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one trial ended.

    Attributes:
        standing: of the victim among the non-participants.
        gain_db: over the blind guess.
        luck_db: gain that means nothing: what non-participants' records get from the same guesses.
        exact: share of all participants' records that came back with a gain of 30 dB or more.
        label: whether the victim's label was inferred; None where the attack infers none.
        label_chance: that the commonest label is the victim's.
        victim: float32[d], the record.
        best: float32[d], the reconstruction nearest to it; None without any.
    """

    standing: Standing
    gain_db: float
    luck_db: float
    exact: float
    label: bool | None
    label_chance: float
    victim: Vectors
    best: Vectors | None


@dataclass(frozen=True, slots=True)
class Score:
    """Trials of one attack on one kind of view, taken together.

    Attributes:
        trials: how many.
        identified: share with id@1.
        interval: its 95 % confidence interval (Clopper–Pearson).
        chance: id@1 of a guess.
        binomial_p: of id@1 against chance.
        rank_p: of the ranks against chance.
        worst_gain_db: smallest gain.
        best_gain_db: largest gain.
        best_excess_db: largest gain beyond luck.
        exact: mean share of exact records.
        least_exact: the smallest such share of a trial.
        labels: share of inferred labels; None where none are.
        label_p: of that share against always naming the commonest label; 1 where none are inferred.
    """

    trials: int
    identified: float
    interval: tuple[float, float]
    chance: float
    binomial_p: float
    rank_p: float
    worst_gain_db: float
    best_gain_db: float
    best_excess_db: float
    exact: float
    least_exact: float
    labels: float | None
    label_p: float

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> "Score":
        """The score of one or more trials."""
        standings = [outcome.standing for outcome in outcomes]
        gains = [outcome.gain_db for outcome in outcomes]
        hits = sum(standing.identified for standing in standings)
        labels = [outcome.label for outcome in outcomes if outcome.label is not None]
        return cls(
            len(outcomes),
            hits / len(outcomes),
            proportion_interval(hits, len(outcomes)),
            1 / min(standing.pool for standing in standings),
            binomial_p(standings),
            rank_p(standings),
            min(gains),
            max(gains),
            max(outcome.gain_db - outcome.luck_db for outcome in outcomes),
            float(np.mean([outcome.exact for outcome in outcomes])),
            min(outcome.exact for outcome in outcomes),
            float(np.mean(labels)) if labels else None,
            upper_tail(sum(labels), len(labels), outcomes[0].label_chance) if labels else 1.0,
        )

    @property
    def hits(self) -> int:
        """In how many trials the true record was the nearest to the guess (id@1)."""
        return round(self.identified * self.trials)

    def reaches(self, bar: Bar) -> bool:
        """Whether a positive control is good enough: it must reach the attack's bar."""
        recovered = self.identified >= bar.identified and self.worst_gain_db >= bar.gain_db
        return recovered and self.least_exact >= bar.exact and (self.labels is None or self.labels >= bar.labels)

    @property
    def at_chance(self) -> bool:
        """What a hidden view must show: p-values of 1e-4 or more, and 3 dB or less beyond luck in every trial."""
        p = min(self.binomial_p, self.rank_p, self.label_p)
        return p >= HIDDEN_P and self.best_excess_db <= HIDDEN_GAIN_DB
