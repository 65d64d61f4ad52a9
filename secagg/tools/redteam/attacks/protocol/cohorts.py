"""A game over many rounds: cohorts vary, and the sums together say more than any of them."""

from itertools import combinations
from typing import Final

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.encoding.fixedpoint import FixedPoint
from secagg.tools.redteam.arena import SMALL, random_updates, rng_of
from secagg.tools.redteam.attacks.protocol.game import Game, Kind, Outcome, settle
from secagg.tools.redteam.modes import MASKED_SEMI_HONEST
from secagg.tools.redteam.participation import combination, determined
from secagg.tools.redteam.views import Arrays, record
from secagg.tools.simulation.cohort import participant_names

PEOPLE: Final = 5
COHORT: Final = 4
_CLOSE: Final = 1e-3  # of the range of a value: a hundred steps of rounding


def _found(*, varying: bool) -> bool:
    """Whether someone's update comes out of five rounds of real participants.

    Args:
        varying: whether everybody is left out once; else the same four take part each time. Models differ a little from
            round to round, so that each sum by itself is allowed, and updates are as good as the same.
    """
    names = participant_names(PEOPLE)
    updates = random_updates(SMALL, names, 9)
    config = MASKED_SEMI_HONEST.config(SMALL, COHORT, encoding=FixedPoint(1.0, 20))
    cohorts = list(combinations(names, COHORT)) if varying else [tuple(names[:COHORT])] * PEOPLE
    released = [
        record(config, {name: updates[name] for name in cohort}, rng=rng_of(number, "cohorts")).released()
        for number, cohort in enumerate(cohorts)
    ]
    sums = np.array([_flat(mean) * COHORT for mean in released])
    rounds = np.array([[name in cohort for name in names] for cohort in cohorts])
    estimates = [combination(rounds, place) @ sums for place in range(PEOPLE)]
    exact = [np.abs(one - _flat(updates[name])).max() < _CLOSE for one, name in zip(estimates, names, strict=True)]
    return any(exact) and bool(determined(rounds).any())


def _flat(arrays: Arrays) -> FloatArray:
    return np.concatenate([a.reshape(-1) for a in arrays.values()]).astype(np.float64)


def varying_cohorts() -> Outcome:
    """Each sum is allowed by itself; all of them are a system of equations with one solution."""
    return settle(lambda: _found(varying=True), got="everybody's update: as many sums as people")


def same_cohort() -> Outcome:
    """The control: the same four in every round are one equation, repeated."""
    return settle(lambda: _found(varying=False), held="one cohort is one equation", got="somebody's update")


COHORT_GAMES: Final = (
    Game(
        "varying-cohorts", "Many sums whose cohorts vary, of models that hardly move", "curious FL server",
        "So et al. 2021, arXiv 2106.03328", False,
        "distributed noise and a privacy ledger; the same cohort, or cohorts far apart", varying_cohorts,
        kind=Kind.SUMS, mode="masked-semi-honest",
    ),
    Game(
        "same-cohort", "Many sums of one and the same cohort", "curious FL server", "Dwork & Roth 2014 §1", True,
        "one equation, however often: nobody is told apart from the others", same_cohort,
        kind=Kind.SUMS, mode="masked-semi-honest",
    ),
)  # fmt: skip
