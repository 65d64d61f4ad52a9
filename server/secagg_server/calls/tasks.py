"""Waiting for the first of several things, and ending the others."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

ValueT = TypeVar("ValueT")


def started(work: Coroutine[Any, Any, ValueT]) -> "asyncio.Task[ValueT]":
    """A task whose error is no news where nobody waits for it any more: a peer that hangs up has broken what its call
    was reading or writing, and asyncio would print each of them.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(_look_at)
    return task


def _look_at(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()


async def either(reading: "asyncio.Future[Any]", end: Coroutine[None, None, None]) -> None:
    """Wait for the first of both; what goes wrong in `end` is raised."""
    ending = started(end)
    try:
        await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            ending.result()
    finally:
        ending.cancel()


async def until(work: Coroutine[None, None, None], *ends: Coroutine[None, None, None]) -> None:
    """Do `work`, but not beyond any of `ends`: who sends slowly, or nothing, is cut off when the phase is over."""
    tasks = [started(one) for one in (work, *ends)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
