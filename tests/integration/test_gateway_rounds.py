"""Whole rounds in which some participants call over the gateway and others over gRPC."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client import Client, RoundResult

from secagg.config import RoundConfig, ThreatModel
from secagg.encoding.packing import chunk_values
from secagg.errors import ParticipationCancelled
from secagg.messages import ParticipantId
from secagg.wire.v1 import gateway_pb2 as pb
from tests.gateway import address_of, client_over, with_gateway
from tests.machine import free_port
from tests.serving import ACTIVE, NAMES, PATIENCE_S, SEMI_HONEST, make_config, stage
from tests.taking_part import DIGEST, QUICK, check_result, in_thread, lenient, take_part, update_of, weight_of


async def take_part_over(
    address: str,
    name: ParticipantId,
    config: RoundConfig,
    sends: Callable[[Client, str, pb.SubmitRequest], None] = lambda client, method, request: None,
    **arguments: Any,
) -> RoundResult:
    """One participation over the gateway. Args: sends: told of each Submit before it is sent."""

    def participate() -> RoundResult:
        client, channel = client_over(address, name, policy=lenient(config), retry=QUICK)
        channel.sends = partial(sends, client)
        with client:
            update, weight = update_of(config, name), weight_of(name)
            return client.participate(update, weight=weight, model_digest=DIGEST, timeout_s=60, **arguments)

    return await in_thread(participate)


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
async def test_a_round_over_gateway_and_grpc(tmp_path: Path, threat_model: ThreatModel) -> None:
    config = replace(make_config(5, threat_model), certify=threat_model is ACTIVE)
    async with stage(tmp_path, **with_gateway(tmp_path)) as s:
        address = address_of(s)
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


@pytest.mark.parametrize("call", ["Share", "SendInput", "Check"])
async def test_one_over_the_gateway_drops_out(tmp_path: Path, call: str) -> None:
    config = make_config(5, threshold=4)

    def leaves(client: Client, method: str, request: pb.SubmitRequest) -> None:
        if method == call:
            client.cancel()

    async with stage(tmp_path, **with_gateway(tmp_path)) as s:
        round_id = await s.director.open(config)
        over = [
            take_part_over(address_of(s), NAMES[0], config, leaves, round_id=round_id),
            *(take_part_over(address_of(s), name, config, round_id=round_id) for name in NAMES[1:3]),
        ]
        bare = [
            take_part(s.server.data_address, name, config, round_id=round_id, policy=lenient(config))
            for name in NAMES[3:5]
        ]
        left, *results = await asyncio.gather(*over, *bare, return_exceptions=True)
    assert isinstance(left, ParticipationCancelled)
    for result in results:
        assert isinstance(result, RoundResult)
        check_result(config, result, NAMES[1:5] if call in {"Share", "SendInput"} else NAMES[:5])


async def test_an_upload_goes_on_behind_what_arrived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway loses the call in the middle of an upload. What was acknowledged is not sent again."""
    config = make_config(3, size=1_500_000)
    monkeypatch.setattr("secagg.tools.deployment.gateway_channel.BATCH_BYTES", 1)
    numbers: list[tuple[bytes, int]] = []

    async with stage(tmp_path, **with_gateway(tmp_path)) as s:
        loop = asyncio.get_running_loop()

        async def lose(call_id: bytes) -> None:
            assert s.server.gateway is not None
            assert s.server.gateway._calls is not None
            s.server.gateway._calls.forget(NAMES[0], call_id)

        def loses(client: Client, method: str, request: pb.SubmitRequest) -> None:
            if method == "SendInput":
                numbers.append((request.call_id, request.number))
                if len(numbers) == 3:
                    asyncio.run_coroutine_threadsafe(lose(request.call_id), loop).result()

        round_id = await s.director.open(config)
        results = await asyncio.gather(
            take_part_over(address_of(s), NAMES[0], config, loses, round_id=round_id),
            *(take_part_over(address_of(s), name, config, round_id=round_id) for name in NAMES[1:3]),
        )
    for result in results:
        check_result(config, result, NAMES[:3])
    first, second = dict.fromkeys(call_id for call_id, _ in numbers)
    chunks = {call_id: [n for one, n in numbers if one == call_id] for call_id in (first, second)}
    assert chunks[first] == [0, 1, 2]
    whole = -(-config.vector_len // chunk_values(config.ring_bits))
    assert whole > 3
    assert len(chunks[second]) in {whole - 2, whole - 1}, "what was acknowledged is not sent again"


@pytest.mark.parametrize("call", ["Share", "SendInput", "Check"])
async def test_a_restart_of_the_coordinator_breaks_no_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Its calls are gone, whoever made them makes them again, and an upload goes on behind what was kept."""
    config = make_config(4, size=1_000_000 if call == "SendInput" else 50)
    monkeypatch.setattr("secagg.tools.deployment.gateway_channel.BATCH_BYTES", 1)  # a chunk in each request
    reached, loop = asyncio.Event(), asyncio.get_running_loop()
    ids: dict[str, set[bytes]] = {}

    def arrives(client: Client, method: str, request: pb.SubmitRequest) -> None:
        ids.setdefault(method, set()).add(request.call_id)
        if method == call and request.number == (1 if call == "SendInput" else 0) and len(ids[method]) == 1:
            loop.call_soon_threadsafe(reached.set)
            gone.wait(PATIENCE_S)

    gone = threading.Event()
    ports = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    settings = with_gateway(tmp_path, gateway=ports[0], listen=ports[1], state_dir=tmp_path / "state")
    async with stage(tmp_path, **settings) as s:
        round_id = await s.director.open(config)
        over = [
            take_part_over(ports[0], NAMES[0], config, arrives, round_id=round_id),
            *(take_part_over(ports[0], name, config, round_id=round_id) for name in NAMES[1:3]),
        ]
        bare = take_part(ports[1], NAMES[3], config, round_id=round_id, policy=lenient(config), timeout_s=60)
        together = asyncio.gather(*over, bare)
        async with asyncio.timeout(PATIENCE_S):
            await reached.wait()
    gone.set()
    async with stage(tmp_path, **settings) as s:
        results = await together
        aggregate = await s.director.aggregate(round_id, config)
    for result in results:
        check_result(config, result, NAMES[:4])
        assert result.aggregate is not None
        np.testing.assert_array_equal(result.aggregate.sums, aggregate.sums)
    assert len(ids[call]) > 1, "the call was made again, under a new id"
