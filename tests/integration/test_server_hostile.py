"""Participants that break the protocol: each is refused by name, and the round of the others goes on exactly."""

import asyncio
import time
from collections.abc import AsyncIterable, Iterable
from pathlib import Path
from threading import Event

import grpc
import numpy as np
import pytest
from secagg_server.calls import data_plane
from secagg_server.certificates import callers
from secagg_server.rounds import hosted

from secagg.crypto.secret import Secret
from secagg.encoding.packing import chunk_values, packed_size
from secagg.errors import (
    AbortReason,
    AuthenticationError,
    ConfigError,
    DecodeError,
    NotInRoundError,
    ProtocolViolation,
    RoundAborted,
)
from secagg.masked.vector import MaskedVector
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    MaskedInputChunk,
    Phase,
    RevealedShare,
    SelfMaskShare,
    ShareKeys,
    Unmask,
)
from secagg.rounds.uploads import Uploads
from secagg.wire.calls import ROUND_METADATA
from secagg.wire.configuration import encode_config
from secagg.wire.keys import SHARE_KEYS
from secagg.wire.v1 import config_pb2
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.serving import (
    ACTIVE,
    NAMES,
    PATIENCE_S,
    SEMI_HONEST,
    Player,
    Stage,
    make_config,
    refused,
    stage,
    true_sum,
)


async def finish(s: Stage, people: Iterable[Player]) -> None:
    """The round goes on to its exact sum."""
    people = list(people)
    await asyncio.gather(*(p.play() for p in people))
    round_ = people[0].round
    aggregate = await s.director.aggregate(round_.round_id, round_.config)
    np.testing.assert_array_equal(aggregate.sums.astype(np.uint64), true_sum(people))


async def speak(people: Iterable[Player], phases: int) -> None:
    for _ in range(phases):
        await asyncio.gather(*(p.say() for p in people))


async def test_keys_of_another(tmp_path: Path) -> None:
    """The certificate of the connection says who speaks: another's signed keys do not fit it."""
    async with stage(tmp_path) as s:
        _, people = await s.open(make_config(3))
        mine, theirs = people[0].next, people[1].next
        assert isinstance(mine, AdvertiseKeys)
        assert isinstance(theirs, AdvertiseKeys)
        error = await refused(people[0].advertise(theirs), grpc.StatusCode.FAILED_PRECONDITION)
        assert f"belongs to {people[1].name}" in str(error)
        forged = AdvertiseKeys(mine.channel_public_key, theirs.mask_public_key, mine.signature, mine.certificates)
        error = await refused(people[0].advertise(forged), grpc.StatusCode.UNAUTHENTICATED)
        assert isinstance(error, AuthenticationError)
        assert error.culprit == people[0].name
        await finish(s, people)


