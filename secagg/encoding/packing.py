"""Integers to bytes at exactly b bits each, in the order in which whole arrays are packed fastest.

The word is the smallest of 8, 16, 32 or 64 bits that holds b bits, and W is its length in bits. W values of b bits fill
b words, so that is what one lane takes. Value j of lane l is value j·L + l of the vector, where L is the number of
lanes, and word k of lane l is word k·L + l of the bytes. So the values at place j of all lanes lie beside each other,
word k of all lanes too, and a place is shifted into its words by operations on contiguous memory. Fewer than W values
are left over by the lanes. They follow as one number.
"""

from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from secagg.crypto.prg import ALIGNMENT, Words, word_dtype
from secagg.errors import DecodeError

MAX_BITS: Final = 64
CHUNK_BYTES: Final = 1 << 20
"""No chunk of a packed vector is longer."""

_Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class _Place(NamedTuple):
    """Where the values at one place of all lanes stand.

    Attributes:
        word: the first word that holds a part of them.
        shift: at which bit of that word they begin.
        spill: how many of their bits that word holds, if the next word holds the rest; else 0.
    """

    word: int
    shift: int
    spill: int


@cache
def _places(bits: int) -> tuple[_Place, ...]:
    width = 8 * word_dtype(bits).itemsize
    found = []
    for at in range(0, width * bits, bits):
        word, shift = divmod(at, width)
        found.append(_Place(word, shift, width - shift if shift + bits > width else 0))
    return tuple(found)


def packed_size(count: int, bits: int) -> int:
    """Bytes of `count` values of `bits` bits."""
    return (count * bits + 7) // 8


def chunk_values(bits: int) -> int:
    """Values in every chunk of a vector but the last: the largest multiple of as many values as a mask stream has in
    256 KiB that packs into 1 MiB. So no stride of a stream is shared by two chunks.
    """
    stride = max(ALIGNMENT, CHUNK_BYTES // 4 // word_dtype(bits).itemsize)
    return CHUNK_BYTES * 8 // bits // stride * stride


def pack(values: Words, bits: int) -> bytes:
    """The low `bits` bits of each value.

    Args:
        values: contiguous uint8, uint16, uint32 or uint64 of at least `bits` bits.
        bits: 1 to 64.
    """
    dtype, low = word_dtype(bits), (1 << bits) - 1
    values = values.astype(dtype, copy=False)
    out: _Bytes = np.empty(packed_size(len(values), bits), np.uint8)
    lanes, words = _lanes(out, len(values), bits)
    if lanes:
        _pack_lanes(values[: lanes * 8 * dtype.itemsize].reshape(-1, lanes), words, bits)
    rest = sum((int(value) & low) << i * bits for i, value in enumerate(values[lanes * 8 * dtype.itemsize :]))
    size = len(out) - words.nbytes
    out[words.nbytes :] = np.frombuffer(rest.to_bytes(size, "little"), np.uint8)
    return out.tobytes()


def unpack(data: bytes | memoryview, count: int, bits: int) -> Words:
    """The `count` values of `bits` bits in `data`, as the smallest word that holds them; raises as `check_packed`."""
    check_packed(data, count, bits)
    out: Words = np.zeros(count, word_dtype(bits))
    add_packed(out, data, bits)
    if bits < 8 * out.itemsize:
        out &= out.dtype.type((1 << bits) - 1)
    return out


def add_packed(total: Words, data: bytes | memoryview, bits: int) -> None:
    """Add the values in `data` to `total`, in place and mod 2^bits. Higher bits of `total` mean nothing afterwards:
    bits of other values are added to them, which is faster than to cut these off first.

    Args:
        total: contiguous, of the smallest word that holds `bits` bits.
        data: as many values, which `check_packed` has passed.
        bits: 1 to 64.
    """
    raw: _Bytes = np.frombuffer(data, np.uint8)
    if raw.ctypes.data % total.itemsize:
        raw = raw.copy()  # arithmetic on words that are not aligned takes far longer
    lanes, words = _lanes(raw, len(total), bits)
    done = lanes * 8 * total.itemsize
    if lanes:
        shifted = np.empty(lanes, total.dtype)
        for place, (word, shift, spill) in zip(total[:done].reshape(-1, lanes), _places(bits), strict=True):
            np.add(place, np.right_shift(words[word], shift, out=shifted) if shift else words[word], out=place)
            if spill:
                np.add(place, np.left_shift(words[word + 1], spill, out=shifted), out=place)
    low, number = (1 << bits) - 1, int.from_bytes(raw[words.nbytes :].tobytes(), "little")
    left_over = total[done:]
    left_over += np.array([number >> at & low for at in range(0, len(left_over) * bits, bits)], total.dtype)


def check_packed(data: bytes | memoryview, count: int, bits: int) -> None:
    """Refuse what are not `count` values of `bits` bits.

    Raises:
        DecodeError: wrong length, or a bit set behind the last value.
    """
    if len(data) != packed_size(count, bits):
        raise DecodeError(f"{count} values of {bits} bits are {packed_size(count, bits)} bytes, not {len(data)}")
    spare = 8 * len(data) - count * bits
    if spare and data[-1] >> (8 - spare):
        raise DecodeError("bits are set behind the last value")


def _lanes(packed: _Bytes, count: int, bits: int) -> tuple[int, Words]:
    """How many lanes `count` values have, and the words of the lanes in these bytes, words[bits, lanes]."""
    dtype = word_dtype(bits)
    lanes = count // (8 * dtype.itemsize)
    return lanes, packed[: lanes * bits * dtype.itemsize].view(dtype).reshape(bits, lanes)


def _pack_lanes(values: Words, words: Words, bits: int) -> None:
    """values[W, lanes] to words[bits, lanes], of one dtype."""
    low = values.dtype.type((1 << bits) - 1)
    shifted, cut = np.empty_like(values[0]), np.empty_like(values[0])
    for place, (word, shift, spill) in zip(values, _places(bits), strict=True):
        falls_out = spill or shift + bits == 8 * values.itemsize  # what stands above the value
        whole = place if falls_out else np.bitwise_and(place, low, out=cut)
        if shift:
            np.bitwise_or(words[word], np.left_shift(whole, shift, out=shifted), out=words[word])
        else:
            words[word] = whole
        if spill:
            np.right_shift(np.bitwise_and(place, low, out=cut), spill, out=words[word + 1])
