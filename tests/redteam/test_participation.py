"""Sums of many rounds: who is determined, and that the product's rule leaves nobody who is."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from secagg.messages import ParticipantId
from secagg.rounds.releases import Release, singled_out
from secagg.tools.redteam.attacks.protocol.cohorts import same_cohort, varying_cohorts
from secagg.tools.redteam.participation import Rounds, combination, determined

COHORTS = arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(2, 8)))


@given(COHORTS)
def test_who_is_determined_comes_out_exactly(rounds: Rounds) -> None:
    updates = np.random.default_rng(0).normal(size=(rounds.shape[1], 3))
    for place in np.flatnonzero(determined(rounds)):
        found = combination(rounds, int(place)) @ (rounds @ updates)
        np.testing.assert_allclose(found, updates[place], atol=1e-6)


@given(COHORTS)
@settings(max_examples=300)
def test_the_products_rule_leaves_nobody_determined(rounds: Rounds) -> None:
    """Cells of two or more: no combination of the sums is one person alone."""
    names = [ParticipantId(f"p{i}") for i in range(rounds.shape[1])]
    sums = [Release(b"", frozenset(n for n, there in zip(names, row, strict=True) if there), 2) for row in rounds]
    alone = {names[i] for i in np.flatnonzero(determined(rounds))}
    if not singled_out([release for release in sums if release.survivors]):
        assert not alone


def test_the_rule_is_needed() -> None:
    """Without it, two sums that differ by one person give that person away."""
    assert determined(np.array([[True, True, True], [True, True, False]])).tolist() == [False, False, True]


def test_cohorts_that_vary_are_equations_and_the_same_one_is_not() -> None:
    assert not varying_cohorts().stopped
    assert same_cohort().stopped
