"""Sentences and counts of the report are made of the run: a made-up result in which a defence fails changes them."""

from dataclasses import replace

import numpy as np
import pytest

from secagg.tools.charts.origin import Origin
from secagg.tools.redteam import guidance
from secagg.tools.redteam.attacks.protocol import GAMES
from secagg.tools.redteam.attacks.protocol.game import Outcome, Played, play
from secagg.tools.redteam.claims import CLAIMS, COLUMNS
from secagg.tools.redteam.dp_audit import distance_of, epsilon_of, found_with, gaussian_bound
from secagg.tools.redteam.measured import Measured, NoisePoint, Power, RoundsPoint, Tried
from secagg.tools.redteam.metrics import RECORD, smallest_leak, upper_tail
from secagg.tools.redteam.power import powers
from secagg.tools.redteam.report import render
from secagg.tools.redteam.results import BROKEN, Attempt, CurvePoint, DefenceRow, RedTeamFindings
from secagg.tools.redteam.risks import RISKS, State, figures
from secagg.tools.redteam.statistics import proportion_interval

EMPTY = RedTeamFindings(
    profile="quick", seed=0, command="run", origin=Origin("a day", "abc1234", "run", {"secagg": "0"})
)


def tried(attack: str, hits: int, trials: int = 8) -> Tried:
    return Tried(attack, trials, hits / trials, proportion_interval(hits, trials), 1 / 300)


def compressed(*attacks: Tried) -> DefenceRow:
    return DefenceRow(attacks, "1-bit", "1-bit values", tried("first-layer on x", 0))


def test_what_compression_stops_follows_the_strongest_attack() -> None:
    """One-bit values stop inversion, and a list of candidates names half: they stop nothing then."""
    inverted = tried("first-layer on x", 0)
    [stops] = guidance.compression([compressed(inverted, tried("membership on y", 0, 4))])
    assert "No attack that was tried got beyond chance through 1-bit values (fewer than 60% with 95 %)" in stops
    [fails] = guidance.compression([compressed(inverted, tried("membership on y", 2, 4))])
    assert "1-bit values: membership on y 50% (7% to 93%)" in fails
    assert "Only the naive attacker is stopped by 1-bit values" in fails
    assert "No compression that was tried stops the strongest attack" in fails
    assert "beyond chance through" not in fails


def noisy(z: float, line: str, hits: int) -> NoisePoint:
    return NoisePoint(line, z, tried(f"{line} on x", hits), 0.0, real=True)


def test_what_noise_stops_follows_the_strongest_attack() -> None:
    quiet = [noisy(0.1, "low-rank", 0), noisy(1.634, "low-rank", 0)]
    [said] = guidance.noise([*quiet, noisy(0.1, "membership", 7), noisy(1.634, "membership", 0)])
    assert "The last attack still succeeds at z = 0.1; at z = 1.634" in said
    assert "no attack that was tried there (2) got beyond chance (fewer than 37% with 95 %)" in said
    [failed] = guidance.noise([*quiet, noisy(0.1, "membership", 7), noisy(1.634, "membership", 6)])
    assert "Even at z = 1.634, ε = 2.5, membership on x names 75%" in failed
    assert "does not suffice" in failed
    assert "no attack" not in failed


def test_what_cohorts_hide_follows_the_strongest_attack() -> None:
    hidden = CurvePoint((tried("first-layer on x", 0, 200), tried("membership on y", 0, 200)), 64, 0.0)
    small = CurvePoint((tried("first-layer on x", 200, 200),), 2, 0.0)
    assert guidance.cohorts([small, hidden])[1] == "Guidance: ask for 64 honest participants or more."
    listed = replace(hidden, tried=(hidden.tried[0], tried("membership on y", 180, 200)))
    [figures_, advice] = guidance.cohorts([small, listed])
    assert "n = 64: membership on y names 90%" in figures_
    assert "no cohort up to 64 is enough" in advice


def test_what_rounds_give_follows_the_strongest_attack() -> None:
    one, many = (RoundsPoint((tried("first-layer on x", 0),), "same cohort", n, 0.0) for n in (1, 48))
    assert "0% (0% to 37%) from 48" in guidance.rounds([one, many], EMPTY)[0]
    many = replace(many, tried=(*many.tried, tried("membership on x", 8)))
    assert "100% (63% to 100%) from 48" in guidance.rounds([one, many], EMPTY)[0]


