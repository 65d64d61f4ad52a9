"""Key streams: AES-CTR, entered at any block."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secagg.crypto.prg import ALIGNMENT, KeyStream, word_dtype
from secagg.crypto.secret import Secret

KEY = Secret(bytes(range(16)))


def aes_ctr(size: int) -> bytes:
    return Cipher(algorithms.AES(KEY.expose()), modes.CTR(bytes(16))).encryptor().update(bytes(size))


@pytest.mark.parametrize(
    ("bits", "name"), [(1, "u1"), (8, "u1"), (9, "u2"), (16, "u2"), (17, "u4"), (32, "u4"), (33, "u8"), (64, "u8")]
)
def test_the_word_is_the_smallest_that_fits(bits: int, name: str) -> None:
    assert word_dtype(bits) == np.dtype(f"<{name}")


def test_there_is_no_word_beyond_64_bits() -> None:
    with pytest.raises(ValueError, match="65 bits"):
        word_dtype(65)


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_element_i_is_word_i_of_the_key_stream(bits: int) -> None:
    dtype = word_dtype(bits)
    assert KeyStream(KEY, dtype, 0, bytearray(100 * dtype.itemsize)).next(100).tobytes() == aes_ctr(
        100 * dtype.itemsize
    )
    for start in (64, 640, 64 * 1021):
        expected = aes_ctr((start + 10) * dtype.itemsize)[start * dtype.itemsize :]
        assert KeyStream(KEY, dtype, start, bytearray(10 * dtype.itemsize)).next(10).tobytes() == expected


def test_a_stream_starts_at_whole_blocks_of_elements_only() -> None:
    for start in (1, ALIGNMENT - 1, ALIGNMENT + 1):
        with pytest.raises(ValueError, match="multiple of 64"):
            KeyStream(KEY, word_dtype(8), start, bytearray(64))


def test_streams_that_share_memory_do_not_share_content() -> None:
    buffer = bytearray(80)
    one, other = (KeyStream(key, word_dtype(32), 0, buffer) for key in (KEY, Secret(b"\1" * 16)))
    first = one.next(10).copy()
    assert not np.array_equal(first, other.next(10))
    assert one.next(10).tobytes() == aes_ctr(80)[40:]
