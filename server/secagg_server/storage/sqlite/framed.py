"""Pieces of a vector behind each other in a file, each with what finds out whether the disk changed it.

A piece stands behind a head of 48 bytes, big-endian:

    bytes 0 to 7    number of the piece in this file, from 0 on
    bytes 8 to 11   length of the piece
    bytes 12 to 23  tag: what the piece is
    bytes 24 to 31  the first 8 bytes of SHA-256 over the name of the file, a zero byte, and the 24 bytes before
    bytes 32 to 47  the checksum of the piece (`secagg.crypto.checksum`), tagged with the first 12 bytes of that SHA-256

So the heads alone say which pieces there are, and each piece is checked whenever it is read. A file that has the name
of another one is none: the vectors of one round are never added up in another.
"""

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from secagg.crypto.checksum import CHECKSUM_SIZE, CHECKSUM_TAG_SIZE, checksum
from secagg.errors import StoreError
from secagg.programs.disk import File
from secagg.wire.homomorphic import MAX_CIPHERTEXT_CHUNK_BYTES

TAG_SIZE: Final = 12
_FIXED: Final = struct.Struct(f">QI{TAG_SIZE}s")
_HEAD_CHECKSUM_SIZE: Final = 8
HEAD_SIZE: Final = _FIXED.size + _HEAD_CHECKSUM_SIZE + CHECKSUM_SIZE


class Head(NamedTuple):
    """What stands before a piece.

    Attributes:
        number: of the piece in its file.
        length: bytes of the piece.
        tag: 12 bytes.
        checksum: 16 bytes.
    """

    number: int
    length: int
    tag: bytes
    checksum: bytes

    @property
    def size(self) -> int:
        """Bytes of head and piece."""
        return HEAD_SIZE + self.length


def framed(path: Path, number: int, tag: bytes, piece: bytes) -> bytes:
    """The piece behind its head, for the file of this name."""
    fixed = _FIXED.pack(number, len(piece), tag)
    digest = _digest(path, fixed)
    return b"".join((fixed, digest[:_HEAD_CHECKSUM_SIZE], checksum(piece, digest[:CHECKSUM_TAG_SIZE]), piece))


def heads(file: File, path: Path, size: int) -> Iterator[tuple[int, Head]]:
    """Where each piece of the first `size` bytes begins, and its head.

    Raises:
        StoreError: they were changed, or end within a piece.
    """
    offset, number = 0, 0
    while offset < size:
        head = _read_head(file, path, offset, number)
        yield offset, head
        offset, number = offset + head.size, number + 1
    if offset != size or file.size() < size:  # check: pieces-whole
        raise StoreError(f"{path.name}: what was safe ends within piece {number - 1}")


def read_piece(file: File, path: Path, offset: int, number: int) -> bytes:
    """A piece, which must be this one and whole.

    Args:
        file: open.
        path: of the file; its name is in the checksums.
        offset: where the piece's head begins.
        number: of the piece.

    Raises:
        StoreError: it was changed.
    """
    head = _read_head(file, path, offset, number)
    piece = file.read_at(offset + HEAD_SIZE, head.length)
    fixed = _FIXED.pack(number, head.length, head.tag)
    if head.checksum != checksum(piece, _digest(path, fixed)[:CHECKSUM_TAG_SIZE]):  # check: piece
        raise _changed(path, number)
    return piece


def _read_head(file: File, path: Path, offset: int, number: int) -> Head:
    read = file.read_at(offset, HEAD_SIZE)
    fixed, own, checksum = read[: _FIXED.size], read[_FIXED.size : -CHECKSUM_SIZE], read[-CHECKSUM_SIZE:]
    if len(read) < HEAD_SIZE or own != _digest(path, fixed)[:_HEAD_CHECKSUM_SIZE]:
        raise _changed(path, number)
    found, length, tag = _FIXED.unpack(fixed)
    if found != number or length > MAX_CIPHERTEXT_CHUNK_BYTES:
        raise _changed(path, number)
    return Head(number, length, tag, checksum)


def _changed(path: Path, number: int) -> StoreError:
    return StoreError(f"{path.name}: piece {number} was changed on the disk")


def _digest(path: Path, fixed: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + b"\0" + fixed).digest()
