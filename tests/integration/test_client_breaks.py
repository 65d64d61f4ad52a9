"""Connections that break: what was sent is sent again as the same bytes, uploads go on, and the sum is exact."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client import AsyncControlClient, ControlClient, Offer, RoundResult

from secagg.config import Deadlines, RoundConfig
from secagg.encoding.packing import CHUNK_BYTES
from secagg.encoding.pipeline import Pipeline
from secagg.errors import LimitError, TransportError, UnknownRoundError
from secagg.events import DropReason
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.messages import Phase
from secagg.wire.configuration import encode_config
from tests.carrying import ClosableDesk
from tests.serving import NAMES, PATIENCE_S, SEMI_HONEST, Stage, make_config, stage
from tests.taking_part import (
    GIVES_UP,
    QUICK,
    Wire,
    check_result,
    drops,
    in_thread,
    lenient,
    lose_first_answers,
    record_calls,
    take_part,
    wire,
)

TCP: dict[str, Any] = {"control": "127.0.0.1:0"}
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
    async with stage(tmp_path, **TCP) as s, wire(s.server.control_address) as relay:
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


MASKED = replace(make_config(3), certify=True)
DEALT, JOINT = (
    replace(make_config(4, SEMI_HONEST), homomorphic=find_profile(Scheme.BFV, custody, 4, 16), max_colluding=-1)
    for custody in (Custody.PARTICIPANTS, Custody.THRESHOLD)
)


@pytest.mark.parametrize("synchronous", [True, False])
@pytest.mark.parametrize(
    ("config", "calls"),
    [
        (MASKED, {"Share", "SendInput", "Check", "Reveal", "Certify", "FetchAggregate"}),
        (DEALT, {"Share", "ConfirmKey", "SendEncrypted", "ReportSum", "SendSum", "AwaitReceipt"}),
        (JOINT, {"Share", "SendEncrypted", "Check", "SendPartial", "AwaitReceipt", "FetchAggregate"}),
    ],
    ids=["masked", "dealt", "joint"],
)
async def test_each_answer_that_is_lost_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, synchronous: bool, config: RoundConfig, calls: set[str]
) -> None:
    people = NAMES[: config.max_participants]
    # Encrypted in this process: to start one for everybody takes seconds.
    given: dict[str, Any] = {"policy": lenient(config), "backend": ClosableDesk, "synchronous": synchronous}
    async with stage(tmp_path) as s:
        given["round_id"] = await s.director.open(config)
        lost = lose_first_answers(monkeypatch)
        results = await asyncio.gather(*(take_part(s.server.data_address, n, config, **given) for n in people))
    for result in results:
        check_result(config, result, people)
    assert {"FindRound", "Advertise", *calls} <= set(lost)


@pytest.mark.parametrize("synchronous", [True, False])
async def test_each_answer_to_the_fl_server_that_is_lost_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, synchronous: bool
) -> None:
    config = make_config(4, threshold=3)
    async with stage(tmp_path, **TCP) as s:
        lost = lose_first_answers(monkeypatch)
        async with AsyncControlClient(s.server.control_address, retry=QUICK) as other:
            with ControlClient(s.server.control_address, retry=QUICK) as one:

                async def ask(call: str, *arguments: Any) -> Any:
                    if synchronous:
                        return await in_thread(getattr(one, call), *arguments)
                    return await getattr(other, call)(*arguments)

                round_id = await ask("open_round", config)
                await ask("expect", round_id, NAMES[:4])
                await ask("exclude", round_id, NAMES[3:4])
                sums, *_ = await asyncio.gather(
                    ask("result", round_id),
                    *(
                        take_part(s.server.data_address, n, config, round_id=round_id, policy=lenient(config))
                        for n in NAMES[:3]
                    ),
                )
                assert sums.survivors == tuple(sorted(NAMES[:3]))
                given_up = await ask("open_round", config)
                await ask("abort", given_up, "enough")
                assert [summary.round_id for summary in await ask("list_rounds")] == [given_up, round_id]
                drops_told = drops(await s.director.watch(round_id))
                assert drops_told == {NAMES[3]: DropReason.EXCLUDED}
        asked = {"OpenRound", "Expect", "Exclude", "WatchRound", "FetchAggregate", "AbortRound", "ListRounds"}
        assert asked <= set(lost)


@pytest.mark.parametrize("synchronous", [True, False])
async def test_a_round_whose_opening_was_not_answered_is_charged_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, synchronous: bool
) -> None:
    noisy = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=4.0)")
    budget = {"epsilon": 1e6, "delta": 1e-5}
    async with stage(tmp_path, **TCP, budget=budget, max_open_rounds=1) as s:
        lose_first_answers(monkeypatch)
        config = replace(make_config(5), encoding=noisy)
        async with AsyncControlClient(s.server.control_address, retry=QUICK) as other:
            with ControlClient(s.server.control_address, retry=QUICK) as one:
                opened = await (in_thread(one.open_round, config) if synchronous else other.open_round(config))
                ledger = s.server.rounds.opener.budgets.read(config.task)
                assert list(ledger.charges) == [opened.hex()]
                if synchronous:
                    assert await in_thread(one.open_round, config, round_id=opened) == opened
                else:
                    assert await other.open_round(config, round_id=opened) == opened
                with pytest.raises(LimitError, match="1 of 1 rounds"):  # at once: the FL server decides what to do
                    await (in_thread(one.open_round, config) if synchronous else other.open_round(config))


@pytest.mark.parametrize("synchronous", [True, False])
async def test_a_coordinator_that_forgot_the_round_is_told_by_name(tmp_path: Path, synchronous: bool) -> None:
    config = make_config(3)
    async with stage(tmp_path) as s, stage(tmp_path, **TCP) as anew, wire(s.server.data_address) as relay:
        round_id = await s.director.open(config)
        playing = asyncio.ensure_future(
            take_part(relay.address, NAMES[0], config, round_id=round_id, synchronous=synchronous)
        )
        async with asyncio.timeout(PATIENCE_S):
            while not s.server.rounds.find(round_id).delivered(NAMES[0], Phase.ADVERTISE_KEYS):
                await asyncio.sleep(0.005)
        relay.lead_to(anew.server.data_address)
        relay.cut()
        with pytest.raises(UnknownRoundError, match="no round"):
            await playing


@pytest.mark.parametrize("synchronous", [True, False])
async def test_nobody_tries_longer_than_a_round_can_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, synchronous: bool
) -> None:
    monkeypatch.setattr("secagg_client.retry.RESTART_S", 0.0)
    config = make_config(3, deadlines=dict.fromkeys(Deadlines.__slots__, 0.05))
    async with stage(tmp_path) as s, wire(s.server.data_address) as relay:
        round_id = await s.director.open(make_config(3, deadlines={"advertise_keys_s": 60.0}))
        offer = Offer(round_id, config, encode_config(config))
        relay.down = True
        with pytest.raises(TransportError, match="all time limits of the round are over"):
            await take_part(relay.address, NAMES[0], config, offer=offer, synchronous=synchronous)
