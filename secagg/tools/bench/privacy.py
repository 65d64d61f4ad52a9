"""Defences before the sum: seconds of each step of a noisy update, rates of samplers, error against the Gaussian."""

from collections.abc import Callable
from fractions import Fraction
from math import log2, sqrt
from typing import Final

import numpy as np

from secagg.config import Suite
from secagg.crypto.prg import word_dtype
from secagg.crypto.rng import SystemRng
from secagg.crypto.secret import Secret
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import NoisyCode, code_for
from secagg.encoding.packing import chunk_values, pack
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import Schema
from secagg.encoding.steps.rotate import Rotated, Rotation
from secagg.encoding.vector import EncodedUpdate
from secagg.masked.masks import Mask, add_masks, opposite
from secagg.noise.laws import Law
from secagg.noise.stream import NoiseStream
from secagg.noise.table import noise_table
from secagg.tools.bench.encoding import sample_update
from secagg.tools.bench.machine import describe
from secagg.tools.bench.measure import take_turns
from secagg.tools.bench.report import Figure, Report, Section, at_least, at_most

PARTICIPANTS: Final = 100
HONEST: Final = 34
"""Of 100 participants: t = 67 less n_C = 33."""

BITS: Final = 16
Z: Final = 1.634
SIGMAS: Final = (10, 100, 1000, 8000)
SAMPLES: Final = 1 << 22
ERROR_BITS: Final = (12, 14, 16)
_CONTEXT: Final = bytes(range(32))
_SUITE: Final = Suite.X25519_SHA256_AES128
_GAUSSIAN_ERROR: Final = Z / sqrt(HONEST * PARTICIPANTS)


