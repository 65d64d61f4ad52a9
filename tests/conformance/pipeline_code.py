"""Readers that hold vectors of pipelines and noise to the real code."""

import hashlib
from collections.abc import Callable
from fractions import Fraction
from math import inf
from typing import Any

import numpy as np
import pytest

from secagg.crypto import labels
from secagg.crypto.kdf import derive
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.encoding.arrays import FloatArray
from secagg.encoding.calibration import Calibration, Cohort, calibrate
from secagg.encoding.code import Code, code_for
from secagg.encoding.noisy import add_noise
from secagg.encoding.pipeline import Noise, NoiseBy, Pipeline
from secagg.encoding.schema import ArraySpec, Flat, Schema, Values
from secagg.encoding.steps.clip import Clip, Clipped
from secagg.encoding.steps.rotate import Rotated, RotatedBack, Rotation, block_size, padded_size
from secagg.encoding.steps.sample import Selection
from secagg.errors import ConfigError
from secagg.noise.laws import Law
from secagg.noise.stream import NoiseStream
from secagg.noise.table import noise_table
from secagg.tools.conformance.document import hexes, named_hexes
from secagg.tools.conformance.encodings.noise import column

Vector = dict[str, Any]
unhex, unfloat = bytes.fromhex, float.fromhex


def _clips(stated: list[dict[str, Any]]) -> tuple[Clip, ...]:
    bounds = [{kind: inf if c[kind] is None else unfloat(c[kind]) for kind in ("l2", "linf")} for c in stated]
    return tuple(Clip(**b, per_array=c["per_array"]) for b, c in zip(bounds, stated, strict=True))


def pipeline_text(vector: Vector) -> None:
    for case in vector["cases"]:
        noise = case["noise"]
        stated = Pipeline(
            bits=case["bits"],
            range=None if case["range"] is None else unfloat(case["range"]),
            feedback=case["feedback"],
            clips=_clips(case["clips"]),
            rate=unfloat(case["rate"]),
            per_group=case["per_group"],
            rotate=case["rotate"],
            max_weight=case["max_weight"],
            noise=None if noise is None else Noise(Law(noise["law"]), unfloat(noise["z"]), NoiseBy(noise["by"])),
        )
        assert Pipeline.parse(case["text"]) == stated
        assert stated.text == case["text"]
    for case in vector["refused"]:
        with pytest.raises(ConfigError):
            Pipeline.parse(case["text"])


def _flat(values: FloatArray) -> Values:
    return Schema((ArraySpec("v", values.shape, "float64"),)).check({"v": values})


def clipping(vector: Vector) -> None:
    for case in vector["cases"]:
        source = _flat(_floats(case["values"]))
        for clip in _clips(case["clips"]):
            source = Clipped(source, clip, case["sizes"])
        assert hexes(source.read(0, source.size)) == case["clipped"]


def _floats(stated: list[str], dtype: str = "float64") -> FloatArray:
    return np.array([unfloat(v) for v in stated], dtype)


def sampling(vector: Vector) -> None:
    context = unhex(vector["context"])
    assert _key(context, labels.COORDINATE_SAMPLING) == vector["key"]
    for case in vector["cases"]:
        selection = Selection(case["size"], unfloat(case["rate"]), context)
        blocks = range(selection.blocks)
        assert np.concatenate([selection.block(number) for number in blocks]).tolist() == case["kept"]
        assert [selection.scale(number).hex() for number in blocks] == case["factors"]


def _key(context: bytes, label: bytes) -> str:
    return derive(Secret(context), salt=b"", info=frame(label), size=16).expose().hex()


def rotation(vector: Vector) -> None:
    context = unhex(vector["context"])
    assert _key(context, labels.ROTATION) == vector["key"]
    for case in vector["cases"]:
        made = Rotation(case["size"], context)
        assert (made.block, made.padded) == (case["block"], case["padded"])
        rotated = Rotated(_flat(((37 * np.arange(made.size)) % 1001 - 500) / 512), made).read(0, made.padded)
        assert hexes(rotated) == case.get("rotated", hexes(rotated))
        assert hashlib.sha256(rotated.astype("<f8").tobytes()).hexdigest() == case["rotated_sha256"]
        undone = RotatedBack(Flat(rotated), made).read(0, made.size)
        assert hashlib.sha256(undone.astype("<f8").tobytes()).hexdigest() == case["undone_sha256"]


