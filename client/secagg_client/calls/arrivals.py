"""A sum that is kept in a temporary file as it arrives, so that no more than a part of it is in memory."""

from dataclasses import dataclass

from secagg.config import RoundConfig
from secagg.encoding.packing import check_packed
from secagg.errors import DecodeError
from secagg.roster import COORDINATOR
from secagg.wire.counting import Budget
from secagg.wire.fields import MAX_PARTS
from secagg.wire.limits import MAX_ANSWER_FIELDS
from secagg.wire.parsing import parse
from secagg.wire.results import IncomingAggregate, PackedAggregate
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg_client.calls.call import Parts, PreparedCall
from secagg_client.participation.outputs import ChunkFile


class Arrival:
    """The answer to one call, part by part. A call that is made again begins anew."""

    def __init__(self, config: RoundConfig) -> None:
        """Args: config: of the round, or of a group of it."""
        self._config = config
        self._file = ChunkFile()
        self.begin()

    def begin(self) -> None:
        """Forget what arrived."""
        self._file.clear()
        self._incoming = IncomingAggregate(self._config, self._keep)
        self._budget = Budget(MAX_ANSWER_FIELDS)
        self._left = MAX_PARTS

    def take(self, part: bytes) -> None:
        """Check the next part, and keep its payload; raises as `decode_aggregate` and as `ChunkFile`."""
        self._left -= 1
        if self._left < 0:
            raise DecodeError(f"more than {MAX_PARTS} parts", culprit=COORDINATOR)
        self._incoming.take(parse(pb.AggregatePart, part, self._budget))

    def finish(self) -> PackedAggregate:
        """The whole sum, in the file; raises as `decode_aggregate`."""
        survivors, digest = self._incoming.finish()
        return PackedAggregate(survivors, self._file, digest)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def _keep(self, start: int, payload: bytes, count: int) -> None:
        del start
        check_packed(payload, count, self._config.ring_bits)
        self._file.append(payload)


@dataclass(frozen=True)
class KeptCall(PreparedCall[PackedAggregate]):
    """A call whose answer is a sum that waits in a temporary file."""

    arrival: Arrival

    def begin(self) -> None:
        """Forget the file of a call that broke."""
        self.arrival.begin()

    def take(self, part: bytes) -> bool:
        """Each part goes into the file."""
        self.arrival.take(part)
        return True

    def decode(self, parts: Parts) -> PackedAggregate:
        """The sum, whose length the configuration says."""
        return self.arrival.finish()
