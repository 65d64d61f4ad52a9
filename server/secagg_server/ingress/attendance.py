"""The head's side of the link: which workers are there, what they are asked for, and what they hand in.

A worker is there while its call of `Attend` lasts. Each such life of it is a door of its own. When the call ends, or
the worker does not answer as it must, the door is lost: whatever was asked of it is answered with nothing, rounds are
told, and nothing that still comes in its name is taken.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import numpy as np
import structlog

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.prg import Words, word_dtype
from secagg.errors import DecodeError, LimitError, NotInRoundError
from secagg.masked.ranges import MaskRange
from secagg.messages import Index
from secagg.rounds.doors import Door
from secagg.wire.v1 import link_pb2 as pb

MAX_DOORS: Final = 1000
"""Workers at once."""

SILENT_S: Final = 30.0
"""A worker that hands in nothing for so long is lost. Each part of a sum begins this time anew."""

_INDEX_BYTES: Final = 4


@dataclass(eq=False)
class _Asked:
    """Something that a door was asked for.

    Attributes:
        members: whose sum, as in the order; empty for a piece of unmasking.
        size: of the answer in bytes.
        answer: the bytes; None if the door is lost, or cannot make the piece.
        came: what has come of them.
    """

    members: bytes
    size: int
    answer: "Future[bytearray | None]" = field(default_factory=Future)
    came: bytearray = field(default_factory=bytearray)

    def give(self, answer: bytearray | None) -> None:
        """Let whoever waits have it."""
        with suppress(InvalidStateError):  # it was lost just now
            self.answer.set_result(answer)


@dataclass(eq=False)
class _Attending:
    """A door that is there."""

    door: Door
    listens: str
    orders: "asyncio.Queue[pb.Order | None]" = field(default_factory=asyncio.Queue)
    asked: dict[int, _Asked] = field(default_factory=dict)


class Doors:
    """The doors that are there. Belongs to an event loop; steps of rounds ask it from their threads.

    Attributes:
        on_loss: called with each door that is lost.
    """

    possible = True

    def __init__(self, config_of: Callable[[RoundId], RoundConfig]) -> None:
        """Args: config_of: the configuration of a round."""
        self.on_loss: Callable[[Door], Awaitable[None]] = _nobody
        self._config_of = config_of
        self._loop = asyncio.get_running_loop()
        self._attending: dict[Door, _Attending] = {}
        self._numbers = count(1)
        self._telling: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    # --- what rounds ask, from any thread -----------------------------------------------------------------------------

    def attends(self, door: Door) -> bool:
        """Whether the door is there."""
        return door in self._attending

    @property
    def there(self) -> tuple[Door, ...]:
        """The doors that are there."""
        return tuple(self._attending)

    def hand_over(self, round_id: RoundId, door: Door, members: frozenset[Index]) -> Words | None:
        """Wait for the sum of the vectors of exactly these members of the round; None if the door is lost. Not on the
        event loop.
        """
        config = self._config_of(round_id)
        packed = pack_members(members)
        order = pb.Order(give=pb.GiveSum(round_id=round_id, members=packed))
        dtype = np.dtype(config.ring_dtype)
        asked = self._ask(door, order, _Asked(packed, config.vector_len * dtype.itemsize))
        answer = self._answer(door, asked)
        return None if answer is None else words_of(answer, dtype)

    def piece(self, door: Door, piece: MaskRange) -> "Future[bytearray | None]":
        """Ask the door for a piece of unmasking: its words, or None if the door is lost or cannot."""
        size = (piece.stop - piece.start) * word_dtype(piece.bits).itemsize
        return self._ask(door, pb.Order(piece=piece.encode()), _Asked(b"", size)).answer

    def forget(self, round_id: RoundId) -> None:
        """No door needs to hold anything of the round any more."""
        for door in self.there:
            self._order(door, pb.Order(forget=round_id))

    def lose(self, door: Door) -> None:
        """The door does not do what it must: it is lost."""
        self._loop.call_soon_threadsafe(self._drop, door)

    def _ask(self, door: Door, order: pb.Order, asked: _Asked) -> _Asked:
        attending = self._attending.get(door)
        order.number = next(self._numbers)
        if attending is None:
            asked.give(None)
            return asked
        attending.asked[order.number] = asked
        self._order(door, order)
        if not self.attends(door):  # lost in between, when nobody saw this question
            asked.give(None)
        return asked

    def _order(self, door: Door, order: pb.Order) -> None:
        def put() -> None:
            attending = self._attending.get(door)
            if attending is not None:
                attending.orders.put_nowait(order)

        self._loop.call_soon_threadsafe(put)

    def _answer(self, door: Door, asked: _Asked) -> bytearray | None:
        before = -1
        while not wait([asked.answer], SILENT_S).done:
            if len(asked.came) == before:  # check: silent-door
                self.lose(door)
            before = len(asked.came)
        return asked.answer.result()

    # --- what workers say, on the event loop --------------------------------------------------------------------------

    @asynccontextmanager
    async def attending(self, door: Door, listens: str) -> AsyncIterator[AsyncIterator[pb.Order]]:
        """The door is there inside.

        Raises:
            LimitError: there are too many.
            NotInRoundError: it was there before: each life of a worker has a name of its own.
        """
        if len(self._attending) >= MAX_DOORS:  # check: doors-at-once
            raise LimitError(f"{MAX_DOORS} ingress workers are there, as many as may be")
        if door in self._attending:  # check: one-life
            raise NotInRoundError("a worker of this name is there")
        attending = self._attending[door] = _Attending(door, listens)
        self._log.info("door_opened", door=door.hex(), listens=listens)
        try:
            yield self._orders(attending)
        finally:
            self._drop(door)

    @staticmethod
    async def _orders(attending: _Attending) -> AsyncIterator[pb.Order]:
        yield pb.Order()  # it is there
        while (order := await attending.orders.get()) is not None:
            yield order

    def _drop(self, door: Door) -> None:
        attending = self._attending.pop(door, None)
        if attending is None:
            return
        self._log.warning("door_lost", door=door.hex(), listens=attending.listens)
        attending.orders.put_nowait(None)
        for asked in list(attending.asked.values()):
            asked.give(None)
        attending.asked.clear()
        task = self._loop.create_task(_awaited(self.on_loss(door)))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def take(self, part: pb.HandPart) -> None:
        """A part of what the door was asked for.

        Raises:
            NotInRoundError: the door is lost, or was not asked for that.
            DecodeError: it is not what was asked for. The door is lost then.
        """
        attending = self._attending.get(Door(part.door))
        if attending is None:  # check: old-life
            raise NotInRoundError("this life of the worker is over: nothing of it counts")
        asked = attending.asked.get(part.number)
        if asked is None:
            raise NotInRoundError("nobody waits for this")
        if part.failure and not asked.members:  # a piece of unmasking, which can be made elsewhere
            self._log.error("door_disagrees", door=attending.door.hex(), detail=part.failure[:200])
            del attending.asked[part.number]
            asked.give(None)
            return
        try:
            self._take(asked, part)
        except DecodeError as error:
            self._log.error("door_disagrees", door=attending.door.hex(), detail=str(error))
            self._drop(attending.door)
            raise
        if len(asked.came) == asked.size:
            del attending.asked[part.number]
            asked.give(asked.came)

    @staticmethod
    def _take(asked: _Asked, part: pb.HandPart) -> None:
        if part.failure:
            raise DecodeError(f"the worker has no such sum: {part.failure[:200]}")
        if not asked.came and part.members != asked.members:  # check: handed-set
            raise DecodeError("the worker hands in the sum of others than it was asked for")
        if len(asked.came) + len(part.words) > asked.size or not part.words:  # check: handed-size
            raise DecodeError("the worker hands in a sum of another length")
        asked.came += part.words


def pack_members(members: Iterable[Index]) -> bytes:
    """Indices as they stand in an order: each in 4 bytes, big-endian, ascending."""
    return b"".join(index.to_bytes(_INDEX_BYTES, "big") for index in sorted(members))


def unpack_members(packed: bytes) -> frozenset[Index]:
    """What `pack_members` packed."""
    return frozenset(
        Index(int.from_bytes(packed[at : at + _INDEX_BYTES], "big")) for at in range(0, len(packed), _INDEX_BYTES)
    )


def words_of(answer: bytearray, dtype: "np.dtype[Any]") -> Words:
    """The words that a worker handed in, little-endian."""
    words: Words = np.frombuffer(answer, dtype.newbyteorder("<")).astype(dtype, copy=False)
    return words


async def _nobody(door: Door) -> None:
    """Whom a loss is told as long as nobody wants to know."""


async def _awaited(telling: Awaitable[None]) -> None:
    await telling
