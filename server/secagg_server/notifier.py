"""Waking all who wait for a change, each of whom then looks for itself."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, TypeVar

MOST_TOGETHER: Final = 1000
"""Items that are given at once."""

ItemT = TypeVar("ItemT")


class Notifier:
    """Wakes those who wait now; who comes later waits for the next notification."""

    def __init__(self) -> None:
        self._notified = asyncio.Event()

    def notify(self) -> None:
        """Wake all who wait now."""
        self._notified.set()
        self._notified = asyncio.Event()

    async def wait(self) -> None:
        """Sleep until the next notification. Without an await between a check and this, nothing is missed."""
        await self._notified.wait()

    async def each(self, items: Sequence[ItemT], over: Callable[[], bool], seen: int = 0) -> AsyncIterator[ItemT]:
        """Items behind the first `seen`, also those that are added later, until it is over."""
        async for some in self.several(items, over, seen):
            for item in some:
                yield item

    async def several(
        self, items: Sequence[ItemT], over: Callable[[], bool], seen: int = 0, pause_s: float = 0.0
    ) -> AsyncIterator[Sequence[ItemT]]:
        """As `each`, but what is there already is given together.

        Args:
            items: what is told.
            over: whether no more will come.
            seen: items that are not given.
            pause_s: seconds for others to come with the first one, unless it is over.
        """
        while True:
            if some := items[seen : seen + MOST_TOGETHER]:
                seen += len(some)
                yield some
                continue
            if over():
                return
            await self.wait()
            if pause_s and not over():
                await asyncio.sleep(pause_s)
