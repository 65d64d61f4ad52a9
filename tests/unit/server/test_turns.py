"""However many participants send or fetch at once, few chunks are in memory, and somebody slow holds up nobody."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

from secagg_server.calls.streaming import streamed
from secagg_server.calls.turns import Turns

from secagg.wire.v1 import data_plane_pb2 as pb
from tests.serving import PATIENCE_S


async def test_few_have_a_turn_at_once() -> None:
    turns, inside, most = Turns(places=3, patience_s=PATIENCE_S), 0, 0

    async def move() -> None:
        nonlocal inside, most
        async with turns.turn():
            inside += 1
            most = max(most, inside)
            for _ in range(5):
                await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(move() for _ in range(20)))
    assert most == 3


async def test_who_is_slow_keeps_no_place() -> None:
    """Its place goes to the next one, and is not given back twice."""
    turns, release = Turns(places=1, patience_s=0.001), asyncio.Event()

    async def slow() -> None:
        async with turns.turn():
            await release.wait()

    holding = asyncio.create_task(slow())
    await asyncio.sleep(0)
    assert turns._places.locked()
    async with asyncio.timeout(PATIENCE_S):
        async with turns.turn():
            pass
    release.set()
    await holding
    assert turns._places._value == 1


async def test_a_call_that_ends_gives_its_place_back() -> None:
    turns = Turns(places=1, patience_s=PATIENCE_S)
    for _ in range(3):
        async with aclosing(streamed(iter([pb.AggregatePart(number=n) for n in range(3)]), turns)) as parts:
            async for _part in parts:
                break  # the caller hangs up
    assert turns._places._value == 1
    waiting = asyncio.create_task(_one(turns))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert turns._places._value == 1


async def _one(turns: Turns) -> None:
    async with turns.turn():
        await asyncio.Event().wait()


async def test_a_part_is_made_when_it_is_asked_for() -> None:
    made: list[int] = []

    def parts() -> Iterator[pb.AggregatePart]:
        for number in range(5):
            made.append(number)
            yield pb.AggregatePart(number=number)

    async with aclosing(streamed(parts(), Turns())) as answers:
        got = [pb.AggregatePart.FromString(await anext(answers)).number for _ in range(2)]
    assert got == made == [0, 1]
