"""The entries of a journal as columns and back, strictly. Messages are encoded as on the wire.

Columns other than `body` are readable: they say what came when and from whom, which the log says, too. `body` is sealed
under the round's key, together with the other columns, so a row that was changed in any place does not open.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, TypeVar, assert_never

from secagg.crypto import labels
from secagg.errors import AbortReason, AuthenticationError, DecodeError, StoreError
from secagg.messages import AdvertiseKeys, ParticipantId, ParticipantMessage, Phase
from secagg.rounds.doors import checked_door
from secagg.wire.agreement import CONSISTENCY_PROOF
from secagg.wire.calls import DATA_CALLS
from secagg.wire.codecs import Codec
from secagg.wire.counting import Budget
from secagg.wire.fields import decode_participant_id
from secagg.wire.parsing import parse
from secagg_server.storage.records import (
    Aborted,
    Assigned,
    Certified,
    DeadlinePassed,
    DoorLost,
    Entry,
    Excluded,
    Expected,
    InputHeld,
    Received,
    Rejoined,
    Resumed,
    SeedReceived,
    UploadCompleted,
    WrongShareRefused,
)
from secagg_server.storage.sqlite.seals import Envelope

ValueT = TypeVar("ValueT")

SEED_SIZE: Final = 16
_NONE: Final = ParticipantId("")
_LENGTH: Final = 4

_CODECS: Final[dict[str, Codec[Any]]] = {call.brings.value.__name__: call.brings for call in DATA_CALLS if call.brings}
"""The codec of each message that a participant sends, by the name of its class."""


@dataclass(frozen=True, slots=True)
class Columns:
    """An entry as it is kept.

    Attributes:
        kind: name of the entry's class.
        time_s: when, in seconds since 1970.
        sender: whose message; empty if nobody's.
        what: name of the message's class, of the phase, or of the reason; empty if there is none.
        body: sealed.
    """

    kind: str
    time_s: float
    sender: str
    what: str
    body: bytes


def encode_entry(number: int, entry: Entry, envelope: Envelope) -> Columns:
    """The entry with this number in its journal, from 0 on, as columns."""
    sender, what, body = _opened(entry)
    kind = type(entry).__name__
    sealed = envelope.seal(labels.JOURNAL_ENTRY, body, *_fixed(number, kind, entry.time_s, sender, what))
    return Columns(kind, entry.time_s, sender, what, sealed)


def decode_entry(number: int, kept: Columns, envelope: Envelope) -> Entry:
    """The entry that these columns are.

    Raises:
        StoreError: they are none, or were changed, or stood in another place.
    """
    try:
        fixed = _fixed(number, kept.kind, kept.time_s, kept.sender, kept.what)
        body = envelope.unseal(labels.JOURNAL_ENTRY, kept.body, *fixed)
        entry = _read(kept, body)
        if _opened(entry) != (kept.sender, kept.what, body):
            raise DecodeError("it is not as we would write it")
        return entry
    except AuthenticationError:
        raise StoreError(f"entry {number} of the journal was changed on the disk") from None
    except (DecodeError, ValueError, KeyError, OverflowError) as error:
        raise StoreError(f"entry {number} of the journal is not well-formed: {error}") from None


def _fixed(number: int, kind: str, time_s: float, sender: str, what: str) -> tuple[bytes, ...]:
    return struct.pack(">Qd", number, time_s), kind.encode(), sender.encode(), what.encode()


def _opened(entry: Entry) -> tuple[str, str, bytes]:  # noqa: PLR0911, PLR0912, one for each kind
    """Sender, what, and the body in clear."""
    match entry:
        case Received(sender=sender, message=message) | Rejoined(sender=sender, message=message):
            kind = type(message).__name__
            return sender, kind, join(parts_of(_CODECS[kind], message))
        case UploadCompleted(sender=sender, phase=phase):
            return sender, phase.name, b""
        case SeedReceived(sender=sender, seed=seed):
            return sender, "", seed
        case InputHeld(sender=sender, door=door):
            return sender, "", door
        case DoorLost(door=door):
            return _NONE, "", door
        case DeadlinePassed():
            return _NONE, "", b""
        case Expected(participants=names) | Excluded(participants=names):
            return _NONE, "", join(name.encode() for name in sorted(names))
        case Aborted(reason=reason, message=text):
            return _NONE, reason.name, text.encode()
        case WrongShareRefused(sender=sender, owner=owner):
            return sender, "", owner.encode()
        case Resumed():
            return _NONE, "", b""
        case Assigned(participant=participant, group=group):
            return participant, "", group.to_bytes(_LENGTH, "big")
        case Certified(proof=proof):
            return _NONE, "", join(parts_of(CONSISTENCY_PROOF, proof))
        case _:
            assert_never(entry)


def _read(kept: Columns, body: bytes) -> Entry:  # noqa: PLR0911, PLR0912, one for each kind
    time_s = kept.time_s
    if not isfinite(time_s):
        raise DecodeError("its time is no number")
    match kept.kind:
        case Received.__name__:
            return Received(time_s, _sender(kept), _read_message(kept.what, body))
        case Rejoined.__name__:
            message = _read_message(kept.what, body)
            if not isinstance(message, AdvertiseKeys):
                raise DecodeError("only keys are sent again")
            return Rejoined(time_s, _sender(kept), message)
        case UploadCompleted.__name__:
            return UploadCompleted(time_s, _sender(kept), Phase[kept.what])
        case SeedReceived.__name__:
            if len(body) != SEED_SIZE:
                raise DecodeError(f"a seed of {len(body)} bytes")
            return SeedReceived(time_s, _sender(kept), body)
        case InputHeld.__name__:
            return InputHeld(time_s, _sender(kept), checked_door(body))
        case DoorLost.__name__:
            return DoorLost(time_s, checked_door(body))
        case DeadlinePassed.__name__:
            return DeadlinePassed(time_s)
        case Expected.__name__:
            return Expected(time_s, _names(body))
        case Excluded.__name__:
            return Excluded(time_s, _names(body))
        case Aborted.__name__:
            return Aborted(time_s, AbortReason[kept.what], body.decode())
        case WrongShareRefused.__name__:
            return WrongShareRefused(time_s, _sender(kept), decode_participant_id(body.decode()))
        case Resumed.__name__:
            return Resumed(time_s)
        case Assigned.__name__:
            return Assigned(time_s, _sender(kept), int.from_bytes(body, "big"))
        case Certified.__name__:
            return Certified(time_s, value_of(CONSISTENCY_PROOF, split(body), Budget()))
        case _:
            raise DecodeError(f"its kind is {kept.kind!r}")


def _sender(kept: Columns) -> ParticipantId:
    return decode_participant_id(kept.sender)


def _read_message(what: str, body: bytes) -> ParticipantMessage:
    message: ParticipantMessage = value_of(_CODECS[what], split(body), Budget())
    return message


def _names(body: bytes) -> frozenset[ParticipantId]:
    return frozenset(decode_participant_id(name.decode()) for name in split(body))


def parts_of(codec: Codec[Any], value: Any) -> Iterator[bytes]:
    """What a message is on the wire, part by part, always in the same bytes."""
    return (part.SerializeToString(deterministic=True) for part in codec.parts(value))


def value_of(codec: Codec[ValueT], parts: Iterable[bytes], budget: Budget) -> ValueT:
    """The message of these parts.

    Raises:
        DecodeError: they are none, or hold more fields than `budget`.
        ValueError: there are several of a message that is never split, or none.
    """
    read = [parse(codec.kind, part, budget) for part in parts]
    if codec.in_parts:
        return codec.decode(read)
    (only,) = read
    return codec.decode(only)


def join(parts: Iterable[bytes]) -> bytes:
    """The parts, each behind its length in 4 bytes, big-endian."""
    return b"".join(len(part).to_bytes(_LENGTH, "big") + part for part in parts)


def split(joined: bytes) -> Iterator[bytes]:
    """What `join` joined.

    Raises:
        DecodeError: it ends within a part.
    """
    at = 0
    while at < len(joined):
        start = at + _LENGTH
        at = start + int.from_bytes(joined[at:start], "big")
        if at > len(joined) or start > len(joined):
            raise DecodeError("cut off")
        yield joined[start:at]
