"""Rounds that are played live and are no vectors: of integers, and of one group. Nothing is stored of them: they are
made, with what must come out, when they are needed.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import numpy as np

from secagg.config import RoundConfig, ThreatModel
from secagg.context import RoundId, bind, digest_model
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.integers import Integers
from secagg.encoding.schema import ArraySpec, Schema
from secagg.robust.grouping import Groups
from secagg.sparse.ring import Ring
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Document, document, little_endian, plain
from secagg.tools.conformance.replay.round import Replay
from secagg.tools.conformance.rounds.inputs import Attendance, model, round_config, round_inputs
from secagg.tools.conformance.rounds.recorder import Recorder
from secagg.wire.configuration import encode_config
from secagg.wire.grouping import GroupedRoundId

_COUNTS: Final = Schema((ArraySpec("cells", (2, 3), "int32"), ArraySpec("visits", (), "int64", bounds=(-5, 2**40))))
_CHUNKS: Final = Schema((ArraySpec("counts", (150_000,), "int64", bounds=(0, 2**52)),))
"""Counts of 56 bits in the sum, and so many that a vector has two chunks."""

_DROPS: Final = {"SHARE_KEYS": "cedar", "MASKED_INPUT": "elm", "UNMASK": "fir"}
_SIGNING: Final = {"CONSISTENCY_CHECK": "hazel"}
_RING: Final = Ring(degree=10, neighbour_threshold=7, committee=7, committee_threshold=4, min_participants=13)
_GROUP: Final = 2

NAMES: Final = (
    "integers-semi-honest",
    "integers-active",
    "integers-semi-honest-sparse",
    "integers-active-sparse",
    "integers-chunks",
    "group-semi-honest",
    "group-active",
)
"""Of all of them."""


@lru_cache(maxsize=len(NAMES))
def made(name: str) -> Document:
    """The round of that name, as a vector of kind `round` with its messages in full; do not change it."""
    kind, _, rest = name.partition("-")
    config, attendance = _config(name, rest.removesuffix("-sparse") == "active", rest.endswith("-sparse"))
    if kind == "integers":
        schema = _CHUNKS if rest == "chunks" else _COUNTS
        config = replace(config, schema=schema, encoding=Integers(max=1000, min=-1000))
    inputs = round_inputs(f"live {name}", config, attendance)
    if kind == "integers":
        for who in inputs["participants"]:
            inputs["participants"][who] |= _counted(who, many=rest == "chunks")
    else:
        inputs |= _grouped(replace(config, groups=Groups(count=3)))
    vector = document("round", f"A round of kind {name}, with a dropout in each phase", "The round", **plain(inputs))
    record = Recorder(Replay(vector), attendance)
    record.play()
    aggregate = record.replay.coordinator.aggregate
    if aggregate is None:
        raise AssertionError(f"the round {name} did not end with a sum")
    outcome = {"survivors": list(aggregate.survivors), "sums": aggregate.sums.tolist()}
    return vector | {"messages": record.messages, "steps": record.steps, "outcome": outcome}


def _config(name: str, active: bool, sparse: bool) -> tuple[RoundConfig, Attendance]:
    drops = _DROPS | (_SIGNING if active else {})
    attendance = Attendance.without(**drops)
    fields: dict[str, Any] = {"max_participants": 12, "threshold": 7}
    if sparse:
        ring = _RING if active else replace(_RING, neighbour_threshold=6, committee=0, committee_threshold=0)
        fields = {"max_participants": 16, "threshold": 9, "graph": ring}
        attendance = replace(attendance, everyone=(*attendance.everyone, "linden", "maple", "oak", "pine"))
    threat_model = ThreatModel.ACTIVE if active else ThreatModel.SEMI_HONEST
    config = round_config(
        name, encoding=FixedPoint(0.5, 16, 1), max_colluding=0 if sparse else 1, threat_model=threat_model, **fields
    )
    return config, attendance


def _counted(who: str, *, many: bool) -> dict[str, Any]:
    """The counts of one participant."""
    drawn = fixtures.rng(f"counts of {who}")
    if many:
        counts = np.frombuffer(drawn.token(8 * _CHUNKS.size), "<u8") >> np.uint64(12)
        update = {"counts": counts.astype(np.int64)}
    else:
        stream = np.frombuffer(drawn.token(56), "<u8")
        cells = (stream[:6] % np.uint64(2001)).astype(np.int32).reshape(2, 3) - np.int32(1000)
        visits = np.array(int(stream[6] % np.uint64(2**40 + 6)) - 5, np.int64)
        update = {"cells": cells, "visits": visits}
    return {"update": {key: little_endian(a) for key, a in update.items()}, "values": {}, "weight": 1}


def _grouped(config: RoundConfig) -> dict[str, Any]:
    """What is bound to one group of a grouped round."""
    grouped = GroupedRoundId(RoundId(fixtures.seed(f"parent of {config.task}")[:16]), encode_config(config))
    round_id, config_bytes = grouped.round_id(_GROUP), grouped.group_config(_GROUP)
    return {
        "round_id": round_id,
        "config": config_bytes,
        "context": bind(round_id, config_bytes, digest_model(model())),
    }
