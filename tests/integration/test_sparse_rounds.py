"""Rounds on a ring over TLS: what each participant is shown is its own, and a coordinator that starts again goes on."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secagg.config import RoundConfig, ThreatModel
from secagg.sparse.ring import Ring
from tests.rounds import ACTIVE, SEMI_HONEST
from tests.serving import make_config, stage, true_sum

PEOPLE = 6
RINGS = {
    ACTIVE: Ring(degree=4, neighbour_threshold=4, committee=3, committee_threshold=2, min_participants=6),
    SEMI_HONEST: Ring(degree=4, neighbour_threshold=3, min_participants=6),
}


def sparse(threat_model: ThreatModel = ACTIVE) -> RoundConfig:
    return replace(make_config(PEOPLE, threat_model, threshold=5), graph=RINGS[threat_model])


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
async def test_a_round_on_a_ring(tmp_path: Path, threat_model: ThreatModel) -> None:
    config = sparse(threat_model)
    async with stage(tmp_path) as s:
        round_id, people = await s.open(config)
        await asyncio.gather(*(p.play() for p in people))
        told = await s.director.aggregate(round_id, config)
    np.testing.assert_array_equal(told.sums.astype(np.uint64), true_sum(people))
    assert len(told.survivors) == PEOPLE


async def test_a_certified_round_on_a_ring_with_a_state_folder(tmp_path: Path) -> None:
    config = replace(sparse(), certify=True)
    async with stage(tmp_path, state_dir=tmp_path / "state") as s:
        round_id, people = await s.open(config)
        await asyncio.gather(*(p.play() for p in people))
        told = await s.director.aggregate(round_id, config)
    np.testing.assert_array_equal(told.sums.astype(np.uint64), true_sum(people))
