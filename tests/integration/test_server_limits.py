"""What one participant sends without end, in bulk or in another form costs others nothing, and is refused by name."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from secagg_server.limits.call_limiter import CallLimiter

from secagg.errors import DecodeError, LimitError, NotInRoundError, ProtocolViolation, SecAggError
from secagg.messages import Leave, LeaveReason
from secagg.wire.calls import ROUND_METADATA
from secagg.wire.keys import encode_advertise
from secagg.wire.v1 import data_plane_pb2 as pb
from tests import stubs
from tests.serving import NAMES, PATIENCE_S, SEMI_HONEST, channel, failure_of, make_config, site, stage

PREFIX = "/secagg.wire.v1.DataPlane/"


def call(data: grpc.aio.Channel, method: str, **options: Any) -> "grpc.aio.StreamStreamCall[bytes, bytes]":
    """A call of raw bytes."""
    made: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = data.stream_stream(method)
    return made(timeout=PATIENCE_S, **options)


async def end(made: "grpc.aio.StreamStreamCall[bytes, bytes]") -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drained(made)
    return caught.value


async def drained(made: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
    while await made.read() is not grpc.aio.EOF:
        pass


async def named(made: "grpc.aio.StreamStreamCall[bytes, bytes]") -> SecAggError:
    return failure_of(await end(made))


async def test_each_form_of_too_much_is_refused_and_a_round_goes_on(tmp_path: Path) -> None:
    async with stage(tmp_path, read_timeout_s=2.0, max_calls_per_participant=4) as s:
        round_id, people = await s.open(make_config(3))
        await asyncio.gather(*(p.say() for p in people))
        async with channel(s.server.data_address, site().people[NAMES[5]]) as data:
            # A message that never comes.
            silent = [call(data, PREFIX + "FindRound") for _ in range(6)]
            errors = [await named(each) for each in silent]
            assert all(isinstance(error, LimitError) for error in errors)
            # Bytes of another form.
            for method in ("FindRound", "Advertise", "LeaveRound", "FetchAggregate", "Describe"):
                made = call(data, PREFIX + method)
                await made.write(b"\xff\xff\xff")
                assert isinstance(await named(made), DecodeError)
            # Compressed: refused for its headers, so no message is ever read. We write none, for grpc.aio overwrites
            # the status that the server sent when it notices that a message did not arrive.
            refused = await end(call(data, PREFIX + "FindRound", compression=grpc.Compression.Gzip))
            assert refused.code() is grpc.StatusCode.UNIMPLEMENTED
            assert refused.details() == "Compression algorithm 'gzip' is disabled."
            # The health check answers once; it does not keep calls.
            request = health_pb2.HealthCheckRequest().SerializeToString()
            watching = call(data, "/grpc.health.v1.Health/Watch")
            assert (await end(watching)).code() is grpc.StatusCode.UNIMPLEMENTED
            check = call(data, "/grpc.health.v1.Health/Check")
            await check.write(request)
            reply = await check.read()
            assert isinstance(reply, bytes)
            assert health_pb2.HealthCheckResponse.FromString(reply).status == health_pb2.HealthCheckResponse.SERVING
        await asyncio.gather(*(p.play() for p in people))
        assert people[0].receipt is not None
        assert people[0].receipt.survivors == 3
        assert not isinstance(s.server.rounds.find(round_id).outcome, Exception)


async def test_a_message_of_a_phase_may_be_slower_than_the_read_timeout(tmp_path: Path) -> None:
    config = make_config(4, SEMI_HONEST, threshold=3, deadlines={"share_keys_s": 1.2})
    async with stage(tmp_path, read_timeout_s=0.1) as s:
        round_id, people = await s.open(config)
        await asyncio.gather(*(p.say() for p in people))
        async with channel(s.server.data_address, site().people[people[0].name]) as data:
            slow = call(data, PREFIX + "Share", metadata=((ROUND_METADATA, round_id),))
            others = asyncio.gather(*(p.say() for p in people[1:]))
            await asyncio.sleep(0.4)
            assert not slow.done()
            assert isinstance(await named(slow), NotInRoundError)  # the phase is over
            await others


async def test_beyond_the_calls_of_all_a_client_hears_of_the_limit(tmp_path: Path) -> None:
    async with stage(tmp_path, max_calls=3) as s:
        waiting = [asyncio.ensure_future(s.players[n].find(task="none")) for n in NAMES[:3]]
        await asyncio.sleep(0.3)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await s.players[NAMES[3]].find(task="none")
        error = failure_of(caught.value)
        assert isinstance(error, LimitError)
        assert "max_calls" in str(error)
        for task in waiting:
            task.cancel()


async def test_the_coordinator_knows_whose_connections_are_whose(tmp_path: Path) -> None:
    async with stage(tmp_path, max_connections_per_participant=1) as s:
        greedy, other = site().people[NAMES[4]], site().people[NAMES[5]]
        async with (
            channel(s.server.data_address, greedy) as first,
            channel(s.server.data_address, greedy) as second,
            channel(s.server.data_address, other) as others,
        ):
            waiting = [call(each, PREFIX + "FindRound") for each in (others, first)]
            for each in waiting:
                await each.write(pb.FindRoundRequest(task="none").SerializeToString())
                await asyncio.sleep(0.2)  # so that the first is the older one
            await stubs.data_plane(second).FindRound(pb.FindRoundRequest(round_id=bytes(16)), timeout=PATIENCE_S).code()
            assert (await end(waiting[1])).code() is grpc.StatusCode.UNAVAILABLE
            assert not waiting[0].done()
            waiting[0].cancel()


async def test_who_waits_for_a_round_can_make_other_calls(tmp_path: Path) -> None:
    async with stage(tmp_path, max_calls_per_participant=1) as s:
        round_id = await s.director.open(make_config(3, SEMI_HONEST))
        waiting = asyncio.ensure_future(s.players[NAMES[0]].find(task="none"))
        await asyncio.sleep(0.2)
        await s.players[NAMES[0]].find(round_id=round_id)
        waiting.cancel()


async def test_who_waits_in_many_rounds_can_join_one_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three participants begin with rounds in different orders, and each has more of them than it may have calls in
    one. None of the rounds could begin if calls were counted over all rounds.
    """
    rounds = 4

    async def joined(s: Any, people: list[Any], ids: list[bytes]) -> int:
        async def join(player: Any, number: int) -> bool:
            order = ids[number:] + ids[:number]
            results = await asyncio.gather(*(advertise(player, i) for i in order))
            return all(results)

        async def advertise(player: Any, round_id: bytes) -> bool:
            request = pb.AdvertiseRequest(round_id=round_id, keys=keys[player.name, round_id])
            try:
                return [part async for part in player.stub.Advertise(request, timeout=2.0)] != []
            except grpc.aio.AioRpcError:
                return False

        return sum(await asyncio.gather(*(join(p, i) for i, p in enumerate(people))))

    async def opened(s: Any) -> tuple[list[Any], list[bytes]]:
        ids, people = [], s.some(3)
        for _ in range(rounds):
            round_id = await s.director.open(make_config(3, SEMI_HONEST))
            ids.append(round_id)
            for player in people:
                await player.join(round_id)
                keys[player.name, round_id] = encode_advertise(player.next)
        return people, ids

    keys: dict[tuple[str, bytes], Any] = {}
    async with stage(tmp_path, max_calls_per_participant=rounds - 1) as s:
        people, ids = await opened(s)
        made = [asyncio.ensure_future(joined(s, people, [i])) for i in ids]  # one round after the other: no burst
        assert await asyncio.gather(*made) == [3] * rounds
        genuine = CallLimiter._enter
        monkeypatch.setattr(CallLimiter, "_enter", lambda self, caller, _: genuine(self, caller, b""))
        leave = CallLimiter._leave
        monkeypatch.setattr(CallLimiter, "_leave", lambda self, caller, _: leave(self, caller, b""))
        people, ids = await opened(s)
        assert await joined(s, people, ids) < 3  # the twin


