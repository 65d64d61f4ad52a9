"""Waking all who wait for a change, each of whom then looks for itself."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

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
        while True:
            while seen < len(items):
                yield items[seen]
                seen += 1
            if over():
                return
            await self.wait()
