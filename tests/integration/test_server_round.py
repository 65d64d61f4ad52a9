"""Whole rounds through the bare stubs: both threat models, dropouts in every phase, waiting, repeating, resuming."""

import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path

import grpc
import numpy as np
import pytest

from secagg.config import ThreatModel
from secagg.context import RoundId
from secagg.encoding.packing import chunk_values
from secagg.errors import (
    AbortReason,
    LimitError,
    NotInRoundError,
    ProtocolViolation,
    RoundAborted,
    SecAggError,
    UnknownRoundError,
)
from secagg.events import DropReason, MessageAccepted, ParticipantDropped, PhaseStarted, RoundFailed
from secagg.masked.vector import MaskedVector
from secagg.messages import MASKED_PHASES, PHASES, LeaveReason, Phase
from secagg.wire.masked import MASKED_INPUT_CHUNK
from secagg.wire.progress import ResultReady
from secagg.wire.v1 import control_plane_pb2 as control_pb
from tests.serving import ACTIVE, NAMES, PATIENCE_S, SEMI_HONEST, TASK, failure_of, make_config, stage, true_sum


async def refused(work: Awaitable[object]) -> SecAggError:
    """The named error with which the call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await work
    return failure_of(caught.value)


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
async def test_everyone_stays(tmp_path: Path, threat_model: ThreatModel) -> None:
    config = make_config(5, threat_model)
    async with stage(tmp_path) as s:
        round_id, people = await s.open(config)
        watching = asyncio.create_task(s.director.watch(round_id))
        await asyncio.gather(*(p.play() for p in people))
        events = await watching
        aggregate = await s.director.aggregate(round_id, config)
        np.testing.assert_array_equal(aggregate.sums.astype(np.uint64), true_sum(people))
        assert aggregate.survivors == tuple(NAMES[:5])
        assert isinstance(events[-1], ResultReady)
        assert [e.phase for e in events if isinstance(e, PhaseStarted)] == list(MASKED_PHASES[threat_model])
        accepted = 5 * len(MASKED_PHASES[threat_model])
        assert sum(isinstance(e, MessageAccepted) for e in events) == accepted
        assert {(p.receipt.survivors, p.receipt.sums_digest) for p in people if p.receipt} == {
            (5, events[-1].sums_digest)
        }
        np.testing.assert_array_equal((await people[0].aggregate()).sums, aggregate.sums)
        assert await s.director.watch(round_id) == events  # told again to who comes late
        assert [x.state for x in await s.director.list(TASK)] == [control_pb.ROUND_STATE_DONE]
        assert await s.director.list("another task") == []


CASES = [(m, p) for m in (ACTIVE, SEMI_HONEST) for p in MASKED_PHASES[m]]


@pytest.mark.parametrize(("threat_model", "phase"), CASES, ids=lambda v: v.name)
@pytest.mark.parametrize("silent", [False, True], ids=["leaves", "falls silent"])
async def test_one_drops_in_each_phase(tmp_path: Path, threat_model: ThreatModel, phase: Phase, silent: bool) -> None:
    short = {PHASES[phase].time_limit: 0.7} if silent or phase is Phase.ADVERTISE_KEYS else {}
    config = make_config(5, threat_model, threshold=4, deadlines=short)
    async with stage(tmp_path) as s:
        round_id, people = await s.open(config)
        leaver, stayers = people[0], people[1:]

        async def drop() -> None:
            while True:
                if leaver.participant.awaits is phase:
                    return None if silent or phase is Phase.ADVERTISE_KEYS else await leaver.leave(LeaveReason.REFUSED)
                if leaver.participant.awaits is None:  # its unmask message is ready; it keeps it
                    return None if silent else await leaver.leave(LeaveReason.REFUSED)
                await leaver.say()

        watching = asyncio.create_task(s.director.watch(round_id))
        await asyncio.gather(drop(), *(p.play() for p in stayers))
        events = await watching
        counted = phase in {Phase.CONSISTENCY_CHECK, Phase.UNMASK}
        expected = people if counted else stayers
        aggregate = await s.director.aggregate(round_id, config)
        np.testing.assert_array_equal(aggregate.sums.astype(np.uint64), true_sum(expected))
        assert aggregate.survivors == tuple(p.name for p in expected)
        dropped = [e for e in events if isinstance(e, ParticipantDropped)]
        if phase is not Phase.ADVERTISE_KEYS:  # who never came cannot drop
            reason = DropReason.DEADLINE if silent else DropReason.REFUSED
            assert dropped == [ParticipantDropped(phase, leaver.name, reason)]


async def test_too_few_end_the_round_by_name_for_everyone(tmp_path: Path) -> None:
    config = make_config(5, threshold=4)
    async with stage(tmp_path) as s:
        round_id, people = await s.open(config)
        await asyncio.gather(*(p.say() for p in people))
        waiting = [asyncio.create_task(refused(p.say())) for p in people[:3]]
        await asyncio.gather(*(p.leave() for p in people[3:]))
        for error in await asyncio.gather(*waiting):
            assert isinstance(error, RoundAborted)
            assert error.reason is AbortReason.BELOW_THRESHOLD
        assert isinstance(await refused(s.director.aggregate(round_id, config)), RoundAborted)
        events = await s.director.watch(round_id)
        assert isinstance(events[-1], RoundFailed)
        assert [x.state for x in await s.director.list()] == [control_pb.ROUND_STATE_FAILED]


async def test_a_call_that_breaks_while_it_waits_is_made_again(tmp_path: Path) -> None:
    config = make_config(4)
    async with stage(tmp_path) as s:
        _, people = await s.open(config)
        first, others = people[0], people[1:]
        for _ in MASKED_PHASES[ACTIVE]:
            waiting = asyncio.create_task(first.send(first.next))
            await asyncio.sleep(0.1)
            waiting.cancel()  # the connection breaks; what arrived stands
            with pytest.raises(asyncio.CancelledError):
                await waiting
            speaking = [asyncio.create_task(p.say()) for p in others]
            again = first.next
            if isinstance(again, MaskedVector):
                count = await first.progress()
                assert count == again.chunks
                answer = await first.upload([])
            else:
                answer = await first.send(again)  # type: ignore[assignment]
            await asyncio.gather(*speaking)
            if answer is not None:
                first.next = first.participant.receive(answer, time.time())
        assert first.receipt is not None


async def test_an_answer_is_given_again_after_the_phase(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        _, people = await s.open(make_config(4, SEMI_HONEST))
        sent = {}
        for phase in MASKED_PHASES[SEMI_HONEST]:
            sent[phase] = people[0].next
            await asyncio.gather(*(p.say() for p in people))
            if phase is Phase.SHARE_KEYS:
                assert await people[0].send(sent[phase]) is not None
        first = people[0]
        roster = await first.send(sent[Phase.ADVERTISE_KEYS])
        assert roster == await first.send(sent[Phase.ADVERTISE_KEYS])
        with pytest.raises(grpc.aio.AioRpcError, match="the round is over"):
            await first.send(sent[Phase.SHARE_KEYS])  # nothing could follow from these shares
        assert await first.upload([]) is not None
        receipt = first.receipt
        await first.send(sent[Phase.UNMASK])
        assert first.receipt == receipt


async def test_a_broken_upload_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Three chunks; the connection breaks after the first, in the middle of the stream."""
    config = make_config(3, SEMI_HONEST, size=2 * chunk_values(18) + 1000, value_bits=16)
    assert config.ring_bits == 18
    async with stage(tmp_path) as s:
        round_id, people = await s.open(config)
        for _ in range(2):
            await asyncio.gather(*(p.say() for p in people))
        vector = people[0].next
        assert isinstance(vector, MaskedVector)
        assert vector.chunks == 3
        call = people[0].stub.SendInput(**people[0].options)
        await call.write(MASKED_INPUT_CHUNK.encode(vector.chunk(0)))
        engine = s.server.rounds.find(round_id)._engine
        while engine.received_chunks(people[0].name) < 1:
            await asyncio.sleep(0.02)
        assert await people[0].progress() == 1
        # That question ended the upload, though its connection stands: two cannot get in each other's way.
        assert isinstance(await refused(call), ProtocolViolation)
        assert await people[0].progress() == 1
        rest = people[0].upload([vector.chunk(1), vector.chunk(2)])
        others = [asyncio.create_task(p.say()) for p in people[1:]]
        answer = await rest
        await asyncio.gather(*others)
        people[0].next = people[0].participant.receive(answer, time.time())
        await asyncio.gather(*(p.say() for p in people))
        aggregate = await s.director.aggregate(round_id, config)
        np.testing.assert_array_equal(aggregate.sums.astype(np.uint64), true_sum(people))
        np.testing.assert_array_equal((await people[1].aggregate()).sums, aggregate.sums)