async def test_a_good_bye_does_not_wait_for_its_turn(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        round_id, people = await s.open(make_config(4, threshold=3))
        joining = [asyncio.ensure_future(p.say()) for p in people[:3]]
        hosted = s.server.rounds.find(round_id)
        while len(hosted._delivered) < 3:
            await asyncio.sleep(0.01)
        joining[0].cancel()  # else another process seems to be there, which stays
        async with hosted._state:  # a step that takes long
            joining[0].cancel()  # while its call waits it would be another process that gives up
            await asyncio.wait_for(people[0].leave(), PATIENCE_S / 2)
            await people[0].leave()
            await hosted.leave(people[0].name, Leave(LeaveReason.CANCELLED))
            assert len(hosted._steps) == 1
        while people[0].name not in hosted._processes.left:
            await asyncio.sleep(0.01)
        assert not hosted._processes.leaving
        for task in joining:
            task.cancel()


async def test_a_newer_upload_ends_the_older_one(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        round_id, people = await s.open(make_config(3, SEMI_HONEST))
        for _ in range(2):
            await asyncio.gather(*(p.say() for p in people))
        async with channel(s.server.data_address, site().people[people[0].name]) as data:
            older = call(data, PREFIX + "SendInput", metadata=((ROUND_METADATA, round_id),))
            hosted = s.server.rounds.find(round_id)
            while people[0].name not in hosted._uploads:
                await asyncio.sleep(0.01)
            await asyncio.gather(*(p.play() for p in people))
            assert isinstance(await named(older), ProtocolViolation)
