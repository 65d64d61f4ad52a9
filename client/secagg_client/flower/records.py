"""Steps of rounds in Flower's records, in both directions.

All steps of a message travel in one `ConfigRecord`, with their bytes one after the other. A long step, which is a
masked or encrypted vector, is an array of bytes instead: Flower moves arrays in pieces, and a `ConfigRecord` whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

import secagg
from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.errors import DecodeError, printable
from secagg_client.carried.steps import Step

RECORD: Final = "secagg"
"""Key of our record in a message."""
VECTORS: Final = "secagg.vectors"
"""Key of the long steps in a message."""
VERSION: Final = secagg.__version__
FORMAT: Final = 1
"""Of these records. Both sides must have the same."""

MAX_STEPS: Final = 64
MAX_PARTS: Final = 1 << 20
MAX_NOTES: Final = 64
_LONG: Final = 64 << 10
_STYPE: Final = "secagg.bytes"


@dataclass(frozen=True, slots=True)
class Packet:
    """What one message carries for us.

    Attributes:
        steps: of different rounds.
        notes: remarks in single words; a node's are named in `notes`, a server's are the key of the weight.
    """

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = field(default=())


class VersionError(DecodeError):
    """The other side has another version of this plug-in."""


def put(packet: Packet, content: RecordDict) -> RecordDict:
    """Add the packet to a message's content, and return that."""
    joined = [b"".join(step.parts) for step in packet.steps]
    long = [len(data) > _LONG for data in joined]
    content[RECORD] = ConfigRecord(
        {
            "format": FORMAT,
            "version": VERSION,
            "rounds": [bytes(step.round_id) for step in packet.steps],
            "kinds": [step.kind for step in packet.steps],
            "parts": [len(step.parts) for step in packet.steps],
            "sizes": [len(part) for step in packet.steps for part in step.parts],
            "long": long,
            "data": b"".join(data for data, is_long in zip(joined, long, strict=True) if not is_long),
            "notes": list(packet.notes),
        }
    )
    if any(long):
        content[VECTORS] = ArrayRecord(
            {
                f"{number:04d}": Array("uint8", (len(data),), _STYPE, data)
                for number, (data, is_long) in enumerate(zip(joined, long, strict=True))
                if is_long
            }
        )
    return content


def take(content: RecordDict) -> Packet | None:
    """Remove the packet from a message's content, and return it; None if there is none.

    Raises:
        VersionError: the other side's version is another one.
        DecodeError: the record is malformed.
    """
    if RECORD not in content:
        return None
    record, vectors = content.pop(RECORD), content.pop(VECTORS, {})
    if not isinstance(record, ConfigRecord):
        raise DecodeError("the record of secagg is no ConfigRecord")
    theirs = record.get("version")
    if record.get("format") != FORMAT:  # check: plug-in-version
        raise VersionError(f"the other side has secagg {_shown(theirs)}, this one has {VERSION}: install the same one")
    try:
        return _read(record, vectors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DecodeError(f"the record of secagg is malformed: {type(error).__name__}") from error


def _read(record: Any, vectors: Any) -> Packet:
    rounds, kinds, counts = _list(record, "rounds", bytes), _list(record, "kinds", str), _list(record, "parts", int)
    sizes, long, notes = _list(record, "sizes", int), _list(record, "long", bool), _list(record, "notes", str)
    if not len(rounds) == len(kinds) == len(counts) == len(long) <= MAX_STEPS or len(notes) > MAX_NOTES:
        raise DecodeError(f"a message holds {len(rounds)} steps of {len(kinds)} kinds, or too many")
    if min(counts, default=0) < 0 or sum(counts) != len(sizes) or len(sizes) > MAX_PARTS:
        raise DecodeError("a message names other parts than it has")
    if min(sizes, default=0) < 0 or any(len(one) != ROUND_ID_SIZE for one in rounds):
        raise DecodeError("a message has a part or a round id of an impossible length")
    data, at, first, steps = record["data"], 0, 0, []
    for number, (round_id, kind, count) in enumerate(zip(rounds, kinds, counts, strict=True)):
        own = sizes[first : first + count]
        first += count
        if long[number]:
            whole, start = vectors[f"{number:04d}"].data, 0
        else:
            whole, start, at = data, at, at + sum(own)
        if start + sum(own) > len(whole):
            raise DecodeError("a message is shorter than its parts")
        parts = []
        for size in own:
            parts.append(bytes(whole[start : start + size]))
            start += size
        steps.append(Step(RoundId(round_id), kind, tuple(parts)))
    return Packet(tuple(steps), tuple(notes))


def _list(record: Any, key: str, kind: type) -> list[Any]:
    values = record[key]
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise DecodeError(f"{key!r} in the record of secagg is no list of {kind.__name__}")
    return values


def _shown(version: object) -> str:
    return printable(version if isinstance(version, str) else "?", 40)


def merged(content: RecordDict, packet: Packet) -> RecordDict:
    """A copy of a strategy's content with the packet in it: strategies put one `RecordDict` into all messages."""
    return put(packet, RecordDict(dict(content.items())))


def bare(packet: Packet) -> RecordDict:
    """A content of the packet alone: an app without the mod finds nothing in it to train on."""
    return put(packet, RecordDict())


def steps_for(rounds: Sequence[dict[str, Step]], peer: str) -> tuple[Step, ...]:
    """Of the steps of several rounds those for one peer."""
    return tuple(steps[peer] for steps in rounds if peer in steps)
