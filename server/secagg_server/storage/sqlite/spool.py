"""The chunks of a round's vectors in one file, behind each other as they came.

Each chunk stands behind a head of 40 bytes, big-endian:

    bytes 0 to 7    number of the chunk in this file, from 0 on
    byte 8          phase
    bytes 9 to 12   index of the owner
    bytes 13 to 16  number of the chunk in its vector, from 0 on
    bytes 17 to 20  length of the payload
    bytes 21 to 23  zero
    bytes 24 to 39  the first 16 bytes of SHA-256 over the 24 bytes before and the payload

What was written is safe once it was flushed, and the database knows up to where that is. Behind that place a crash may
have left anything, of which nobody was told: it is cut off. Before that place every chunk must be whole, else the disk
changed it, and the round ends by name. A file takes one `fsync` for all owners.
"""

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from secagg.errors import StoreError
from secagg.messages import Index, Phase
from secagg.programs.disk import Disk, File
from secagg.wire.homomorphic import MAX_CIPHERTEXT_CHUNK_BYTES

_HEAD: Final = struct.Struct(">QBIII3x")
_CHECKSUM_SIZE: Final = 16
HEAD_SIZE: Final = _HEAD.size + _CHECKSUM_SIZE


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
            OSError: it cannot be read.
        """
        spool = cls(disk, path)
        if disk.facts(path) is None:
            if flushed:
                raise StoreError(f"{path.name}, where the vectors of the round were, is gone")
            return spool
        file = spool._file = disk.open(path)
        while spool._size < flushed:
            phase, owner, place, payload = spool._read(spool._size, spool._number)
            spool.cut(phase, owner, place)  # what came before in this place was forgotten
            spool._keep(phase, owner, len(payload))
        if spool._size != flushed:  # check: spool-whole
            raise StoreError(f"{path.name}: what was safe ends within chunk {spool._number - 1}")
        if file.size() > flushed:
            file.truncate(flushed)
            file.flush()  # else what comes next could stand before old chunks after another crash
        spool._flushed = flushed
        return spool

    def append(self, phase: Phase, owner: Index, payload: bytes) -> None:
        """Write the owner's next chunk behind all others. It is not safe before `flush`.

        Raises:
            StoreError: the disk is full or fails.
        """
        place = len(self._kept.get((phase, owner), ()))
        head = _HEAD.pack(self._number, phase.value, owner, place, len(payload))
        try:
            file = self._opened()
            file.write_at(self._size, head + _checksum(head, payload) + payload)
        except OSError as error:
            raise self._refused(error) from error
        self._keep(phase, owner, len(payload))

    def take(self, phase: Phase, owner: Index) -> Iterator[bytes]:
        """The owner's chunks, in order, each read from the file when it is asked for.

        Raises:
            StoreError: one was changed on the disk, or cannot be read.
        """
        for place, (offset, number) in enumerate(self._kept.get((phase, owner), ())):
            *whose, payload = self._read(offset, number)
            if whose != [phase, owner, place]:  # check: spool-owner
                raise StoreError(f"{self._path.name}: chunk {number} is of another vector")
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

    def destroy(self) -> None:
        """Remove the file: the round is over, and needs no vectors any more."""
        self.close()
        if self._disk.facts(self._path) is not None:
            self._disk.unlink(self._path)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> File:
        if self._file is None:
            self._file = self._disk.open(self._path, make=True)
        return self._file

    def _keep(self, phase: Phase, owner: Index, length: int) -> None:
        self._kept.setdefault((phase, owner), []).append((self._size, self._number))
        self._number += 1
        self._size += HEAD_SIZE + length

    def _read(self, offset: int, number: int) -> tuple[Phase, Index, int, bytes]:
        """Phase, owner, place in the vector, and payload of a chunk."""
        changed = StoreError(f"{self._path.name}: chunk {number} was changed on the disk")
        try:
            file = self._opened()
            start = file.read_at(offset, HEAD_SIZE)
            if len(start) < HEAD_SIZE:
                raise changed
            head, kept = start[: _HEAD.size], start[_HEAD.size :]
            found, phase, owner, place, length = _HEAD.unpack(head)
            payload = file.read_at(offset + HEAD_SIZE, min(length, MAX_CIPHERTEXT_CHUNK_BYTES))
        except OSError as error:
            raise StoreError(f"{self._path.name} cannot be read: {error.strerror}") from error
        if kept != _checksum(head, payload):  # check: spool-checksum
            raise changed
        if found != number:  # check: spool-number
            raise changed
        return Phase(phase), Index(owner), place, payload

    def _refused(self, error: OSError) -> StoreError:
        return StoreError(f"{self._path.name} cannot be written: {error.strerror}")


def _checksum(head: bytes, payload: bytes) -> bytes:
    state = hashlib.sha256(head)
    state.update(payload)
    return state.digest()[:_CHECKSUM_SIZE]
