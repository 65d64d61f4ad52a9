"""What a participant and a reader of the aggregate take of memory does not grow with the vector."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client.calls.arrivals import Arrival
from secagg_client.participation.outputs import output_of
from secagg_client.participation.terms import Contribution

from secagg.aggregates import Aggregate, decoded_into
from secagg.config import RoundConfig
from secagg.crypto.secret import Secret
from secagg.encoding import packing
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.sources import BLOCK, Pieces
from secagg.masked.masks import Mask
from secagg.masked.vector import MaskedVector
from secagg.wire.results import PackedAggregate
from tests.rounds import SEMI_HONEST, flat_schema, make_config

SMALL, LARGE = 4 * BLOCK, 40 * BLOCK
MOST_MORE = 1 << 20
"""Bytes that ten times the values may take more: a block, and digests of blocks and chunks. The packed vector alone has
four times as many more.
"""

MOST = 5 << 20
"""Bytes at most; the large update has 10,485,760."""

CONTEXT = bytes(32)
ENCODINGS: dict[str, FixedPoint | Pipeline] = {
    "plain": FixedPoint(1.0, 16),
    "clipped": Pipeline.parse("clip(l2=1.0) | quantise(bits=16, range=1.0)"),
    "rotated": Pipeline.parse("sample(rate=0.5) | rotate | quantise(bits=16, range=1.0)"),
}


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small vectors have many."""
    monkeypatch.setattr(packing, "CHUNK_BYTES", 1 << 16)


def config_of(size: int, encoding: FixedPoint | Pipeline) -> RoundConfig:
    return make_config(3, SEMI_HONEST, schema=flat_schema(size), encoding=encoding, threshold=3)


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that `work` holds at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def in_memory(size: int, folder: Path) -> Any:
    del folder
    return np.full(size, 0.01, np.float32)


def in_a_file(size: int, folder: Path) -> Any:
    np.save(folder / f"{size}.npy", np.full(size, 0.01, np.float32))
    return np.load(folder / f"{size}.npy", mmap_mode="r")


def in_pieces(size: int, folder: Path) -> Any:
    del folder

    def begin() -> Iterator[Any]:
        for start in range(0, size, 100_000):
            yield np.full(min(100_000, size - start), 0.01, np.float32)

    return Pieces(begin)


def sent(update: Any, config: RoundConfig) -> None:
    """All that a participant does with its update, to the last chunk."""
    mine = Contribution(update=update, weight=1, model_digest=bytes(32))
    vector = config.code.encode(config.schema.check(mine.update), 1, Secret(bytes(32)), CONTEXT)
    masks = tuple(Mask(Secret(bytes([i] * 16)), negative=i % 2 == 1) for i in range(3))
    for _ in MaskedVector(vector, config, masks):
        pass


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("plain", in_memory),
        ("plain", in_a_file),
        ("plain", in_pieces),
        ("clipped", in_a_file),
        ("rotated", in_memory),
        ("rotated", in_pieces),
    ],
)
def test_sending(name: str, given: Callable[[int, Path], Any], tmp_path: Path) -> None:
    peaks = []
    for size in (SMALL, LARGE):
        update, config = given(size, tmp_path), config_of(size, ENCODINGS[name])
        peaks.append(peak_of(lambda update=update, config=config: sent(update, config)))  # type: ignore[misc]
    assert peaks[1] < peaks[0] + MOST_MORE
    assert peaks[1] < MOST


def received(parts: Iterator[bytes], config: RoundConfig, out: Any) -> None:
    """All that a participant or the FL server does with the sum, to the last value."""
    arrival = Arrival(config)
    for part in parts:
        arrival.take(part)
    packed = arrival.finish()
    output = output_of(out)
    output.check(config)
    with output.sink() as sink:
        decoded_into(packed.sums(config), len(packed.survivors), config, CONTEXT, sink)
    arrival.close()


@pytest.mark.parametrize(
    ("name", "into"),
    [("plain", "array"), ("plain", "map"), ("plain", "npy"), ("clipped", "array"), ("rotated", "npz")],
)
def test_receiving(name: str, into: str, tmp_path: Path) -> None:
    peaks = []
    for size in (SMALL, LARGE):
        config = config_of(size, ENCODINGS[name])
        vector = config.code.encode(config.schema.check(in_memory(size, tmp_path)), 1, Secret(bytes(32)), CONTEXT)
        sums = 3 * vector.read(0, config.vector_len, config.ring_dtype)
        aggregate = Aggregate(sums, ("a", "b", "c"))
        packed = PackedAggregate.of(aggregate, config)
        parts = (part.SerializeToString() for part in packed.parts())
        path = tmp_path / f"{size}.{into}"
        out: Any = path
        if into == "array":
            out = np.empty(size, np.float32)
        elif into == "map":
            out = np.memmap(path, np.float32, "w+", shape=(size,))
        peaks.append(peak_of(lambda p=parts, c=config, o=out: received(p, c, o)))  # type: ignore[misc]
        found = np.load(path, mmap_mode="r") if into in ("npy", "npz") else out
        values = found["values"] if into == "npz" else found
        assert np.array_equal(values, aggregate.mean(config, CONTEXT).arrays["values"])
    assert peaks[1] < peaks[0] + MOST_MORE
    assert peaks[1] < MOST
