"""Vectors of rounds in groups: what each group's round is called and bound to, and what their sums combine to."""

from typing import Any

import numpy as np

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import ArraySpec, Schema
from secagg.robust.combining import combined
from secagg.robust.grouping import Groups
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document
from secagg.wire.configuration import encode_config
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.results import PackedAggregate, PackedGroups

COUNT = 300
NUMBERS = (1, 127, 128, 300)
"""A group's number takes one byte in the configuration, or two."""

PLANS = (
    Groups(count=5),
    Groups(count=6),
    Groups.parse(5, "trimmed:1"),
    Groups.parse(5, "trimmed:2"),
    Groups.parse(5, "mean"),
)
MEANS = (
    (0.5, -1.25, 3.0),
    (0.25, 2.0, 0.1),
    (100.0, -0.3, -7.5),
    (-0.125, 0.7, 0.2),
    (0.75, 0.0, 1e6),
    (0.3, 0.6, -2.0),
)
WEIGHTS = (3, 12, 700, 5, 3, 41)


def _groups() -> Document:
    model_digest, parent = fixtures.seed("model"), RoundId(fixtures.seed("grouped round")[:16])
    config = RoundConfig(
        task="groups",
        schema=Schema((ArraySpec("values", (3,)),)),
        encoding=FixedPoint(1.0),
        max_participants=4,
        model_digest=model_digest,
        groups=Groups.parse(COUNT, "trimmed:2"),
    )
    ids = GroupedRoundId(parent, encode_config(config))
    cases = [
        {
            "number": number,
            "round_id": ids.round_id(number),
            "config": ids.group_config(number),
            "context": ids.context(number, model_digest),
        }
        for number in NUMBERS
    ]
    digests = {number: fixtures.seed(f"sum of group {number}") for number in NUMBERS}
    packed = PackedGroups({number: PackedAggregate((), (), digest) for number, digest in digests.items()})
    return {
        "model_digest": model_digest,
        "parent": parent,
        "opened": ids.config_bytes,
        "cases": cases,
        "combinations": [_combination(plan) for plan in PLANS],
        "digests": digests,
        "sums_digest": packed.digest,
    }


def _combination(plan: Groups) -> dict[str, Any]:
    means, weights = MEANS[: plan.count], WEIGHTS[: plan.count]
    return {
        "combine": plan.combine.name,
        "trim": plan.trim,
        "means": means,
        "weights": weights,
        "result": combined([np.array(mean) for mean in means], weights, plan),
    }


VECTORS: Contents = {
    "groups": ("The rounds that the groups of a round are, and what is made of their sums", "Groups", _groups)
}
