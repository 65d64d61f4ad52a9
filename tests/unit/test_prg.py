"""The mask stream: AES-CTR, seekable, the same however it is cut."""

from itertools import pairwise

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secagg.crypto.prg import ALIGNMENT, STRIDE_BYTES, MaskStream, stride, word_dtype
from secagg.crypto.secret import Secret
from secagg.masked.masks import Mask, add_masks, opposite

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
    assert MaskStream(KEY, dtype).next(100).tobytes() == aes_ctr(100 * dtype.itemsize)
    for start in (64, 640, 64 * 1021):
        expected = aes_ctr((start + 10) * dtype.itemsize)[start * dtype.itemsize :]
        assert MaskStream(KEY, dtype, start).next(10).tobytes() == expected


def test_a_stream_starts_at_whole_blocks_of_elements_only() -> None:
    for start in (1, ALIGNMENT - 1, ALIGNMENT + 1):
        with pytest.raises(ValueError, match="multiple of 64"):
            MaskStream(KEY, word_dtype(8), start)


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("size", [1, 63, 64, 65, 70_000, STRIDE_BYTES + 1])
def test_masks_of_ranges_are_the_mask_of_the_whole(bits: int, size: int) -> None:
    masks = [Mask(KEY, negative=False), Mask(Secret(b"\1" * 16), negative=True)]
    whole = np.zeros(size, word_dtype(bits))
    add_masks(whole, 0, masks)
    parts = np.zeros(size, word_dtype(bits))
    cuts = [0, *(cut for cut in (64, 6400, 64_000) if cut < size), size]
    for start, stop in pairwise(cuts):
        add_masks(parts[start:stop], start, masks)
    assert np.array_equal(whole, parts)
    add_masks(whole, 0, opposite(masks))
    assert not whole.any()


def test_a_stride_is_whole_ranges() -> None:
    for bits in (8, 16, 32, 64):
        assert stride(word_dtype(bits)) % ALIGNMENT == 0


def test_streams_that_share_memory_do_not_share_content() -> None:
    buffer = bytearray(STRIDE_BYTES)
    one = MaskStream(KEY, word_dtype(32), 0, buffer)
    other = MaskStream(Secret(b"\1" * 16), word_dtype(32), 0, buffer)
    first = one.next(10).copy()
    assert not np.array_equal(first, other.next(10))
    assert np.array_equal(one.next(10).copy(), MaskStream(KEY, word_dtype(32)).next(20)[10:])
