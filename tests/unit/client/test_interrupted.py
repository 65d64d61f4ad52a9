"""Control-C inside of gRPC: the call is cancelled, the coordinator is told, and a channel that hangs is left."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any, NoReturn

import grpc
import pytest
from secagg_client import AsyncClient, Client
from secagg_client.calls.data_plane import FindRound, LeaveRound
from secagg_client.retry import ConnectionBroken
from secagg_client.sync import connection
from secagg_client.transport import aio, channels
from secagg_client.transport.sync import Channel, usable_after

from secagg.context import RoundId
from secagg.errors import AbortReason, ParticipationCancelled, RoundAborted
from secagg.messages import Leave, LeaveReason
from secagg.wire.calls import FIND_ROUND, LEAVE_ROUND
from tests.serving import CROWD, make_config, site

ENDS_S = 20.0
HANGS_S = 1.5  # more than `channels.CLOSE_PATIENCE_S`


class Answered(deque[bytes]):
    """A call that is answered with one empty message."""

    def __iter__(self) -> Iterator[bytes]:
        yield b""

    def cancel(self) -> None:
        """It is over."""


class Interrupting:
    """A call whose answer never comes. Control-C interrupts who waits for it, and a lock stays held."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self.cancelled = False

    def __iter__(self) -> "Interrupting":
        return self

    def __next__(self) -> NoReturn:
        raise self._error

    def cancel(self) -> None:
        self.cancelled = True


class FakeChannel:
    """A channel of gRPC. The first one is interrupted in its first call, and then closing it never ends."""

    def __init__(self, error: BaseException | None, early: bool) -> None:
        self.error = error
        self.called: list[str] = []
        self.call = Interrupting(error) if error else None
        self.began_to_close = False
        self._early = early

    def stream_stream(self, path: str) -> Callable[..., Any]:
        def begin(_: Iterator[bytes], **__: Any) -> Any:
            self.called.append(path)
            if self.call is None:
                return Answered()
            if self._early:  # before anybody knows of the call that has begun
                raise self.error or AssertionError
            return self.call

        return begin

    def close(self) -> None:
        self.began_to_close = True
        if self.call is not None:
            self.call.cancelled = True
            if not isinstance(self.error, Exception):
                Event().wait()


class Machine:
    """The channels that a client opens."""

    def __init__(self, patch: pytest.MonkeyPatch, error: BaseException, early: bool = False) -> None:
        self.channels: list[FakeChannel] = []

        def opened(*_: Any, **__: Any) -> FakeChannel:
            self.channels.append(FakeChannel(None if self.channels else error, early))
            return self.channels[-1]

        patch.setattr(grpc, "secure_channel", opened)
        self.client = Client("localhost:1", identity=site().identity(CROWD[0]), trust=site().trust)


class Participating:
    """A participation that makes one call, and is in its round."""

    def advance(self, _: Any) -> Any:
        return FindRound(round_id=RoundId(bytes(16)))

    def leave_call(self, _: BaseException) -> LeaveRound:
        return LeaveRound(RoundId(bytes(16)), make_config(3), Leave(LeaveReason.CANCELLED))

    def close(self) -> None:
        """Nothing is held."""


def ended_with(machine: Machine, patience_s: float) -> BaseException | None:
    """What a program that participates ends with; None if it does not end."""
    told: list[BaseException] = []

    def program() -> None:
        try:
            with machine.client as client, client._connection.scope() as scope:
                client._drive(Participating(), scope)  # type: ignore[arg-type]
        except BaseException as error:
            told.append(error)

    running = Thread(target=program, daemon=True)
    running.start()
    running.join(patience_s)
    return told[0] if told else None


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interrupted_client_leaves_on_a_new_channel_and_ends(
    error: BaseException, early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, error, early)
    assert ended_with(machine, ENDS_S) is error
    old, new = machine.channels
    assert old.call is not None
    assert old.call.cancelled
    assert old.called == [FIND_ROUND.path]
    assert new.called == [LEAVE_ROUND.path]
    assert new.began_to_close


