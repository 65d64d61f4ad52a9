"""Participants whose state outlives them: every state of every scheme, between any two messages."""

from typing import Any

import numpy as np
import pytest

from secagg.config import RoundConfig, ThreatModel
from secagg.phases import phases
from secagg.tools.simulation.network import Run
from tests.encrypted_rounds import prepare
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, start, true_sum
from tests.saving import Rebirths, recording


def run_of(config: RoundConfig, **changes: Any) -> Run:
    return prepare(config, **changes) if config.homomorphic else start(config, **changes)


@pytest.mark.parametrize("threat_model", [SEMI_HONEST, ACTIVE])
def test_a_masked_round_sends_the_same_bytes_when_everybody_is_saved_and_restored(threat_model: ThreatModel) -> None:
    config = make_config(5, threat_model)
    plain, saved = start(config), start(config)
    rebirths = Rebirths(saved)
    with recording(plain) as before, recording(saved) as after:
        assert plain.play().aggregate is not None
        engine = saved.play()
    assert after == before
    assert {len(sealed) for sealed in rebirths.sealed.values()} == {len(phases(config)) - 1}
    assert engine.aggregate is not None
    assert np.array_equal(engine.aggregate.sums, true_sum(saved, saved.participants) % np.uint64(2**config.ring_bits))
