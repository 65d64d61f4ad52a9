"""A packed vector as a sequence of chunks, wherever it is kept: as words in memory, or packed already."""

from collections.abc import Iterator
from math import ceil
from typing import Protocol

import numpy as np

from secagg.crypto.prg import Words, word_dtype
from secagg.encoding.packing import chunk_values, pack, packed_size, unpack


class Chunks(Protocol):
    """A packed vector, of which one chunk at a time is in memory. A tuple of bytes is one, too."""

    def __len__(self) -> int:
        """How many chunks the vector has."""
        ...

    def __getitem__(self, number: int, /) -> bytes:
        """Chunk `number`, at most 1 MiB; `IndexError` behind the last one."""
        ...

    def __iter__(self) -> Iterator[bytes]:
        """All chunks in order."""
        ...


class WordChunks:
    """The chunks of a vector of words, each packed when it is asked for. Keeps the vector and no copy of it."""

    def __init__(self, words: Words, bits: int) -> None:
        """Args:
        words: unsigned words[d], d ≥ 1, contiguous; they stay as they are while this is in use.
        bits: b, of which each word has the low ones packed.
        """
        self._words = words
        self._bits = bits
        self._size = chunk_values(bits)

    def __len__(self) -> int:
        """How many chunks the vector has."""
        return ceil(len(self._words) / self._size)

    def __getitem__(self, number: int, /) -> bytes:
        """Pack chunk `number`."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        return pack(self._words[number * self._size : (number + 1) * self._size], self._bits)

    def __iter__(self) -> Iterator[bytes]:
        """Pack one chunk after the other."""
        return (self[number] for number in range(len(self)))

    def in_place(self) -> "ByteChunks":
        """The same chunks, packed into the memory of the words, and what they need no more of it given back.

        The words are lost: nobody may use the vector afterwards, nor hold a view of a part of it. So a long vector is
        packed without memory for a second one.
        """
        size, count = packed_size(self._size, self._bits), len(self._words)
        target = self._words.view(np.uint8)
        for number in range(len(self)):
            chunk = self[number]  # packed before its words are overwritten, and never longer than they are
            target[number * size : number * size + len(chunk)] = np.frombuffer(chunk, np.uint8)
        del target
        length = packed_size(count, self._bits)
        if self._words.flags.owndata:
            self._words.resize(-(-length // self._words.itemsize), refcheck=False)
        return ByteChunks(self._words.view(np.uint8)[:length], size)


class ByteChunks:
    """The chunks of a vector that lies packed in one piece of memory."""

    def __init__(self, packed: np.ndarray[tuple[int], np.dtype[np.uint8]], size: int) -> None:
        """Args:
        packed: uint8[bytes], all chunks in order.
        size: bytes of each chunk but the last.
        """
        self._packed = packed
        self._size = size

    def __len__(self) -> int:
        """How many chunks the vector has."""
        return ceil(len(self._packed) / self._size)

    def __getitem__(self, number: int, /) -> bytes:
        """A copy of chunk `number`."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._packed[number * self._size : (number + 1) * self._size].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        """Copies of one chunk after the other."""
        return (self[number] for number in range(len(self)))


class PackedSums:
    """A packed sum that is read by range (`secagg.encoding.vector.Sums`). Keeps the chunk that it read last."""

    def __init__(self, chunks: Chunks, vector_len: int, bits: int) -> None:
        """Args:
        chunks: of the vector.
        vector_len: coordinates.
        bits: b.
        """
        self.vector_len = vector_len
        self._chunks = chunks
        self._bits = bits
        self._size = chunk_values(bits)
        self._last: tuple[int, Words] | None = None

    def read(self, start: int, stop: int) -> Words:
        """A fresh array of the coordinates [start, stop).

        Raises:
            DecodeError: a chunk is not what it was when it was checked.
        """
        out = np.empty(stop - start, word_dtype(self._bits))
        for number in range(start // self._size, -(-stop // self._size)):
            first = number * self._size
            low, high = max(start, first), min(stop, first + self._size)
            out[low - start : high - start] = self._chunk(number)[low - first : high - first]
        return out

    def _chunk(self, number: int) -> Words:
        last = self._last
        if last is None or last[0] != number:
            count = min(self._size, self.vector_len - number * self._size)
            last = self._last = number, unpack(self._chunks[number], count, self._bits)
        return last[1]
