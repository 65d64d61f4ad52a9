"""Vectors of what a configuration says array by array: ranges of floats, and bounds of integers."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig, ThreatModel
from secagg.crypto.secret import Secret
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.integers import Integers
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import Schema
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document, named_hexes
from secagg.wire.configuration import encode_config

PEOPLE = ("a", "b", "c")
_RANGES = {"squares": 2.0**40, "loss": 10.0}


def _config(schema: Schema, encoding: FixedPoint | Pipeline | Integers) -> RoundConfig:
    return RoundConfig(
        task="statistics",
        schema=schema,
        encoding=encoding,
        max_participants=4,
        threshold=3,
        max_colluding=0,
        threat_model=ThreatModel.SEMI_HONEST,
        model_digest=bytes(32),
    )


def _statistics(number: int) -> dict[str, Any]:
    return {
        "count": np.array(250_000.0 * (number + 1), np.float64),
        "squares": np.array([1.0e12 / (number + 1), -3.5e9, 2.0e12], np.float64),
        "loss": np.array([0.125 * number, 11.0], np.float32),
        "other": np.array([1.5e6], np.float32),
    }


def _ranges() -> Iterator[Document]:
    schema = Schema.of(_statistics(0), ranges=_RANGES)
    pipeline = Pipeline.parse("clip(l2=16777216.0, per=array) | weigh(max=10) | quantise(bits=20, range=1000000.0)")
    for encoding in (FixedPoint(1.0e6, 24, 10), pipeline):
        config = _config(schema, encoding)
        people, total = [], np.zeros(config.vector_len, np.uint64)
        for number, name in enumerate(PEOPLE):
            seed, weight = fixtures.seed(f"ranges {name}"), 3 * number + 1
            update = _statistics(number)
            encoder = config.code.encode(schema.check(update), weight, Secret(seed), bytes(32))
            encoded = encoder.read(0, config.vector_len, np.dtype("<u8"))
            total += encoded
            values = named_hexes(update)
            people.append({"values": values, "weight": weight, "rounding_seed": seed, "encoded": encoded})
        mean = Aggregate(total, PEOPLE).mean(config)
        yield {
            "config": encode_config(config),
            "people": people,
            "sums": total,
            "weight": mean.weight,
            "error_bounds": {array: bound.hex() for array, bound in mean.error_bounds.items()},
            "mean": named_hexes(mean.arrays),
        }


def _counted(number: int) -> dict[str, Any]:
    return {
        "histogram": np.array([number, 100 - number, 0, 100], np.int64),
        "wide": np.array([[10**15 + number, 0]], np.uint64),
        "signed": np.array(-5 - number, np.int32),
    }


def _integers() -> Document:
    cases = []
    schema = Schema.of(_counted(0), bounds={"wide": (0, 10**15 + 7), "signed": (-1000, -3)})
    for encoding in (Integers(max=100), Integers(max=2**60, min=-(2**60))):
        config = _config(schema, encoding)
        people, total = [], np.zeros(config.vector_len, np.uint64)
        for number in range(len(PEOPLE)):
            update = _counted(number)
            encoder = config.code.encode(schema.check(update), 1, Secret(bytes(32)))
            encoded = encoder.read(0, config.vector_len, np.dtype("<u8"))
            total += encoded
            values = {array: update[array].reshape(-1) for array in update}
            people.append({"values": values, "encoded": encoded})
        totals = Aggregate(total, PEOPLE).totals(config)
        arrays = {array: sums.reshape(-1) for array, sums in totals.arrays.items()}
        stated = {"config": encode_config(config), "ring_bits": config.ring_bits, "people": people}
        cases.append(stated | {"sums": total, "totals": arrays})
    config = _config(schema, Integers(max=100))
    top = np.array([300, 300, 300, 300, 3 * (10**15 + 7), 0, 3 * 997], np.uint64)
    refused = [
        {"sums": _raised(top, at), "why": f"the sum of array {name} is above 3·(max − min)"}
        for at, name in ((0, "histogram"), (4, "wide"), (6, "signed"))
    ]
    return {
        "cases": cases,
        "config": encode_config(config),
        "summands": 3,
        "largest": top,
        "refused": refused,
        "check": "C97",
    }


def _raised(sums: np.ndarray[Any, np.dtype[np.uint64]], at: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    above = sums.copy()
    above[at] += np.uint64(1)
    return above


VECTORS: Contents = {
    "ranges": ("Arrays with ranges of their own", "Encoding", _ranges),
    "integers": ("Exact sums of integers", "Integers", _integers),
}
