"""The benchmark compares attackers and defences, repeats itself exactly, and takes a defence of one's own."""

import json
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from secagg.encoding.schema import Update
from secagg.errors import ConfigError, LocalError
from secagg.tools.redteam.benchmark import FULL, QUICK, Plan, run
from secagg.tools.redteam.defences import DEFENCES, Defence, Release, flatten
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.target import Target
from secagg.tools.redteam.targets import target_named

SMALL = Plan(attacks=("low-rank",), defences=("none", "sample-.1"), cohorts=(1, 4), trials=2)


def top_tenth(target: Target, updates: Sequence[Update], seed: int) -> Release:
    del seed
    flat = np.mean([flatten(update) for update in updates], axis=0)
    flat[np.abs(flat) < np.quantile(np.abs(flat), 0.9)] = 0
    arrays = target.schema.split(flat)
    kept = {name: array != 0 for name, array in arrays.items()}
    return Release(Observation(arrays, len(updates)), Observation(arrays, len(updates), kept=kept))


def test_cells_repeat_and_serialise() -> None:
    said: list[str] = []
    first, again = run(SMALL, said.append).as_json(), run(SMALL).as_json()
    assert json.dumps(first, allow_nan=False) == json.dumps(again)
    assert said == ["low-rank, 1 participants", "low-rank, 4 participants"]
    assert len(first["cells"]) == 4
    cells = {(cell["defence"], cell["cohort"]): cell for cell in first["cells"]}
    assert cells["none", 1]["naive"]["broken"]
    assert cells["sample-.1", 1]["adaptive"]["id_at_1"] == 1
    assert cells["sample-.1", 1]["naive"]["worst_gain_db"] < 10
    assert first["attacks"]["low-rank"]["paper"]


def test_the_table_shows_every_combination() -> None:
    out = StringIO()
    run(SMALL).show(Console(file=out, width=140))
    assert "sample-.1" in out.getvalue()
    assert "n = 4" in out.getvalue()
    assert "100% / 100%" in out.getvalue()


def test_a_defence_and_a_target_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Defence("top-tenth", "only the largest tenth of the coordinates", top_tenth)
    monkeypatch.setitem(DEFENCES, "top-tenth", mine)
    theirs = replace(SMALL, defences=("top-tenth",), cohorts=(1,))
    plan = replace(theirs, targets=lambda _, seed: target_named("mlp-faces", seed))
    (cell,) = run(plan).cells
    assert cell.target == "mlp-faces"
    assert cell.naive.identified == 1  # the largest coordinates are enough to know a face by


@pytest.mark.parametrize("change", [{"defences": ("hope",)}, {"trials": 0}, {"cohorts": ()}, {"cohorts": (0,)}])
def test_plans_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_unknown_attacks_are_refused() -> None:
    with pytest.raises(LocalError):
        replace(SMALL, attacks=("hope",))


def test_the_full_plan_has_everything() -> None:
    assert set(QUICK.attacks) <= set(FULL.attacks)
    assert set(FULL.defences) == set(DEFENCES)
