"""The masked vector in chunks: each chunk has its own place in every mask stream."""

from typing import Any

import numpy as np
import pytest

from secagg.crypto.secret import Secret
from secagg.encoding import packing
from secagg.encoding.packing import unpack
from secagg.masked.masks import Mask, add_masks, opposite
from secagg.masked.vector import MaskedVector
from tests.rounds import SEMI_HONEST, flat_schema, make_config

SIZE = 10_000


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CHUNK_BYTES", 1 << 10)


def test_chunks_in_any_order_are_the_whole_vector_under_whole_streams() -> None:
    config = make_config(5, SEMI_HONEST, schema=flat_schema(SIZE))
    update = np.random.default_rng(5).uniform(-1, 1, SIZE).astype(np.float32)
    vector = config.code.encode(config.schema.check(update), 1, Secret(bytes(32)))
    masks = tuple(Mask(Secret(bytes([i] * 16)), negative=i % 2 == 1) for i in range(4))
    masked, bits = MaskedVector(vector, config, masks), config.ring_bits
    assert masked.chunks > 20
    payloads = {number: masked.chunk(number).payload for number in (*range(7, masked.chunks), *range(7))}
    assert [masked.chunk(number).payload for number in range(masked.chunks)] == [payloads[n] for n in sorted(payloads)]
    size = packing.chunk_values(bits)
    parts = [unpack(payloads[n], min(size, SIZE + 1 - n * size), bits) for n in sorted(payloads)]
    whole: Any = np.ascontiguousarray(np.concatenate(parts), config.ring_dtype)
    add_masks(whole, 0, opposite(masks), config.suite)
    whole &= np.array((1 << bits) - 1, config.ring_dtype)
    assert np.array_equal(whole, vector.read(0, SIZE + 1, config.ring_dtype))