@pytest.mark.parametrize("early", [False, True])
def test_the_twin_neither_cancels_an_early_call_nor_ends(early: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The leave goes over the channel that hangs, and so does the closing."""
    monkeypatch.setattr(connection, "usable_after", lambda _: True)
    machine = Machine(monkeypatch, KeyboardInterrupt(), early)
    told = ended_with(machine, HANGS_S)
    (old,) = machine.channels
    assert old.call is not None
    assert old.called == [FIND_ROUND.path, LEAVE_ROUND.path]
    assert told is None


def test_after_an_error_of_ours_the_channel_still_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RoundAborted(AbortReason.CANCELLED, "over")
    machine = Machine(monkeypatch, error)
    assert ended_with(machine, ENDS_S) is error
    (own,) = machine.channels
    assert own.called == [FIND_ROUND.path, LEAVE_ROUND.path]


def test_an_interrupted_client_can_be_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook. Where no round was joined nobody is told, and the channel is new all the same."""
    machine = Machine(monkeypatch, KeyboardInterrupt())
    call = FindRound(round_id=RoundId(bytes(16)))
    with machine.client as client, client._connection.scope() as scope:
        with pytest.raises(KeyboardInterrupt):
            client._connection.perform(call, scope)
        assert list(client._connection.perform(call, scope)) == [b""]
    assert [channel.called for channel in machine.channels] == [[FIND_ROUND.path]] * 2


def test_who_stops_reading_an_answer_keeps_the_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, KeyboardInterrupt())
    machine.channels[0].call = None
    with machine.client._connection.scope() as scope:
        parts = machine.client._connection.stream(FindRound(round_id=RoundId(bytes(16))), scope)
        assert next(parts) == b""
        parts.close()
    assert len(machine.channels) == 1
    assert usable_after(GeneratorExit())
    assert aio.usable_after(GeneratorExit())


def test_a_call_that_meets_a_channel_amid_its_renewal_is_made_again() -> None:
    """By another thread: gRPC begins no call on a closed channel, and says so with a ValueError."""
    channel = Channel("localhost:1", ())
    old = channel._channel
    begin = old.stream_stream

    def renewed(path: str) -> Any:
        channel.renew()
        return begin(path)

    old.stream_stream = renewed  # type: ignore[method-assign, assignment]
    with pytest.raises(ConnectionBroken, match="was closed") as broken:
        channel.call("/a/b", iter(()), 1.0, ())
    assert broken.value.unsent
    channel.close()
    with pytest.raises(ValueError, match="closed"):  # nobody renewed it
        channel.call("/a/b", iter(()), 1.0, ())


class AsyncFake:
    """An asynchronous channel of gRPC that is interrupted in its first call, or answers; closing it never ends."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
        self.called: list[str] = []
        self.began_to_close = False

    def stream_stream(self, path: str) -> Callable[..., Any]:
        def begin(*_: Any, **__: Any) -> Any:
            self.called.append(path)
            raise self.error or ParticipationCancelled("said")

        return begin

    async def close(self) -> None:
        self.began_to_close = True
        if self.error is not None:
            await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("error", "renewed"),
    [(SystemExit(143), True), (asyncio.CancelledError(), False), (RoundAborted(AbortReason.CANCELLED, "o"), False)],
)
async def test_an_asynchronous_client_does_the_same(
    error: BaseException, renewed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cancels its task does not disturb gRPC, and needs no other channel."""
    monkeypatch.setattr(channels, "CLOSE_PATIENCE_S", 0.05)
    opened: list[AsyncFake] = []

    def secure_channel(*_: Any, **__: Any) -> AsyncFake:
        opened.append(AsyncFake(None if opened else error))
        return opened[-1]

    monkeypatch.setattr(grpc.aio, "secure_channel", secure_channel)
    client = AsyncClient("localhost:1", identity=site().identity(CROWD[0]), trust=site().trust)
    with client._connection.scope() as scope:
        if renewed:
            with pytest.raises(type(error)):
                await client._drive(Participating(), scope)  # type: ignore[arg-type]
            old, new = opened
            assert old.began_to_close
            assert (old.called, new.called) == ([FIND_ROUND.path], [LEAVE_ROUND.path])
        else:
            with pytest.raises(type(error)):
                await client._connection.perform(FindRound(round_id=RoundId(bytes(16))), scope)
            (own,) = opened
            assert not own.began_to_close
