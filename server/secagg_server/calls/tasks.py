"""Waiting for the first of several things, and ending the others."""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

ValueT = TypeVar("ValueT")


def started(work: Coroutine[Any, Any, ValueT]) -> "asyncio.Task[ValueT]":
    """A task whose error is not printed when nobody waits for it any more.

    A peer that hangs up breaks what its call was reading or writing, and asyncio would print each of these errors.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(_look_at)
    return task


def _look_at(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()


class Ending:
    """`async with Ending(over, least_s)`: what is inside is cut off with `TimeoutError` once `over` is over, and not
    before `least_s` seconds. `over` is not asked earlier, so a call that is quick costs one timer.
    """

    def __init__(self, over: Callable[[], Coroutine[None, None, None]], least_s: float) -> None:
        self._over = over
        self._least_s = least_s
        self._limit = asyncio.timeout(None)
        self._watching: asyncio.Task[None] | None = None
        self._inside = False

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        await self._limit.__aenter__()
        self._inside = True
        self._timer = loop.call_later(self._least_s, self._watch)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside = False
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def check(self) -> None:
        """Raise what went wrong in `over`."""
        if self._watching is not None and self._watching.done():
            self._watching.result()

    def _watch(self) -> None:
        self._watching = started(self._over())
        self._watching.add_done_callback(self._cut_off)

    def _cut_off(self, _: object) -> None:
        if self._inside:
            self._limit.reschedule(asyncio.get_running_loop().time())


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel the tasks, and wait until they are over: what they used may be closed then."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def until(work: Coroutine[None, None, None], *ends: Coroutine[None, None, None]) -> None:
    """Do `work` until it is done or one of `ends` is: whoever sends slowly, or nothing, is cut off with its phase."""
    tasks = [started(one) for one in (work, *ends)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
