"""How many bytes the messages of a simulated round are on the wire (without the transport's own framing)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from secagg.messages import CoordinatorMessage, ParticipantId, ParticipantMessage, Roster
from secagg.tools.simulation.network import Envelope, Up
from secagg.wire.calls import CODECS


def wire_size(message: ParticipantMessage | CoordinatorMessage) -> int:
    """Bytes of a message as protobuf encodes it, all parts together."""
    return sum(part.ByteSize() for part in CODECS[type(message)].parts(message))


@dataclass(slots=True)
class Traffic:
    """A hook that counts: bytes up and down by participant, everything else untouched."""

    up: defaultdict[ParticipantId, int] = field(default_factory=lambda: defaultdict(int))
    down: defaultdict[ParticipantId, int] = field(default_factory=lambda: defaultdict(int))
    _roster: tuple[Roster, int] | None = None  # everyone gets the same one, and it is long

    def __call__(self, envelope: Envelope) -> Iterable[Envelope]:
        """Count the message, and pass it on."""
        counter = self.up if isinstance(envelope, Up) else self.down
        counter[envelope.participant] += self._size(envelope.message)
        return (envelope,)

    def _size(self, message: ParticipantMessage | CoordinatorMessage) -> int:
        if not isinstance(message, Roster):
            return wire_size(message)
        if self._roster is None or self._roster[0] is not message:
            self._roster = message, wire_size(message)
        return self._roster[1]
