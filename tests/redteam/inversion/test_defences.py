"""Defences are the product's own encoding, and the adaptive attacker knows of it what anybody can know."""

import numpy as np
import pytest

from secagg.encoding.arrays import FloatArray
from secagg.tools.redteam.attacks.inversion import ATTACKS
from secagg.tools.redteam.defences import DEFENCES, Defence, Release, flatten
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.targets import target_named
from secagg.tools.redteam.trials import Case

TARGET = target_named("mlp-breast-cancer")
CASE = Case.draw(TARGET, ATTACKS["first-layer"], 4, 0)
UPDATES = CASE.updates()
MEAN = np.mean([flatten(update) for update in UPDATES], axis=0)


def error(view: Observation) -> FloatArray:
    known = flatten(view.mask()).astype(bool)  # type: ignore[arg-type]
    off: FloatArray = (flatten(view.arrays) - MEAN)[known]
    return off


@pytest.mark.parametrize("name", [name for name in DEFENCES if not name.startswith("sample")])
def test_the_stated_deviation_is_the_measured_one(name: str) -> None:
    release = DEFENCES[name].release(TARGET, UPDATES, 7)
    stated = release.adaptive.deviation
    off = error(release.adaptive)
    if name == "none":
        assert stated == 0
        assert np.abs(off).max() < 1e-7
    elif name.endswith("-bit"):
        assert np.median(np.abs(off)) <= 2 * stated  # zeros lie near the grid's own points
    elif stated > 1e-3:  # what clipping changes is smaller
        assert 0.7 * stated < np.std(off) < 1.5 * stated
    assert release.naive.deviation == 0


@pytest.mark.parametrize(("name", "rate"), [("sample-.5", 0.5), ("sample-.1", 0.1), ("sample-.01", 0.01)])
def test_the_adaptive_attacker_knows_what_was_kept_and_how_it_was_scaled(name: str, rate: float) -> None:
    release = DEFENCES[name].release(TARGET, UPDATES, 7)
    kept = flatten(release.adaptive.mask()).astype(bool)  # type: ignore[arg-type]
    assert kept.mean() == pytest.approx(rate, abs=0.001)
    assert release.naive.kept is None
    naive = flatten(release.naive.arrays)
    assert (naive[~kept] == 0).all()
    clear = kept & (np.abs(MEAN) > 0.01) & (np.abs(MEAN) < 0.2)
    assert np.allclose(flatten(release.adaptive.arrays)[clear], MEAN[clear], rtol=0.02)
    assert np.allclose(naive[clear], MEAN[clear] / rate, rtol=0.03)


def test_a_defence_of_ones_own() -> None:
    def signs(target: object, updates: object, seed: int) -> Release:
        del target, updates, seed
        seen = Observation(TARGET.schema.split(np.sign(MEAN)), 4)
        return Release(seen, seen)

    mine = Defence("signs", "signs alone", signs)
    assert set(np.unique(flatten(mine.release(TARGET, UPDATES, 0).naive.arrays))) <= {-1.0, 0.0, 1.0}


def test_the_same_seed_gives_the_same_release() -> None:
    for defence in DEFENCES.values():
        first, second, other = (defence.release(TARGET, UPDATES, seed) for seed in (1, 1, 2))
        assert np.array_equal(flatten(first.naive.arrays), flatten(second.naive.arrays))
        if defence.name != "none":
            assert not np.array_equal(flatten(first.naive.arrays), flatten(other.naive.arrays))
