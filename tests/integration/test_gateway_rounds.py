"""Whole rounds in which some participants call over the gateway and others over gRPC."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client import RoundResult

from secagg.config import RoundConfig, ThreatModel
from secagg.messages import ParticipantId
from tests.gateway import client_over, with_gateway
from tests.serving import ACTIVE, NAMES, SEMI_HONEST, make_config, stage
from tests.taking_part import DIGEST, check_result, in_thread, lenient, take_part, update_of, weight_of


async def take_part_over(address: str, name: ParticipantId, config: RoundConfig, **arguments: Any) -> RoundResult:
    def participate() -> RoundResult:
        with client_over(address, name, policy=lenient(config)) as client:
            update, weight = update_of(config, name), weight_of(name)
            return client.participate(update, weight=weight, model_digest=DIGEST, timeout_s=60, **arguments)

    return await in_thread(participate)


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
async def test_a_round_over_gateway_and_grpc(tmp_path: Path, threat_model: ThreatModel) -> None:
    config = replace(make_config(5, threat_model), certify=threat_model is ACTIVE)
    async with stage(tmp_path, **with_gateway(tmp_path)) as s:
        address = s.server.gateway_address
        assert address is not None
        round_id = await s.director.open(config)
        over = [take_part_over(address, name, config, round_id=round_id) for name in NAMES[:3]]
        bare = [
            take_part(s.server.data_address, name, config, round_id=round_id, policy=lenient(config))
            for name in NAMES[3:5]
        ]
        results = await asyncio.gather(*over, *bare)
        aggregate = await s.director.aggregate(round_id, config)
        assert aggregate.survivors == tuple(NAMES[:5])
        for result in results:
            check_result(config, result, NAMES[:5])
            assert result.aggregate is not None
            np.testing.assert_array_equal(result.aggregate.sums, aggregate.sums)
