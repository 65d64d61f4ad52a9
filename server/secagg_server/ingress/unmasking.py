"""Unmasking on the workers: pieces go to the doors that are there; what a door leaves undone is done here."""

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from typing import Final

from secagg.crypto.prg import Words, word_dtype
from secagg.masked.ranges import MaskRange, Workers
from secagg.rounds.doors import Door
from secagg_server.ingress.attendance import SILENT_S, Doors, words_of

AT_A_DOOR: Final = 2
"""Pieces that a door has at once: one that it makes, and one that waits."""

Asked = tuple[MaskRange, Door]


class SpreadOut:
    """Workers that are the ingress workers of a coordinator. The head itself makes pieces only if there are none."""

    def __init__(self, doors: Doors, here: Workers) -> None:
        """Args:
        doors: those that are there.
        here: make pieces in this process.
        """
        self._doors = doors
        self._here = here

    def __call__(self, pieces: Iterable[MaskRange], total: int) -> Iterator[tuple[MaskRange, Words]]:
        """See `secagg.masked.ranges.Workers`."""
        waiting = iter(pieces)
        under_way: dict[Future[bytearray | None], Asked] = {}
        unable: set[Door] = set()
        while True:
            for door in self._free(under_way, unable):
                for piece in islice(waiting, 1):
                    under_way[self._doors.piece(door, piece)] = piece, door
            if not under_way:
                yield from self._here(waiting, total)  # nobody is there, or nothing is left
                return
            done = wait(under_way, SILENT_S, FIRST_COMPLETED).done
            if not done:
                for _, door in under_way.values():
                    self._doors.lose(door)
            undone = []
            for future in done:
                piece, door = under_way.pop(future)
                answer = future.result()
                if answer is None:
                    undone.append(piece)
                    unable.add(door)
                else:
                    yield piece, words_of(answer, word_dtype(piece.bits))
            yield from self._here(undone, total)

    def _free(self, under_way: dict["Future[bytearray | None]", Asked], unable: set[Door]) -> list[Door]:
        """The doors that take another piece, each as often as it has room. A door that left one undone has none."""
        busy = [door for _, door in under_way.values()]
        able = [door for door in self._doors.there if door not in unable]
        return [door for room in range(AT_A_DOOR, 0, -1) for door in able if busy.count(door) < room]
