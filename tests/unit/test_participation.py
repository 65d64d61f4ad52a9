"""What sums say together is what linear algebra over fractions says."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import ConfigError
from secagg.rounds import participation
from secagg.rounds.participation import KnownSum, Participation, take_part
from secagg.tools.redteam.self_test.patches import without_check

Matrix = list[list[Fraction]]


def _sums(*cohorts: str) -> list[KnownSum]:
    """A sum for each text, whose letters are its survivors."""
    return [KnownSum(f"r{number}", frozenset(cohort)) for number, cohort in enumerate(cohorts)]


def _rank(rows: Matrix) -> int:
    """By elimination with fractions."""
    rows, rank = [row.copy() for row in rows], 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((n for n in range(rank, len(rows)) if rows[n][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        for n in range(len(rows)):
            if n != rank and rows[n][column]:
                factor = rows[n][column] / rows[rank][column]
                rows[n] = [a - factor * b for a, b in zip(rows[n], rows[rank], strict=True)]
        rank += 1
    return rank


def _matrix(sums: list[KnownSum]) -> tuple[Matrix, list[str]]:
    names = sorted(frozenset[str]().union(*(each.survivors for each in sums)))
    return [[Fraction(name in each.survivors) for name in names] for each in sums], names


def test_sums_of_disjoint_cohorts_show_nobody() -> None:
    found = take_part(_sums("abc", "def", "abc"))
    assert (found.sums, found.cohorts, found.rank, found.cells) == (3, 2, 2, 2)
    assert found.singled_out == ()
    assert found.smallest_cell == ("a", "b", "c")
    assert found.standings["a"].sums == 2
    assert found.standings["a"].fewest == found.standings["a"].cell == 3


def test_two_sums_that_differ_by_one_show_it() -> None:
    found = take_part(_sums("abcd", "abc"))
    assert found.singled_out == ("d",)
    assert found.shown[0].sums == ("r0", "r1")
    assert found.standings["d"].fewest == 1
    assert found.standings["a"].fewest == 3


def test_a_combination_of_many_shows_what_no_two_do() -> None:
    found = take_part(_sums("ab", "bc", "ca"))
    assert found.singled_out == ("a", "b", "c")
    assert all(len(shown.sums) == 3 for shown in found.shown[:3])


def test_a_difference_of_two_is_no_sum_of_them() -> None:
    found = take_part(_sums("ac", "bc"))
    assert found.singled_out == ()
    pair = next(shown for shown in found.shown if shown.members == ("a", "b"))
    assert not pair.alone
    assert pair.sums == ("r0", "r1")


def test_nobody_has_nothing() -> None:
    assert take_part([]) == Participation(0, 0, 0, 0, (), (), (), {})


@settings(max_examples=150, deadline=None)
@given(st.lists(st.frozensets(st.sampled_from("abcdefgh"), min_size=1), min_size=1, max_size=9))
def test_it_agrees_with_fractions(cohorts: list[frozenset[str]]) -> None:
    sums = [KnownSum(f"r{number}", cohort) for number, cohort in enumerate(cohorts)]
    found = take_part(sums)
    matrix, names = _matrix(sums)
    rank = _rank(matrix)
    assert found.rank == rank
    for place, name in enumerate(names):
        unit = [Fraction(other == place) for other in range(len(names))]
        assert (name in found.singled_out) == (_rank([*matrix, unit]) == rank)
    for shown in found.shown:
        # what is shown is really a combination of the sums that are named: nobody else is in it
        rows = [row for row, each in zip(matrix, sums, strict=True) if each.name in shown.sums]
        others = [place for place, name in enumerate(names) if name not in shown.members]
        without = [[row[place] for place in others] for row in rows]
        assert _rank(without) < len(rows)
    assert all(len(found.smallest_cell) <= len(shown.members) for shown in found.shown)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.frozensets(st.sampled_from("abcdef"), min_size=1), min_size=1, max_size=5, unique=True))
def test_no_set_is_smaller_than_the_smallest_cell(cohorts: list[frozenset[str]]) -> None:
    """Each subset of participants that a combination holds alone has a whole cell in it."""
    sums = [KnownSum(f"r{number}", cohort) for number, cohort in enumerate(cohorts)]
    found, (matrix, names) = take_part(sums), _matrix(sums)
    rank = _rank(matrix)
    for size in range(1, len(found.smallest_cell)):
        for some in combinations(range(len(names)), size):
            rest = [[value for place, value in enumerate(row) if place not in some] for row in matrix]
            assert _rank(rest) == rank


def test_combinations_are_what_they_say() -> None:
    """The factors, put on the rows, give the reduced rows."""
    random = np.random.default_rng(7)
    matrix = random.integers(0, 2, size=(60, 40))
    reduced, made_of = participation._reduced(matrix)
    product = [
        [sum(int(a) * int(b) for a, b in zip(row, column, strict=True)) % participation.PRIME for column in matrix.T]
        for row in made_of
    ]
    assert (np.array(product) == reduced).all()
    assert len(reduced) == 40


def test_thousands_of_sums_of_hundreds_of_participants() -> None:
    """400 participants in 20 groups of 20 who always come together, and 3 who come as they like."""
    random = np.random.default_rng(11)
    sums = []
    for number in range(3000):
        names = {f"g{group}-{n}" for group in range(20) if random.random() < 0.5 for n in range(20)}
        names |= {f"free-{n}" for n in range(3) if random.random() < 0.5}
        sums.append(KnownSum(f"r{number}", frozenset(names)))
    found = take_part(sums)
    assert found.rank == found.cells == 23
    assert found.singled_out == ("free-0", "free-1", "free-2")
    assert found.standings["g3-7"].fewest == 20


def test_too_much_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(participation, "MOST_STEPS", 7)
    with pytest.raises(ConfigError, match="a shorter time"):
        take_part(_sums("ab", "bc"))
    without_check(monkeypatch, participation, "take_part", "participation-steps")
    assert participation.take_part(_sums("ab", "bc")).rank == 2
    with pytest.raises(ConfigError, match="the same name"):
        take_part([KnownSum("r", frozenset("ab"))] * 2)
