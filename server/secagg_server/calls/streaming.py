"""Answers that may be longer than memory: each part is made when the one before has been taken."""

import asyncio
from collections.abc import AsyncGenerator, Iterator

from google.protobuf.message import Message

from secagg_server.calls.turns import Turns


async def streamed(parts: Iterator[Message], turns: Turns) -> AsyncGenerator[bytes, None]:
    """The parts of an answer in bytes, of which one is in memory, however slowly the caller takes them.

    Args:
        parts: makes or reads one when it is asked for.
        turns: a part is made, and sent by whoever gets it, when it is our turn.

    Each is made in a thread, since it may have to be read from a disk, and only when it is asked for. If the caller
    hangs up, nobody asks for the next one, and the file is closed with the generator that reads it.
    """

    def following() -> bytes | None:
        part = next(parts, None)
        return None if part is None else part.SerializeToString()

    while True:
        async with turns.turn():
            part = await asyncio.to_thread(following)
            if part is None:
                return
            yield part
