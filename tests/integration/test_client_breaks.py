"""Connections that break: what was sent is sent again as the same bytes, uploads go on, and the sum is exact."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client import AsyncControlClient, ControlClient, RoundResult

from secagg.config import RoundConfig
from secagg.encoding.packing import CHUNK_BYTES
from secagg.errors import TransportError
from secagg.events import DropReason
from tests.serving import NAMES, PATIENCE_S, Stage, make_config, stage
from tests.taking_part import (
    GIVES_UP,
    QUICK,
    Wire,
    check_result,
    drops,
    in_thread,
    lenient,
    record_calls,
    take_part,
    wire,
)

BIG = 1_800_000  # five chunks at 18 bits


async def play(s: Stage, relay: Wire, config: RoundConfig, round_id: bytes, **arguments: Any) -> RoundResult:
    """The first participant speaks over the wire, the others directly."""
    result, *_ = await asyncio.gather(
        take_part(relay.address, NAMES[0], config, round_id=round_id, **arguments),
        *(take_part(s.server.data_address, n, config, round_id=round_id) for n in NAMES[1 : config.max_participants]),
    )
    return result


@pytest.mark.parametrize("synchronous", [True, False])
async def test_a_broken_upload_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, synchronous: bool) -> None:
    config = make_config(3, size=BIG)
    async with stage(tmp_path) as s, wire(s.server.data_address) as relay:
        round_id = await s.director.open(config)
        relay.cut_at = [2 * CHUNK_BYTES + CHUNK_BYTES // 2, 4 * CHUNK_BYTES]
        made = record_calls(monkeypatch)
        result = await play(s, relay, config, round_id, synchronous=synchronous)
        check_result(config, result, NAMES[:3])
        assert relay.cuts == 2
        assert made.count("InputProgress") >= 2
        assert result.aggregate is not None
        np.testing.assert_array_equal(result.aggregate.sums, (await s.director.aggregate(round_id, config)).sums)
        whole = sum(len(d) for d in _chunks(config))
        assert result.bytes_sent < 2 * whole  # it did not begin anew


def _chunks(config: RoundConfig) -> list[bytes]:
    return [bytes(-(-config.vector_len * config.ring_bits // 8))]


@pytest.mark.parametrize("synchronous", [True, False])
@pytest.mark.parametrize("at", [2_500, 4_500, 5_500, 6_500, 7_500, 8_500])
async def test_a_cut_anywhere_changes_nothing(tmp_path: Path, synchronous: bool, at: int) -> None:
    config = make_config(3)
    async with stage(tmp_path) as s, wire(s.server.data_address) as relay:
        round_id = await s.director.open(config)
        relay.cut_at = [at]
        check_result(config, await play(s, relay, config, round_id, synchronous=synchronous), NAMES[:3])


@pytest.mark.parametrize("synchronous", [True, False])
async def test_a_server_that_vanishes_amid_an_upload(tmp_path: Path, synchronous: bool) -> None:
    config = make_config(4, size=BIG, threshold=3, deadlines={"masked_input_s": 3.0})
    async with stage(tmp_path) as s, wire(s.server.data_address) as relay:
        round_id = await s.director.open(config)
        relay.cut_at = [2 * CHUNK_BYTES]

        async def vanish() -> None:
            async with asyncio.timeout(PATIENCE_S):
                while relay.cuts == 0:
                    await asyncio.sleep(0.005)
            relay.down = True

        # Four with threshold 3 stand no colluder, which a policy of its own would refuse.
        terms: dict[str, Any] = {"round_id": round_id, "policy": lenient(config)}
        outcome, _, *others = await asyncio.gather(
            take_part(relay.address, NAMES[0], config, retry=GIVES_UP, synchronous=synchronous, **terms),
            vanish(),
            *(take_part(s.server.data_address, n, config, **terms) for n in NAMES[1:4]),
            return_exceptions=True,
        )
        assert isinstance(outcome, TransportError)
        assert "tried 3 times" in str(outcome)
        for result in others:
            assert isinstance(result, RoundResult)
            check_result(config, result, NAMES[1:4])
        assert drops(await s.director.watch(round_id)) == {NAMES[0]: DropReason.DEADLINE}


@pytest.mark.parametrize("synchronous", [True, False])
async def test_watching_goes_on_where_it_broke(tmp_path: Path, synchronous: bool) -> None:
    config = make_config(3)
    async with stage(tmp_path, control="127.0.0.1:0") as s, wire(s.server.control_address) as relay:
        round_id = await s.director.open(config)

        async def watch() -> list[Any]:
            if synchronous:
                with ControlClient(relay.address, retry=QUICK) as control:
                    return await in_thread(lambda: list(control.watch(round_id, timeout_s=PATIENCE_S)))
            async with AsyncControlClient(relay.address, retry=QUICK) as other:
                return [event async for event in other.watch(round_id, timeout_s=PATIENCE_S)]

        async def break_twice() -> None:
            for _ in range(2):
                await asyncio.sleep(0.2)
                relay.cut()
            await asyncio.gather(*(take_part(s.server.data_address, n, config, round_id=round_id) for n in NAMES[:3]))

        events, _ = await asyncio.gather(watch(), break_twice())
        assert [event for _, event in events] == await s.director.watch(round_id)
        assert relay.cuts == 2
