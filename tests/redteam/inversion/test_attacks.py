"""Every attack wins on what an unprotected server sees, and loses on numbers that hold nothing."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import FastICA

from secagg.encoding.arrays import FloatArray
from secagg.encoding.schema import ArraySpec
from secagg.errors import LocalError
from secagg.tools.redteam.attacks.inversion import ATTACKS, Attack, attack_named
from secagg.tools.redteam.attacks.inversion.membership import Suspects
from secagg.tools.redteam.metrics import RECORD, Outcome, Score
from secagg.tools.redteam.modes import MASKED_ACTIVE
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.series import Series
from secagg.tools.redteam.targets import target_named
from secagg.tools.redteam.trials import Case
from secagg.tools.redteam.views import Sight
from tests.redteam.inversion.scenes import outcomes, score

ONE_SUM = [name for name, attack in ATTACKS.items() if attack.rounds == 1]
FIRST, LOW_RANK, PRIOR = ATTACKS["first-layer"], ATTACKS["low-rank"], ATTACKS["prior"]
UNMIX = ATTACKS["unmix"]


def masked(attack: Attack, seed: int) -> Outcome:
    """Played on uniform numbers in the place of the update: what a masked upload decodes to."""
    target = target_named(attack.target, seed)
    case = Case.draw(target, attack, 1, seed)
    rng = np.random.default_rng([9, seed])

    def noise(spec: ArraySpec) -> FloatArray:
        return rng.uniform(-1, 1, spec.shape).astype("f4")

    return case.play({spec.name: noise(spec) for spec in target.schema.arrays})


@pytest.mark.parametrize("name", ONE_SUM)
def test_positive_control(name: str) -> None:
    result = score(ATTACKS[name])
    assert result.reaches(ATTACKS[name].bar), result
    assert not result.at_chance
    assert result.labels in {None, 1.0}


@pytest.mark.parametrize("name", ONE_SUM)
def test_uniform_numbers_tell_an_attack_nothing(name: str) -> None:
    result = Score.of([masked(ATTACKS[name], seed) for seed in range(3)])
    assert result.at_chance, result


@pytest.mark.parametrize("name", ONE_SUM)
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e38])
def test_no_view_breaks_an_attack(name: str, value: float) -> None:
    attack = ATTACKS[name]
    target = target_named(attack.target)
    case = Case.draw(target, attack, 1, 0)
    with np.errstate(all="ignore"):
        outcome = case.play({spec.name: np.full(spec.shape, value, "f4") for spec in target.schema.arrays})
    assert not outcome.standing.identified or name == "attribute"


def test_small_aggregates_are_invertible_and_large_ones_less() -> None:
    shares = [score(FIRST, participants=n, trials=12).identified for n in (2, 8, 64)]
    assert shares[0] == 1
    assert shares[1] >= 0.8
    assert shares[2] <= 0.4


@pytest.mark.parametrize("defence", ["sample-.5", "sample-.1"])
def test_sampling_fools_naive_attackers_alone(defence: str) -> None:
    assert score(LOW_RANK, defence=defence, trials=4).identified == 1
    naive = score(LOW_RANK, defence=defence, trials=4, adaptive=False)
    assert naive.worst_gain_db < score(LOW_RANK, defence=defence, trials=4).worst_gain_db - 20


def test_a_prior_recovers_what_a_hundredth_of_the_coordinates_leaves_open() -> None:
    assert score(PRIOR, defence="sample-.01", trials=4).identified >= 0.5
    assert score(PRIOR, defence="sample-.01", trials=4, adaptive=False).identified == 0


@pytest.mark.parametrize(("defence", "least"), [("8-bit", 1.0), ("4-bit", 0.75)])
def test_coarse_values_still_leak(defence: str, least: float) -> None:
    assert score(PRIOR, defence=defence, trials=4).identified >= least


@pytest.mark.parametrize("name", ["first-layer", "low-rank", "prior"])
def test_noise_of_epsilon_two_and_a_half_stops_inversion(name: str) -> None:
    assert score(ATTACKS[name], defence="z-1.634", trials=3).at_chance


def test_imprint_empties_a_secure_aggregate_and_noise_stops_it() -> None:
    imprint = ATTACKS["imprint"]
    assert 0.45 < score(imprint, participants=64, trials=4).exact < 0.75
    # Quiet units and loud scores survive noise that stops a careless imprint; a hundred times as much stops this one.
    assert score(imprint, participants=64, trials=4, defence="gauss-0.0001").exact > 0.3
    assert score(imprint, participants=64, trials=4, defence="z-.01").at_chance
    assert score(imprint, participants=64, trials=4, defence="8-bit").exact == 0


def test_sampling_with_one_seed_for_all_leaves_the_imprint_of_a_small_cohort() -> None:
    assert score(ATTACKS["imprint"], participants=8, trials=4, defence="sample-.5").exact > 0.3
    assert score(ATTACKS["imprint"], participants=64, trials=4, defence="sample-.1").exact == 0


def test_trap_weights_beat_honest_weights_on_the_same_aggregate() -> None:
    trapped = score(ATTACKS["trap-weights"], participants=32, trials=6).exact
    assert trapped > score(FIRST, participants=32, trials=6).exact + 0.3


def test_inconsistent_models_isolate_the_victim_in_any_cohort_and_one_model_for_all_stops_that() -> None:
    inconsistent = ATTACKS["inconsistent-models"]
    assert score(inconsistent, participants=64, trials=4).reaches(RECORD)
    consistent = replace(inconsistent, models=FIRST.models)  # what binding the model into the context enforces
    assert not score(consistent, participants=64, trials=4).reaches(RECORD)


def test_sentences_in_a_sum_are_told_apart_by_the_direction_of_their_rows() -> None:
    assert score(ATTACKS["text"], participants=8, trials=4).identified >= 0.75


def test_members_stand_out_from_an_aggregate() -> None:
    attack = ATTACKS["membership"]
    assert score(attack, participants=8, trials=5).identified >= 0.8
    target = target_named(attack.target)
    case = Case.draw(target, attack, 2, 0)
    mean = {name: sum(u[name] for u in case.updates()) / 2 for name in target.parameters}
    seen = case.observe(Observation(mean, 2))  # type: ignore[arg-type]
    found = Suspects.of(target, seen).scores(target, seen)
    assert np.sort(found)[-1] > 4 * np.sort(found)[-4]


def test_many_sums_are_taken_apart_where_one_of_them_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Components are looked for, every hidden view hides them, and without overlap there is nothing to find."""
    target, fitted = target_named(UNMIX.target, 0), list[int]()
    fit = FastICA.fit

    def counted(self: FastICA, sums: FloatArray) -> FastICA:
        fitted.append(sums.shape[1])
        return fit(self, sums)

    monkeypatch.setattr(FastICA, "fit", counted)
    series = Series.play(target, UNMIX, MASKED_ACTIVE, 0)
    released = series.seen(Sight.RELEASED)
    assert series.case.play(released).gain_db > 30
    assert series.case.play(series.control()).gain_db > 30
    assert fitted == [12, 12]
    hidden = series.case.play(series.seen(Sight.COORDINATOR))
    assert not hidden.standing.identified
    assert hidden.gain_db < 3
    assert fitted[2] > 30
    one = series.case.play(replace(released, sums=np.repeat(released.sums[:1], 12, axis=0)))  # type: ignore[index]
    assert one.exact < 1
    with pytest.raises(LocalError, match="many sums"):
        UNMIX.run(target, replace(released, sums=None), np.random.default_rng(0))


def test_local_steps_protect_no_first_layer() -> None:
    plain = target_named("mlp-digits")
    hits = []
    for seed in range(4):
        target = replace(plain, local_steps=5, seed=seed)
        case = Case.draw(target, FIRST, 1, seed)
        hits.append(case.play(case.updates()[0]))
    assert Score.of(hits).reaches(RECORD)


def test_attacks_say_what_they_lack() -> None:
    target = target_named("conv-digits")
    empty = Observation(target.parameters)
    rng = np.random.default_rng(0)
    for name in ("first-layer", "membership", "attribute", "text"):
        with pytest.raises(LocalError):
            ATTACKS[name].run(target, empty, rng)
    with pytest.raises(LocalError, match="no attack"):
        attack_named("wishful-thinking")


def test_results_are_the_same_for_the_same_seed() -> None:
    first, second = (outcomes(ATTACKS["idlg"], trials=1)[0] for _ in range(2))
    assert np.array_equal(first.best, second.best)  # type: ignore[arg-type]
