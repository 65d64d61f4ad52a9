"""The work of unmasking at the coordinator: on threads, until the round is stopped, and told as it goes on.

The engine of a round cuts the work into pieces (`secagg.masked.ranges`). `Threads` makes them on the cores of this
machine; something else may make them elsewhere. `Unmasking` stands in between, once for each round: it stops the work,
and says how far it is.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from threading import Event
from typing import Final

from secagg.crypto.prg import Words
from secagg.masked.ranges import MaskRange, Workers

STEPS: Final = 20
"""So often at most is it told how far an unmasking is."""

LONG: Final = 1 << 31
"""Work from which on it is told, in mask values (`MaskRange.work`): about a second of one core."""

Made = tuple[MaskRange, Words]


class Interrupted(Exception):
    """The round is stopped: its unmasking does not go on. The step in which it happened is as if it was never made."""


class Threads:
    """Workers that are the threads of a pool, which all rounds share."""

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        """Args:
        pool: has them.
        threads: how many they are. So many pieces are made at a time, and as many wait.
        """
        self._pool = pool
        self._most = 2 * threads

    def __call__(self, pieces: Iterable[MaskRange], total: int) -> Iterator[Made]:
        """See `secagg.masked.ranges.Workers`."""
        del total
        waiting = iter(pieces)
        under_way: dict[Future[Words], MaskRange] = {}
        try:
            while True:
                for piece in islice(waiting, self._most - len(under_way)):
                    under_way[self._pool.submit(piece.sum)] = piece
                if not under_way:
                    return
                for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                    yield under_way.pop(done), done.result()
        finally:  # an error, or nobody wants the rest
            for future in under_way:
                future.cancel()


class Unmasking:
    """The unmasking of one round, as its engine calls for it: Workers that can be stopped."""

    def __init__(self, workers: Workers) -> None:
        """Args: workers: make the pieces."""
        self._workers = workers
        self._stopped = Event()
        self._tell: Callable[[int, int], None] = _nobody

    def tells(self, listener: Callable[[int, int], None]) -> None:
        """From now on call `listener` with how much work is done, and of how much, at each twentieth of a
        long unmasking; in the thread of the step.
        """
        self._tell = listener

    def stop(self) -> None:
        """Let the work that is under way, and all that would begin, end with `Interrupted`. From any thread."""
        self._stopped.set()

    def __call__(self, pieces: Iterable[MaskRange], total: int) -> Iterator[Made]:
        """See `secagg.masked.ranges.Workers`.

        Raises:
            Interrupted: the round was stopped.
        """
        done = 0
        for piece, words in self._workers(self._until_stopped(pieces), total):
            self._check()
            yield piece, words
            before, done = done, done + piece.work
            if total >= LONG and done * STEPS // total > before * STEPS // total:
                self._tell(done, total)
        self._check()

    def _until_stopped(self, pieces: Iterable[MaskRange]) -> Iterator[MaskRange]:
        for piece in pieces:
            self._check()
            yield piece

    def _check(self) -> None:
        if self._stopped.is_set():  # check: unmasking-stopped
            raise Interrupted


def _nobody(done: int, total: int) -> None:
    """Whom progress is told as long as nobody wants to know."""