def _check(vector: Vector, case: Vector, code: Code, schema: Schema) -> None:
    context, total = unhex(vector["context"]), np.zeros(code.vector_len, np.uint64)
    for person in case["people"]:
        update = {
            spec.name: _floats(person["values"][spec.name], spec.dtype).reshape(spec.shape) for spec in schema.arrays
        }
        carried = _floats(person["carried"], "float32") if "carried" in person else None
        seed = Secret(unhex(person["rounding_seed"]))
        encoder = code.encode(schema.check(update), person.get("weight", 1), seed, context, carried)
        encoded = encoder.read(0, code.vector_len, np.dtype("<u8"))
        assert encoded.tolist() == person["encoded"]
        if "lost" in person:
            assert hexes(encoder.lost()) == person["lost"]
        total += encoded
    total &= np.uint64((1 << code.ring_bits) - 1)
    if noise_seed := unhex(case.get("coordinator_seed", "")):
        assert code.calibration is not None
        add_noise(total, code.calibration, code.ring_bits, Secret(noise_seed))
    assert total.tolist() == case["sums"]
    mean = code.decode_mean(total, len(case["people"]), context)
    bound = inf if case["error_bound"] is None else unfloat(case["error_bound"])
    assert (mean.weight, mean.error_bound, code.ring_bits) == (case["weight"], bound, case["ring_bits"])
    assert named_hexes(mean.arrays) == case["mean"]


def _schema(vector: Vector) -> Schema:
    return Schema(tuple(ArraySpec(a["name"], tuple(a["shape"]), a["dtype"]) for a in vector["arrays"]))


def pipeline_encoding(vector: Vector) -> None:
    schema = _schema(vector)
    for case in vector["cases"]:
        parent = unhex(case["parent"])
        code = code_for(Pipeline.parse(case["text"]), schema, Cohort(2, 1), wraps=True, parent=parent)
        _check(vector, case, code, schema)


def noisy_encoding(vector: Vector) -> None:
    schema, cohort = _schema(vector), _cohort(vector)
    for case in vector["cases"]:
        code = code_for(Pipeline.parse(case["text"]), schema, cohort, wraps=not case["homomorphic"])
        assert code.value_bits == case["value_bits"]
        _check(vector, case, code, schema)


def _cohort(stated: Vector) -> Cohort:
    return Cohort(stated["max_participants"], stated["threshold"] - stated["max_colluding"])


def noise_calibration(vector: Vector) -> None:
    for case in vector["cases"]:
        made = _calibrated(case)
        assert (block_size(case["coordinates"]), made.dimension) == (case["block"], case["dimension"])
        stated = (unfloat(case["scale"]), Fraction(unfloat(case["variance"])), case["norm_bound"])
        assert (made.scale, made.variance, made.norm_bound) == stated
    for case in vector["refused"]:
        with pytest.raises(ConfigError, match="too narrow"):
            _calibrated(case)


def _calibrated(case: Vector) -> Calibration:
    size, z, clip = case["coordinates"], unfloat(case["z"]), unfloat(case["clip"])
    block, dimension = block_size(size), padded_size(size)
    return calibrate(Law.GAUSSIAN, _cohort(case), z=z, clip=clip, bits=case["bits"], block=block, dimension=dimension)


def noise_tables(vector: Vector) -> None:
    for case in vector["cases"]:
        table = noise_table(Law(case["law"]), Fraction(unfloat(case["variance"])))
        assert (table.largest, table.column_bits) == (case["largest"], case["column_bits"])
        joined = b"".join(p.to_bytes(16, "big") for p in table.probabilities)
        assert [f"{p:032x}" for p in table.probabilities[:4]] == case["probabilities"]
        assert hashlib.sha256(joined).hexdigest() == case["probabilities_sha256"]
        columns = [column(table, j) for j in range(1 << table.column_bits)]
        assert [c.hex() for c in columns[:4]] == case["first_columns"]
        assert hashlib.sha256(b"".join(columns)).hexdigest() == case["columns_sha256"]
        stream = NoiseStream(table, Secret(unhex(case["seed"])))
        for start, name in ((0, "samples"), (1 << 20, "samples_from_2_20")):
            drawn = np.zeros(len(case[name]), np.int64)
            stream.add_to(drawn, start)
            assert drawn.tolist() == case[name]


READERS: dict[str, Callable[[Vector], None]] = {
    "pipeline-text": pipeline_text,
    "clipping": clipping,
    "sampling": sampling,
    "rotation": rotation,
    "pipeline-encoding": pipeline_encoding,
    "noise-calibration": noise_calibration,
    "noise-table": noise_tables,
    "noisy-encoding": noisy_encoding,
}
