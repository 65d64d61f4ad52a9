"""What is read has its least time, and then as long as somebody needs it; whoever waits is told why it ended."""

import asyncio
from typing import Any

import pytest
from secagg_server.calls.tasks import Ending

from secagg.errors import AbortReason, RoundAborted


async def test_what_is_quick_asks_nobody_whether_it_is_over() -> None:
    asked = []

    async def over() -> None:
        asked.append(True)

    async with Ending(over, 0.01):
        await asyncio.sleep(0)
    await asyncio.sleep(0.03)
    assert not asked


async def test_it_is_cut_off_once_it_is_over_and_not_before_its_least_time() -> None:
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    over.set()
    begin = loop.time()
    with pytest.raises(TimeoutError):
        async with Ending(over.wait, 0.03):  # type: ignore[arg-type]
            await asyncio.Event().wait()
    assert loop.time() - begin >= 0.03


async def test_why_it_was_over_is_told() -> None:
    async def over() -> None:
        raise RoundAborted(AbortReason.CANCELLED, "cancelled")

    ending = Ending(over, 0.0)
    with pytest.raises(TimeoutError):
        async with ending:
            await asyncio.Event().wait()
    with pytest.raises(RoundAborted, match="cancelled"):
        ending.check()


async def test_an_end_that_comes_after_the_work_does_nothing() -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def over() -> None:
        return

    ending = Ending(over, 0.0)
    async with ending:
        while ending._watching is None or not ending._watching.done():
            await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert not told
    ending.check()
