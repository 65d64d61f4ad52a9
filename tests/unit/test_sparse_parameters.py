"""The parameters of a ring: found as published tables say, and refused where one of three events is too frequent."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import combinations
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import ConfigError
from secagg.sparse import tails
from secagg.sparse.finder import _log_tails, choose, find_ring
from secagg.sparse.ring import Ring
from secagg.sparse.tails import check, upper_tail
from secagg.tools.redteam.self_test.patches import without_check

FOUND = """
300   0.05 0.05 | 26/14  | 50/37    | 60/46    | 62/48    | 40/28
1000  0.05 0.05 | 32/18  | 66/47    | 82/61    | 90/68    | 68/51
10000 0.05 0.05 | 38/21  | 82/58    | 102/75   | 114/85   | 78/59
1000  0.1  0.1  | 52/28  | 126/88   | 156/113  | 166/122  | 126/92
10000 0.1  0.1  | 60/32  | 160/111  | 198/142  | 214/155  | 153/112
1000  0.1  0.3  | 102/39 | 518/313  | 578/356  | 600/372  | 457/277
10000 0.1  0.3  | 126/48 | 1014/606 | 1190/722 | 1264/771 | 917/561
1000  0.2  0.2  | 110/58 | 384/264  | 448/315  | 474/336  | 366/256
10000 0.2  0.2  | 136/71 | 618/420  | 758/525  | 822/573  | 598/419
"""
"""n, γ, δ | degree/threshold where the coordinator is semi-honest | where it is active and may try 1 | 2^40 | 2^60
rings | committee for 2^60. σ = 40, η = 30, every participant comes.
"""

PUBLISHED = """
0.05 0.05 | 12/6  34/18   38/21   44/24   | 16/11 62/43   74/51   86/59
0.1  0.1  | 22/11 52/28   60/32   70/37   | 32/22 114/78  144/98  168/114
0.1  0.3  | 36/11 102/39  126/48  144/55  | 72/42 462/273 936/555 1202/712
0.2  0.2  | 42/21 112/59  136/71  160/83  | 62/42 340/229 566/381 696/468
0.33 0.33 | 68/34 310/159 480/246 576/294 |
"""
"""γ, δ | semi-honest | active; for 100, 10³, 10⁴ and 10⁶ participants. By the conditions of Bell et al. 2020:
thresholds without the owner's own share, and dropouts at random also where the coordinator is active.
"""


def ring(**changed: int) -> Ring:
    """The ring for 1000 members of whom 100 collude, where the coordinator is active."""
    least = Ring(degree=166, neighbour_threshold=122, committee=126, committee_threshold=92, min_participants=1000)
    return replace(least, **changed)


PLAIN = ring(degree=52, neighbour_threshold=28, committee=0, committee_threshold=0)
"""The same where it is semi-honest."""


def weak(judged: Ring, *, colluding: int = 100, threshold: int = 900, most: int = 1000, active: bool = True) -> str:
    """Which event is too frequent; nothing if none is."""
    bits = 100 if active else 40
    return tails.weakness(judged, threshold, most, colluding, active=active, bits=bits) or ""


def case(row: str) -> str:
    return " ".join(row.split("|", maxsplit=1)[0].split())


@pytest.mark.parametrize("row", FOUND.strip().splitlines(), ids=case)
def test_the_finder_gives_the_table(row: str) -> None:
    names, *cells = row.split("|")
    n, colluding, dropouts = int(names.split()[0]), *map(Fraction, names.split()[1:])
    asked = partial(
        find_ring,
        max_participants=n,
        max_colluding=int(colluding * n),
        threshold=n - int(dropouts * n),
        min_participants=n,
        dropouts=float(dropouts),
    )
    found = [asked(active=False), *(asked(grinding_bits=tries) for tries in (0, 40, 60))]
    read = [f"{one.degree}/{one.neighbour_threshold}" for one in found]
    assert [*read, f"{found[-1].committee}/{found[-1].committee_threshold}"] == [cell.strip() for cell in cells]


def published(n: int, colluding: Fraction, dropouts: Fraction, *, active: bool) -> str:
    """Degree and threshold by the conditions of the paper."""
    bad, lost, places = int(colluding * n), int(dropouts * n), log(n)
    for k in range(2, n - 1, 2):
        pairs = places + log(n - k - 1) - log(2)
        if pairs + _log_tails(n, bad + lost, k)[k] >= -41 * log(2):
            continue
        most_bad = int(np.argmax(_log_tails(n, bad, k) <= -41 * log(2) - places)) - 1
        shares = (-(-(4 * (most_bad + k) - 5) // 8) if active else most_bad) + 1
        if _log_tails(n, lost, k)[k - shares + 1] < -30 * log(2) - places:
            return f"{k}/{shares}"
    raise AssertionError


@pytest.mark.parametrize("row", PUBLISHED.strip().splitlines(), ids=case)
def test_by_the_conditions_of_the_paper_the_tails_give_the_table_of_the_paper(row: str) -> None:
    names, *cells = row.split("|")
    colluding, dropouts = map(Fraction, names.split())
    for active, known in zip((False, True), (cell.split() for cell in cells), strict=True):
        found = [published(n, colluding, dropouts, active=active) for n in (100, 1000, 10_000, 10**6) if known]
        assert found == known


@pytest.mark.parametrize("row", ["0.33 0.33", "0.2 0.4"])
def test_where_no_ring_is_both_safe_and_available_the_finder_says_so(row: str) -> None:
    colluding, dropouts = map(float, row.split())
    with pytest.raises(ConfigError, match="take the complete graph"):
        find_ring(
            max_participants=300,
            max_colluding=int(colluding * 300),
            threshold=200,
            min_participants=300,
            dropouts=dropouts,
        )


def test_the_finder_refuses_what_is_no_cohort() -> None:
    with pytest.raises(ConfigError, match="must be below threshold"):
        find_ring(max_participants=300, max_colluding=15, threshold=200, min_participants=199)
    with pytest.raises(ConfigError, match="a share from 0 to 1"):
        find_ring(max_participants=300, max_colluding=15, threshold=200, dropouts=1.5)


def test_a_tail_counts_the_draws() -> None:
    for population, marked, draws in ((7, 3, 4), (8, 6, 5), (6, 0, 3), (6, 6, 2), (9, 2, 9)):
        drawn = [sum(member < marked for member in drawn) for drawn in combinations(range(population), draws)]
        for least in range(-1, draws + 3):
            assert upper_tail(population, marked, draws, least) == (sum(x >= least for x in drawn), len(drawn))


def test_a_ring_of_the_table_is_safe_for_every_size_from_its_least_on() -> None:
    check(ring(), threshold=900, max_participants=1000, max_colluding=100, active=True)
    check(ring(), threshold=900, max_participants=10_000, max_colluding=100, active=True)


REFUSED = [
    ("active_weakness", "C101-cut", "cut the ring", partial(weak, ring(neighbour_threshold=121))),
    ("active_weakness", "C101-cut", "cut the ring", partial(weak, ring(min_participants=900))),
    ("active_weakness", "C101-cut", "cut the ring", partial(weak, ring(), colluding=110)),
    ("active_weakness", "C101-two-texts", "two lists", partial(weak, ring(committee_threshold=91))),
    ("active_weakness", "C101-two-texts", "two lists", partial(weak, ring(committee=127))),
    (
        "semi_honest_weakness",
        "C101-owner",
        "both secrets",
        partial(weak, replace(PLAIN, neighbour_threshold=24), active=False),
    ),
    ("semi_honest_weakness", "C101-cut", "dropouts and colluders", partial(weak, PLAIN, threshold=620, active=False)),
    # 900 survivors are nearly all of 1000 members, and less than half of 2000: the others may have dropped out.
    ("semi_honest_weakness", "C101-cut", "dropouts and colluders", partial(weak, PLAIN, most=2000, active=False)),
]


@pytest.mark.parametrize(("function", "marker", "reason", "judged"), REFUSED)
def test_a_ring_that_is_a_little_weaker_is_refused(
    function: str, marker: str, reason: str, judged: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not weak(ring())
    assert not weak(PLAIN, active=False)
    assert reason in judged()
    without_check(monkeypatch, tails, function, marker)
    assert reason not in judged()


def test_colluders_around_an_owner_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # In all rings that were tried, those who surround an owner are rarer than those who cut the ring.
    judged = partial(weak, ring(neighbour_threshold=117))
    assert "both secrets" in judged()
    without_check(monkeypatch, tails, "active_weakness", "C101-owner")
    assert "cut the ring" in judged()
    assert "cut the ring" in weak(ring(neighbour_threshold=118))


def test_a_ring_that_is_refused_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"100 colluders among 900 .* cut the ring.* secagg\.find_ring"):
        check(ring(min_participants=900), threshold=900, max_participants=1000, max_colluding=100, active=True)


def test_an_active_coordinator_may_have_tried_2_to_the_60_rings_and_another_one() -> None:
    asked = {"max_participants": 1000, "max_colluding": 100, "threshold": 900}
    for grinding, safe in ((60, True), (40, False)):
        found = find_ring(**asked, min_participants=1000, grinding_bits=grinding)  # type: ignore[arg-type]
        assert (not weak(found)) is safe
    check(PLAIN, **asked, active=False)
    weaker = replace(PLAIN, neighbour_threshold=27)
    with pytest.raises(ConfigError):
        check(weaker, **asked, active=False)


def three_events(n: int, k: int, c: int, shares: int, size: int) -> list[tails.Event]:
    """Owner, cut and committee in a cohort of n."""
    half = k // 2
    return [
        tails._owner(n, c, k, 2 * shares - k - 1),
        tails._cut(n, c, half, shares - 1 - half),
        tails._two_texts(n, c, size, size // 3),
    ]


def bound(event: tails.Event) -> Fraction:
    """How frequent an event is at most, in a cohort of just this size."""
    return event.places * Fraction(event.ways, event.draws)


@settings(max_examples=200)
@given(st.data())
def test_what_is_rare_in_a_cohort_is_rarer_in_every_larger_one(data: st.DataObject) -> None:
    n = data.draw(st.integers(6, 60), "members")
    k, c = 2 * data.draw(st.integers(1, (n - 2) // 2)), data.draw(st.integers(0, n - 2), "colluders")
    shares, size = data.draw(st.integers(2, k), "t_k"), data.draw(st.integers(3, n), "committee")
    cohorts = [three_events(members, k, c, shares, size) for members in (n, n + 1, n + 2, n + 7, n + 100)]
    for event, *larger in zip(*cohorts, strict=True):
        if event.rare(0):
            assert all(bound(one) <= bound(event) for one in larger)


def test_colluders_may_cut_a_ring_more_often_if_one_more_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    # 26 of 28 members are neighbours. With 29, two stretches can stand apart at twice as many places.
    smaller, larger = (three_events(n, 26, 8, 22, 3)[1] for n in (28, 29))
    assert bound(smaller) < bound(larger) < Fraction(1, 2**17)
    assert not smaller.rare(17)
    without_check(monkeypatch, tails.Event, "rare", "C101-larger-cohorts")
    assert smaller.rare(17)


def test_what_cannot_happen_is_rare_on_the_smallest_ring() -> None:
    # With one colluder, no owner has two, no stretch has two, and no two texts have two signers in common.
    small = Ring(degree=6, neighbour_threshold=6, committee=5, committee_threshold=4, min_participants=8)
    check(small, threshold=5, max_participants=12, max_colluding=1, active=True)
    for changed in ({"neighbour_threshold": 5}, {"committee_threshold": 3}):
        with pytest.raises(ConfigError):
            check(replace(small, **changed), threshold=5, max_participants=12, max_colluding=1, active=True)


def test_a_ring_is_chosen_where_it_halves_the_peers() -> None:
    chosen = choose(max_participants=1000, max_colluding=50, threshold=667, active=True)
    assert chosen is not None
    assert chosen.degree + chosen.committee <= 499
    assert chosen.min_participants == 667
    assert chosen == find_ring(max_participants=1000, max_colluding=50, threshold=667)
    plain = choose(max_participants=1000, max_colluding=100, threshold=501, active=False)
    assert plain is not None
    assert plain.committee == 0
    # With 145 colluders a ring would be safe, but half of all would be peers of everybody.
    assert choose(max_participants=300, max_colluding=45, threshold=201, active=True) is None
    find_ring(max_participants=300, max_colluding=45, threshold=201)
    assert choose(max_participants=100, max_colluding=3, threshold=67, active=True) is None
    assert choose(max_participants=10, max_colluding=3, threshold=7, active=True) is None
