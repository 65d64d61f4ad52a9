"""The head's side of the link without a network: what workers may hand in, and what it counts for."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from secagg_server.ingress import attendance
from secagg_server.ingress import worker as ingress_worker
from secagg_server.ingress.attendance import Doors, pack_members, unpack_members
from secagg_server.ingress.life import Life
from secagg_server.ingress.unmasking import SpreadOut

from secagg.config import Suite
from secagg.context import RoundId
from secagg.crypto.prg import Words
from secagg.crypto.secret import Secret
from secagg.errors import DecodeError, LimitError, NotInRoundError
from secagg.masked.masks import Mask
from secagg.masked.ranges import RANGE, MaskRange, cut, one_after_the_other
from secagg.messages import Index
from secagg.rounds.doors import Door
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire.v1 import link_pb2 as pb
from tests.rounds import make_config
from tests.serving import ROOMY

CONFIG = make_config(5)
ROUND = RoundId(bytes(16))
EAST, WEST = Door(b"e" * 16), Door(b"w" * 16)
MEMBERS = frozenset({Index(1), Index(300)})
SUM = np.arange(CONFIG.vector_len, dtype=CONFIG.ring_dtype)


class Worker:
    """A door that is there, and what it is asked for."""

    def __init__(self, doors: Doors, door: Door) -> None:
        self.doors = doors
        self.door = door
        self.orders: asyncio.Queue[pb.Order] = asyncio.Queue()
        self._task = asyncio.create_task(self._attend())

    async def _attend(self) -> None:
        async with self.doors.attending(self.door, "127.0.0.1:7443") as orders:
            async for order in orders:
                self.orders.put_nowait(order)

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def asked(self) -> pb.Order:
        return await asyncio.wait_for(self.orders.get(), 20)

    def hand(self, number: int, words: bytes, members: bytes = b"", door: Door | None = None) -> None:
        self.doors.take(pb.HandPart(door=door or self.door, number=number, members=members, words=words))


@asynccontextmanager
async def working(*names: Door) -> AsyncIterator[tuple[Doors, list[Worker]]]:
    doors = Doors(lambda _: CONFIG)
    workers = [Worker(doors, name) for name in names]
    for worker in workers:
        assert (await worker.asked()).WhichOneof("order") is None
    yield doors, workers
    for worker in workers:
        await worker.leave()


def hand_over(doors: Doors, door: Door = EAST) -> "asyncio.Task[Words | None]":
    return asyncio.create_task(asyncio.to_thread(doors.hand_over, ROUND, door, MEMBERS))


async def test_a_sum_comes_in_parts() -> None:
    async with working(EAST) as (doors, (east,)):
        waiting = hand_over(doors)
        order = await east.asked()
        assert order.give.round_id == ROUND
        assert unpack_members(order.give.members) == MEMBERS
        data = SUM.tobytes()
        east.hand(order.number, data[:100], order.give.members)
        east.hand(order.number, data[100:])
        np.testing.assert_array_equal(await waiting, SUM)


async def test_a_lost_door_gives_nothing() -> None:
    lost: list[Door] = []

    async def note(door: Door) -> None:
        lost.append(door)

    async with working(EAST) as (doors, (east,)):
        doors.on_loss = note
        waiting = hand_over(doors)
        order = await east.asked()
        east.hand(order.number, SUM.tobytes()[:100], order.give.members)
        await east.leave()
        assert await waiting is None
        await asyncio.sleep(0)
        assert lost == [EAST]
        assert not doors.attends(EAST)
        assert await hand_over(doors) is None


async def test_a_door_that_says_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "SILENT_S", 0.01)
    async with working(EAST) as (doors, _):
        assert await hand_over(doors) is None
        assert not doors.attends(EAST)


SPOILT = {
    "of others": lambda order: pb.HandPart(members=pack_members({Index(1)}), words=SUM.tobytes()),
    "too long": lambda order: pb.HandPart(members=order.give.members, words=SUM.tobytes() + bytes(4)),
    "empty": lambda order: pb.HandPart(members=order.give.members),
    "a failure": lambda order: pb.HandPart(failure="there is no such round here"),
}


@pytest.mark.parametrize("spoilt", SPOILT)
async def test_a_door_that_hands_in_something_else_is_lost(spoilt: str) -> None:
    async with working(EAST) as (doors, (east,)):
        waiting = hand_over(doors)
        order = await east.asked()
        part = SPOILT[spoilt](order)
        part.door, part.number = EAST, order.number
        with pytest.raises(DecodeError):
            doors.take(part)
        assert await waiting is None
        assert not doors.attends(EAST)


async def test_without_the_check_the_sum_of_others_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, Doors, "_take", "handed-set")
    async with working(EAST) as (doors, (east,)):
        waiting = hand_over(doors)
        order = await east.asked()
        east.hand(order.number, SUM.tobytes(), pack_members({Index(1)}))
        np.testing.assert_array_equal(await waiting, SUM)


async def test_a_life_that_is_over_hands_in_nothing() -> None:
    async with working(EAST) as (doors, (east,)):
        waiting = hand_over(doors)
        order = await east.asked()
        await east.leave()
        again = Worker(doors, WEST)  # the same worker, started anew
        await again.asked()
        with pytest.raises(NotInRoundError, match="this life"):
            east.hand(order.number, SUM.tobytes(), order.give.members)
        with pytest.raises(NotInRoundError, match="nobody waits"):
            again.hand(order.number, SUM.tobytes(), order.give.members)
        assert await waiting is None
        await again.leave()


async def test_a_door_is_there_once() -> None:
    async with working(EAST) as (doors, _):
        with pytest.raises(NotInRoundError):
            async with doors.attending(EAST, ""):
                pass
        assert doors.attends(EAST)


async def test_there_are_only_so_many_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "MAX_DOORS", 1)
    async with working(EAST) as (doors, _):
        with pytest.raises(LimitError):
            async with doors.attending(WEST, ""):
                pass


# --- unmasking --------------------------------------------------------------------------------------------------------


def pieces() -> tuple[list[MaskRange], int]:
    masks = [Mask(Secret(bytes([i]) * CONFIG.suite.key_size), negative=i % 2 == 0) for i in range(1, 4)]
    length = 3 * RANGE
    return list(cut(CONFIG.suite, CONFIG.ring_bits, length, masks)), length * len(masks)


async def unmask(doors: Doors) -> list[Words]:
    made, total = pieces()
    found = await asyncio.to_thread(lambda: list(SpreadOut(doors, one_after_the_other)(made, total)))
    assert {id(piece) for piece, _ in found} == {id(piece) for piece in made}
    at = {piece.start: words for piece, words in found}
    return [at[piece.start] for piece in made]


async def serve(worker: Worker, *, most: int) -> None:
    for _ in range(most):
        order = await worker.orders.get()
        worker.hand(order.number, MaskRange.decode(order.piece).sum().tobytes())
    await worker.orders.get()
    await worker.leave()


def check(found: list[Words]) -> None:
    for piece, words in zip(pieces()[0], found, strict=True):
        np.testing.assert_array_equal(words, piece.sum())


async def test_doors_make_the_pieces() -> None:
    async with working(EAST, WEST) as (doors, workers):
        serving = [asyncio.create_task(serve(worker, most=9)) for worker in workers]
        check(await unmask(doors))
        for task in serving:
            task.cancel()


async def test_a_lost_door_leaves_its_pieces_to_the_head() -> None:
    async with working(EAST) as (doors, (east,)):
        serving = asyncio.create_task(serve(east, most=1))
        check(await unmask(doors))
        await serving


async def test_a_door_that_cannot_make_a_piece_is_asked_no_more_and_stays() -> None:
    async with working(EAST) as (doors, (east,)):
        asked = []

        async def refuse() -> None:
            while True:
                order = await east.orders.get()
                asked.append(order.number)
                doors.take(pb.HandPart(door=EAST, number=order.number, failure="needs the extra fast"))

        refusing = asyncio.create_task(refuse())
        check(await unmask(doors))
        assert 1 <= len(asked) <= 2  # as many as it has at once
        assert doors.attends(EAST)  # with the vectors that it holds
        refusing.cancel()


class Listening:
    """The head, as a worker calls it: keeps what is handed in."""

    def __init__(self) -> None:
        self.handed: list[pb.HandPart] = []

    async def call(self, name: str, requests: Iterable[bytes]) -> AsyncIterator[bytes]:
        assert name == "Hand"
        self.handed += map(pb.HandPart.FromString, requests)
        yield pb.HandReply().SerializeToString()


async def test_a_worker_without_the_suite_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aeg.aegis128x4", None)  # importing it fails
    suite = Suite.X25519_SHA256_AEGIS128X4
    piece = MaskRange(suite, 32, 0, 64, (Mask(Secret(bytes(suite.key_size)), negative=False),))
    head = Listening()
    worker = ingress_worker.Worker(head, "127.0.0.1:7443", ROOMY)  # type: ignore[arg-type]
    await worker._make(Life(EAST, ROOMY), pb.Order(number=7, piece=piece.encode()))
    [part] = head.handed
    assert (part.number, part.door) == (7, EAST)
    assert "needs the extra fast" in part.failure


async def test_without_doors_the_head_makes_all_pieces() -> None:
    async with working() as (doors, _):
        check(await unmask(doors))
