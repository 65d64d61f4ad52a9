"""Checks on single fields and lists, and splitting lists over parts: what every decoder is made of."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import Enum
from functools import partial
from typing import Final, TypeVar

from google.protobuf.message import Message

from secagg.config import MAX_PARTICIPANTS
from secagg.crypto.signing import MAX_SIGNATURE_SIZE
from secagg.errors import DecodeError
from secagg.messages import Index, ParticipantId

PART_BYTES: Final = 1 << 20
"""No part of a message is longer."""

MAX_PARTS: Final = 1 << 17
"""No message has more: a stream that holds nothing must end too."""

MAX_SIGNATURE_BYTES: Final = MAX_SIGNATURE_SIZE
SHARE_BYTES: Final = 33
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

EnumT = TypeVar("EnumT", bound=Enum)
MessageT = TypeVar("MessageT", bound=Message)
ItemT = TypeVar("ItemT", bound=Message)


def split(items: Iterable[ItemT], make: Callable[[list[ItemT]], MessageT]) -> Iterator[MessageT]:
    """Messages of at most `PART_BYTES`; one without items if there are none."""
    batch: list[ItemT] = []
    size = 0
    for item in items:
        cost = item.ByteSize() + 8  # tag and length
        if batch and size + cost > PART_BYTES - 64:
            yield make(batch)
            batch, size = [], 0
        batch.append(item)
        size += cost
    yield make(batch)


def limited(items: Iterable[ItemT]) -> Iterator[ItemT]:
    """The items, or `DecodeError` if there are more than participants."""
    for count, item in enumerate(items):
        if count >= MAX_PARTICIPANTS:
            raise DecodeError(f"more than {MAX_PARTICIPANTS} entries")
        yield item


def bounded(parts: Iterable[MessageT]) -> Iterator[MessageT]:
    """The parts, or `DecodeError` if they do not end."""
    for count, part in enumerate(parts):
        if count >= MAX_PARTS:
            raise DecodeError(f"more than {MAX_PARTS} parts")
        yield part


class Pieces:
    """A long field that comes in pieces: joined at the end, limited on the way."""

    def __init__(self, size: int, what: str) -> None:
        """Args: size: of all pieces together, at most."""
        self._left = size
        self._size = size
        self._what = what
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        """Take the next piece, or raise `DecodeError` if it is too much."""
        self._left -= len(piece)
        if self._left < 0:
            raise DecodeError(f"{self._what} has more than {self._size} bytes")
        if piece:
            self._pieces.append(piece)

    def join(self) -> bytes:
        """The whole field, from the pieces so far."""
        return b"".join(self._pieces)


def fresh_index(key: int, known: Collection[Index], what: str) -> Index:
    """The key as an index, which must be one that is not in `known`; `what` names it in the error."""
    if key in known or not 1 <= key <= MAX_PARTICIPANTS:
        raise DecodeError(f"{what} {key} stands twice or is no index")
    return Index(key)


def ascending(indices: Iterable[int], what: str) -> tuple[Index, ...]:
    """The indices, which must be ascending; `what` names them in the error."""
    found = tuple(Index(i) for i in indices)
    if len(found) > MAX_PARTICIPANTS or any(b <= a for a, b in zip((0, *found), found, strict=False)):
        raise DecodeError(f"{what} are not ascending indices")
    return found


def told_by_coordinator(kind: type[EnumT], number: int, what: str) -> EnumT:
    """The member of `kind` that a number from the coordinator stands for; `what` names the number in the error."""
    try:
        return kind(number)
    except ValueError:
        raise DecodeError(f"unknown {what}", culprit="coordinator") from None


def exactly(value: bytes, size: int, what: str) -> bytes:
    """`value`, which has `size` bytes."""
    if len(value) != size:
        raise DecodeError(f"{what} has {len(value)} bytes, not {size}")
    return value


def at_most(value: bytes, size: int, what: str) -> bytes:
    """`value`, which has no more than `size` bytes."""
    if len(value) > size:
        raise DecodeError(f"{what} has {len(value)} bytes, more than {size}")
    return value


def decode_participant_id(text: str) -> ParticipantId:
    """1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit."""
    if not _ID.fullmatch(text):
        raise DecodeError(f"{text[:80]!r} is no participant id")
    return ParticipantId(text)


signature: Final = partial(at_most, size=MAX_SIGNATURE_BYTES)
"""The check of a field that holds a signature. Whether it is one is for who verifies it."""
