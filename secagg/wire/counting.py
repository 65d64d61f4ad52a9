"""How many fields a serialised message holds, counted before any of them becomes an object.

An empty sub-message takes two bytes on the wire and about a hundred in memory, and protobuf has no limit for that. So
whoever takes bytes from a peer counts the fields first, at a cost that the budget bounds, and parses them only then.
"""

from functools import cache
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from secagg.errors import DecodeError

MAX_FIELDS: Final = 50_000
"""Of all parts of a message together. Shares for 10,000 neighbours are about 30,000 fields."""

Plan: TypeAlias = "dict[int, Plan]"
"""What to look into, by field number: sub-messages with their own plans, and packed numbers."""

PACKED: Final[Plan] = {}
"""The plan of packed numbers, of which each byte may be one."""

_LENGTH_DELIMITED: Final = 2
_FIXED: Final = {1: 8, 5: 4}  # bytes by wire type
_LONG: Final = 0x80  # a byte of a number from here on has another one behind it
_MAX_SHIFT: Final = 63  # no number is longer than ten bytes


@cache
def plan_of(descriptor: Any) -> Plan:
    """The plan of a kind of message, by its descriptor. No kind of this protocol contains itself."""
    plan: Plan = {}
    for field in descriptor.fields:
        if field.message_type is not None:
            plan[field.number] = plan_of(field.message_type)
        elif field.is_repeated and field.type not in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}:
            plan[field.number] = PACKED
    return plan


class Budget:
    """How many fields a message may still have, over all of its parts."""

    def __init__(self, fields: int = MAX_FIELDS) -> None:
        self._left = fields

    def spend(self, data: bytes, kind: type[Message]) -> None:
        """Count the fields of a part, which should be a `kind`.

        Raises:
            DecodeError: there are too many by now, or `data` is no message.
        """
        self._left = count(data, plan_of(kind.DESCRIPTOR), self._left)


def count(data: bytes, plan: Plan, left: int) -> int:
    """What is left of a budget of `left` fields after those in `data`.

    Raises:
        DecodeError: there are more, or `data` is no message.
    """
    try:
        left = _count(data, plan, left, 0, len(data))
    except (IndexError, KeyError):  # cut off, or a wire type that this protocol does not have
        raise DecodeError("cut off, or of another form") from None
    if left < 0:  # check: C98
        raise DecodeError("it has more fields than any message of this protocol")
    return left


def _count(data: bytes, plan: Plan, left: int, at: int, end: int) -> int:
    while at < end and left >= 0:
        tag = data[at]
        at += 1
        if tag >= _LONG:
            tag, at = varint(data, at - 1)
        kind, left = tag & 7, left - 1
        if kind == 0:
            while data[at] >= _LONG:
                at += 1
            at += 1
        elif kind == _LENGTH_DELIMITED:
            size = data[at]
            at += 1
            if size >= _LONG:
                size, at = varint(data, at - 1)
            inner = plan.get(tag >> 3)
            if inner is PACKED:
                left -= size
            elif inner is not None:
                left = _count(data, inner, left, at, at + size)
            at += size
        else:
            at += _FIXED[kind]
    if left >= 0 and at != end:
        raise IndexError(at)
    return left


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where the next thing begins."""
    value = shift = 0
    while shift <= _MAX_SHIFT:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < _LONG:
            return value, at
        shift += 7
    raise IndexError(at)