async def test_waiting_for_the_next_round_of_a_task(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        player, other = s.some(2)
        waiting = asyncio.create_task(player.find(task=TASK))
        await s.director.open(make_config(4, task="another task"))
        first = await s.director.open(make_config(4, SEMI_HONEST))
        assert (await waiting).round_id == first
        second = await s.director.open(make_config(4, SEMI_HONEST))
        assert (await other.find(task=TASK)).round_id == first
        assert (await player.find(task=TASK, seen=[first])).round_id == second
        # A round that it advertised keys to is not offered to it again: its state may be lost.
        await player.join(first)
        advertised = asyncio.create_task(refused(player.say()))
        while (await player.find(task=TASK)).round_id != second:
            await asyncio.sleep(0.02)
        await s.director.abort(first, "a better idea")
        error = await advertised
        assert isinstance(error, RoundAborted)
        assert (error.reason, str(error)) == (AbortReason.CANCELLED, "a better idea")
        assert (await other.find(task=TASK)).round_id == second
        assert [x.round_id for x in await s.director.list(TASK)] == [second, first]


async def test_who_left_does_not_come_back(tmp_path: Path) -> None:
    """With the same keys: it takes new ones to come again."""
    async with stage(tmp_path) as s:
        _, people = await s.open(make_config(3, SEMI_HONEST))
        waiting = asyncio.create_task(refused(people[0].say()))
        await asyncio.sleep(0.1)
        waiting.cancel()  # whoever leaves ends its call first
        await people[0].leave()
        await people[0].leave()
        assert isinstance(await refused(people[0].say()), NotInRoundError)


async def test_the_aggregate_is_for_participants_of_rounds_that_release_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        kept, people = await s.open(make_config(3, SEMI_HONEST, release=False))
        await asyncio.gather(*(p.play() for p in people))
        assert isinstance(await refused(people[0].aggregate()), ProtocolViolation)
        outsider = s.players[NAMES[5]]
        await outsider.find(round_id=kept)
        released, people = await s.open(make_config(3, SEMI_HONEST))
        for player in people:
            player.receipt = None
        await asyncio.gather(*(p.play() for p in people))
        await outsider.find(round_id=released)
        assert isinstance(await refused(outsider.aggregate()), NotInRoundError)
        assert (await people[0].aggregate()).survivors == tuple(NAMES[:3])


async def test_rounds_are_limited_and_forgotten(tmp_path: Path) -> None:
    async with stage(tmp_path, max_open_rounds=1, keep_finished_rounds=1) as s:
        config = make_config(3, SEMI_HONEST)
        first = await s.director.open(config)
        assert isinstance(await refused(s.director.open(config)), LimitError)
        await s.director.abort(first)
        await s.director.abort(first)  # the same answer
        second = await s.director.open(config)
        assert isinstance(await refused(s.director.watch(RoundId(b"x" * 16))), UnknownRoundError)
        await s.director.abort(second)
        assert isinstance(await refused(s.director.watch(first)), UnknownRoundError)
        assert [x.round_id for x in await s.director.list()] == [second]


async def test_finished_rounds_are_forgotten_after_a_while(tmp_path: Path) -> None:
    async with stage(tmp_path, keep_finished_s=0.05) as s:
        round_id = await s.director.open(make_config(3, SEMI_HONEST))
        await s.director.abort(round_id)
        async with asyncio.timeout(PATIENCE_S):
            while await s.director.list():
                await asyncio.sleep(0.02)


async def test_a_participants_calls_are_limited(tmp_path: Path) -> None:
    async with stage(tmp_path, max_calls_per_participant=2) as s:
        greedy, modest = s.some(2)
        calls = [asyncio.create_task(greedy.find(task="none")) for _ in range(2)]
        await asyncio.sleep(0.2)
        assert isinstance(await refused(greedy.find(task="none")), LimitError)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await modest.find(round_id=b"short")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        for call in calls:
            call.cancel()
        async with asyncio.timeout(PATIENCE_S):
            while isinstance(await refused(greedy.find(round_id=b"y" * 16)), LimitError):
                await asyncio.sleep(0.02)
