"""The simulator's loop: no waiting, one order, and processes that end at any instant."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from secagg.tools.faults.loop import Stuck, VirtualLoop
from secagg.tools.faults.processes import EPOCH, Dead, Machine, Process, current


def a_loop(lag: float = 0.001) -> VirtualLoop:
    return VirtualLoop(lambda: lag)  # type: ignore[abstract]


def a_process(loop: VirtualLoop, machine: Machine | None = None) -> Process:
    return Process(machine or Machine("somewhere"), loop.time, 0, Random(1))  # noqa: S311


def test_a_day_passes_at_once_and_in_order() -> None:
    loop = a_loop()
    seen: list[object] = []

    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((loop.time(), seconds))

    async def all_of_them() -> None:
        await asyncio.gather(*(wait(s) for s in (86400.0, 3.0, 60.0)))

    with loop.running():
        loop.run(all_of_them(), 100_000)
    assert seen == [(3.0, 3.0), (60.0, 60.0), (86400.0, 86400.0)]


def test_work_of_a_thread_is_done_whole_after_its_lag() -> None:
    loop = a_loop(lag=0.5)

    async def work() -> tuple[str, float]:
        return await asyncio.to_thread(lambda: "done"), loop.time()

    async def fail() -> None:
        await asyncio.to_thread(lambda: 1 // 0)

    with loop.running():
        assert loop.run(work(), 10) == ("done", 0.5)
        with pytest.raises(ZeroDivisionError):
            loop.run(fail(), 10)


def test_a_time_limit_ends_a_wait() -> None:
    loop = a_loop()

    async def wait() -> None:
        async with asyncio.timeout(7.0):
            await loop.create_future()

    with loop.running(), pytest.raises(TimeoutError):
        loop.run(wait(), 10)
    assert loop.time() == 7.0


@pytest.mark.parametrize("last", [5.0, 50.0])
def test_what_never_comes_is_told(last: float) -> None:
    loop = a_loop()

    async def wait() -> None:
        loop.call_later(last, lambda: None)
        await loop.create_future()

    with loop.running(), pytest.raises(Stuck):
        loop.run(wait(), 10)


def test_of_a_killed_process_nothing_runs_any_more() -> None:
    """Neither what it waited for, nor its threads, nor a `finally`, not even when its tasks are thrown away."""
    loop = a_loop(lag=2.0)
    seen: list[object] = []
    process = a_process(loop)

    async def program() -> None:
        try:
            seen.append("began")
            await asyncio.to_thread(seen.append, "worked")
            seen.append("went on")
            await asyncio.sleep(10)
        finally:
            current()  # as a network or a disk asks, before anything has an effect
            seen.append("ended")

    async def kill(after: float) -> None:
        loop.create_task(program(), context=process.context())
        await asyncio.sleep(after)
        process.kill()
        await asyncio.sleep(100)

    with loop.running():
        loop.run(kill(1.0), 1000)
        process.bury()
    assert seen == ["began"]
    assert not process.tasks


def test_without_a_kill_the_same_program_goes_to_its_end() -> None:
    loop = a_loop(lag=2.0)
    seen: list[object] = []
    process = a_process(loop)

    async def program() -> None:
        try:
            await asyncio.to_thread(seen.append, "worked")
        finally:
            current()
            seen.append("ended")

    async def wait() -> None:
        await loop.create_task(program(), context=process.context())

    with loop.running():
        loop.run(wait(), 1000)
    assert seen == ["worked", "ended"]


def test_a_process_that_dies_amid_its_own_code_stops_there() -> None:
    loop = a_loop()
    seen: list[object] = []
    process = a_process(loop)

    def step() -> None:
        process.kill()
        process.check()
        seen.append("went on")

    async def program() -> None:
        try:
            await asyncio.to_thread(step)
        except BaseException:
            seen.append("noticed")

    async def wait() -> None:
        loop.create_task(program(), context=process.context())
        await asyncio.sleep(10)

    with loop.running():
        loop.run(wait(), 1000)
        assert seen == []
        process.bury()
    with pytest.raises(Dead):
        process.check()


def test_a_stopped_process_does_later_what_it_missed() -> None:
    loop = a_loop()
    seen: list[object] = []
    process = a_process(loop)

    async def program() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            seen.append(loop.time())

    async def stop() -> None:
        task = loop.create_task(program(), context=process.context())
        await asyncio.sleep(1.5)
        process.stopped = True
        await asyncio.sleep(10)
        process.stopped = False
        loop.resume(process.held)
        await task

    with loop.running():
        loop.run(stop(), 1000)
    assert seen == [1.0, 11.5, 12.5]


def test_a_trap_comes_before_its_step() -> None:
    loop = a_loop()
    seen: list[object] = []
    process = a_process(loop)
    process.trap_at, process.trap = 3, lambda: seen.append("trap")

    async def program() -> None:
        for i in range(4):
            seen.append(i)
            await asyncio.sleep(0)

    async def wait() -> None:
        await loop.create_task(program(), context=process.context())

    with loop.running():
        loop.run(wait(), 10)
    assert seen == [0, 1, "trap", 2, 3]


def test_each_machine_has_its_wall_clock() -> None:
    loop = a_loop()
    here, there = a_process(loop), a_process(loop, Machine("there", offset_s=-3600.0))
    assert here.wall() == EPOCH
    assert there.wall() == EPOCH - 3600
    there.machine.offset_s = 10.0
    assert there.wall() == EPOCH + 10


def test_an_error_that_nobody_caught_is_kept() -> None:
    loop = a_loop()

    async def wait() -> None:
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    with loop.running():
        loop.run(wait(), 10)
    assert [type(found["exception"]) for found in loop.unexpected] == [ZeroDivisionError]


def test_a_generator_that_is_left_is_closed_in_its_process() -> None:
    loop = a_loop()
    seen: list[object] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            seen.append("closed")

    async def look() -> None:
        async for _ in numbers():
            break
        await asyncio.sleep(5)

    with loop.running():
        loop.run(look(), 10)
    assert seen == ["closed"]
