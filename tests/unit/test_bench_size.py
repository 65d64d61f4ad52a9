"""The benchmark of long updates: its sum is known beforehand, and its figures are of the side that they name."""

import os
from pathlib import Path

import numpy as np
import pytest

from secagg.aggregates import Aggregate
from secagg.crypto.secret import Secret
from secagg.errors import LocalError
from secagg.tools.bench import size
from secagg.tools.bench.memory import forget_peak, memory_of
from secagg.tools.bench.size import SizeSetting, digest_of_sum, levels_of, write_update
from secagg.wire.results import PackedAggregate

MiB = 1 << 20


@pytest.mark.parametrize("values", [1, 4095, 4096, 500_001])
def test_the_digest_is_that_of_the_sum(values: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the product's own encoding and packing; the blocks that are drawn and the chunks end at other places."""
    monkeypatch.setattr(size, "_BLOCK", 1000)
    config, names = SizeSetting(participants=3, values=values).config(), ["a", "b", "c"]
    sums = np.zeros(config.vector_len, config.ring_dtype)
    for name in names:
        write_update(tmp_path / name, name, values)
        update = np.load(tmp_path / name)
        encoded = config.code.encode(config.schema.check({"values": update}), 1, Secret(bytes(32)))
        sums += encoded.read(0, config.vector_len, config.ring_dtype)
        drawn = np.concatenate([block for _, block in levels_of(name, values)])
        assert np.array_equal(encoded.read(0, values, config.ring_dtype), drawn)
    packed = PackedAggregate.of(Aggregate(sums, tuple(names)), config)
    assert digest_of_sum(names, config) == packed.digest
    assert digest_of_sum(names[:2], config) != packed.digest


def test_a_peak_can_be_forgotten() -> None:
    block = np.ones(32 * MiB, np.uint8)
    high = memory_of().peak_bytes
    assert high >= block.nbytes
    del block
    forget_peak(os.getpid())
    assert memory_of().peak_bytes < high
    with pytest.raises(LocalError, match="clear_refs"):
        forget_peak(1 << 22 | 1)