def attempt(**changes: object) -> Attempt:
    made = Attempt(
        name="first-layer", attack="inversion", paper="P", target="digits", mode="masked-active", sight="all traffic",
        participants=4, control=False, exposed_by_design=False, bar=RECORD, trials=5, identified=0.0,
        interval=proportion_interval(0, 5), chance=0.001, binomial_p=1.0, rank_p=0.4, worst_gain_db=-5.0,
        best_gain_db=-3.0, best_excess_db=-3.0, exact=0.0, least_exact=0.0, labels=None, label_p=1.0,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def test_an_answer_to_a_fear_is_what_the_run_says() -> None:
    images = next(risk for risk in RISKS if risk.attacks[:1] == ("first-layer",))
    assert [state for _, state in figures(images, EMPTY).answered] == [State.NOT_ATTACKED.value] * 2
    held = replace(EMPTY, attempts=(attempt(),))
    assert figures(images, held).answered[0] == ("secure aggregation", State.SHOWN.value)
    assert figures(images, held).held == ("0 of 5 named in the worst of 1 view (95 %: 0% to 52%; a guess 0.1%)",)
    leaky = replace(held, attempts=(attempt(rank_p=1e-9),))
    assert figures(images, leaky).answered[0] == ("secure aggregation", State.FAILED.value)
    assert State.FAILED.value in render(leaky)


def test_games_are_counted_by_mode_and_those_that_nobody_stops_are_counted_too() -> None:
    names = ("key-substitution", "key-substitution-unsigned", "cohort-of-one")
    games = tuple(play(GAMES[name]) for name in names)
    lying = next(risk for risk in RISKS if "lies about keys" in risk.title)
    assert figures(lying, replace(EMPTY, games=games)).games == (
        "masked-active: 1 of 1 stopped",
        "masked-semi-honest: 1 of 2 stopped; not: key-substitution-unsigned",
    )
    page = render(replace(EMPTY, games=games))
    assert "2 of 2" in page
    assert "1 more are not claimed" in page


def test_a_claim_counts_evidence_of_its_own_mode_alone() -> None:
    sybils = next(claim for claim in CLAIMS if "Sybil" in claim.threat)
    played = replace(EMPTY, games=(Played(GAMES["sybils"], Outcome(False, "won")),))
    assert [cell.verdict(played) for cell in sybils.cells] == [
        "not attacked", "holds only if", "not attacked", "not attacked",
    ]  # fmt: skip
    stopped = replace(EMPTY, games=(Played(GAMES["sybils"], Outcome(True, "somehow")),))
    assert sybils.cells[1].verdict(stopped) == "NOT SHOWN"
    page = render(played)
    assert "not attacked" in page
    assert "1 shown by" in page  # in words, not only where a mouse rests


def test_every_piece_of_evidence_exists_and_has_a_mode_of_a_column() -> None:
    modes = {mode for column in COLUMNS for mode in column.modes}
    assert {game.mode for game in GAMES.values()} <= modes


def test_rates_say_how_far_they_reach() -> None:
    few, many = attempt(), attempt(name="text", trials=20, interval=proportion_interval(0, 20))
    page = render(replace(EMPTY, attempts=(few, many, attempt(control=True, identified=1.0, worst_gain_db=60.0))))
    assert "0 of 25" in page
    assert "up to 52% for the attack with the fewest trials" in page
    assert "13.7% with 95 %" in page
    assert "a guess names 0.1%" in page


def test_the_heading_says_what_sums_show() -> None:
    hidden = replace(EMPTY, attempts=(attempt(),))
    assert "still show people" not in render(hidden)
    assert "see nothing here" not in render(hidden)
    shown = replace(hidden, curve=(CurvePoint((tried("first-layer on x", 8),), 2, 60.0),))
    assert "released sums of few still show people" in render(shown)


def test_a_page_names_where_it_comes_from() -> None:
    page = render(EMPTY)
    for wanted in ("a day", "abc1234", "<code>run</code>", "secagg 0"):
        assert wanted in page


# --- power ------------------------------------------------------------------------------------------------------------


def test_the_smallest_leak_is_found_and_a_smaller_one_is_not_sure_to_be() -> None:
    size = smallest_leak(5, 0.001)
    assert upper_tail(2, 5, size) == pytest.approx(0.95, abs=1e-3)
    assert upper_tail(1, 5, 0.001) > 1e-4 > upper_tail(2, 5, 0.001)
    assert smallest_leak(20, 0.001) < size < 1
    assert smallest_leak(1, 0.001) > 1


def test_power_is_borne_out_by_controls() -> None:
    found = list(powers(1500, 7))
    assert all(line.as_claimed for line in found), [line for line in found if not line.as_claimed]
    assert {line.check for line in found} >= {"masks", "seeds", "released-noise", "audit-dp", "fresh-noise"}


def test_statistics_that_see_nothing_fail_the_run() -> None:
    blind = Power("masks", "a bit is 1 too often", "by 2%", 13, 20)
    assert replace(EMPTY, measured=Measured(power=(blind,))).exit_code == BROKEN
    assert replace(blind, found=14).as_claimed


def test_the_audit_of_the_quick_profile_sees_half_the_noise() -> None:
    """Of Gaussian noise with deviation 1.634 for ε = 2.5: half of it is disproved in all of 100 audits, all of it in
    none.
    """
    distance = distance_of(2.5, 1e-5)
    assert 1 / distance == pytest.approx(1.634, abs=2e-3)
    assert epsilon_of(distance, 1e-5) == pytest.approx(2.5, abs=1e-6)
    assert found_with(0.9999, 2.5, 1e-5, 1500) > 1.634 / 2
    assert found_with(0.95, 2.5, 1e-5, 200) < 1.634 / 2
    rng = np.random.default_rng(3)

    def disproved(z: float) -> bool:
        named, mistaken = (int((rng.normal(mean, z, 1500) > 0.5).sum()) for mean in (1.0, 0.0))
        return gaussian_bound(named, mistaken, 1500, 1e-5) > 2.5

    assert [disproved(1.634 / 2) for _ in range(20)] == [True] * 20
    assert [disproved(1.634) for _ in range(20)] == [False] * 20
