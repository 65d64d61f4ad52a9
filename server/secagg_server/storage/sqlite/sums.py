"""Finished sums in files, one for each round, until they are forgotten. `framed` says how a file is written."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from secagg.errors import StoreError
from secagg.programs.disk import Disk
from secagg_server.storage.sqlite.framed import TAG_SIZE, framed, heads, read_piece

_TAG: Final = b"sum".ljust(TAG_SIZE, b"\0")


def write_sum(disk: Disk, path: Path, chunks: Iterable[bytes]) -> "FileChunks":
    """Write a packed sum, one chunk at a time; it is safe on return.

    Raises:
        OSError: the disk is full or fails.
    """
    offsets: list[int] = []
    size = 0
    with disk.open(path, make=True) as file:
        file.truncate(0)
        for number, chunk in enumerate(chunks):
            piece = framed(path, number, _TAG, chunk)
            file.write_at(size, piece)
            offsets.append(size)
            size += len(piece)
        file.flush()
    disk.flush_folder(path.parent)
    return FileChunks(disk, path, offsets, size)


def open_sum(disk: Disk, path: Path, size: int) -> "FileChunks":
    """The sum that an earlier process wrote.

    Args:
        disk: where it is.
        path: its file.
        size: of the file.

    Raises:
        StoreError: it is gone, or was changed.
    """
    try:
        with disk.open(path) as file:
            return FileChunks(disk, path, [offset for offset, _ in heads(file, path, size)], size)
    except OSError as error:
        raise StoreError(f"{path.name}, a finished sum, cannot be read: {error.strerror}") from error


class FileChunks:
    """The chunks of a packed sum in a file. A `Chunks`. Several threads may read.

    Attributes:
        size: bytes of the file.
    """

    def __init__(self, disk: Disk, path: Path, offsets: list[int], size: int) -> None:
        """Args:
        disk: where it is.
        path: its file.
        offsets: of each chunk.
        size: bytes of the file.
        """
        self.size = size
        self._disk = disk
        self._path = path
        self._offsets = offsets

    def __len__(self) -> int:
        """How many chunks the sum has."""
        return len(self._offsets)

    def __getitem__(self, number: int, /) -> bytes:
        """Chunk `number`, checked.

        Raises:
            StoreError: the disk changed it, or cannot read it.
        """
        try:
            with self._disk.open(self._path) as file:
                return read_piece(file, self._path, self._offsets[number], number)
        except OSError as error:
            raise StoreError(f"{self._path.name}, a finished sum, cannot be read: {error.strerror}") from error

    def __iter__(self) -> Iterator[bytes]:
        """All chunks in order."""
        return (self[number] for number in range(len(self)))
