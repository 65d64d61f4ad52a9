"""The chunks of a round's vectors in one file, behind each other as they came. `framed` says how a file is written.

What was written is safe once it was flushed, and the database knows up to where that is. Behind that place a crash may
have left anything, of which nobody was told: it is cut off. Before that place every chunk must be whole, else the disk
changed it, and the round ends by name. A file takes one `fsync` for all owners.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from secagg.errors import StoreError
from secagg.messages import Index, Phase
from secagg.programs.disk import Disk, File
from secagg_server.storage.sqlite.framed import framed, heads, read_piece

_TAG: Final = struct.Struct(">III")
"""Phase, index of the owner, and number of the chunk in its vector, from 0 on."""


class FileSpool:
    """The spool of one round. A `Spool`. What was taken stays in the file, for a restart builds the sum again of it."""

    def __init__(self, disk: Disk, path: Path) -> None:
        """A spool that is empty. Its file is made with the first chunk."""
        self._disk = disk
        self._path = path
        self._file: File | None = None
        self._size = 0
        self._flushed = 0
        self._number = 0
        self._kept: dict[tuple[Phase, Index], list[tuple[int, int]]] = {}  # (offset, number) of each chunk, in order

    @property
    def flushed(self) -> int:
        """Bytes of the file that are safe."""
        return self._flushed

    @classmethod
    def reopened(cls, disk: Disk, path: Path, flushed: int) -> "FileSpool":
        """The spool that an earlier process left, with every chunk ready to be taken again.

        Args:
            disk: where it is.
            path: its file, which may be missing if nothing was flushed.
            flushed: up to where it was safe. What stands behind is cut off.

        Raises:
            StoreError: something of what was safe is gone or was changed.
        """
        spool = cls(disk, path)
        try:
            if disk.facts(path) is None:
                if flushed:
                    raise StoreError(f"{path.name}, where the vectors of the round were, is gone")
                return spool
            file = spool._file = disk.open(path)
            for _, head in heads(file, path, flushed):
                phase, owner, place = _TAG.unpack(head.tag)
                spool.cut(Phase(phase), Index(owner), place)  # what came before in this place was forgotten
                spool._keep(Phase(phase), Index(owner), head.size)
            if file.size() > flushed:
                file.truncate(flushed)
                file.flush()  # else what comes next could stand before old chunks after another crash
        except OSError as error:
            raise StoreError(f"{path.name} cannot be read: {error.strerror}") from error
        spool._flushed = flushed
        return spool

    def append(self, phase: Phase, owner: Index, payload: bytes) -> None:
        """Write the owner's next chunk behind all others. It is not safe before `flush`.

        Raises:
            StoreError: the disk is full or fails.
        """
        place = len(self._kept.get((phase, owner), ()))
        piece = framed(self._path, self._number, _TAG.pack(phase.value, owner, place), payload)
        try:
            self._opened().write_at(self._size, piece)
        except OSError as error:
            raise self._refused(error) from error
        self._keep(phase, owner, len(piece))

    def take(self, phase: Phase, owner: Index) -> Iterator[bytes]:
        """The owner's chunks, in order, each read from the file when it is asked for.

        Raises:
            StoreError: one was changed on the disk, or cannot be read.
        """
        for offset, number in self._kept.get((phase, owner), ()):
            try:
                payload = read_piece(self._opened(), self._path, offset, number)
            except OSError as error:
                raise StoreError(f"{self._path.name} cannot be read: {error.strerror}") from error
            yield payload

    def cut(self, phase: Phase, owner: Index, chunks: int) -> None:
        """Forget what the owner has behind the first `chunks`. In the file it stays."""
        del self._kept.get((phase, owner), [])[chunks:]

    def flush(self) -> None:
        """Return when every chunk is safe.

        Raises:
            StoreError: the disk is full or fails.
        """
        if self._flushed == self._size or self._file is None:
            return
        try:
            self._file.flush()
            if not self._flushed:
                self._disk.flush_folder(self._path.parent)
        except OSError as error:
            raise self._refused(error) from error
        self._flushed = self._size

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> File:
        if self._file is None:
            self._file = self._disk.open(self._path, make=True)
        return self._file

    def _keep(self, phase: Phase, owner: Index, size: int) -> None:
        self._kept.setdefault((phase, owner), []).append((self._size, self._number))
        self._number += 1
        self._size += size

    def _refused(self, error: OSError) -> StoreError:
        return StoreError(f"{self._path.name} cannot be written: {error.strerror}")
