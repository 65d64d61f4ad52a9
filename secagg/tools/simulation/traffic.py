"""How many bytes the messages of a simulated round are on the wire (without the transport's own framing)."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from secagg.messages import CoordinatorMessage, ParticipantId, ParticipantMessage, Roster, SurvivorSet
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
    _shared: dict[type[object], tuple[object, int]] = field(
        default_factory=dict
    )  # what everyone gets, and how long it is

    def __call__(self, envelope: Envelope) -> Iterable[Envelope]:
        """Count the message, and pass it on."""
        counter = self.up if isinstance(envelope, Up) else self.down
        counter[envelope.participant] += self._size(envelope.message)
        return (envelope,)

    def _size(self, message: ParticipantMessage | CoordinatorMessage) -> int:
        if isinstance(message, Roster) and message.listing is not None:
            listing = self._once(message.listing, lambda: wire_size(Roster((), message.listing)))
            return listing + wire_size(Roster(message.members))
        return self._once(message, lambda: wire_size(message)) if isinstance(message, _FOR_ALL) else wire_size(message)

    def _once(self, value: object, measure: Callable[[], int]) -> int:
        """The size of what everyone gets, measured when the first one gets it."""
        known = self._shared.get(type(value))
        if known is None or known[0] is not value:
            known = self._shared[type(value)] = (value, measure())
        return known[1]


_FOR_ALL = (Roster, SurvivorSet)
