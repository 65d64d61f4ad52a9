"""Vectors of the way from float arrays to bytes: encoding, packing, chunks, and the configuration itself."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from secagg.config import Deadlines, RoundConfig, ThreatModel
from secagg.crypto import labels
from secagg.crypto.kdf import derive
from secagg.crypto.prg import KeyStream, word_dtype
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.encoding.arrays import FloatArray
from secagg.encoding.fixedpoint import FixedPoint, FixedPointUpdate, decode_mean
from secagg.encoding.packing import chunk_values, pack, packed_size
from secagg.encoding.schema import ArraySpec, Schema
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document, described, hexes, named_hexes
from secagg.wire.configuration import encode_config

WIDTHS = (1, 2, 3, 7, 8, 9, 12, 15, 16, 17, 20, 23, 24, 31, 32, 33, 40, 45, 48, 57, 59, 63, 64)
IMPOSSIBLE = [
    {"sums": [5, 0], "summands": 3, "value_bits": 16, "max_weight": 1, "why": "weight 0 of 3 participants"},
    {"sums": [5, 4], "summands": 3, "value_bits": 16, "max_weight": 1, "why": "weight 4 of 3 participants"},
    {
        "sums": [196605, 4],
        "summands": 3,
        "value_bits": 16,
        "max_weight": 10,
        "why": "a mean of 7.5 where 1.0001 is the most that values clipped to 1 give",
    },
]
BADLY_PACKED = [
    {"bits": 3, "count": 5, "packed": "d1d8", "outcome": "padding bits are set"},
    {"bits": 3, "count": 5, "packed": "d158" + "00", "outcome": "too long"},
    {"bits": 20, "count": 3, "packed": "00" * 7, "outcome": "too short"},
]


def _edge_values(clip: float, levels: int) -> list[float]:
    """Inside, at and beyond the clip, next to it, and in the middle of a step."""
    step = 2 * clip / levels
    inside = [0.0, -0.0, clip / 3, -clip / 7, step / 2, -step / 2]
    edge = [clip, -clip, float(np.nextafter(clip, 0)), float(np.nextafter(-clip, 0))]
    return [*inside, *edge, 2 * clip, -1e30, 5e-324]


def _encoding() -> Iterator[Document]:
    for value_bits, clip, weight, max_weight in (
        (2, 1.0, 1, 1),
        (8, 0.1, 1, 1),
        (16, 1.0, 1, 1),
        (16, 3.5, 250, 1000),
        (8, 1.0, 1000, 1000),
        (24, 1e-3, 7, 2**20),
        (32, 1e6, 2**32 - 1, 2**32 - 1),
        (32, 0.3, 1, 3),
    ):
        code = FixedPoint(clip, value_bits, max_weight)
        values = np.array(_edge_values(clip, code.levels), np.float64)
        yield _encoded(code, values, weight)
    values32 = np.array([0.1, -0.1, 1 / 3, 1.0, -1.0, 16777216.0], np.float32)
    yield _encoded(FixedPoint(1.0, 16, 10), values32, 3)


def _encoded(code: FixedPoint, values: np.ndarray[Any, np.dtype[np.floating[Any]]], weight: int) -> dict[str, Any]:
    seed = fixtures.seed(f"rounding {code.value_bits} {weight}")
    schema = Schema((ArraySpec("values", values.shape, values.dtype.name),))
    encoder = FixedPointUpdate(code, schema.check({"values": values}), weight, Secret(seed))
    info = frame(labels.ROUNDING)
    key = derive(Secret(seed), salt=b"", info=info, size=16)
    return {
        "clip": float(code.clip).hex(),
        "value_bits": code.value_bits,
        "weight": weight,
        "max_weight": code.max_weight,
        "dtype": values.dtype.name,
        "values": hexes(values),
        "step": code.step.hex(),
        "rounding_seed": seed,
        "rounding_info": info,
        "rounding_key": key.expose(),
        "uniform_words": KeyStream(key, np.dtype("<u4"), 0, bytearray(4 * len(values))).next(len(values)),
        "coordinate_bits": code.coordinate_bits,
        "encoded": encoder.read(0, encoder.vector_len, np.dtype("<u8")),
    }


def _decoding() -> Iterator[Document]:
    for value_bits, clip, weights, max_weight in ((16, 1.0, (1, 1, 1), 1), (8, 0.5, (1000, 3, 250), 1000)):
        code = FixedPoint(clip, value_bits, max_weight)
        schema = Schema((ArraySpec("a", (2, 2)), ArraySpec("b", (), "float64")))
        sums = np.zeros(code.vector_len(schema), np.uint64)
        for k, weight in enumerate(weights):
            update: dict[str, FloatArray] = {
                "a": np.array([[0.1, -0.2], [0.3, k / 9]], np.float32),
                "b": np.array(-clip * (k + 1) / 4, np.float64),
            }
            seed = Secret(fixtures.seed(f"decoding {value_bits} {k}"))
            sums += FixedPointUpdate(code, schema.check(update), weight, seed).read(0, len(sums), np.dtype("<u8"))
        mean = decode_mean(code, schema, sums, len(weights))
        yield {
            "clip": float(clip).hex(),
            "value_bits": value_bits,
            "max_weight": max_weight,
            "arrays": described(schema),
            "sums": sums,
            "summands": len(weights),
            "weight": mean.weight,
            "error_bound": mean.error_bound.hex(),
            "mean": named_hexes(mean.arrays),
        }


def _packing() -> Iterator[Document]:
    for bits in WIDTHS:
        for count in (1, 3, 8, 21, 140):
            stream = fixtures.rng(f"packing {bits} {count}")
            values = [int.from_bytes(stream.token(8), "big") >> (64 - bits) for _ in range(count)]
            packed = pack(np.array(values, word_dtype(bits)), bits)
            yield {"bits": bits, "values": values, "packed": packed}
    yield {"bits": 3, "values": [1, 2, 3, 4, 5], "packed": pack(np.array([1, 2, 3, 4, 5], np.uint8), 3)}


def _chunks() -> Iterator[Document]:
    for bits in (1, 12, 16, 20, 24, 33, 42, 64):
        per_chunk = chunk_values(bits)
        for length in (1, per_chunk - 1, per_chunk, per_chunk + 1, 2 * per_chunk + 13):
            counts = [min(per_chunk, length - start) for start in range(0, length, per_chunk)]
            yield {
                "bits": bits,
                "vector_len": length,
                "values_per_chunk": per_chunk,
                "counts": counts,
                "sizes": [packed_size(count, bits) for count in counts],
            }


STATED = (
    *("task", "max_participants", "threshold", "max_colluding", "model_digest", "release_to_participants", "purpose"),
    *("ring_bits", "vector_len"),
)
"""Fields of a configuration, and what follows from it, that a vector holds as they are."""


def _configuration() -> Iterator[Document]:
    configs = [
        RoundConfig(
            task="smallest",
            schema=Schema((ArraySpec("values", (1,)),)),
            encoding=FixedPoint(1.0),
            max_participants=3,
            model_digest=bytes(32),
        ),
        RoundConfig(
            task="everything spelled out, naïvely",
            schema=Schema((ArraySpec("layer/1", (3, 4)), ArraySpec("bias", (), "float64"))),
            encoding=FixedPoint(0.25, 20, 5000),
            max_participants=100,
            threshold=60,
            max_colluding=10,
            threat_model=ThreatModel.SEMI_HONEST,
            model_digest=fixtures.seed("model"),
            release_to_participants=False,
            deadlines=Deadlines(1.5, 2.0, 3.25, 4.0, 0.001, join_s=600.0),
            purpose="evaluate",
        ),
    ]
    for config in configs:
        code = config.fixed_point
        yield {name: getattr(config, name) for name in STATED} | {
            "bytes": encode_config(config),
            "arrays": described(config.schema),
            "clip": float(code.clip).hex(),
            "value_bits": code.value_bits,
            "max_weight": code.max_weight,
            "threat_model": config.threat_model.name,
            "suite": config.suite.name,
            "graph": "COMPLETE" if config.ring is None else "RING",
            "join_ms": round(config.deadlines.join_s * 1000),
            "word_bits": 8 * config.ring_dtype.itemsize,
        }


# fmt: off
VECTORS: Contents = {
    "encoding": ("Floats to integers, rounded by a stated stream", "Encoding", _encoding),
    "decoding": ("An exact sum to the weighted mean", "Result",
        lambda: {"cases": _decoding(), "refused": IMPOSSIBLE, "check": "C32"}),
    "packing": ("Integers at exactly b bits each", "Bit packing",
        lambda: {"cases": _packing(), "refused": BADLY_PACKED, "check": "C42"}),
    "chunks": ("Where a vector is cut", "Chunks", _chunks),
    "configuration": ("Configurations and what follows from them", "Configuration", _configuration),
}
# fmt: on
