"""What a codec is. Each message's own stands in the module of its message, and `calls` says which calls need it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from secagg.wire.parsing import parse

ValueT_co = TypeVar("ValueT_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Codec(Generic[ValueT_co]):
    """How one kind of message is written and read.

    Attributes:
        value: the type of the message in Python.
        kind: the protobuf type of the message, or of each of its parts.
        encode: from the value to a `kind`, or to the parts in order.
        decode: from a `kind`, or from the parts, to the value. Raises `DecodeError` for what is not well-formed.
        in_parts: whether the message is a sequence of parts, of at most 1 MiB each.
        writes: from the value to the bytes that protobuf makes of it, where that is much faster than by protobuf.
        reads: from these bytes to the value, where that is much faster. None for bytes that it leaves to protobuf.
    """

    value: type[Any]
    kind: type[Message]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], ValueT_co]
    in_parts: bool = False
    writes: Callable[[Any], bytes] | None = None
    reads: Callable[[bytes], ValueT_co | None] | None = None

    def to_bytes(self, value: Any) -> bytes:
        """The bytes of a message that is never split."""
        if self.writes is not None:
            return self.writes(value)
        found: bytes = self.encode(value).SerializeToString()
        return found

    def from_bytes(self, data: bytes) -> ValueT_co:
        """A message that is never split, from the bytes of a peer; raises `DecodeError` as `parse` and `decode`."""
        found = None if self.reads is None else self.reads(data)
        return self.decode(parse(self.kind, data)) if found is None else found

    def parts(self, value: Any) -> Iterable[Message]:
        """The value as parts; a message that is never split is one part."""
        found: Iterable[Message] = self.encode(value) if self.in_parts else (self.encode(value),)
        return found


def flat(value: type[ValueT_co], kind: type[Message], **checks: Callable[..., Any]) -> Codec[ValueT_co]:
    """The codec of a message that is never split, and whose fields have the same names in Python and in protobuf.

    Args:
        value: the type in Python.
        kind: the protobuf type.
        checks: by the name of a field: returns what it holds, or raises `DecodeError` if that is not well-formed. A
            number or a truth value needs none. What depends on the round is checked by the protocol.
    """
    names = [field.name for field in kind.DESCRIPTOR.fields]

    def encode(message: Any) -> Message:
        return kind(**{name: getattr(message, name) for name in names})

    def decode(message: Any) -> ValueT_co:
        found = {name: getattr(message, name) for name in names}
        found |= {name: check(found[name], what=name) for name, check in checks.items()}
        return value(**found)

    return Codec(value, kind, encode, decode)
