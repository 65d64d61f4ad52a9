"""What a sum must be, from what participants put in: sections 10 and 11 of PROTOCOL, once more and by themselves."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from secagg.tools.faults.history import Contributed
from secagg.wire.v1 import config_pb2

_CHUNK_BITS: Final = 1 << 23
_BLOCK: Final = 64
_STEP: Final = re.compile(r"(\w+)(?:\((.*)\))?")

Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Shape:
    """How the encoded vectors of a round look.

    Attributes:
        count: coordinates, m.
        bits: of each in a packed sum, b.
    """

    count: int
    bits: int

    @property
    def word(self) -> int:
        """Bits of the word that a coordinate takes."""
        return next(width for width in (8, 16, 32, 64) if self.bits <= width)

    @property
    def lengths(self) -> list[int]:
        """Coordinates in each chunk."""
        stride = max(_BLOCK, _CHUNK_BITS // (4 * self.word))
        each = _CHUNK_BITS // (stride * self.bits) * stride
        return [min(each, self.count - first) for first in range(0, self.count, each)]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most that each coordinate of a sum may be; equal where nothing is rounded at random."""

    least: Words
    most: Words


class _Steps:
    """A pipeline's text, step by step."""

    def __init__(self, text: str) -> None:
        found = [_STEP.fullmatch(step) for step in text.split(" | ")]
        self._steps = [(step[1], step[2] or "") for step in found if step is not None]

    def arguments(self, name: str) -> dict[str, str] | None:
        """Of the first step of this name."""
        return next((_arguments(given) for step, given in self._steps if step == name), None)

    def every(self, name: str) -> list[dict[str, str]]:
        """The arguments of each step of this name."""
        return [_arguments(given) for step, given in self._steps if step == name]


def _arguments(given: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in given.split(", ")) if given else {}


def is_noisy(config: config_pb2.RoundConfig) -> bool:
    """Whether the round carries noise."""
    return _Steps(config.pipeline).arguments("noise") is not None


def shape(config: config_pb2.RoundConfig) -> Shape | None:
    """Of the sum; None where it has the form of a rotated or sampled vector."""
    values = sum(_sizes(config))
    if config.HasField("integers"):
        widest = max(most - least for least, most in _ranges(config))
        return Shape(values, _ring(widest.bit_length(), config))
    fixed = _fixed_point(config)
    if fixed is None:
        return None
    _, bits, heaviest, _ = fixed
    return Shape(values + 1, _ring(max(bits, heaviest.bit_length()), config))


