"""What is told together, and what waits for what comes shortly after it."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from secagg_server import notifier
from secagg_server.notifier import Notifier


async def collected(told: AsyncIterator[Sequence[int]]) -> list[list[int]]:
    return [list(some) async for some in told]


async def test_what_is_there_is_given_at_once_and_what_comes_later_once_it_comes() -> None:
    news, items, over = Notifier(), [1, 2, 3], [False]
    collecting = asyncio.create_task(collected(news.several(items, lambda: over[0], 1)))
    await asyncio.sleep(0)
    for item in (4, 5):
        items.append(item)
        news.notify()
        await asyncio.sleep(0.001)
    over[0] = True
    news.notify()
    assert await collecting == [[2, 3], [4], [5]]


async def test_what_comes_within_the_pause_is_given_together() -> None:
    news, items, over = Notifier(), list[int](), [False]
    collecting = asyncio.create_task(collected(news.several(items, lambda: over[0], pause_s=0.05)))
    for item in range(20):
        await asyncio.sleep(0)
        items.append(item)
        news.notify()
    await asyncio.sleep(0.1)
    items.append(20)
    over[0] = True
    news.notify()
    assert await collecting == [list(range(20)), [20]]


async def test_the_end_waits_for_nobody() -> None:
    news, items, over = Notifier(), list[int](), [False]
    collecting = asyncio.create_task(collected(news.several(items, lambda: over[0], pause_s=3600.0)))
    await asyncio.sleep(0)
    items.append(1)
    over[0] = True
    news.notify()
    for _ in range(10):
        await asyncio.sleep(0)
    assert collecting.done()
    assert await collecting == [[1]]


async def test_so_many_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "MOST_TOGETHER", 2)
    assert await collected(Notifier().several([1, 2, 3, 4, 5], lambda: True)) == [[1, 2], [3, 4], [5]]
    assert [item async for item in Notifier().each([1, 2, 3], lambda: True, 1)] == [2, 3]
