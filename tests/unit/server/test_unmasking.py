"""The coordinator's side of unmasking: on all threads, stopped with its round, and told while it lasts."""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from secagg_server.rounds import unmasking
from secagg_server.rounds.hosted import HostedRound
from secagg_server.rounds.suspension import Suspended
from secagg_server.rounds.unmasking import LONG, STEPS, Interrupted, Threads, Unmasking
from secagg_server.storage.records import Aborted, DeadlinePassed, Received, Released

from secagg.config import Suite
from secagg.crypto.prg import Words
from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, RoundAborted
from secagg.events import MasksRemoved
from secagg.masked import ranges
from secagg.masked.masks import Mask
from secagg.masked.ranges import MaskRange, cut, one_after_the_other
from secagg.messages import Phase
from secagg.tools.redteam.self_test.patches import without_check
from tests.serving import PATIENCE_S
from tests.unit.server.test_hosted import PEOPLE, Scene, replay

THREADS = 2


def pieces(count: int) -> list[MaskRange]:
    key = Mask(Secret(bytes(16)), negative=False)
    suite = Suite.X25519_SHA256_AES128
    return [MaskRange(suite, 16, i * ranges.RANGE, i * ranges.RANGE + 64, (key,)) for i in range(count)]


class Held:
    """Workers that begin with the first piece and then wait until they are let go on."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.made = 0

    def __call__(self, given: Iterable[MaskRange], total: int) -> Iterator[tuple[MaskRange, Words]]:
        for made in one_after_the_other(given, total):
            self.begun.set()
            assert self.go_on.wait(PATIENCE_S)
            self.made += 1
            yield made


# --- threads ----------------------------------------------------------------------------------------------------------


def test_threads_make_every_piece_once() -> None:
    given = pieces(9)
    with ThreadPoolExecutor(THREADS) as pool:
        made = list(Threads(pool, THREADS)(iter(given), 0))
    assert {id(piece) for piece, _ in made} == set(map(id, given))
    assert len(made) == len(given)
    assert all(np.array_equal(words, piece.sum()) for piece, words in made)


def test_threads_draw_no_more_pieces_than_they_can_make_soon() -> None:
    drawn = []

    def given() -> Iterator[MaskRange]:
        for piece in pieces(100):
            drawn.append(piece)
            yield piece

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in Threads(pool, THREADS)(given(), 0):
            break
    assert len(drawn) == 2 * THREADS


def test_pieces_that_nobody_wants_any_more_are_not_begun() -> None:
    """One thread is held up; of what waits behind it nothing begins once the caller is gone."""
    gate, begun = threading.Event(), []

    class Slow(MaskRange):
        def sum(self) -> Words:
            begun.append(self)
            assert gate.wait(PATIENCE_S)
            return super().sum()

    def given() -> Iterator[MaskRange]:
        for piece in pieces(2):
            yield Slow(piece.suite, piece.bits, piece.start, piece.stop, piece.masks)
        raise Interrupted

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(Interrupted):
            next(Threads(pool, 2)(given(), 0))
        gate.set()
    assert len(begun) == 1


# --- stopping ---------------------------------------------------------------------------------------------------------


def stopped_behind(count: int) -> list[MaskRange]:
    """What was made of ten pieces when the work is stopped behind so many."""
    one, made = Unmasking(one_after_the_other), []
    with suppress(Interrupted):
        for piece, _ in one(pieces(10), 0):
            made.append(piece)
            if len(made) == count:
                one.stop()
        made.append(made[0])  # it did not hear of it
    return made


@pytest.mark.parametrize("count", [1, 9, 10])
def test_a_stopped_unmasking_ends_with_the_piece_under_way(count: int) -> None:
    assert len(stopped_behind(count)) == count


def test_twin_without_the_check_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, Unmasking, "_check", "unmasking-stopped")
    assert len(stopped_behind(1)) == 11


async def unmasking_under_way(scene: Scene, held: Held) -> "asyncio.Task[None]":
    """All deliver; the call of the last one lasts as long as the unmasking."""
    for phase in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT):
        await scene.phase(phase, PEOPLE, PEOPLE)
    for name in PEOPLE[:-1]:
        await scene.speak(name)
    last = asyncio.create_task(scene.speak(PEOPLE[-1]))
    assert await asyncio.to_thread(held.begun.wait, PATIENCE_S)
    return last


async def test_an_abort_stops_the_unmasking() -> None:
    held = Held()
    scene = Scene(held)
    last = await unmasking_under_way(scene, held)
    aborting = asyncio.create_task(scene.hosted.abort(AbortReason.CANCELLED, "enough"))
    await asyncio.sleep(0)
    held.go_on.set()
    await aborting
    with pytest.raises(RoundAborted, match="enough"):
        await last
    assert held.made <= 1
    assert isinstance(scene.hosted.outcome, RoundAborted)
    assert isinstance(scene.journal.entries[-1], Aborted)
    assert [e.sender for e in scene.journal.entries[-4:-1] if isinstance(e, Received)] == PEOPLE[:-1]
    assert replay(scene).failure is not None


async def test_an_abort_stops_the_unmasking_that_a_deadline_began() -> None:
    held = Held()
    scene = Scene(held)
    for phase in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT):
        await scene.phase(phase, PEOPLE, PEOPLE)
    for name in PEOPLE[:-1]:
        await scene.speak(name)
    closing = asyncio.create_task(scene.pass_deadline())
    assert await asyncio.to_thread(held.begun.wait, PATIENCE_S)
    aborting = asyncio.create_task(scene.hosted.abort(AbortReason.CANCELLED, "enough"))
    await asyncio.sleep(0)
    held.go_on.set()
    await asyncio.gather(aborting, closing)
    assert isinstance(scene.hosted.outcome, RoundAborted)
    assert not any(isinstance(entry, DeadlinePassed) for entry in scene.journal.entries)
    assert replay(scene).failure is not None


async def test_twin_an_abort_that_nobody_hears_waits_for_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, Unmasking, "_check", "unmasking-stopped")
    held = Held()
    scene = Scene(held)
    last = await unmasking_under_way(scene, held)
    aborting = asyncio.create_task(scene.hosted.abort(AbortReason.CANCELLED, "enough"))
    await asyncio.sleep(0)
    held.go_on.set()
    await aborting
    await last
    assert isinstance(scene.hosted.outcome, Released)
    assert held.made > 1


async def test_a_suspended_round_unmasks_again_later() -> None:
    """The last message is not in the journal, and its sender sends it again: the next process has the same sum."""
    held = Held()
    scene = Scene(held, durable=True)
    last = await unmasking_under_way(scene, held)
    suspending = asyncio.create_task(scene.hosted.suspend())
    await asyncio.sleep(0)
    held.go_on.set()
    await suspending
    with pytest.raises(Suspended):
        await last
    assert (held.made, scene.hosted.outcome, scene.hosted.phase) == (1, None, Phase.UNMASK)
    engine = replay(scene)
    (again,) = scene.messages(PEOPLE[-1])
    engine.receive(PEOPLE[-1], again, scene.now)
    assert engine.aggregate is not None
    expected = sum(v.read(0, 500_001, np.dtype(np.uint64)) for v in scene.run.vectors.values())
    np.testing.assert_array_equal(engine.aggregate.sums, expected)


async def test_a_round_that_is_taken_up_is_not_broken_by_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator stops while it makes the steps of an earlier process again, and among them the unmasking."""

    def stopped(self: HostedRound, entries: object) -> None:
        raise Interrupted

    monkeypatch.setattr(HostedRound, "_recover", stopped)
    scene = Scene(durable=True)
    await scene.hosted.recover(list)
    await scene.hosted.suspend()
    assert (scene.hosted.outcome, scene.journal.broken_off) == (None, False)


