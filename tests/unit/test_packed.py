"""A packed vector is the same chunks wherever it is kept, and packing it in place needs no second vector."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.crypto.prg import Words, word_dtype
from secagg.encoding.packed import ByteChunks, Chunks, WordChunks
from secagg.encoding.packing import chunk_values, pack

MiB = 1 << 20
BITS = (1, 7, 8, 9, 16, 17, 20, 32, 33, 40, 63, 64)


def words(count: int, bits: int) -> Words:
    drawn = np.random.default_rng(bits).integers(0, 1 << 63, count, np.uint64)
    return (drawn & np.uint64((1 << bits) - 1)).astype(word_dtype(bits))


@given(st.sampled_from(BITS), st.integers(1, 40), st.booleans())
def test_chunks_in_place_are_the_chunks_of_the_words(bits: int, short: int, long: bool) -> None:
    count = chunk_values(bits) + short if long and bits > 16 else short
    vector = words(count, bits)
    size = chunk_values(bits)
    expected = [pack(vector[start : start + size], bits) for start in range(0, count, size)]
    lazy = WordChunks(vector, bits)
    assert [lazy[number] for number in range(len(lazy))] == list(lazy) == expected
    packed = lazy.in_place()
    assert [packed[number] for number in range(len(packed))] == list(packed) == expected


@pytest.mark.parametrize("bits", [20, 32])
def test_behind_the_last_chunk_there_is_none(bits: int) -> None:
    kept: list[Chunks] = [WordChunks(words(3, bits), bits)]
    kept.append(WordChunks(words(3, bits), bits).in_place())
    for chunks in kept:
        for number in (-1, len(chunks)):
            with pytest.raises(IndexError):
                chunks[number]


def test_in_place_takes_no_second_vector_and_gives_back_the_rest() -> None:
    vector = words(5_000_000, 20)
    tracemalloc.start()
    mine = vector.copy()
    del vector
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    packed: ByteChunks = WordChunks(mine, 20).in_place()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert before >= 20_000_000
    assert peak - before < 4 * MiB  # a chunk, and what packing it takes
    assert after - before < 12_500_000 - 20_000_000 + MiB
    assert sum(map(len, packed)) == 12_500_000
