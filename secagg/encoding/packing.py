"""Integers to bytes at exactly b bits each: least significant bit first, value after value, zero bits to the last byte.

Eight values of b bits are b whole bytes, so a row of eight is the unit of work. Neighbouring words are first merged
within 64-bit lanes by whole-array operations, which leaves few strided ones.
"""

from typing import Any, Final

import numpy as np

from secagg.crypto.prg import ALIGNMENT, Words, word_dtype
from secagg.errors import DecodeError

MAX_BITS: Final = 64
CHUNK_BYTES: Final = 1 << 20
"""No chunk of a packed vector is longer."""

_BLOCK: Final = 1 << 15  # values worked on at a time, so that temporaries stay in the cache
_Lanes = np.ndarray[Any, np.dtype[np.uint64]]


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
    out = bytearray(packed_size(len(values), bits))
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        if len(block) % 8:
            block = np.concatenate([block, np.zeros(-len(block) % 8, block.dtype)])
        offset = start // 8 * bits
        out[offset : offset + len(block) // 8 * bits] = _pack_rows(block, bits)[: len(out) - offset]
    return bytes(out)


def unpack(data: bytes | memoryview, count: int, bits: int) -> Words:
    """The `count` values of `bits` bits in `data`, as the smallest word that holds them; raises as `check_packed`."""
    check_packed(data, count, bits)
    raw = np.frombuffer(data, np.uint8)
    if bits > 32 and all(at * bits % 8 + bits <= 64 for at in range(8)):
        return _unpack_wide(raw, count, bits)
    out = np.empty(count, word_dtype(bits))
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        rows = -(-(stop - start) // 8)
        piece = raw[start // 8 * bits : start // 8 * bits + rows * bits]
        if len(piece) < rows * bits:
            piece = np.concatenate([piece, np.zeros(rows * bits - len(piece), np.uint8)])
        out[start:stop] = _unpack_rows(piece, bits)[: stop - start]
    return out


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


def _unpack_wide(raw: np.ndarray[Any, np.dtype[np.uint8]], count: int, bits: int) -> Words:
    """Values that each lie within eight bytes (33 to 57, 58, 60 and 64 bits): one unaligned load and shift apiece."""
    rows = -(-count // 8)
    out = np.empty((rows, 8), np.uint64)
    for start in range(0, rows, _BLOCK // 8):
        block = out[start : start + _BLOCK // 8]
        piece = raw[start * bits : (start + len(block)) * bits + 8]
        spare = len(block) * bits + 8 - len(piece)
        if spare:  # the last block: loads of its last values reach beyond the data
            piece = np.concatenate([piece, np.zeros(spare, np.uint8)])
        for at in range(8):
            offset, shift = divmod(at * bits, 8)
            loads: _Lanes = np.ndarray((len(block),), "<u8", piece, offset, (bits,))
            np.right_shift(loads, np.uint64(shift), out=block[:, at])
        block &= np.uint64((1 << bits) - 1)
    return out.reshape(-1)[:count]


def _merges(word_bits: int, bits: int) -> list[tuple[np.uint64, np.uint64, np.uint64]]:
    """(shift, low mask, high mask) that join neighbouring fields, from lanes of one word to lanes of 64 bits."""
    steps = []
    lane, field = word_bits, bits
    while lane < 64:
        low = sum(((1 << field) - 1) << at for at in range(0, 64, 2 * lane))
        steps.append((np.uint64(lane - field), np.uint64(low), np.uint64(low << field)))
        lane, field = 2 * lane, 2 * field
    return steps


def _pack_rows(values: Words, bits: int) -> memoryview:
    """Values, a multiple of eight, to `bits` bytes a row."""
    lanes: _Lanes = values.view(np.uint64)
    word_bits = 8 * values.itemsize
    for shift, low, high in _merges(word_bits, bits):
        lanes = (lanes & low) | ((lanes >> shift) & high)
    per_lane = 64 // word_bits
    field = per_lane * bits
    if word_bits == 64 and bits < 64:
        lanes = lanes & np.uint64((1 << bits) - 1)
    table = lanes.reshape(-1, 8 // per_lane)
    words = np.zeros((len(table), -(-bits // 8)), np.uint64)
    for i in range(table.shape[1]):
        word, shift_by = divmod(i * field, 64)
        words[:, word] |= table[:, i] << np.uint64(shift_by)
        if shift_by + field > 64:
            words[:, word + 1] |= table[:, i] >> np.uint64(64 - shift_by)
    return np.ascontiguousarray(words.view(np.uint8)[:, :bits]).data.cast("B")


def _unpack_rows(data: np.ndarray[Any, np.dtype[np.uint8]], bits: int) -> Words:
    """Rows of `bits` bytes to eight values each."""
    dtype = word_dtype(bits)
    per_lane = 8 // dtype.itemsize
    field = per_lane * bits
    padded = np.zeros((len(data) // bits, -(-bits // 8) * 8), np.uint8)
    padded[:, :bits] = data.reshape(-1, bits)
    words = padded.view(np.uint64)
    lanes = np.empty((len(words), 8 // per_lane), np.uint64)
    for i in range(lanes.shape[1]):
        word, shift_by = divmod(i * field, 64)
        lanes[:, i] = words[:, word] >> np.uint64(shift_by)
        if shift_by + field > 64:
            lanes[:, i] |= words[:, word + 1] << np.uint64(64 - shift_by)
    if field < 64:
        lanes &= np.uint64((1 << field) - 1)
    for shift, low, high in reversed(_merges(8 * dtype.itemsize, bits)):
        lanes = (lanes & low) | ((lanes & high) << shift)
    return lanes.reshape(-1).view(dtype)