def unpack(payloads: Sequence[bytes], form: Shape) -> Words | None:
    """The coordinates of a packed sum; None if its chunks do not have their lengths."""
    counts = form.lengths
    if [len(payload) for payload in payloads] != [(count * form.bits + 7) // 8 for count in counts]:
        return None
    powers = np.uint64(1) << np.arange(form.bits, dtype=np.uint64)
    chunks = []
    for payload, count in zip(payloads, counts, strict=True):
        bits = np.unpackbits(np.frombuffer(payload, np.uint8), bitorder="little")
        if bits[count * form.bits :].any():
            return None
        lanes = count // form.word
        laid = bits[: lanes * form.word * form.bits].reshape(form.bits, lanes, form.word)  # word by word
        by_lane = laid.transpose(1, 0, 2).reshape(lanes, form.word, form.bits)  # value by value
        rest = bits[laid.size : count * form.bits].reshape(-1, form.bits)
        values = np.concatenate([by_lane.transpose(1, 0, 2).reshape(-1, form.bits), rest])
        chunks.append(values.astype(np.uint64) @ powers)
    return np.concatenate(chunks)


def pack(values: Words, form: Shape) -> list[bytes]:
    """The chunks of a packed sum."""
    shifts, chunks, first = np.arange(form.bits, dtype=np.uint64), [], 0
    for count in form.lengths:
        part = values[first : first + count, np.newaxis]
        bits = ((part >> shifts) & np.uint64(1)).astype(np.uint8)
        lanes = count // form.word
        by_lane = bits[: lanes * form.word].reshape(form.word, lanes, form.bits).transpose(1, 0, 2)
        laid = by_lane.reshape(lanes, form.bits, form.word).transpose(1, 0, 2)
        whole = np.concatenate([laid.reshape(-1), bits[lanes * form.word :].reshape(-1)])
        chunks.append(np.packbits(whole, bitorder="little").tobytes())
        first += count
    return chunks


def expected(config: config_pb2.RoundConfig, inputs: Sequence[Contributed]) -> Bounds | None:
    """What the sum of these updates may be; None where it does not follow from the updates alone."""
    each = [_encoded(config, one) for one in inputs]
    known = [bounds for bounds in each if bounds is not None]
    if len(known) < len(each):
        return None
    return Bounds(
        np.sum([bounds.least for bounds in known], axis=0, dtype=np.uint64),
        np.sum([bounds.most for bounds in known], axis=0, dtype=np.uint64),
    )


def _encoded(config: config_pb2.RoundConfig, one: Contributed) -> Bounds | None:
    arrays = [np.asarray(one.arrays[spec.name]).reshape(-1) for spec in config.arrays]
    if config.HasField("integers"):
        shifted = [
            np.array([int(value) - least for value in array], np.uint64)
            for array, (least, _) in zip(arrays, _ranges(config), strict=True)
        ]
        whole = np.concatenate(shifted)
        return Bounds(whole, whole)
    fixed = _fixed_point(config)
    if fixed is None:
        return None
    clip, bits, heaviest, steps = fixed
    clipped = _clipped([array.astype(np.float64) for array in arrays], steps)
    if clipped is None:
        return None
    weight = one.weight if heaviest > 1 else 1
    least, most = [], []
    for spec, values in zip(config.arrays, clipped, strict=True):
        low, high = _quantised(values, spec.range if spec.HasField("range") else clip, bits, weight, heaviest)
        least.append(low)
        most.append(high)
    end = np.array([weight], np.uint64)
    return Bounds(np.concatenate([*least, end]), np.concatenate([*most, end]))


def _quantised(values: NDArray[np.float64], clip: float, bits: int, weight: int, heaviest: int) -> tuple[Words, Words]:
    """Rounded down with the smallest and with the largest number that the rounding stream can give."""
    levels = 2**bits - 1
    factor, scale = weight / heaviest, 1 / ((2 * clip) / levels)
    x = (np.minimum(np.maximum(values, -clip), clip) * factor + clip) * scale
    least, most = (np.minimum(np.floor(x + u), levels).astype(np.uint64) for u in (0.0, (2**32 - 1) / 2**32))
    return least, most


def _clipped(arrays: list[NDArray[np.float64]], steps: _Steps | None) -> list[NDArray[np.float64]] | None:
    """None where a clip of the length makes itself felt: how its squares are added up is left open."""
    for clip in steps.every("clip") if steps is not None else []:
        if "linf" in clip:
            bound = float(clip["linf"])
            arrays = [np.minimum(np.maximum(array, -bound), bound) for array in arrays]
        elif np.sqrt(sum(float(np.sum(array**2)) for array in arrays)) > float(clip["l2"]) * (1 - 1e-9):
            return None
    return arrays


def _fixed_point(config: config_pb2.RoundConfig) -> tuple[float, int, int, _Steps | None] | None:
    """Clip, bits of a value, largest weight, and the steps before; None where other steps change the values."""
    if config.HasField("encoding"):
        return config.encoding.clip, config.encoding.value_bits, config.encoding.max_weight, None
    steps = _Steps(config.pipeline)
    if any(steps.every(name) for name in ("feedback", "sample", "rotate", "noise")):
        return None
    quantise, weigh = steps.arguments("quantise") or {}, steps.arguments("weigh") or {"max": "1"}
    return float(quantise["range"]), int(quantise["bits"]), int(weigh["max"]), steps


def _ranges(config: config_pb2.RoundConfig) -> list[tuple[int, int]]:
    """The least and the largest integer of each array."""
    common: Any = config.integers
    return [(spec.min, spec.max) if spec.HasField("min") else (common.min, common.max) for spec in config.arrays]


def _sizes(config: config_pb2.RoundConfig) -> list[int]:
    return [prod(spec.shape) for spec in config.arrays]


def _ring(value_bits: int, config: config_pb2.RoundConfig) -> int:
    return value_bits + (config.max_participants - 1).bit_length()
