"""Vectors of distributed noise: how it is sized, the reference sampler, and whole noisy vectors."""

import hashlib
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from secagg.crypto.secret import Secret
from secagg.encoding.calibration import Cohort, calibrate
from secagg.encoding.code import code_for
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.steps.rotate import block_size, padded_size
from secagg.errors import ConfigError
from secagg.noise.laws import Law
from secagg.noise.stream import NoiseStream
from secagg.noise.table import NoiseTable, noise_table
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document, described, hexes, named_hexes
from secagg.tools.conformance.encodings.pipelines import CONTEXT, SCHEMA, summed, update, whole

MAX_PARTICIPANTS, THRESHOLD, MAX_COLLUDING = 4, 3, 1
ENCODED = (
    ("clip(l2=1.0) | rotate | quantise(bits=8) | noise(law=skellam, z=1.0)", True),
    ("clip(l2=1.0) | rotate | quantise(bits=10) | noise(law=gaussian, z=0.5)", True),
    ("clip(l2=1.0) | rotate | quantise(bits=8) | noise(law=skellam, z=1.0)", False),
    ("clip(l2=1.0) | rotate | quantise(bits=8) | noise(law=skellam, z=1.0, by=coordinator)", True),
    ("feedback | clip(l2=0.5) | sample(rate=0.5) | rotate | quantise(bits=10) | noise(law=gaussian, z=0.25)", False),
)
ROUNDED_TWICE = ", 48"
"""By trying: with it the first rounding of the third participant is beyond the norm bound, in rings of 8 bits."""


def _calibration() -> Document:
    cases, refused = [], []
    for people, threshold, colluding, size, clip, bits, z in (
        (4, 3, 1, 10, 1.0, 8, 1.0),
        (10, 7, 2, 310, 1.0, 16, 1.634),
        (100, 67, 33, 1_000_000, 0.125, 20, 0.5),
        (1000, 600, 100, 70_000, 4.0, 32, 2.0),
        (3, 3, 0, 1, 2.0**-20, 32, 0.001),
        (16, 9, 0, 4097, 1000.0, 12, 10.0),
        (4, 3, 1, 10, 1.0, 4, 0.05),
        (1000, 600, 100, 70_000, 4.0, 8, 2.0),
    ):
        stated = {
            "max_participants": people,
            "threshold": threshold,
            "max_colluding": colluding,
            "coordinates": size,
            "clip": clip.hex(),
            "bits": bits,
            "z": z.hex(),
        }
        cohort, block, dimension = Cohort(people, threshold - colluding), block_size(size), padded_size(size)
        try:
            made = calibrate(Law.SKELLAM, cohort, z=z, clip=clip, bits=bits, block=block, dimension=dimension)
        except ConfigError:
            refused.append(stated | {"why": "the ring is too narrow"})
            continue
        cases.append(
            stated
            | {
                "block": block,
                "dimension": dimension,
                "scale": made.scale.hex(),
                "variance": float(made.variance).hex(),
                "norm_bound": made.norm_bound,
            }
        )
    return {"cases": cases, "refused": refused}


def _table() -> Iterator[Document]:
    for law in Law:
        for variance in (Fraction(1, 4), Fraction(1), Fraction(21, 2), Fraction(float.fromhex("0x1.91eb851eb851fp+7"))):
            table, seed = noise_table(law, variance), fixtures.seed(f"noise {law.value} {variance}")
            stream = NoiseStream(table, Secret(seed))
            samples = np.zeros(128, np.int64)
            stream.add_to(samples, 0)
            later = np.zeros(8, np.int64)
            stream.add_to(later, 1 << 20)
            yield {
                "law": law.value,
                "variance": float(variance).hex(),
                "largest": table.largest,
                "column_bits": table.column_bits,
                "probabilities": [f"{p:032x}" for p in table.probabilities[:4]],
                "probabilities_sha256": hashlib.sha256(
                    b"".join(p.to_bytes(16, "big") for p in table.probabilities)
                ).digest(),
                "first_columns": [column(table, j).hex() for j in range(4)],
                "columns_sha256": hashlib.sha256(
                    b"".join(column(table, j) for j in range(1 << table.column_bits))
                ).digest(),
                "seed": seed,
                "samples": samples,
                "samples_from_2_20": later,
            }


def column(table: NoiseTable, j: int) -> bytes:
    """Column j: what stays, 16 bytes, and whom the rest goes to, 4 bytes, signed."""
    stay = (int(table.threshold[j]) << 64) + int(table.fine[j])
    return stay.to_bytes(16, "big") + int(table.alias[j]).to_bytes(4, "big", signed=True)


def _encoding() -> Iterator[Document]:
    cohort = Cohort(MAX_PARTICIPANTS, THRESHOLD - MAX_COLLUDING)
    for text, wraps in ENCODED:
        pipeline = Pipeline.parse(text)
        code = code_for(pipeline, SCHEMA, cohort, wraps=wraps)
        people, encoders = [], []
        for number in range(3):
            tag = f"{text} {number}"
            values, seed = update(tag), fixtures.seed(f"noise {tag}{ROUNDED_TWICE if number == 2 else ''}")
            encoder = code.encode(SCHEMA.check(values), 1, Secret(seed), CONTEXT)
            encoders.append(encoder)
            person = {"values": named_hexes(values), "rounding_seed": seed, "encoded": whole(encoder, code)}
            people.append(person | ({"lost": hexes(encoder.lost())} if pipeline.feedback else {}))
        stated = {"text": text, "homomorphic": not wraps, "value_bits": code.value_bits, "people": people}
        noise_seed = fixtures.seed(f"noise of the coordinator, {text}") if "by=coordinator" in text else b""
        yield stated | summed(code, encoders, noise_seed) | {"coordinator_seed": noise_seed}


# fmt: off
VECTORS: Contents = {
    "noise-calibration": ("Scale, variance of each participant's noise and norm bound", "Noise", _calibration),
    "noise-table": ("The reference sampler: columns, and samples of a seed", "Reference sampler", _table),
    "noisy-encoding": ("Updates through pipelines with noise, and back", "Noise",
        lambda: {"context": CONTEXT, "arrays": described(SCHEMA), "max_participants": MAX_PARTICIPANTS,
                 "threshold": THRESHOLD, "max_colluding": MAX_COLLUDING, "cases": _encoding()}),
}
# fmt: on
