"""Vectors of pipelines: their text, clipping, sampling, rotation, and whole vectors without noise."""

import hashlib
from collections.abc import Iterator
from math import inf
from typing import Any

import numpy as np

from secagg.crypto import labels
from secagg.crypto.kdf import derive
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.encoding.arrays import FloatArray
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import Code, code_for
from secagg.encoding.noisy import add_noise
from secagg.encoding.pipeline import Noise, Pipeline
from secagg.encoding.schema import ArraySpec, Flat, Schema
from secagg.encoding.steps.clip import Clip, Clipped
from secagg.encoding.steps.rotate import Rotated, RotatedBack, Rotation
from secagg.encoding.steps.sample import Selection
from secagg.encoding.vector import EncodedUpdate
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document, described, hexes, named_hexes

CONTEXT = fixtures.seed("context of pipelines")
SCHEMA = Schema((ArraySpec("w", (2, 3)), ArraySpec("b", (3,), "float64"), ArraySpec("s", ())))

TEXTS = (
    "quantise(bits=1, range=1.0)",
    "quantise(bits=32, range=1e-05)",
    "weigh(max=4294967295) | quantise(bits=16, range=0.1)",
    "rotate | quantise(bits=2, range=1e+16)",
    "sample(rate=0.1) | quantise(bits=8, range=123456789.25)",
    "sample(rate=0.1, per=group) | quantise(bits=8, range=1.0)",
    "clip(linf=0.5) | quantise(bits=8, range=0.5)",
    "clip(l2=1.5, per=array) | clip(l2=2.0) | quantise(bits=8, range=0.5)",
    "feedback | clip(l2=1.0) | sample(rate=0.1) | rotate | weigh(max=100) | quantise(bits=8, range=0.05)",
    "clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.634)",
    "clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=gaussian, z=1.0, by=coordinator)",
    "clip(linf=1.0) | clip(l2=0.25) | rotate | quantise(bits=32) | noise(law=gaussian, z=0.0009765625)",
    "feedback | clip(l2=1.0) | sample(rate=0.5) | rotate | quantise(bits=4) | noise(law=skellam, z=1024.0)",
)
_NOISY = "clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0)"
REFUSED = (
    ("", "no step"),
    ("rotate", "nothing is quantised"),
    ("quantise(bits=8, range=1.0) | encrypt", "an unknown step"),
    ("quantise(bits=8, range=1.0) | rotate", "steps out of order"),
    ("rotate | rotate | quantise(bits=8, range=1.0)", "a step twice"),
    ("rotate|quantise(bits=8, range=1.0)", "no spaces around the bar"),
    ("quantise(bits=8,range=1.0)", "no space between arguments"),
    ("quantise(range=1.0, bits=8)", "arguments out of order"),
    ("quantise(bits=8, bits=8, range=1.0)", "an argument twice"),
    ("quantise(bits=8, range=1.0, seed=1)", "an unknown argument"),
    ("quantise(bits=8, range=1.0) ", "a space at the end"),
    ("rotate() | quantise(bits=8, range=1.0)", "brackets around nothing"),
    ("quantise(bits=8, range=1)", "1.0 is written as 1"),
    ("quantise(bits=8, range=0.10)", "0.1 is written as 0.10"),
    ("quantise(bits=8, range=0.00001)", "1e-05 is written as 0.00001"),
    ("quantise(bits=08, range=1.0)", "a leading zero"),
    ("quantise(bits=8)", "no range, and no noise"),
    ("quantise(bits=0, range=1.0)", "no bits"),
    ("quantise(bits=33, range=1.0)", "more than 32 bits"),
    ("quantise(bits=8, range=nan)", "a range that is no number"),
    ("quantise(bits=8, range=2e-20)", "a range below 2^-64"),
    ("weigh(max=1) | quantise(bits=8, range=1.0)", "a step that changes nothing"),
    ("weigh(max=4294967296) | quantise(bits=8, range=1.0)", "a weight of 33 bits"),
    ("sample(rate=1.0) | quantise(bits=8, range=1.0)", "a step that changes nothing"),
    ("sample(rate=1.0, per=group) | quantise(bits=8, range=1.0)", "nothing to choose for each group"),
    ("sample(rate=0.5, per=array) | quantise(bits=8, range=1.0)", "an unknown part"),
    ("sample(rate=0.0) | quantise(bits=8, range=1.0)", "nothing is sent"),
    ("clip(l2=1.0, linf=1.0) | quantise(bits=8, range=1.0)", "two bounds in one clip"),
    ("clip(linf=1.0, per=array) | quantise(bits=8, range=1.0)", "a bound on every value, for each array"),
    ("clip(l2=1.0, per=layer) | quantise(bits=8, range=1.0)", "an unknown part"),
    ("clip(l2=inf) | quantise(bits=8, range=1.0)", "an infinite bound"),
    ("clip(l2=1.0) | " * 5 + "quantise(bits=8, range=1.0)", "five clips"),
    (_NOISY.replace("rotate | ", ""), "noise without rotation"),
    (_NOISY.replace("clip(l2=1.0) | ", ""), "noise without a clip"),
    (_NOISY.replace("l2=1.0", "l2=1.0, per=array"), "noise, and the last clip is by array"),
    (_NOISY.replace("l2", "linf"), "noise, and the last clip is by value"),
    (_NOISY.replace("quantise", "weigh(max=2) | quantise"), "noise with weights"),
    (_NOISY.replace("bits=16", "bits=16, range=1.0"), "noise with a range"),
    (_NOISY.replace("bits=16", "bits=3"), "a ring below 4 bits"),
    (_NOISY.replace("skellam", "laplace"), "an unknown law"),
    (_NOISY.replace("z=1.0", "z=1.0, by=participants"), "an argument that changes nothing"),
    (_NOISY.replace("z=1.0", "z=1.0, by=dealer"), "noise by nobody known"),
    (_NOISY.replace("z=1.0", "z=0.0005"), "less noise than 2^-10 clips"),
)

