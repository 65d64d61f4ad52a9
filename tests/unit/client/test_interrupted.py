"""Control-C inside of gRPC: the coordinator is told on another connection, and never waited for without end."""

import asyncio
from collections import deque
from threading import Event, Thread
from typing import Any

import pytest
from secagg_client import AsyncClient, Client
from secagg_client.aio.connection import Connection as AsyncConnection
from secagg_client.calls.call import PreparedCall
from secagg_client.calls.data_plane import LeaveRound
from secagg_client.sync import client as sync
from secagg_client.sync.connection import Connection

from secagg.context import RoundId
from secagg.errors import AbortReason, LocalError, RoundAborted
from secagg.messages import Leave, LeaveReason
from tests.serving import CROWD, make_config, site


class Interrupted:
    """A participation that is interrupted in its first call, or refused by name."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def advance(self, _: Any) -> Any:
        raise self._error

    def leave_call(self, _: BaseException) -> LeaveRound:
        return LeaveRound(RoundId(bytes(16)), make_config(3), Leave(LeaveReason.CANCELLED))

    def close(self) -> None:
        """Nothing was begun."""


def drive(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[Connection]:
    """The connections on which the coordinator was told, after `error`; the client's own answers nothing any more."""
    said: list[Connection] = []
    client = Client("localhost:1", identity=site().identity(CROWD[0]), trust=site().trust)
    own = client._connection

    def perform(self: Connection, call: PreparedCall[Any], scope: Any) -> Any:
        said.append(self)
        if self is own and not isinstance(error, Exception):
            Event().wait()
        return deque()

    monkeypatch.setattr(Connection, "perform", perform)
    with pytest.raises(type(error)):
        client._drive(Interrupted(error), object())  # type: ignore[arg-type]
    assert (own in said) is isinstance(error, Exception)
    return said


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interrupted_client_says_good_bye_elsewhere(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    (fresh,) = drive(monkeypatch, error)
    with pytest.raises(LocalError, match="closed"), fresh.scope():
        pass


def test_after_an_error_of_ours_the_connection_still_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    (own,) = drive(monkeypatch, RoundAborted(AbortReason.CANCELLED, "over"))
    with own.scope():
        pass


def test_the_twin_would_wait_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "usable_after", lambda error: True)
    stuck = Thread(target=drive, args=(monkeypatch, KeyboardInterrupt()), daemon=True)
    stuck.start()
    stuck.join(0.5)
    assert stuck.is_alive()


def test_a_good_bye_that_nobody_hears_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "LEAVE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(Client, "_say", lambda *_: Event().wait())
    client = Client("localhost:1", identity=site().identity(CROWD[0]), trust=site().trust)
    with pytest.raises(KeyboardInterrupt):
        client._drive(Interrupted(KeyboardInterrupt()), object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "elsewhere"),
    [(KeyboardInterrupt(), True), (asyncio.CancelledError(), False), (RoundAborted(AbortReason.CANCELLED, "o"), False)],
)
async def test_an_asynchronous_client_does_the_same(
    error: BaseException, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cancels its task does not disturb gRPC, and needs no other connection."""
    said: list[AsyncConnection] = []

    async def perform(self: AsyncConnection, call: PreparedCall[Any], scope: Any) -> Any:
        said.append(self)
        return deque()

    monkeypatch.setattr(AsyncConnection, "perform", perform)
    client = AsyncClient("localhost:1", identity=site().identity(CROWD[0]), trust=site().trust)

    # Not by `_drive`: a task that ends by KeyboardInterrupt ends the event loop, too.
    await client._leave(Interrupted(error).leave_call(error), error)
    (connection,) = said
    assert (connection is not client._connection) is elsewhere
    assert connection._closed is elsewhere
