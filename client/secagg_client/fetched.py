"""What the FL server gets of a round when it says where the arrays go."""

from dataclasses import dataclass

from secagg.aggregates import GroupedAggregate, decoded_into
from secagg.config import RoundConfig
from secagg.context import RoundId, bind
from secagg.encoding.fixedpoint import WeightedMean
from secagg.encoding.integers import Integers, IntegerSums
from secagg.wire.configuration import encode_config
from secagg.wire.results import PackedAggregate
from secagg_client.participation.outputs import Output, copied_to, in_place_of


@dataclass(frozen=True, slots=True)
class Fetched:
    """A sum that went into arrays of the caller's, or into a file.

    Attributes:
        survivors: ids of the participants whose updates are in the sum, sorted.
        found: the weighted mean, or the exact totals of a round of integers. Its arrays are those of the caller, or
            those of the file, mapped.
    """

    survivors: tuple[str, ...]
    found: WeightedMean | IntegerSums


def written(out: Output, packed: PackedAggregate, round_id: RoundId, config: RoundConfig) -> Fetched:
    """What a sum encodes, written range by range; errors are those of `Aggregate.mean` and `totals`."""
    context = bind(round_id, encode_config(config), config.model_digest)
    with out.sink() as sink:
        found = decoded_into(packed.sums(config), len(packed.survivors), config, context, sink)
    return Fetched(packed.survivors, found)


def written_groups(out: Output, groups: GroupedAggregate, config: RoundConfig) -> Fetched:
    """The combination of all groups; errors are those of `GroupedAggregate.mean` and `totals`."""
    found: WeightedMean | IntegerSums
    found = groups.totals(config) if isinstance(config.encoding, Integers) else groups.mean(config)
    return Fetched(groups.survivors, in_place_of(found, copied_to(out, found.arrays)))
