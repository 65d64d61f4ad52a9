"""Quantising, packing and unpacking, in bytes of float32 input per second of one core."""

from collections.abc import Iterable
from typing import Final

import numpy as np

from secagg.crypto.prg import word_dtype
from secagg.crypto.secret import Secret
from secagg.encoding.arrays import FloatArray
from secagg.encoding.fixedpoint import FixedPoint, FixedPointUpdate
from secagg.encoding.packing import chunk_values, pack, unpack
from secagg.encoding.schema import Schema
from secagg.tools.bench.measure import take_turns
from secagg.tools.bench.report import Figure, Section, at_least

VALUE_BITS: Final = (8, 12, 16)
SUMMANDS: Final = 100
"""n_max, which with the bits of a value makes the ring."""

CLIP: Final = 1.0


def sample_update(values: int, seed: int = 1) -> FloatArray:
    """float32[values] as an update is: most are small."""
    return np.random.default_rng(seed).normal(0, CLIP / 4, values).astype(np.float32)


def measure(values: int, repeats: int, widths: Iterable[int] = VALUE_BITS) -> Section:
    """Rates for each width of a value."""
    figures = [figure for bits in widths for figure in _measure_width(values, bits, repeats)]
    return Section("encoding", "Quantise, pack, unpack (float32 input, one core)", tuple(figures))


def _measure_width(values: int, value_bits: int, repeats: int) -> tuple[Figure, Figure]:
    code, update = FixedPoint(CLIP, value_bits), sample_update(values)
    schema, bits = Schema.of(update), code.ring_bits(SUMMANDS)
    total, size, dtype = code.vector_len(schema), chunk_values(bits), word_dtype(bits)
    ranges = [(start, min(start + size, total)) for start in range(0, total, size)]

    def quantise_and_pack() -> list[bytes]:
        encoder = FixedPointUpdate(code, schema.check(update), 1, Secret(bytes(32)))
        return [pack(encoder.read(start, stop, dtype), bits) for start, stop in ranges]

    chunks = list(zip(quantise_and_pack(), ranges, strict=True))

    def unpack_all() -> None:
        for chunk, (start, stop) in chunks:
            unpack(chunk, stop - start, bits)

    turns = take_turns({"pack": quantise_and_pack, "unpack": unpack_all}, repeats)
    gigabytes, note = update.nbytes / 1e9, f"ring of {bits} bits (n_max {SUMMANDS})"
    return (
        Figure(f"quantise_and_pack_{value_bits}_bit_gb_per_s", gigabytes / turns.median("pack"), at_least(0.5), note),
        Figure(f"unpack_{value_bits}_bit_gb_per_s", gigabytes / turns.median("unpack"), at_least(0.5), note),
    )
