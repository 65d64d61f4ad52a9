"""Bit packing: exact width, one byte string for each vector."""

import numpy as np
import pytest

from secagg.crypto.prg import Words, word_dtype
from secagg.encoding.packing import CHUNK_BYTES, add_packed, chunk_values, pack, packed_size, unpack
from secagg.errors import DecodeError

COUNTS = [1, 2, 7, 8, 9, 63, 64, 65, 1000, (1 << 15) - 1, (1 << 15) + 9]


def random_values(bits: int, count: int) -> Words:
    values = np.random.default_rng(bits * 100_000 + count).integers(0, 2**64, count, np.uint64, endpoint=False)
    return (values & np.uint64((1 << bits) - 1)).astype(word_dtype(bits))


def by_hand(values: list[int], bits: int) -> bytes:
    """The definition: value j of lane l is value j·L + l, word k of lane l is word k·L + l; then what is left over."""
    width = 8 * word_dtype(bits).itemsize
    lanes = len(values) // width
    numbers = [sum(values[j * lanes + lane] << (j * bits) for j in range(width)) for lane in range(lanes)]
    words = [number >> (k * width) & ((1 << width) - 1) for k in range(bits) for number in numbers]
    left_over = values[lanes * width :]
    number = sum(value << (i * bits) for i, value in enumerate(left_over))
    packed = b"".join(word.to_bytes(width // 8, "little") for word in words)
    return packed + number.to_bytes(packed_size(len(left_over), bits), "little")


@pytest.mark.parametrize("bits", range(1, 65))
def test_packing_is_its_definition_and_comes_back(bits: int) -> None:
    for count in COUNTS:
        values = random_values(bits, count)
        packed = pack(values, bits)
        assert len(packed) == packed_size(count, bits)
        if count <= 1000:
            assert packed == by_hand(values.tolist(), bits)
        back = unpack(packed, count, bits)
        assert back.dtype == values.dtype
        assert np.array_equal(back, values)
        assert np.array_equal(unpack(memoryview(b"-" + packed)[1:], count, bits), values)  # not aligned


@pytest.mark.parametrize("bits", range(1, 65))
def test_adding_what_is_packed_is_adding_the_values_mod_two_to_the_width(bits: int) -> None:
    for count in (5, 65, 1000):
        one, other = random_values(bits, count), random_values(bits, count)[::-1].copy()
        total = one.copy()
        add_packed(total, pack(other, bits), bits)
        ring = one.dtype.type((1 << bits) - 1)
        assert np.array_equal(total & ring, (one + other) & ring)


@pytest.mark.parametrize("bits", [1, 5, 8, 13, 31, 32, 47])
def test_bits_above_the_width_are_cut_off(bits: int) -> None:
    for count in (11, 300):
        values = np.full(count, np.iinfo(np.uint64).max, np.uint64)
        assert pack(values, bits) == by_hand([(1 << bits) - 1] * count, bits)


@pytest.mark.parametrize("bits", [1, 3, 17, 33, 63, 64])
def test_wider_words_pack_alike(bits: int) -> None:
    values = random_values(bits, 100)
    assert pack(values.astype(np.uint64), bits) == pack(values, bits)


@pytest.mark.parametrize("bits", [1, 7, 17, 33])
def test_one_vector_has_one_encoding(bits: int) -> None:
    """Wrong lengths and bits behind the last value are refused, so nothing can hide there."""
    packed = pack(random_values(bits, 11), bits)
    for wrong in (packed[:-1], packed + b"\0", b""):
        with pytest.raises(DecodeError, match="bytes, not"):
            unpack(wrong, 11, bits)
    with pytest.raises(DecodeError, match="behind the last value"):
        unpack(packed[:-1] + bytes([packed[-1] | 0x80]), 11, bits)


@pytest.mark.parametrize("bits", range(1, 65))
def test_chunks_are_whole_strides_of_a_mask_stream_as_many_as_fit_a_mebibyte(bits: int) -> None:
    count, stride = chunk_values(bits), (256 << 10) // word_dtype(bits).itemsize
    assert count % stride == 0
    assert packed_size(count, bits) <= CHUNK_BYTES < packed_size(count + stride, bits)
    assert count * bits % 8 == 0