async def test_other_keys_after_the_first(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        round_id, people = await s.open(make_config(3))
        waiting = asyncio.create_task(people[0].send(people[0].next))
        while people[0].name not in s.server.rounds.find(round_id)._engine._joining.advertised:
            await asyncio.sleep(0.02)
        await people[0].join(round_id)  # fresh keys
        error = await refused(people[0].say(), grpc.StatusCode.FAILED_PRECONDITION)
        assert isinstance(error, ProtocolViolation)
        waiting.cancel()


@pytest.mark.parametrize("broken", ["neighbours", "size", "commitment", "twice"])
async def test_malformed_shares(tmp_path: Path, broken: str) -> None:
    async with stage(tmp_path) as s:
        _, people = await s.open(make_config(3))
        await speak(people, 1)
        good = people[0].next
        assert isinstance(good, ShareKeys)
        [part] = SHARE_KEYS.parts(good)
        assert isinstance(part, pb.ShareKeysPart)
        match broken:
            case "neighbours":
                del part.peers[0]
                part.entries = part.entries[len(part.entries) // 2 :]
            case "size":
                part.entries = part.entries[: -len(part.peers)]
            case "commitment":
                part.commitment = b""
            case "twice":
                part.peers[1] = part.peers[0]
        expected = {"neighbours": grpc.StatusCode.FAILED_PRECONDITION}.get(broken, grpc.StatusCode.INVALID_ARGUMENT)
        call = people[0].stub.Share(iter([part]), **people[0].options)
        await refused(_drain(call), expected)
        await finish(s, people)


async def _drain(call: AsyncIterable[object]) -> None:
    async for _ in call:
        pass


async def test_too_much_is_cut_off(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        _, people = await s.open(make_config(3))
        await speak(people, 1)
        long = pb.ShareKeysPart(peers=[1], entries=bytes(1 << 20))
        for parts in ([long] * 5, [pb.ShareKeysPart()] * 1001):
            call = people[0].stub.Share(iter(parts), **people[0].options)
            assert isinstance(await refused(_drain(call), grpc.StatusCode.INVALID_ARGUMENT), DecodeError)
        await finish(s, people)


async def test_a_message_above_grpcs_limit_is_refused(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        _, people = await s.open(make_config(3, SEMI_HONEST))
        await speak(people, 2)
        huge = pb.MaskedInputChunk(payload=bytes(5 << 20))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await people[0].stub.SendInput(iter([huge]), **people[0].options)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await finish(s, people)


@pytest.mark.parametrize("broken", ["number", "long", "short", "twice", "behind", "unfinished"])
async def test_wrong_chunks(tmp_path: Path, broken: str) -> None:
    """A vector of exactly two chunks, so that what comes behind it could pass for an empty chunk."""
    config = make_config(3, SEMI_HONEST, size=2 * chunk_values(18) - 1)
    assert config.vector_len == 2 * chunk_values(18)
    async with stage(tmp_path) as s:
        _, people = await s.open(config)
        await speak(people, 2)
        vector = people[0].next
        assert isinstance(vector, MaskedVector)
        first, second = vector
        match broken:
            case "number":
                chunks = [second]
            case "long":
                chunks = [MaskedInputChunk(0, first.payload + b"x")]
            case "short":
                chunks = [MaskedInputChunk(0, first.payload[:-1])]
            case "twice":
                chunks = [first, first]
            case "behind":
                chunks = [first, second, MaskedInputChunk(2, b"")]
            case _:
                chunks = [first]
        error = await refused(people[0].upload(chunks), _status_of(broken))
        assert isinstance(error, DecodeError if broken in {"long", "short"} else ProtocolViolation)
        done = await people[0].progress()
        assert done == {"twice": 1, "unfinished": 1, "behind": 2}.get(broken, 0)
        others = [asyncio.create_task(p.say()) for p in people[1:]]
        answer = await people[0].upload([first, second][done:])
        await asyncio.gather(*others)
        people[0].next = people[0].participant.receive(answer, 0.0)
        await finish(s, people)


def _status_of(broken: str) -> grpc.StatusCode:
    malformed = broken in {"long", "short"}
    return grpc.StatusCode.INVALID_ARGUMENT if malformed else grpc.StatusCode.FAILED_PRECONDITION


async def test_without_the_check_a_chunk_behind_the_last_spoils_the_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: the vector is in the sum, and counts as dropped."""

    spoilt = Event()

    def unchecked(self: Uploads, owner: int, number: int, payload: bytes, *, name: str) -> bool:
        self._received[owner] = number + 1  # type: ignore[index]
        self._spool.append(self._phase, owner, payload)  # type: ignore[arg-type]
        if number == self._chunks:
            spoilt.set()
        if number + 1 != self._chunks:
            return False
        for at, kept in enumerate(self._spool.take(self._phase, owner)):  # type: ignore[arg-type]
            self._fold(at, kept)
        return True

    monkeypatch.setattr(Uploads, "add", unchecked)
    config = make_config(4, SEMI_HONEST, size=chunk_values(18) - 1, threshold=3, deadlines={"masked_input_s": 1.0})
    async with stage(tmp_path) as s:
        round_id, people = await s.open(config)
        await speak(people, 2)
        vector = people[0].next
        assert isinstance(vector, MaskedVector)
        spoiling = asyncio.create_task(people[0].upload([vector.chunk(0), MaskedInputChunk(1, b"")]))
        assert await asyncio.to_thread(spoilt.wait, PATIENCE_S)
        await asyncio.gather(*(p.play() for p in people[1:]))
        with pytest.raises(grpc.aio.AioRpcError):
            await spoiling
        aggregate = await s.director.aggregate(round_id, config)
        assert not np.array_equal(aggregate.sums.astype(np.uint64), true_sum(people[1:]))


async def test_second_unmask_differs(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        round_id, people = await s.open(make_config(3))
        await speak(people, 4)
        good = people[0].next
        assert isinstance(good, Unmask)
        waiting = asyncio.create_task(people[0].say())
        while not s.server.rounds.find(round_id)._engine._units[Phase.UNMASK].accepted:  # type: ignore[attr-defined]
            await asyncio.sleep(0.02)
        other: dict[int, RevealedShare] = {owner: SelfMaskShare(Secret(bytes(33))) for owner in good.shares}
        error = await refused(people[0].send(Unmask(other)), grpc.StatusCode.FAILED_PRECONDITION)  # type: ignore[arg-type]
        assert isinstance(error, ProtocolViolation)
        assert "before" in str(error)
        await asyncio.gather(waiting, *(p.say() for p in people[1:]))
        receipt = people[0].receipt
        assert receipt is not None
        # The round is over and its shares are forgotten: whoever delivered gets its receipt again, whatever it sends.
        await people[0].send(Unmask(other))  # type: ignore[arg-type]
        assert people[0].receipt == receipt


async def test_strangers_and_wrong_phases(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        round_id, people = await s.open(make_config(3, SEMI_HONEST))
        outsider = s.players[NAMES[5]]
        await outsider.find(round_id=round_id)
        for work in (outsider.progress(), outsider.upload([]), outsider.aggregate()):
            error = await refused(work, grpc.StatusCode.PERMISSION_DENIED)
            assert isinstance(error, NotInRoundError)
        await outsider.leave()  # it will not come: nobody waits for it, and fewer than t are still waited for
        await speak(people, 1)
        other = s.players[NAMES[4]]
        await other.find(round_id=round_id)
        assert isinstance(await refused(other.leave(), grpc.StatusCode.PERMISSION_DENIED), NotInRoundError)
        # There is no such phase in this round.
        error = await refused(people[0].send(ConsistencyCheck(b"x")), grpc.StatusCode.FAILED_PRECONDITION)
        assert isinstance(error, ProtocolViolation)
        # It is not open yet.
        chunk = MaskedInputChunk(0, bytes(packed_size(51, 18)))
        await refused(people[0].upload([chunk]), grpc.StatusCode.FAILED_PRECONDITION)
        await finish(s, people)


async def test_without_the_check_of_members_a_stranger_gets_the_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin of the above, for the aggregate."""

    async def unchecked(*_: object) -> None:
        return None

    async with stage(tmp_path) as s:
        round_id, people = await s.open(make_config(3, SEMI_HONEST))
        outsider = s.players[NAMES[5]]
        await outsider.find(round_id=round_id)
        await finish(s, people)
        assert isinstance(await refused(outsider.aggregate(), grpc.StatusCode.PERMISSION_DENIED), NotInRoundError)
        monkeypatch.setattr(hosted.HostedRound, "check_member", unchecked)
        assert (await outsider.aggregate()).survivors == tuple(NAMES[:3])


async def test_a_certificate_that_expires_on_a_live_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS looked at it once, when the connection was made."""
    later = 0.0
    async with stage(tmp_path, clock=lambda: time.time() + later) as s:
        round_id, people = await s.open(make_config(3))
        later = 400 * 86_400.0
        error = await refused(people[0].find(round_id=round_id), grpc.StatusCode.UNAUTHENTICATED)
        assert isinstance(error, AuthenticationError)
        assert "expired" in str(error)
        genuine = callers.Callers.of_shown

        def then(self: callers.Callers, pem: bytes) -> tuple[callers.Caller, bool]:
            return genuine(callers.Callers(self._trust, self._denied, time.time), pem)

        monkeypatch.setattr(callers.Callers, "of_shown", then)
        await people[0].find(round_id=round_id)  # the twin: with the clock of then, it is let in


async def test_the_metadata_names_the_round(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        player = s.players[NAMES[0]]
        for value in ((), ((ROUND_METADATA, b"short"),), ((ROUND_METADATA, bytes(16)), (ROUND_METADATA, bytes(16)))):
            call = player.stub.SendInput(iter([]), metadata=value, timeout=PATIENCE_S)
            await refused(call, grpc.StatusCode.INVALID_ARGUMENT)
        call = player.stub.SendInput(iter([]), metadata=((ROUND_METADATA, bytes(16)),), timeout=PATIENCE_S)
        await refused(call, grpc.StatusCode.NOT_FOUND)
        await refused(_drain(player.stub.FindRound(pb.FindRoundRequest())), grpc.StatusCode.INVALID_ARGUMENT)
        many = pb.FindRoundRequest(task="t", seen=[bytes(16)] * 1001)
        await refused(_drain(player.stub.FindRound(many)), grpc.StatusCode.INVALID_ARGUMENT)


async def test_who_dawdles_is_cut_off_with_the_phase(tmp_path: Path) -> None:
    """An open upload that sends nothing holds no one up beyond the deadline."""
    config = make_config(4, SEMI_HONEST, threshold=3, deadlines={"masked_input_s": 0.7})
    async with stage(tmp_path) as s:
        _, people = await s.open(config)
        await speak(people, 2)
        dawdling = people[0].stub.SendInput(**people[0].options)
        await dawdling.write(pb.MaskedInputChunk(number=0, payload=b""))
        silent = people[0].stub.SendInput(**people[0].options)
        await asyncio.gather(*(p.play() for p in people[1:]))
        error = await refused(silent, grpc.StatusCode.PERMISSION_DENIED)
        assert isinstance(error, NotInRoundError)
        dawdling.cancel()


async def test_unsafe_and_unreadable_configurations(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        message = config_pb2.RoundConfig.FromString(encode_config(make_config(5, ACTIVE)))
        message.threshold = 3
        message.max_colluding = 2
        error = await refused(s.director.open(message.SerializeToString()), grpc.StatusCode.INVALID_ARGUMENT)
        assert isinstance(error, ConfigError)
        assert "raise threshold" in str(error)
        error = await refused(s.director.open(b"\xff\xff"), grpc.StatusCode.INVALID_ARGUMENT)
        assert isinstance(error, DecodeError)
        assert await s.director.list() == []


async def test_a_bug_in_the_engine_ends_the_round_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stage(tmp_path) as s:
        round_id, people = await s.open(make_config(3, SEMI_HONEST))
        engine = s.server.rounds.find(round_id)._engine

        def broken(*_: object) -> None:
            raise ZeroDivisionError("secret-4711")

        monkeypatch.setattr(engine, "receive", broken)
        error = await refused(people[0].say(), grpc.StatusCode.ABORTED)
        assert isinstance(error, RoundAborted)
        assert error.reason is AbortReason.INTERNAL
        assert "4711" not in str(error)
        assert "ZeroDivisionError" in capsys.readouterr().out
        assert isinstance(await refused(people[1].say(), grpc.StatusCode.ABORTED), RoundAborted)


async def test_a_bug_in_a_call_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stage(tmp_path) as s:
        round_id = await s.director.open(make_config(3))

        def broken(*_: object) -> None:
            raise ZeroDivisionError("secret-4711")

        monkeypatch.setattr(data_plane, "encode_offer", broken)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await s.players[NAMES[0]].find(round_id=round_id)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "4711" not in str(caught.value)
        assert "ZeroDivisionError" in capsys.readouterr().out


async def test_a_repeated_failure_does_not_grow(tmp_path: Path) -> None:
    """An exception object raised again and again collects a traceback each time."""
    async with stage(tmp_path) as s:
        round_id, people = await s.open(make_config(3))
        await s.director.abort(round_id)
        for _ in range(3):
            await refused(people[0].say(), grpc.StatusCode.ABORTED)
        outcome = s.server.rounds.find(round_id).outcome
        assert isinstance(outcome, RoundAborted)
        assert outcome.__traceback__ is None
        assert hosted.HostedRound._failure(outcome) is not outcome
