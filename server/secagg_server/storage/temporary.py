"""Where vectors wait that are not whole yet, when nothing has to survive the process: in memory, and in a file.

Many participants send their vectors at the same time, and a vector counts whole or not at all, so each waits until its
last chunk is there. A coordinator that kept them in memory would need as much of it as all participants together.
"""

import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import Final

from secagg.messages import Index, Phase
from secagg.programs.disk import RealFile

MEMORY_BYTES: Final = 16 << 20
"""Chunks of one round that wait in memory. What comes beyond waits in a file: of short vectors, nothing."""

Place = tuple[int, int]
"""Offset and length in the file, in bytes."""


class TemporarySpool:
    """A `Spool` that ends with the process. Its file is in the folder for temporary files (`TMPDIR`), and has no name:
    the system gives its space back when the process ends, however it ends. Not for two threads at once.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        """Args:
        memory_bytes: chunks that are kept in memory at most.
        """
        self._room = memory_bytes
        self._chunks: dict[tuple[Phase, Index], list[bytes | Place]] = {}
        self._free: dict[int, list[int]] = {}  # offsets of places that were given back, by length
        self._end = 0
        self._file: RealFile | None = None  # once there is one

    def append(self, phase: Phase, owner: Index, payload: bytes) -> None:
        """Keep the owner's next chunk in memory, or in the file where that is full.

        Raises:
            OSError: there is no folder for temporary files, or the disk is full.
        """
        kept: bytes | Place
        if len(payload) <= self._room:
            self._room -= len(payload)
            kept = payload
        else:
            kept = self._written(payload)
        self._chunks.setdefault((phase, owner), []).append(kept)

    def take(self, phase: Phase, owner: Index) -> Iterator[bytes]:
        """Give the owner's chunks in order. One that was given takes no place any more."""
        waiting = self._chunks.pop((phase, owner), [])
        waiting.reverse()
        while waiting:
            kept = waiting.pop()
            chunk = kept if isinstance(kept, bytes) else self._read(*kept)
            self._give_back(kept)
            yield chunk
        if not self._chunks and self._file is not None:
            self._free.clear()
            self._end = 0
            self._file.truncate(0)

    def cut(self, phase: Phase, owner: Index, chunks: int) -> None:
        """Forget what the owner sent behind its first `chunks` chunks."""
        waiting = self._chunks.get((phase, owner), [])
        while len(waiting) > chunks:
            self._give_back(waiting.pop())

    def _written(self, payload: bytes) -> Place:
        if self._file is None:
            with tempfile.TemporaryFile(prefix="secagg-", buffering=0) as file:
                self._file = RealFile(os.dup(file.fileno()))
            weakref.finalize(self, self._file.close)
        places = self._free.get(len(payload))
        offset = places.pop() if places else self._end
        self._file.write_at(offset, payload)
        self._end = max(self._end, offset + len(payload))
        return offset, len(payload)

    def _give_back(self, kept: bytes | Place) -> None:
        if isinstance(kept, bytes):
            self._room += len(kept)
        else:
            offset, length = kept
            self._free.setdefault(length, []).append(offset)

    def _read(self, offset: int, length: int) -> bytes:
        found = b"" if self._file is None else self._file.read_at(offset, length)
        if len(found) < length:
            raise OSError("the file of vectors that are not whole has become shorter")
        return found
