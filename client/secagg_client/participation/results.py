"""What taking part in a round gives."""

from dataclasses import dataclass

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.encoding.fixedpoint import WeightedMean
from secagg.encoding.integers import IntegerSums
from secagg.receipts import Receipt


@dataclass(frozen=True, slots=True)
class Offer:
    """A round that one may take part in.

    Attributes:
        round_id: 16 bytes.
        config: decoded from `config_bytes`.
        config_bytes: as received; they enter the context.
    """

    round_id: RoundId
    config: RoundConfig
    config_bytes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult:
    """One participation, ended well.

    Attributes:
        round_id: 16 bytes.
        config: of the round.
        receipt: what the coordinator signed: the survivors and the digest of the sum, checked against what we saw of
            the round. Keep `receipt.export()`: with the receipt of another participant it shows whether both were
            told the same (`secagg round compare`).
        survivors: ids of the participants whose updates are in the sum, sorted; we are among them.
        certified: whether t survivors signed the very result that we were given, so that nobody on our roster can hold
            as many signatures under another one. False where the configuration does not say `certify`, and where too
            few signed. Of a round in groups it is about our own group's sum: for the other groups' sums, and so for
            the combined `mean`, there is the coordinator's word.
        aggregate: the exact sum; None where the round gives participants a receipt only, or it was not wanted.
        mean: the weighted mean that the sum encodes; None without `aggregate`, and in a round of integers.
        totals: the exact sums of a round of integers; None without `aggregate`, and in any other round.
        groups: of a round in groups, every group's sum; `receipt`, `survivors` and `aggregate` are of our own group,
            `mean` is the combination of all, `totals` their sum.
        bytes_sent: message bytes that went up, repetitions included (without HTTP/2 and TLS).
        bytes_received: message bytes that came down.
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
