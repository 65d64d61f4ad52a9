"""What one member sealed to each of the others, packed: a coordinator keeps such an entry for every pair of members."""

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Self

from secagg.messages import Index


class SealedEntries(Mapping[Index, bytes]):
    """Entries of one size by index, in ascending order, in one block of memory: 2 bytes for each beside the entry. A
    `dict` of `bytes` would take about 150.
    """

    __slots__ = ("_block", "_indices", "_size")

    def __init__(self, entries: Mapping[Index, bytes]) -> None:
        """Args: entries: all of one size, by an index below 2^16.

        Raises:
            ValueError: they have several sizes.
            OverflowError: an index is no such number.
        """
        order = sorted(entries)
        if len({len(entry) for entry in entries.values()}) > 1:
            raise ValueError("entries of several sizes")
        self._indices = array("H", order)
        self._block = b"".join([entries[index] for index in order])
        self._size = len(self._block) // max(len(order), 1)

    @classmethod
    def joined(cls, indices: Iterable[int], block: bytes) -> Self:
        """Entries that are joined already, in the order of their indices.

        Args:
            indices: ascending, each below 2^16.
            block: as many entries, all of one size.

        Raises:
            ValueError: the block is not so many times one size.
        """
        made = cls({})
        made._indices = array("H", indices)
        count = max(len(made._indices), 1)
        if len(block) % count or (block and not made._indices):
            raise ValueError(f"{len(block)} bytes are not {len(made._indices)} entries of one size")
        made._block, made._size = block, len(block) // count
        return made

    @property
    def indices(self) -> Collection[int]:
        """Ascending."""
        return self._indices

    @property
    def block(self) -> bytes:
        """All entries, joined in the order of their indices."""
        return self._block

    @property
    def size(self) -> int:
        """How long each entry is, in bytes; 0 if there are none."""
        return self._size

    def __getitem__(self, index: Index) -> bytes:
        """The entry for `index`, or KeyError."""
        place = bisect_left(self._indices, index)
        if place == len(self._indices) or self._indices[place] != index:
            raise KeyError(index)
        return self._block[place * self._size : (place + 1) * self._size]

    def __iter__(self) -> Iterator[Index]:
        """Ascending."""
        return map(Index, self._indices)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._indices)

    def __repr__(self) -> str:
        """How many there are, and nothing of what they hold."""
        return f"SealedEntries({len(self)})"