ENCODED = (
    *(f"quantise(bits={bits}, range=1.0)" for bits in (1, 2, 4, 8, 16)),
    "clip(linf=0.5) | quantise(bits=8, range=0.5)",
    "clip(l2=0.5, per=array) | clip(l2=0.75) | weigh(max=100) | quantise(bits=8, range=0.5)",
    "sample(rate=0.3) | quantise(bits=8, range=1.0)",
    "rotate | quantise(bits=8, range=0.5)",
    "feedback | clip(l2=4.0) | sample(rate=0.5) | rotate | weigh(max=7) | quantise(bits=2, range=0.5)",
)
IN_A_GROUP = (
    "sample(rate=0.5) | rotate | quantise(bits=8, range=1.0)",
    "sample(rate=0.5, per=group) | rotate | quantise(bits=8, range=1.0)",
)
PARENT = fixtures.seed("id of a round in groups")[:16]


def _text() -> Iterator[Document]:
    for text in TEXTS:
        made = Pipeline.parse(text)
        yield {
            "text": text,
            "feedback": made.feedback,
            "clips": [{"l2": _hex(c.l2), "linf": _hex(c.linf), "per_array": c.per_array} for c in made.clips],
            "rate": _hex(made.rate),
            "per_group": made.per_group,
            "rotate": made.rotate,
            "max_weight": made.max_weight,
            "bits": made.bits,
            "range": None if made.range is None else _hex(made.range),
            "noise": None if made.noise is None else _noise(made.noise),
        }


def _noise(noise: Noise) -> dict[str, Any]:
    return {"law": noise.law.value, "z": _hex(noise.z), "by": noise.by.value}


def _hex(number: float) -> str | None:
    return None if number == inf else float(number).hex()


def _clipping() -> Iterator[Document]:
    """The squares of these values add up exactly, in whatever order."""
    halves = [1.5, -2.0, 0.0, 6.0, 8.0, -0.25, 12.0, 0.5]
    for sizes, clips in (
        ([8], [Clip(linf=1.75)]),
        ([2, 3, 1, 2], [Clip(l2=5.0, per_array=True)]),
        ([4, 4], [Clip(l2=4.0)]),
        ([8], [Clip(l2=1024.0)]),
        ([2, 3, 1, 2], [Clip(linf=8.0), Clip(l2=2.5, per_array=True)]),
        ([8], [Clip(linf=3.0), Clip(linf=1.0), Clip(linf=2.0)]),
    ):
        values = np.array(halves)
        source: Any = Schema((ArraySpec("v", (8,), "float64"),)).check({"v": values})
        for clip in clips:
            source = Clipped(source, clip, sizes)
        yield {
            "sizes": sizes,
            "clips": [{"l2": _hex(c.l2), "linf": _hex(c.linf), "per_array": c.per_array} for c in clips],
            "values": hexes(values),
            "clipped": hexes(source.read(0, 8)),
        }


def _sampling() -> Iterator[Document]:
    for size, rate in ((1, 0.01), (10, 0.3), (200, 0.1), (200, 0.999), (65_536, 0.001), (70_000, 0.001)):
        selection = Selection(size, rate, CONTEXT)
        blocks = range(selection.blocks)
        chosen = np.concatenate([selection.block(number) for number in blocks])
        yield {
            "size": size,
            "rate": rate.hex(),
            "kept": chosen,
            "factors": [selection.scale(number).hex() for number in blocks],
        }