def measure(values: int, repeat: int, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Everything on one core, in CPU time.

    Args:
        values: m.
        repeat: turns; the median counts.
        progress: told what comes next.
    """
    machine, sections = describe(), []
    for law in Law:
        progress(f"{law.value} noise")
        steps = _steps(law, values, repeat)
        samplers = tuple(_sampler(law, sigma, repeat) for sigma in SIGMAS)
        errors = tuple(_error(law, bits) for bits in ERROR_BITS)
        sections.append(
            Section(law.value, f"An update with {law.value} noise, step by step", steps + samplers + errors)
        )
    setting = {"values": values, "participants": PARTICIPANTS, "ring_bits": BITS, "z": Z, "repeat": repeat}
    return Report("privacy", machine, setting, tuple(sections), exact=all(_unmasks(law) for law in Law))


def noisy_code(law: Law, bits: int, schema: Schema, cohort: Cohort) -> NoisyCode:
    """A round's code with noise of z = 1.634."""
    text = f"clip(l2=1.0) | rotate | quantise(bits={bits}) | noise(law={law.value}, z={Z})"
    code = code_for(Pipeline.parse(text), schema, cohort, wraps=True)
    if not isinstance(code, NoisyCode):
        raise TypeError(f"{text} has noise")
    return code


def _steps(law: Law, values: int, repeat: int) -> tuple[Figure, ...]:
    update = sample_update(values)
    schema = Schema.of(update)
    code = noisy_code(law, BITS, schema, Cohort(PARTICIPANTS, HONEST))
    flat, size, dtype = schema.check(update), chunk_values(BITS), word_dtype(BITS)
    ranges = [(start, min(start + size, code.vector_len)) for start in range(0, code.vector_len, size)]
    calibration, clipped = code.calibration, code.steps.clipped(flat)
    masks = tuple(Mask(Secret(i.to_bytes(16, "big")), negative=i % 2 == 0) for i in range(PARTICIPANTS))
    seed = Secret(SystemRng().token(32))
    noise = NoiseStream(noise_table(calibration.law, calibration.variance), seed)
    vector = np.zeros(code.vector_len, dtype)

    def encoder() -> EncodedUpdate:
        return code.encode(flat, 1, seed, _CONTEXT)

    def rotate() -> None:
        rotated = Rotated(clipped, Rotation(values, _CONTEXT))
        for start in range(0, code.vector_len, code.steps.block):
            rotated.read(start, start + code.steps.block)

    def read() -> None:
        made = encoder()
        for start, stop in ranges:
            made.read(start, stop, dtype)

    def add_noise() -> None:
        for start in range(0, code.vector_len, code.steps.block):
            noise.add_to(np.zeros(code.steps.block, np.int64), start)

    def mask() -> None:
        for start, stop in ranges:
            add_masks(vector[start:stop], start, masks, _SUITE)

    def everything() -> None:
        made = encoder()
        for start, stop in ranges:
            part = made.read(start, stop, dtype)
            add_masks(part, start, masks, _SUITE)
            pack(part, BITS)

    works = {"clip": lambda: code.steps.clipped(flat), "rotate": rotate, "noise": add_noise, "mask": mask}
    turns = take_turns({**works, "accept": encoder, "encode": read, "everything": everything}, repeat)
    return (
        Figure(f"{law.value}_clip_norm_s", turns.median("clip"), note="one pass for the L2 norm"),
        Figure(f"{law.value}_rotation_s", turns.median("rotate"), note=f"{code.vector_len} values, padding included"),
        Figure(f"{law.value}_accept_rounding_s", turns.median("accept"), note="rotate, round, check the norm bound"),
        Figure(f"{law.value}_noise_s", turns.median("noise"), note=f"local σ {sqrt(calibration.variance):.0f}"),
        Figure(f"{law.value}_encode_s", turns.median("encode"), note="all of the above; rotates and rounds twice"),
        Figure(f"{law.value}_masks_s", turns.median("mask"), note=f"{PARTICIPANTS} streams of {BITS} bits"),
        Figure(f"{law.value}_everything_s", turns.median("everything"), at_most(0.6), "encode, mask, pack"),
    )


def _unmasks(law: Law) -> bool:
    """Whether masks that are added and taken away again leave a noisy update as it was, and a second read agrees."""
    update = sample_update(10_000)
    schema = Schema.of(update)
    code = noisy_code(law, BITS, schema, Cohort(PARTICIPANTS, HONEST))
    made = code.encode(schema.check(update), 1, Secret(SystemRng().token(32)), _CONTEXT)
    first, second = (made.read(0, code.vector_len, word_dtype(BITS)) for _ in range(2))
    masks = [Mask(Secret(SystemRng().token(16)), negative=False) for _ in range(3)]
    add_masks(first, 0, [*masks, *opposite(masks)], _SUITE)
    return bool(np.array_equal(first, second))


def _sampler(law: Law, sigma: int, repeat: int) -> Figure:
    table = noise_table(law, Fraction(sigma**2))
    noise, values = NoiseStream(table, Secret(SystemRng().token(32))), np.zeros(SAMPLES, np.int64)
    seconds = take_turns({"draw": lambda: noise.add_to(values, 0)}, repeat).median("draw")
    note = f"million samples; {1 << table.column_bits} columns, 2^{log2(table.distance):.0f} from the law"
    return Figure(f"{law.value}_sigma_{sigma}_m_per_s", SAMPLES / seconds / 1e6, at_least(20), note)


def error_ratio(law: Law, bits: int) -> tuple[float, float]:
    """The error of a mean of 100 updates of full norm, over that of continuous Gaussian noise of the same z; both are
    root mean squares.

    Returns:
        The ratio, and the error itself.
    """
    values = 20_000
    update = sample_update(values).astype(np.float64)
    update /= np.linalg.norm(update)
    schema = Schema.of(update)
    code = noisy_code(law, bits, schema, Cohort(PARTICIPANTS, HONEST))
    flat, total = schema.check(update), np.zeros(code.vector_len, np.uint32)
    for _ in range(PARTICIPANTS):
        total += code.encode(flat, 1, Secret(SystemRng().token(32)), _CONTEXT).read(0, len(total), total.dtype)
    total &= np.uint32((1 << bits) - 1)
    mean = code.decode_mean(total, PARTICIPANTS, _CONTEXT).arrays["values"]
    error = float(np.sqrt(np.mean((mean - update) ** 2)))
    return error / _GAUSSIAN_ERROR, error


def _error(law: Law, bits: int) -> Figure:
    ratio, error = error_ratio(law, bits)
    note = f"root mean square error {error:.3g}; continuous Gaussian {_GAUSSIAN_ERROR:.3g}"
    return Figure(f"{law.value}_{bits}_bit_error_ratio", ratio, at_most(1.05) if bits >= BITS else None, note)
