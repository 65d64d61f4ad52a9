"""How messages of a simulated round pass between processes: as bytes of the wire, and to each process only once what
many participants are shown.

A roster is the list of all members and the entries of some. A process gets the list once, and each entry once. After
that, a roster is the numbers of its entries. So a process holds each entry once, however many of its participants are
shown it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from secagg.messages import CoordinatorMessage, Listing, Member, ParticipantId, ParticipantMessage, Phase, Roster
from secagg.tools.simulation.network import Down
from secagg.wire.calls import CODECS
from secagg.wire.keys import ROSTER
from secagg.wire.parsing import parse

Packed = tuple[str, tuple[bytes, ...]]
"""The name of a message's type, and its parts."""

_CODEC_OF: Final = {kind.__name__: codec for kind, codec in CODECS.items()}


def pack(message: ParticipantMessage | CoordinatorMessage) -> Packed:
    """The message as it is on the wire."""
    codec = CODECS[type(message)]
    if codec.in_parts:
        return type(message).__name__, tuple(part.SerializeToString() for part in codec.parts(message))
    return type(message).__name__, (codec.to_bytes(message),)


def unpack(packed: Packed) -> Any:
    """The message that `pack` packed."""
    name, parts = packed
    codec = _CODEC_OF[name]
    return codec.decode(parse(codec.kind, part) for part in parts) if codec.in_parts else codec.from_bytes(parts[0])


@dataclass(frozen=True, slots=True)
class Shown:
    """A roster. Attributes: entries: their numbers. listed: whether the list of all members belongs to it."""

    entries: tuple[int, ...]
    listed: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages for participants of one process.

    Attributes:
        listing: the list of all members, in parts, if it was not sent before; else empty.
        entries: members that were not sent before, in the order of their numbers.
        messages: each once, whoever it is for.
        downs: for whom, which phase it closes, and which of the messages it is.
    """

    listing: tuple[bytes, ...]
    entries: tuple[bytes, ...]
    messages: tuple[Packed | Shown, ...]
    downs: tuple[tuple[ParticipantId, Phase, int], ...]


class Outbox:
    """Packs what goes to one process in one round."""

    def __init__(self) -> None:
        self._listing: Listing | None = None
        self._numbers: dict[Member, int] = {}

    def pack(self, downs: Sequence[Down]) -> Batch:
        """These messages, in their order."""
        listing: tuple[bytes, ...] = ()
        entries: list[bytes] = []
        messages: list[Packed | Shown] = []
        at: dict[int, int] = {}
        for down in downs:
            message = down.message
            if id(message) in at:
                continue
            at[id(message)] = len(messages)
            if not isinstance(message, Roster):
                messages.append(pack(message))
                continue
            if message.listing is not None and message.listing is not self._listing:
                self._listing, (_, listing) = message.listing, pack(Roster((), message.listing))
            numbers = tuple(self._number(member, entries) for member in message.members)
            messages.append(Shown(numbers, message.listing is not None))
        return Batch(
            listing,
            tuple(entries),
            tuple(messages),
            tuple((down.participant, down.phase, at[id(down.message)]) for down in downs),
        )

    def _number(self, member: Member, entries: list[bytes]) -> int:
        if member not in self._numbers:
            self._numbers[member] = len(self._numbers)
            (part,) = ROSTER.parts(Roster((member,)))
            entries.append(part.SerializeToString())
        return self._numbers[member]


class Inbox:
    """Unpacks what came to a process in one round."""

    def __init__(self) -> None:
        self._listing: Listing | None = None
        self._entries: list[Member] = []
        self._last: dict[str, tuple[Packed | Shown, CoordinatorMessage]] = {}

    def unpack(self, batch: Batch) -> list[Down]:
        """The messages, in their order. One that is for many is the same object for all of them."""
        if batch.listing:
            self._listing = unpack((Roster.__name__, batch.listing)).listing
        self._entries += [unpack((Roster.__name__, (entry,))).members[0] for entry in batch.entries]
        messages = [self._message(packed) for packed in batch.messages]
        return [Down(name, messages[number], phase) for name, phase, number in batch.downs]

    def _message(self, packed: Packed | Shown) -> CoordinatorMessage:
        name = Roster.__name__ if isinstance(packed, Shown) else packed[0]
        known = self._last.get(name)
        if known is not None and known[0] == packed:
            return known[1]
        message: CoordinatorMessage
        if isinstance(packed, Shown):
            message = Roster(tuple(self._entries[i] for i in packed.entries), self._listing if packed.listed else None)
        else:
            message = unpack(packed)
        self._last[name] = packed, message
        return message
