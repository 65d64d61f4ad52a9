"""Mask streams: strides that the key and their number make, in each suite."""

import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secagg.config import Suite
from secagg.crypto.mask_stream import STRIDE_BYTES, MaskCipher, MaskStream, StrideMemory, stride_words
from secagg.crypto.prg import Words, word_dtype
from secagg.crypto.secret import Secret
from secagg.encoding.packing import chunk_values
from secagg.errors import MissingExtraError
from secagg.masked.masks import Mask, add_masks, opposite
from secagg.tools.redteam.self_test.patches import without_check

SUITES = pytest.mark.parametrize("suite", Suite)
WORD = np.dtype("<u4")
STRIDE = STRIDE_BYTES // WORD.itemsize


def key_of(suite: Suite, first: int = 0) -> Secret:
    return Secret(bytes(range(first, first + suite.key_size)))


def stride(suite: Suite, number: int, count: int = STRIDE, first: int = 0) -> Words:
    return MaskStream(suite.mask_cipher, key_of(suite, first), StrideMemory(count, WORD)).stride(number, count)


def mask(suite: Suite, size: int, start: int = 0, dtype: Any = WORD) -> Words:
    words = np.zeros(size, dtype)
    add_masks(words, start, [Mask(key_of(suite), negative=False)], suite)
    return words


@pytest.mark.parametrize("suite", [Suite.X25519_SHA256_AES128, Suite.XWING_SHA256_AES256])
@pytest.mark.parametrize("number", [0, 1, 255, 256, 2**40])
def test_a_stride_under_aes_is_its_counter_mode_from_the_number_and_two(number: int, suite: Suite) -> None:
    """Any implementation of counter mode gives it; the code goes by way of GCM."""
    counter = number.to_bytes(12, "big") + (2).to_bytes(4, "big")
    cipher = Cipher(algorithms.AES(key_of(suite).expose()), modes.CTR(counter))
    assert stride(suite, number).tobytes() == cipher.encryptor().update(bytes(STRIDE_BYTES))


def test_a_key_of_another_cipher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """AES takes shorter keys too: masks of the hybrid suite would then be those of AES-128, and nobody would notice."""
    for cipher, size in ((MaskCipher.AES_256, 16), (MaskCipher.AES_128, 32)):
        with pytest.raises(ValueError, match=f"has {cipher.key_size} bytes, not {size}"):
            MaskStream(cipher, Secret(bytes(size)), StrideMemory(4, WORD))
    without_check(monkeypatch, MaskStream, "__init__", "mask-key-size")
    MaskStream(MaskCipher.AES_256, Secret(bytes(16)), StrideMemory(4, WORD))


@SUITES
def test_a_stride_is_made_alone_and_from_its_beginning(suite: Suite) -> None:
    memory = StrideMemory(100, WORD)
    stream = MaskStream(suite.mask_cipher, key_of(suite), memory)
    for number in (3, 0, 2, 3):
        for count in (100, 7):
            assert np.array_equal(stream.stride(number, count), stride(suite, number)[:count])


@SUITES
def test_no_block_comes_again_in_another_stride_or_under_another_key(suite: Suite) -> None:
    strides = [stride(suite, number, first=first) for number in range(3) for first in (0, 1)]
    blocks = {words.tobytes()[at : at + 16] for words in strides for at in range(0, STRIDE_BYTES, 16)}
    assert len(blocks) == len(strides) * STRIDE_BYTES // 16


def test_each_suite_has_masks_of_its_own() -> None:
    assert len({mask(suite, 4).tobytes() for suite in Suite}) == len(Suite)


@SUITES
@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_element_i_is_word_i_of_the_strides_one_after_the_other(suite: Suite, bits: int) -> None:
    dtype = word_dtype(bits)
    found = mask(suite, 2 * stride_words(dtype) + 3, dtype=dtype).tobytes()
    assert found == b"".join(stride(suite, number).tobytes() for number in range(3))[: len(found)]


@SUITES
@pytest.mark.parametrize("size", [1, 70_000, STRIDE, 2 * STRIDE + 1])
def test_masks_of_ranges_are_the_mask_of_the_whole(suite: Suite, size: int) -> None:
    masks = [Mask(key_of(suite), negative=False), Mask(key_of(suite, 1), negative=True)]
    whole = np.zeros(size, WORD)
    add_masks(whole, 0, masks, suite)
    parts = np.zeros(size, WORD)
    cuts = [0, *(cut for cut in (1, 64, 6400, STRIDE - 1, STRIDE, STRIDE + 64) if cut < size), size]
    for start, stop in pairwise(cuts):
        add_masks(parts[start:stop], start, masks, suite)
    assert np.array_equal(whole, parts)
    add_masks(whole, 0, opposite(masks), suite)
    assert not whole.any()


@pytest.mark.parametrize("bits", range(1, 65))
def test_chunks_begin_where_strides_do(bits: int) -> None:
    assert chunk_values(bits) % stride_words(word_dtype(bits)) == 0


@pytest.fixture
def _without_aeg(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "aeg"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aeg", None)  # importing it fails


@pytest.mark.usefixtures("_without_aeg")
def test_without_the_extra_aes_is_there_and_aegis_is_named_with_its_cure() -> None:
    MaskCipher.AES_128.require()
    for use in (MaskCipher.AEGIS_128X4.require, lambda: mask(Suite.X25519_SHA256_AEGIS128X4, 4)):
        with pytest.raises(MissingExtraError, match=r"AEGIS128X4 needs the extra fast.*pip install '\.\[fast\]'"):
            use()
