"""What taking part in a round gives."""

from dataclasses import dataclass, replace

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.encoding.fixedpoint import WeightedMean
from secagg.encoding.integers import IntegerSums
from secagg.receipts import Receipt


@dataclass(frozen=True, slots=True)
class Offer:
    """A round that a participant may join, before it has joined.

    Attributes:
        round_id: id of the round, 16 bytes.
        config: the configuration, decoded from `config_bytes`.
        config_bytes: the configuration as it was received. Every key of the round is bound to these bytes.
    """

    round_id: RoundId
    config: RoundConfig
    config_bytes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult:
    """What one participation in a round gives.

    Attributes:
        round_id: id of the round, 16 bytes.
        config: configuration of the round.
        receipt: what the coordinator signed: the survivors and the digest of the sum, checked against what we saw of
            the round. Keep `receipt.export()`: with the receipt of another participant it shows whether both were
            told the same (`secagg round compare`).
        survivors: ids of the participants whose updates are in the sum, sorted; we are among them.
        certified: whether t survivors signed the same result as we were given, so that nobody on our roster can hold as
            many signatures under another one. False where the configuration does not say `certify`, and where too few
            signed. In a round in groups it is about our own group's sum: for the other groups' sums, and so for the
            combined `mean`, there is the coordinator's word alone.
        aggregate: the exact sum; None where the round gives participants a receipt only, it was not wanted, or it went
            into `out` without being whole in memory.
        mean: the weighted mean that the sum encodes; None where there is no sum, and in a round of integers.
        totals: the exact sums of a round of integers; None where there is no sum, and in any other round.
        groups: every group's sum, in a round in groups. There `receipt`, `survivors` and
            `aggregate` are about our own group, `mean` is the combination of all groups, and `totals` is their sum.
        bytes_sent: bytes of messages that we sent, repetitions included, HTTP/2 and TLS left out.
        bytes_received: bytes of messages that we received.
    """

    round_id: RoundId
    config: RoundConfig
    receipt: Receipt
    survivors: tuple[str, ...]
    certified: bool = False
    aggregate: Aggregate | None = None
    mean: WeightedMean | None = None
    totals: IntegerSums | None = None
    groups: GroupedAggregate | None = None
    bytes_sent: int = 0
    bytes_received: int = 0


def with_arrays(result: RoundResult, found: WeightedMean | IntegerSums) -> RoundResult:
    """The result with what its sum encodes."""
    if isinstance(found, WeightedMean):
        return replace(result, mean=found)
    return replace(result, totals=found)