# --- progress ---------------------------------------------------------------------------------------------------------


def told_of(values: int, work: Iterable[int]) -> list[tuple[int, int]]:
    """What is told of an unmasking of `values` whose pieces have so many each."""

    class Sized:
        def __init__(self, size: int) -> None:
            self.work = size

    told: list[tuple[int, int]] = []
    workers: Any = lambda given, total: ((piece, None) for piece in given)  # noqa: E731
    one = Unmasking(workers)
    one.tells(lambda done, total: told.append((done, total)))
    given: Any = map(Sized, work)
    assert len(list(one(given, values))) > 0
    return told


def test_a_long_unmasking_is_told_at_each_twentieth() -> None:
    told = told_of(LONG, [LONG // 1000] * 999 + [LONG - LONG // 1000 * 999])
    assert len(told) == STEPS
    assert [done * STEPS // total for done, total in told] == list(range(1, STEPS + 1))
    assert told[-1] == (LONG, LONG)


def test_it_is_not_told_more_often_than_pieces_are_made() -> None:
    assert told_of(LONG, [LONG // 2] * 2) == [(LONG // 2, LONG), (LONG, LONG)]


def test_of_a_short_unmasking_nothing_is_told() -> None:
    assert told_of(LONG - 1, [LONG - 1]) == []


@pytest.mark.parametrize("durable", [False, True])
async def test_who_watches_sees_how_far_it_is(durable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it lasts: also where rounds outlive the process, what came before is told with it."""
    monkeypatch.setattr(unmasking, "LONG", 1)
    monkeypatch.setattr(ranges, "_PIECE_VALUES", ranges.RANGE)
    held = Held()
    scene = Scene(held, durable=durable)
    seen: list[object] = []
    first = asyncio.Event()

    async def watch() -> None:
        async for _, event in scene.hosted.follow():
            seen.append(event)
            if isinstance(event, MasksRemoved):
                first.set()

    watching = asyncio.create_task(watch())
    last = await unmasking_under_way(scene, held)
    held.go_on.set()
    async with asyncio.timeout(PATIENCE_S):
        await first.wait()
        await last
        await watching
    told = [event for event in seen if isinstance(event, MasksRemoved)]
    work = len(PEOPLE) * (500_001 + ranges.KEY_WORK)
    assert told[-1] == MasksRemoved(work, work)
    assert [event.done for event in told] == sorted({event.done for event in told})
    assert 1 < len(told) <= STEPS
    kept = scene.journal.ended
    assert kept is not None
    assert not any(isinstance(event, MasksRemoved) for _, event in kept.events)
    assert [event for _, event in kept.events] == [e for e in seen if not isinstance(e, MasksRemoved)]


def test_pieces_are_cut_as_they_are_drawn() -> None:
    """A stop is heard between two keys' batches, before more keys are derived."""
    one = Unmasking(one_after_the_other)
    derived = []

    def masks() -> Iterator[Mask]:
        for _ in range(3 * ranges.MAX_KEYS):
            derived.append(1)
            yield Mask(Secret(bytes(16)), negative=False)

    made = one(cut(Suite.X25519_SHA256_AES128, 16, 4, masks()), 0)
    next(made)
    one.stop()
    with pytest.raises(Interrupted):
        next(made)
    assert len(derived) <= 2 * ranges.MAX_KEYS