def _rotation() -> Iterator[Document]:
    """Value i is ((37·i) mod 1001 − 500)/512."""
    for size in (1, 3, 64, 65, 100, 4096, 4097, 4608, 65_536, 70_000):
        rotation = Rotation(size, CONTEXT)
        values = ((37 * np.arange(size)) % 1001 - 500) / 512
        source = Schema((ArraySpec("v", (size,), "float64"),)).check({"v": values})
        rotated = Rotated(source, rotation).read(0, rotation.padded)
        case: dict[str, Any] = {
            "size": size,
            "block": rotation.block,
            "padded": rotation.padded,
            "rotated_sha256": hashlib.sha256(rotated.astype("<f8").tobytes()).digest(),
        }
        if size <= 65:
            case["rotated"] = hexes(rotated)
        undone = RotatedBack(Flat(rotated), rotation).read(0, size)
        yield case | {"undone_sha256": hashlib.sha256(undone.astype("<f8").tobytes()).digest()}


def _key(label: bytes) -> bytes:
    return derive(Secret(CONTEXT), salt=b"", info=frame(label), size=16).expose()


def _encoding() -> Iterator[Document]:
    for text, parent in (*((text, b"") for text in ENCODED), *((text, PARENT) for text in IN_A_GROUP)):
        pipeline = Pipeline.parse(text)
        code = code_for(pipeline, SCHEMA, Cohort(summands=2, honest=1), wraps=True, parent=parent)
        people, encoders = [], []
        for number in range(2):
            tag = f"{text} {number}"
            weight = 1 + 3 * number if pipeline.max_weight > 1 else 1
            values = update(tag)
            seed = fixtures.seed(f"rounding {tag}")
            carried = floats(f"carried {tag}").astype(np.float32) if pipeline.feedback else None
            encoder = code.encode(SCHEMA.check(values), weight, Secret(seed), CONTEXT, carried)
            encoders.append(encoder)
            person = {"values": named_hexes(values), "weight": weight, "rounding_seed": seed}
            if carried is not None:
                person |= {"carried": hexes(carried), "lost": hexes(encoder.lost())}
            people.append(person | {"encoded": whole(encoder, code)})
        yield {"text": text, "parent": parent, "people": people} | summed(code, encoders)


def floats(tag: str) -> FloatArray:
    """float64[SCHEMA.size], each a small multiple of 1/16 in [−2, 2): the squares add up exactly, in whatever order."""
    drawn = np.frombuffer(fixtures.rng(tag).token(SCHEMA.size), np.uint8)
    return (drawn % 64 - 32.0) / 16


def update(tag: str) -> dict[str, FloatArray]:
    """An update that fits `SCHEMA`; the same for the same tag."""
    return SCHEMA.split(floats(tag))


def whole(encoder: EncodedUpdate, code: Code) -> list[int]:
    """All words of an encoded update, as a vector lists them."""
    return [int(x) for x in encoder.read(0, code.vector_len, np.dtype("<u8"))]


def summed(code: Code, encoders: list[EncodedUpdate], noise_seed: bytes = b"") -> dict[str, Any]:
    """The sum of these in the code's ring, with the coordinator's noise if there is a seed, and the mean of it."""
    total = np.sum([encoder.read(0, code.vector_len, np.dtype("<u8")) for encoder in encoders], axis=0, dtype="<u8")
    total &= np.uint64((1 << code.ring_bits) - 1)
    if noise_seed and code.calibration is not None:
        add_noise(total, code.calibration, code.ring_bits, Secret(noise_seed))
    mean = code.decode_mean(total, len(encoders), CONTEXT)
    return {
        "ring_bits": code.ring_bits,
        "sums": total,
        "weight": mean.weight,
        "error_bound": _hex(mean.error_bound),
        "mean": named_hexes(mean.arrays),
    }


# fmt: off
VECTORS: Contents = {
    "pipeline-text": ("Texts, what they say, and texts that are refused", "Pipelines",
        lambda: {"cases": _text(), "refused": [{"text": text, "why": why} for text, why in REFUSED]}),
    "clipping": ("Values within their bounds", "Clipping", _clipping),
    "sampling": ("Which coordinates are kept", "Sampling",
        lambda: {"context": CONTEXT, "key": _key(labels.COORDINATE_SAMPLING), "cases": _sampling()}),
    "rotation": ("Signs, then a Walsh-Hadamard transform, block by block", "Rotation",
        lambda: {"context": CONTEXT, "key": _key(labels.ROTATION), "values": "((37 i) mod 1001 - 500) / 512",
                 "cases": _rotation()}),
    "pipeline-encoding": ("Updates through pipelines without noise, and back", "Pipelines",
        lambda: {"context": CONTEXT, "arrays": described(SCHEMA), "cases": _encoding()}),
}
# fmt: on
