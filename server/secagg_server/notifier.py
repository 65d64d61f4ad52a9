"""Waking everyone who waits for a change."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


class Bell:
    """Rings for those who wait now; who comes later waits for the next ring."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake everyone."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self) -> None:
        """Sleep until the next ring. Nothing rings between a check and a wait without an await between them."""
        await self._rung.wait()

    async def each(self, items: Sequence[ItemT], over: Callable[[], bool]) -> AsyncIterator[ItemT]:
        """Items from the first to the last, also those that are added before later rings, until it is over."""
        seen = 0
        while True:
            while seen < len(items):
                yield items[seen]
                seen += 1
            if over():
                return
            await self.wait()
