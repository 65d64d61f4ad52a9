"""Watching a round whose coordinator is restarted: it tells again what it told, but may have lost which messages it had
accepted.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from secagg_client import AsyncControlClient, ControlClient, RetryPolicy
from secagg_client.aio import connection as aio_connection
from secagg_client.retry import ConnectionBroken
from secagg_client.sync import connection as sync_connection
from secagg_client.sync import control as sync_control

from secagg.context import RoundId
from secagg.errors import AbortReason, RoundAborted, RoundTimeoutError
from secagg.events import MessageAccepted, PhaseStarted, RoundFailed
from secagg.messages import ParticipantId, Phase
from secagg.robust.grouping import Groups
from secagg.wire.progress import ResultReady, WatchedEvent, encode_events
from tests.rounds import make_config

ROUND = RoundId(bytes(16))
AT_ONCE = RetryPolicy(first_delay_s=0.001, max_delay_s=0.001)
OPENED = PhaseStarted(Phase.ADVERTISE_KEYS, 60.0, 3)
AGAIN = PhaseStarted(Phase.ADVERTISE_KEYS, 90.0, 3)
FIRST, SECOND = (MessageAccepted(Phase.ADVERTISE_KEYS, ParticipantId(name)) for name in ("site-1", "site-2"))
FAILED = RoundFailed(RoundAborted(AbortReason.BELOW_THRESHOLD, "too few"))


def part(time_s: float, event: WatchedEvent) -> bytes:
    (only,) = encode_events([(time_s, event)])
    return only.SerializeToString()


BEFORE = [part(1.0, OPENED), part(2.0, FIRST), part(3.0, SECOND)]
CASES = {
    "nothing was lost": ([*BEFORE, part(4.0, FAILED)], [OPENED, FIRST, SECOND, FAILED]),
    "fewer events than before": ([part(1.0, OPENED), part(9.0, FAILED)], [OPENED, FIRST, SECOND, FAILED]),
    "others in their place": (
        [part(1.0, OPENED), part(2.0, FIRST), part(30.0, AGAIN), part(31.0, SECOND), part(32.0, FAILED)],
        [OPENED, FIRST, SECOND, AGAIN, SECOND, FAILED],
    ),
    "the same twice": ([*BEFORE, part(3.0, SECOND), part(4.0, FAILED)], [OPENED, FIRST, SECOND, SECOND, FAILED]),
}


@pytest.mark.parametrize(("after", "told"), CASES.values(), ids=CASES)
async def test_what_was_told_is_not_told_again_and_nothing_else_is_missed(
    monkeypatch: pytest.MonkeyPatch, after: list[bytes], told: list[Any]
) -> None:
    streams = [BEFORE, after]

    async def stream(*_: object) -> AsyncIterator[bytes]:
        parts = streams.pop(0)
        for each in parts:
            yield each
        if streams:
            raise ConnectionBroken("restarted", unsent=False)

    monkeypatch.setattr(aio_connection.Connection, "stream", stream)
    async with AsyncControlClient("127.0.0.1:1", retry=AT_ONCE) as control:
        assert [type(event) for _, event in [found async for found in control.watch(ROUND)]] == list(map(type, told))


@pytest.mark.parametrize(("after", "told"), CASES.values(), ids=CASES)
def test_the_same_holds_without_asyncio(monkeypatch: pytest.MonkeyPatch, after: list[bytes], told: list[Any]) -> None:
    streams = [BEFORE, after]

    def stream(*_: object) -> Iterator[bytes]:
        yield from streams.pop(0)
        if streams:
            raise ConnectionBroken("restarted", unsent=False)

    monkeypatch.setattr(sync_connection.Connection, "stream", stream)
    with ControlClient("127.0.0.1:1", retry=AT_ONCE) as control:
        assert [type(event) for _, event in control.watch(ROUND)] == list(map(type, told))


@pytest.mark.parametrize("method", ["result", "result_into", "result_groups"])
@pytest.mark.parametrize(("timeout_s", "left_s"), [(None, None), (5.0, 2.0)])
def test_who_waits_for_a_result_has_one_limit_for_all_of_it(
    monkeypatch: pytest.MonkeyPatch, method: str, timeout_s: float | None, left_s: float | None
) -> None:
    clock, asked = [10.0], list[float | None]()

    def watch(*_: object, timeout_s: float | None) -> Iterator[tuple[float, WatchedEvent]]:
        assert timeout_s == given
        clock[0] += 3.0
        yield 1.0, ResultReady(3, bytes(32))

    given, config = timeout_s, make_config(3)
    monkeypatch.setattr(sync_control, "monotonic", lambda: clock[0])
    monkeypatch.setattr(ControlClient, "watch", watch)
    monkeypatch.setattr(ControlClient, method.replace("result", "fetch"), lambda *_, timeout_s: asked.append(timeout_s))
    arrays = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in config.schema.arrays}
    out = [arrays] if method == "result_into" else []
    with ControlClient("127.0.0.1:1") as control:
        getattr(control, method)(*out, ROUND, config, timeout_s=timeout_s)
    assert asked == [left_s]


@pytest.mark.parametrize("timeout_s", [None, 5.0])
def test_groups_are_fetched_in_the_same_time(monkeypatch: pytest.MonkeyPatch, timeout_s: float | None) -> None:
    asked = list[float | None]()

    def fetch_groups(*_: object, timeout_s: float | None) -> None:
        asked.append(timeout_s)
        raise RoundTimeoutError("over")

    monkeypatch.setattr(ControlClient, "fetch_groups", fetch_groups)
    config = replace(make_config(3), groups=Groups.parse(3, "mean"))
    out = {s.name: np.zeros(s.shape, s.dtype) for s in config.schema.arrays}
    with ControlClient("127.0.0.1:1") as control, pytest.raises(RoundTimeoutError):
        control.fetch_into(out, ROUND, config, timeout_s=timeout_s)
    assert asked == [timeout_s]
