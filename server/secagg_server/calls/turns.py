"""Few chunks of long vectors in memory at once, however many participants send or fetch at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

PLACES: Final = 4
"""Chunks that are read, kept or sent at once. A machine does not get faster by more."""

PATIENCE_S: Final = 1.0
"""From then on somebody slow goes on without a place, so that it holds up nobody else."""


class Turns:
    """Who moves a chunk waits for its turn: first come, first served."""

    def __init__(self, places: int = PLACES, patience_s: float = PATIENCE_S) -> None:
        """Args:
        places: chunks at once.
        patience_s: seconds that anybody may keep a place.
        """
        self._places = asyncio.Semaphore(places)
        self._patience_s = patience_s

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a place, and keep it inside, but no longer than others are patient."""
        await self._places.acquire()
        kept = True

        def leave() -> None:
            nonlocal kept
            if kept:
                kept = False
                self._places.release()

        timer = asyncio.get_running_loop().call_later(self._patience_s, leave)
        try:
            yield
        finally:
            timer.cancel()
            leave()
