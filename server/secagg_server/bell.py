"""Waking everyone who waits for a change."""

import asyncio


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
