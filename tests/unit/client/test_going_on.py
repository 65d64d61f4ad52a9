"""A participant that is killed at any moment and started again goes on in the same round with the same bytes, or ends
with an error that has a name.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client import Memory
from secagg_client.participation.terms import Contribution

from secagg.config import RoundConfig
from secagg.encoding.integers import Integers
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import SavedStateError
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.messages import ParticipantId
from secagg.tools.simulation.cohort import participant_names
from tests.crashing import Crashing, Life
from tests.rounds import ACTIVE, SEMI_HONEST, make_config

NAMES = participant_names(4)
VICTIM = NAMES[1]
SCHEMA = Schema((ArraySpec("values", (300,), "int64"),))
SEMI = replace(make_config(4, SEMI_HONEST, threshold=3, max_colluding=0), schema=SCHEMA, encoding=Integers(max=1000))
COUNTED = replace(
    make_config(4, ACTIVE, threshold=3, max_colluding=0), schema=SCHEMA, encoding=Integers(max=1000), certify=True
)


def values(number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(number).integers(0, 1000, 300)


def counted(number: int) -> Contribution:
    return Contribution(update={"values": values(number)}, weight=1, model_digest=bytes(32))


def life_of(folder: Path, **options: Any) -> Life:
    return Life(VICTIM, Memory(folder / f"sums-{len(list(folder.iterdir()))}"), lambda: counted(1), **options)


def play(config: RoundConfig, life: Life) -> Crashing:
    round_ = Crashing(life, config, counted)
    round_.play()
    return round_


TRUTH = np.sum([values(number) for number in range(4)], axis=0)


def check_exact(round_: Crashing, survivors: Sequence[ParticipantId] = tuple(NAMES)) -> None:
    """Everyone has the exact sum of what the survivors brought; nothing left the one that crashed in two versions."""
    truth = np.sum([values(NAMES.index(name)) for name in survivors], axis=0)
    for name in survivors:
        result = round_.results.get(name) or round_.handed
        assert result is not None, round_.errors
        assert result.survivors == tuple(survivors)
        assert result.totals is not None
        np.testing.assert_array_equal(result.totals.arrays["values"], truth)


def moments_of(config: RoundConfig, folder: Path) -> int:
    life = life_of(folder)
    check_exact(play(config, life))
    assert life.processes == 1
    return life.moments


@pytest.mark.parametrize(
    ("config", "cuts_power", "each"),
    [(COUNTED, False, 1), (COUNTED, True, 2), (SEMI, False, 7), (SEMI, True, 7)],
    ids=["active, killed", "active, power cut", "semi-honest, killed", "semi-honest, power cut"],
)
def test_whenever_its_process_ends_it_is_in_the_sum_of_a_masked_round(
    tmp_path: Path, config: RoundConfig, cuts_power: bool, each: int
) -> None:
    for moment in range(1, moments_of(config, tmp_path) + 1, each):
        life = life_of(tmp_path, dies_at={moment}, cuts_power=cuts_power, seed=moment)
        round_ = play(config, life)
        assert life.processes == 2, moment
        assert not life.twice, moment
        check_exact(round_)
        assert VICTIM in round_.results or round_.looks_for_another, round_.errors


def test_killed_again_and_again_it_is_in_the_sum(tmp_path: Path) -> None:
    for seed in range(15):
        dies_at = set(np.random.default_rng(seed).integers(1, 250, 8).tolist())
        life = life_of(tmp_path, dies_at=dies_at, cuts_power=bool(seed % 2), seed=seed)
        round_ = play(COUNTED, life)
        assert not life.twice, seed
        check_exact(round_)


def encrypted(custody: Custody) -> RoundConfig:
    return replace(SEMI, homomorphic=find_profile(Scheme.BFV, custody, 4, SEMI.code.value_bits), max_colluding=-1)


@pytest.mark.parametrize("custody", Custody)
def test_in_an_encrypted_round_it_goes_on_or_says_that_it_cannot_encrypt_again(
    tmp_path: Path, custody: Custody
) -> None:
    config = encrypted(custody)
    outcomes = set()
    for moment in range(1, moments_of(config, tmp_path) + 1, 5):
        life = life_of(tmp_path, dies_at={moment}, seed=moment)
        round_ = play(config, life)
        assert not life.twice, moment
        if VICTIM in round_.errors:
            assert isinstance(round_.errors[VICTIM], SavedStateError)
            assert "encrypting it again" in str(round_.errors[VICTIM])
            check_exact(round_, [name for name in NAMES if name != VICTIM])
            outcomes.add("refused")
        else:
            check_exact(round_)
            outcomes.add("summed")
    assert outcomes == {"refused", "summed"}
