"""One life of an ingress worker: from the moment the head knows it as a door until it does not any more.

All that a worker holds belongs to its life and ends with it: whoever brought something here goes on elsewhere, or here
in the worker's next life, with the same bytes.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.prg import Words
from secagg.errors import ProtocolViolation
from secagg.messages import Index, MaskedInputChunk
from secagg.rounds.doors import Door
from secagg_server.calls.tasks import ended, started
from secagg_server.ingress.door import DoorRound
from secagg_server.limits.capacity import Capacity, Demand
from secagg_server.rounds.suspension import Suspended
from secagg_server.storage.temporary import TemporarySpool

ValueT = TypeVar("ValueT")

LOST: Final = "this door is lost: go on at another one"
ELSEWHERE: Final = "the first chunks of this vector are not at this door: ask for InputProgress and go on"


class RoundHere:
    """A round at this door, whose steps are made in threads, one at a time."""

    def __init__(self, config: RoundConfig) -> None:
        """Args: config: of the round."""
        self._round = DoorRound(config, TemporarySpool())
        self._newest: dict[Index, int] = {}  # upload of each owner, by the numbers that the head gives
        self._steps = asyncio.Lock()
        self.chunks = self._round.chunks

    async def claim(self, owner: Index, claim: int) -> int:
        """The owner's newest upload has this number: nothing is taken of older ones. How many chunks are here."""
        return await self._step(lambda: self._claim(owner, claim))

    async def take(self, owner: Index, chunk: MaskedInputChunk, name: str, claim: int) -> bool:
        """Take a chunk of the upload with the number `claim`. True if it is the last one of the vector.

        Raises:
            RemoteError: not the next chunk, malformed, or of an older upload.
            Suspended: it follows chunks that are not here.
        """
        return await self._step(lambda: self._take(owner, chunk, name, claim))

    async def confirm(self, owner: Index) -> None:
        """See `DoorRound.confirm`."""
        await self._step(lambda: self._round.confirm(owner))

    async def refuse(self, owner: Index, claim: int) -> None:
        """The head does not count the vector of that upload; a newer one of the owner may be waiting for its word."""
        await self._step(lambda: self._refuse(owner, claim))

    async def give(self, members: frozenset[Index]) -> Words:
        """See `DoorRound.give`."""
        return await self._step(lambda: self._round.give(members))

    def _claim(self, owner: Index, claim: int) -> int:
        self._newest[owner] = max(claim, self._newest.get(owner, 0))
        return self._round.received(owner)

    def _take(self, owner: Index, chunk: MaskedInputChunk, name: str, claim: int) -> bool:
        if claim != self._newest[owner]:  # check: newest-upload-here
            raise ProtocolViolation("another call took over this upload", culprit=name)
        if chunk.number > self._round.received(owner):
            raise Suspended(ELSEWHERE)
        return self._round.take(owner, chunk.number, chunk.payload, name=name)

    def _refuse(self, owner: Index, claim: int) -> None:
        if claim == self._newest[owner]:
            self._round.refuse(owner)

    async def _step(self, step: Callable[[], ValueT]) -> ValueT:
        """Make the step to its end, even if whoever asked for it is gone."""
        return await asyncio.shield(started(self._alone(step)))

    async def _alone(self, step: Callable[[], ValueT]) -> ValueT:
        async with self._steps:
            return await asyncio.to_thread(step)


class Life:
    """What a worker has in one of its lives.

    Attributes:
        door: its name.
    """

    def __init__(self, door: Door, capacity: Capacity) -> None:
        """Args:
        door: drawn for this life alone.
        capacity: memory and disk for the vectors of rounds.
        """
        self.door = door
        self._capacity = capacity
        self._rounds: dict[RoundId, RoundHere] = {}
        self._over = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether the door is lost."""
        return self._over.is_set()

    def end(self) -> None:
        """The door is lost, and all that it holds counts for nothing."""
        self._over.set()
        for round_id in list(self._rounds):
            self.forget(round_id)

    def find(self, round_id: RoundId) -> RoundHere | None:
        """The round, if anybody brought something of it here."""
        return self._rounds.get(round_id)

    def open(self, round_id: RoundId, config: RoundConfig) -> RoundHere:
        """The round, in which somebody brings something here.

        Raises:
            LimitError: there is no room for its vectors.
        """
        found = self._rounds.get(round_id)
        if found is None:
            self._capacity.reserve(round_id, Demand.of(config))
            found = self._rounds[round_id] = RoundHere(config)
        return found

    def forget(self, round_id: RoundId) -> None:
        """Nothing of the round is needed any more."""
        if self._rounds.pop(round_id, None) is not None:
            self._capacity.release(round_id)

    async def until(self, work: Coroutine[Any, Any, ValueT]) -> ValueT:
        """Wait for `work`, as long as this life lasts.

        Raises:
            Suspended: it ended.
        """
        doing, ending = started(work), started(self._over.wait())
        try:
            await asyncio.wait([doing, ending], return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise Suspended(LOST)
            return doing.result()
        finally:
            await ended(doing, ending)
