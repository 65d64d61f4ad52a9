"""How many bytes the messages of a simulated round are on the wire (without the transport's own framing)."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import Message

from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyProof,
    CoordinatorMessage,
    Leave,
    MaskedInputChunk,
    ParticipantId,
    ParticipantMessage,
    Roster,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
    Unmask,
)
from secagg.tools.simulation.network import Envelope, Up
from secagg.wire import codec


def wire_size(message: ParticipantMessage | CoordinatorMessage) -> int:
    """Bytes of a masked round's message as protobuf encodes it, all parts together."""
    encoded = _ENCODERS[type(message)](message)
    return encoded.ByteSize() if isinstance(encoded, Message) else sum(part.ByteSize() for part in encoded)


_ENCODERS: Final[dict[type, Callable[[Any], Message | Iterable[Message]]]] = {
    AdvertiseKeys: codec.encode_advertise,
    Roster: codec.encode_roster,
    ShareKeys: codec.encode_share_keys,
    ShareDelivery: codec.encode_share_delivery,
    MaskedInputChunk: codec.encode_chunk,
    SurvivorSet: codec.encode_survivors,
    ConsistencyCheck: codec.encode_check,
    ConsistencyProof: codec.encode_proof,
    Unmask: codec.encode_unmask,
    Leave: codec.encode_leave,
}


@dataclass(slots=True)
class Traffic:
    """A hook that counts: bytes up and down by participant, everything else untouched."""

    up: defaultdict[ParticipantId, int] = field(default_factory=lambda: defaultdict(int))
    down: defaultdict[ParticipantId, int] = field(default_factory=lambda: defaultdict(int))
    _roster: tuple[Roster, int] | None = None  # everyone gets the same one, and it is long

    def __call__(self, envelope: Envelope) -> Iterable[Envelope]:
        """See `Hook`."""
        counter = self.up if isinstance(envelope, Up) else self.down
        counter[envelope.participant] += self._size(envelope.message)
        return (envelope,)

    def _size(self, message: ParticipantMessage | CoordinatorMessage) -> int:
        if not isinstance(message, Roster):
            return wire_size(message)
        if self._roster is None or self._roster[0] is not message:
            self._roster = message, wire_size(message)
        return self._roster[1]
