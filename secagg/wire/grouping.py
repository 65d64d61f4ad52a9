"""From a round in groups to the rounds that its groups are, without encoding a configuration again."""

from collections.abc import Mapping
from dataclasses import dataclass

from secagg.aggregates import Aggregate, GroupedAggregate, GroupSum
from secagg.context import ROUND_ID_SIZE, Context, RoundId, bind
from secagg.crypto import labels
from secagg.crypto.transcript import digest
from secagg.errors import ProtocolViolation
from secagg.robust.grouping import Groups
from secagg.wire.v1 import config_pb2 as pb


@dataclass(frozen=True, slots=True)
class GroupedRoundId:
    """A grouped round: its id, and its configuration as it was opened. Everything about its groups follows."""

    parent: RoundId
    config_bytes: bytes

    @classmethod
    def of(cls, round_id: RoundId, config_bytes: bytes, group: Groups) -> "GroupedRoundId":
        """The grouped round of one of its groups.

        Raises:
            ProtocolViolation: the id or the configuration is not the one that this group has.
        """
        parent = RoundId(group.parent)
        name = _name(parent, group.number)
        grouped = cls(parent, config_bytes.removesuffix(name))
        if not config_bytes.endswith(name) or grouped.round_id(group.number) != round_id:
            raise ProtocolViolation(
                f"round {round_id.hex()} is not group {group.number} of {parent.hex()}", culprit="coordinator"
            )
        return grouped

    def round_id(self, number: int) -> RoundId:
        """16 bytes: of group `number`."""
        return RoundId(digest(labels.GROUP_ROUND_ID, self.parent, number.to_bytes(2, "big"))[:ROUND_ID_SIZE])

    def group_config(self, number: int) -> bytes:
        """The configuration of group `number`: the bytes that opened the grouped round, and behind them the group's
        name. protobuf merges the two.
        """
        return self.config_bytes + _name(self.parent, number)

    def context(self, number: int, model_digest: bytes) -> Context:
        """The context of group `number`, for who holds the model of this digest."""
        return bind(self.round_id(number), self.group_config(number), model_digest)

    def aggregate(self, sums: Mapping[int, Aggregate], model_digest: bytes) -> GroupedAggregate:
        """The groups' sums, each with what it takes to decode it."""
        return GroupedAggregate(
            self.parent, {number: GroupSum(sums[number], self.context(number, model_digest)) for number in sorted(sums)}
        )


def _name(parent: RoundId, number: int) -> bytes:
    return pb.RoundConfig(groups=pb.Groups(parent=parent, number=number)).SerializeToString(deterministic=True)
