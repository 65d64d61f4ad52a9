"""What one member sealed to each of the others, packed: a coordinator keeps such an entry for every pair of members."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping

from secagg.messages import Index


class SealedEntries(Mapping[Index, bytes]):
    """Entries by index, in ascending order, in one block of memory: 3 bytes for each beside the longest entry's length.
    A `dict` of `bytes` would take about 150.
    """

    __slots__ = ("_block", "_indices", "_lengths", "_width")

    def __init__(self, entries: Mapping[Index, bytes]) -> None:
        """Args: entries: each of at most 255 bytes, by an index below 2^16.

        Raises:
            ValueError: an entry is longer.
            OverflowError: an index is no such number.
        """
        order = sorted(entries)
        self._indices = array("H", order)
        self._lengths = bytes([len(entries[index]) for index in order])
        self._width = max(self._lengths, default=0)
        self._block = b"".join([entries[index].ljust(self._width, b"\0") for index in order])

    def __getitem__(self, index: Index) -> bytes:
        """The entry for `index`, or KeyError."""
        place = bisect_left(self._indices, index)
        if place == len(self._indices) or self._indices[place] != index:
            raise KeyError(index)
        start = place * self._width
        return self._block[start : start + self._lengths[place]]

    def __iter__(self) -> Iterator[Index]:
        """Ascending."""
        return map(Index, self._indices)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._indices)

    def __repr__(self) -> str:
        """How many there are, and nothing of what they hold."""
        return f"SealedEntries({len(self)})"
