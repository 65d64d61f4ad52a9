"""The sidecar's control plane, from asyncio."""

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from time import monotonic
from types import TracebackType
from typing import Self

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.transport.addresses import checked_local_target
from secagg.wire.ledgers import TaskLedger
from secagg.wire.progress import WatchedEvent
from secagg_client.aio.connection import Connection
from secagg_client.calls.control_plane import (
    AbortRound,
    Exclude,
    Expect,
    FetchGroupSums,
    FetchResult,
    GetLedger,
    ListRounds,
    OpenRound,
    RoundSummary,
    WatchRound,
)
from secagg_client.calls.data_plane import Call, ResponseT_co
from secagg_client.retry import RETRYABLE, Attempts, RetryPolicy
from secagg_client.sync.control import OpenedRounds, end_of, ends, settings


class AsyncControlClient:
    """As `ControlClient`, method by method. Belongs to the event loop that first uses it.

    >>> async with AsyncControlClient("unix:/run/secagg/control.sock") as control:
    ...     round_id = await control.open_round(config)
    ...     mean = (await control.result(round_id)).mean(config)
    """

    def __init__(self, target: str, *, retry: RetryPolicy | None = None) -> None:
        """As `ControlClient`."""
        self._retry = retry or RetryPolicy()
        self._connection = Connection(checked_local_target(target), self._retry, settings(self._retry), None)
        self._opened = OpenedRounds()

    async def open_round(self, config: RoundConfig, *, timeout_s: float | None = None) -> RoundId:
        """As `ControlClient.open_round`."""
        round_id = await self._call(OpenRound(config), timeout_s)
        self._opened.remember(round_id, config)
        return round_id

    async def watch(
        self, round_id: RoundId, *, timeout_s: float | None = None
    ) -> AsyncGenerator[tuple[float, WatchedEvent], None]:
        """As `ControlClient.watch`."""
        call, told = WatchRound(round_id), 0
        attempts = Attempts(self._retry)
        with self._connection.scope(timeout_s) as scope:
            while True:
                attempts.begin(monotonic())
                try:
                    async with aclosing(self._connection.stream(call, scope)) as parts:
                        number = 0
                        async for part in parts:
                            number += 1
                            if number > told:
                                told = number
                                attempts.progressed()
                                yield call.event(part)
                    return
                except RETRYABLE as error:
                    await scope.wait(attempts.delay_after(error, monotonic()))

    async def fetch(
        self, round_id: RoundId, config: RoundConfig | None = None, *, timeout_s: float | None = None
    ) -> Aggregate:
        """As `ControlClient.fetch`."""
        return await self._call(FetchResult(round_id, self._opened.config(round_id, config)), timeout_s)

    async def result(
        self, round_id: RoundId, config: RoundConfig | None = None, *, timeout_s: float | None = None
    ) -> Aggregate:
        """As `ControlClient.result`."""
        config = self._opened.config(round_id, config)
        await self._wait(round_id, timeout_s)
        return await self.fetch(round_id, config)

    async def fetch_groups(
        self, round_id: RoundId, config: RoundConfig | None = None, *, timeout_s: float | None = None
    ) -> GroupedAggregate:
        """As `ControlClient.fetch_groups`."""
        return await self._call(FetchGroupSums(round_id, self._opened.config(round_id, config)), timeout_s)

    async def result_groups(
        self, round_id: RoundId, config: RoundConfig | None = None, *, timeout_s: float | None = None
    ) -> GroupedAggregate:
        """As `ControlClient.result_groups`."""
        config = self._opened.config(round_id, config)
        await self._wait(round_id, timeout_s)
        return await self.fetch_groups(round_id, config)

    async def _wait(self, round_id: RoundId, timeout_s: float | None) -> None:
        last = None
        async with aclosing(self.watch(round_id, timeout_s=timeout_s)) as events:
            async for _, last in events:
                if ends(last):
                    break
        end_of(last, round_id)

    async def expect(self, round_id: RoundId, participants: Collection[str], *, timeout_s: float | None = None) -> None:
        """As `ControlClient.expect`."""
        await self._call(Expect(round_id, participants), timeout_s)

    async def exclude(
        self, round_id: RoundId, participants: Collection[str], *, timeout_s: float | None = None
    ) -> None:
        """As `ControlClient.exclude`."""
        await self._call(Exclude(round_id, participants), timeout_s)

    async def abort(self, round_id: RoundId, reason: str, *, timeout_s: float | None = None) -> None:
        """As `ControlClient.abort`."""
        await self._call(AbortRound(round_id, reason), timeout_s)

    async def list_rounds(self, task: str | None = None, *, timeout_s: float | None = None) -> tuple[RoundSummary, ...]:
        """As `ControlClient.list_rounds`."""
        return await self._call(ListRounds(task or ""), timeout_s)

    async def ledger(self, task: str, *, timeout_s: float | None = None) -> TaskLedger:
        """As `ControlClient.ledger`."""
        return await self._call(GetLedger(task), timeout_s)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, call: Call[ResponseT_co], timeout_s: float | None) -> ResponseT_co:
        with self._connection.scope(timeout_s) as scope:
            return call.read(await self._connection.perform(call, scope))
