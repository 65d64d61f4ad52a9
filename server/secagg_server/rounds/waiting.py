"""What participants sent to a round and waits for its turn, so that much of it is taken in one thread."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

from secagg.errors import LimitError
from secagg.messages import ParticipantId

MOST_TOGETHER: Final = 64
"""What is taken in one thread before anybody hears what came of it: some ten milliseconds of work."""

MOST_OF_ONE: Final = 16
"""What may wait of one sender. Its calls are counted elsewhere, but a call that broke off leaves what it sent."""

ItemT = TypeVar("ItemT")


class Waiting(Generic[ItemT]):
    """First come, first served. All methods are for the event loop."""

    def __init__(self) -> None:
        self._items: deque[tuple[ParticipantId, ItemT, asyncio.Future[None]]] = deque()
        self._of: Counter[ParticipantId] = Counter()

    def __len__(self) -> int:
        """How much waits. What is being taken counts until it is done."""
        return len(self._items)

    def add(self, sender: ParticipantId, item: ItemT) -> "asyncio.Future[None]":
        """Let the item wait behind all others. The result is done once the item is taken, and holds the error if it was
        refused. An item is taken, too, if nobody waits for that any more.

        Raises:
            LimitError: too much of the sender waits.
        """
        if self._of[sender] >= MOST_OF_ONE:  # check: waiting-of-one
            raise LimitError(f"{MOST_OF_ONE} messages of {sender} wait for their turn in this round; try again later")
        self._of[sender] += 1
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._items.append((sender, item, taken))
        return taken

    def first(self) -> Sequence[ItemT]:
        """What is to be taken next, in the order in which it came: at most `MOST_TOGETHER`."""
        return [item for _, item, _ in islice(self._items, MOST_TOGETHER)]

    def fail(self, error: BaseException) -> None:
        """Nothing of what waits will be taken: let nobody wait for it."""
        self.done([error] * len(self))

    def done(self, refusals: Sequence[BaseException | None]) -> None:
        """As many of the first were taken. Args: refusals: why each of them was refused; None if it was not."""
        for refusal in refusals:
            sender, _, taken = self._items.popleft()
            self._of[sender] -= 1
            if not self._of[sender]:
                del self._of[sender]
            if taken.done():
                continue  # its call broke off
            if refusal is None:
                taken.set_result(None)
            else:
                taken.set_exception(refusal)
