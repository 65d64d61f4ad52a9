"""Protocol messages as vectors hold them: type, protobuf bytes of every part, and fields for people."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from google.protobuf.message import Message

from secagg import messages
from secagg.errors import DecodeError
from secagg.tools.conformance.document import Document
from secagg.wire.calls import CODECS
from secagg.wire.codecs import Codec
from secagg.wire.counting import MAX_FIELDS, Budget
from secagg.wire.parsing import parse

_BY_NAME: Final[Mapping[str, Codec[Any]]] = {kind.__name__: made for kind, made in CODECS.items()}

LONG: Final = 4096
"""Bytes of a field or part that vectors state by size and digest."""

Protocol = messages.ParticipantMessage | messages.CoordinatorMessage


def encode(message: Protocol) -> Document:
    """A message with its bytes and fields."""
    parts = list(CODECS[type(message)].parts(message))
    return {
        "type": type(message).__name__,
        "parts": [part.SerializeToString(deterministic=True).hex() for part in parts],
        "fields": [fields(part) for part in parts],
    }


def altered(name: str, *parts: Message) -> Document:
    """A message of type `name` from parts that the encoder would not make."""
    return {"type": name, "parts": [part.SerializeToString(deterministic=True).hex() for part in parts]}


def parts(message: Document, fields: int = MAX_FIELDS) -> list[Any]:
    """The protobuf messages of a vector's message, to be altered. `fields`: how many all of them may have.

    Raises:
        DecodeError: the bytes are none, or have more fields.
    """
    kind, budget = _BY_NAME[message["type"]].kind, Budget(fields)
    return [parse(kind, bytes.fromhex(part), budget) for part in message["parts"]]


def decode(message: Document, fields: int = MAX_FIELDS) -> Any:
    """The message behind the bytes of a vector; a `Protocol`. `fields`: how many it may have.

    Raises:
        DecodeError: the bytes are not a well-formed message, or there are more parts or fewer than it has.
    """
    found, read = _BY_NAME[message["type"]], parts(message, fields)
    if not found.in_parts and len(read) != 1:
        raise DecodeError(f"{len(read)} parts where one {message['type']} belongs")
    return found.decode(read if found.in_parts else read[0])


def fields(message: Message) -> Document:
    """The fields that are set, by name; bytes as hex, numbers of enums."""
    return {descriptor.name: _field(value) for descriptor, value in message.ListFields()}


def by_digest(data: bytes) -> Document:
    """Bytes that a reader makes anew, and recognises by this."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def shortened(part: str | Document) -> str | Document:
    """A part in hex, or what stands for it where it is long."""
    return by_digest(bytes.fromhex(part)) if isinstance(part, str) and len(part) > 2 * LONG else part


def _field(value: Any) -> Any:
    if isinstance(value, Message):
        return fields(value)
    if isinstance(value, bytes):
        return value.hex() if len(value) <= LONG else by_digest(value) | {"begins": value[:32].hex()}
    if isinstance(value, bool | int | float | str):
        return value
    return [_field(item) for item in _items(value)]


def _items(repeated: Iterable[Any]) -> Iterator[Any]:
    yield from repeated
