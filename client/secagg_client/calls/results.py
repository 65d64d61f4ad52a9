"""The calls that bring a participant the result, as values."""

from collections.abc import Iterator
from dataclasses import dataclass

from secagg.aggregates import Aggregate, plan_of
from secagg.config import RoundConfig
from secagg.encoding.packing import chunk_values, packed_size
from secagg.wire.results import decode_aggregate, decode_groups
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg.wire.v1 import messages_pb2
from secagg_client.calls.data_plane import ENTRY_BYTES, SLACK, Parts, RoundCall, every, one


@dataclass(frozen=True)
class FetchAggregate(RoundCall[Aggregate]):
    """After the round."""

    method = "FetchAggregate"

    @property
    def limit(self) -> int:
        """See `Call`."""
        return aggregate_limit(self.config)

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.FetchAggregateRequest(round_id=self.round_id))

    def decode(self, parts: Parts) -> Aggregate:
        """See `Call`."""
        return decode_aggregate(every(messages_pb2.AggregatePart, parts), self.config)


@dataclass(frozen=True)
class FetchGroups(RoundCall[dict[int, Aggregate]]):
    """After a round in groups: every group's sum. Waits until all of them are over."""

    method = "FetchAggregate"

    @property
    def limit(self) -> int:
        """See `Call`."""
        return groups_limit(self.config)

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.FetchAggregateRequest(round_id=self.round_id))

    def decode(self, parts: Parts) -> dict[int, Aggregate]:
        """See `Call`."""
        return decode_groups(every(messages_pb2.AggregatePart, parts), self.config)


def aggregate_limit(config: RoundConfig) -> int:
    """Longest `AggregatePart` stream of a round with `config`, in bytes."""
    bits = config.ring_bits
    chunks = -(-config.vector_len // chunk_values(bits))
    return SLACK + config.max_participants * ENTRY_BYTES + packed_size(config.vector_len, bits) + chunks * ENTRY_BYTES


def groups_limit(config: RoundConfig) -> int:
    """As `aggregate_limit`, of a round in groups."""
    return aggregate_limit(config) * plan_of(config).count
