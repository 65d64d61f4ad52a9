"""Waiting for the first of several things, and ending the others."""

import asyncio
from collections.abc import Coroutine
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


async def either(reading: "asyncio.Future[Any]", end: Coroutine[None, None, None]) -> None:
    """Wait until `reading` or `end` is done, and raise what went wrong in `end`."""
    ending = started(end)
    try:
        await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            ending.result()
    finally:
        ending.cancel()


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
