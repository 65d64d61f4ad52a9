"""Readers that hold vectors of pipelines and noise to `pipeline_reference.py`, which knows nothing of secagg."""

import hashlib
import math
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance import pipeline_reference as ref
from tests.conformance.pipeline_reference import Pipe, Refused, Task

Vector = dict[str, Any]
unhex, unfloat = bytes.fromhex, float.fromhex


def _number(text: str | None) -> float:
    return math.inf if text is None else unfloat(text)


def _clips(stated: list[dict[str, Any]]) -> list[tuple[str, float, bool]]:
    kinds = ["linf" if clip["l2"] is None else "l2" for clip in stated]
    return [(kind, unfloat(clip[kind]), clip["per_array"]) for kind, clip in zip(kinds, stated, strict=True)]


def pipeline_text(vector: Vector) -> None:
    for case in vector["cases"]:
        noise = case["noise"] or {"law": None, "z": "0x0p+0", "by": "participants"}
        stated = Pipe(
            feedback=case["feedback"],
            clips=_clips(case["clips"]),
            rate=unfloat(case["rate"]),
            per_group=case["per_group"],
            rotate=case["rotate"],
            max_weight=case["max_weight"],
            bits=case["bits"],
            range=None if case["range"] is None else unfloat(case["range"]),
            law=noise["law"],
            z=unfloat(noise["z"]),
            central=noise["by"] == "coordinator",
        )
        assert ref.parse(case["text"]) == stated
    for case in vector["refused"]:
        with pytest.raises(Refused):
            ref.parse(case["text"])


def clipping(vector: Vector) -> None:
    for case in vector["cases"]:
        found = ref.clipped(list(map(unfloat, case["values"])), case["sizes"], _clips(case["clips"]))
        assert found == list(map(unfloat, case["clipped"]))


def sampling(vector: Vector) -> None:
    context = unhex(vector["context"])
    assert ref.context_key(context, "coordinate-sampling").hex() == vector["key"]
    for case in vector["cases"]:
        blocks = ref.kept(case["size"], unfloat(case["rate"]), context)
        assert [i for block, _ in blocks for i in block] == case["kept"]
        assert [factor for _, factor in blocks] == list(map(unfloat, case["factors"]))


def rotation(vector: Vector) -> None:
    context = unhex(vector["context"])
    assert ref.context_key(context, "rotation").hex() == vector["key"]
    for case in vector["cases"]:
        size = case["size"]
        values = [(37 * i % 1001 - 500) / 512 for i in range(size)]
        found = ref.rotated(values, context)
        assert (ref.block_size(size), len(found)) == (case["block"], case["padded"])
        assert _digest(found) == case["rotated_sha256"]
        assert found == [unfloat(v) for v in case.get("rotated", map(float.hex, found))]
        assert _digest(ref.unrotated(found, size, context)) == case["undone_sha256"]


def _digest(values: list[float]) -> str:
    return hashlib.sha256(struct.pack(f"<{len(values)}d", *values)).hexdigest()


def _task(vector: Vector, case: Vector, n: int, h: int) -> Task:
    arrays = [(math.prod(a["shape"]), a["dtype"]) for a in vector["arrays"]]
    parent = unhex(case.get("parent", ""))
    return Task(ref.parse(case["text"]), arrays, unhex(vector["context"]), n, h, case.get("homomorphic", False), parent)


def _flat(vector: Vector, arrays: dict[str, list[str]]) -> list[float]:
    return [unfloat(v) for a in vector["arrays"] for v in arrays[a["name"]]]


def _check(vector: Vector, case: Vector, task: Task) -> None:
    assert task.ring_bits == case["ring_bits"]
    for person in case["people"]:
        values, seed, weight = _flat(vector, person["values"]), unhex(person["rounding_seed"]), person.get("weight", 1)
        carried = [unfloat(v) for v in person["carried"]] if "carried" in person else None
        assert task.encoded(values, seed, weight, carried) == person["encoded"]
        if "lost" in person:
            assert task.lost(values, seed, weight, carried) == list(map(unfloat, person["lost"]))
    sums = [sum(column) % 2**task.ring_bits for column in zip(*(p["encoded"] for p in case["people"]), strict=True)]
    if task.pipe.central:
        drawn = ref.samples(task.table, unhex(case["coordinator_seed"]), 0, len(sums))
        sums = [(v + w) % 2**task.ring_bits for v, w in zip(sums, drawn, strict=True)]
    assert sums == case["sums"]
    mean, weight = task.mean(sums, len(case["people"]))
    assert (mean, weight) == (_flat(vector, case["mean"]), case["weight"])
    assert task.error_bound(len(case["people"]), weight) == _number(case["error_bound"])


def pipeline_encoding(vector: Vector) -> None:
    for case in vector["cases"]:
        _check(vector, case, _task(vector, case, n=2, h=1))


def noisy_encoding(vector: Vector) -> None:
    for case in vector["cases"]:
        task = _task(vector, case, vector["max_participants"], vector["threshold"] - vector["max_colluding"])
        assert task.value_bits == case["value_bits"]
        _check(vector, case, task)
    assert any(_first_rounding_fails(vector, case) for case in vector["cases"])


def _first_rounding_fails(vector: Vector, case: Vector) -> bool:
    """Whether somebody has to round again; else nothing would show that the number of the attempt is in the key."""
    task = _task(vector, case, vector["max_participants"], vector["threshold"] - vector["max_colluding"])
    people = [(_flat(vector, p["values"]), unhex(p["rounding_seed"])) for p in case["people"]]
    return any(task.attempts(task.transformed(task.clipped(values, None)), seed) > 1 for values, seed in people)


def noise_calibration(vector: Vector) -> None:
    for case in vector["cases"]:
        block, found = _sized(case)
        d = -(-case["coordinates"] // block) * block
        assert (block, d) == (case["block"], case["dimension"])
        stated = (unfloat(case["scale"]), unfloat(case["variance"]), case["norm_bound"])
        assert (found.scale, found.variance, found.norm_bound) == stated
    for case in vector["refused"]:
        with pytest.raises(Refused):
            _sized(case)


def _sized(case: Vector) -> tuple[int, ref.Sized]:
    m, h = case["coordinates"], case["threshold"] - case["max_colluding"]
    block = ref.block_size(m)
    z, c, d = unfloat(case["z"]), unfloat(case["clip"]), -(-m // block) * block
    return block, ref.sized(n=case["max_participants"], h=h, bits=case["bits"], z=z, c=c, block=block, d=d)


def noise_table(vector: Vector) -> None:
    for case in vector["cases"]:
        found, seed = ref.table(case["law"], unfloat(case["variance"])), unhex(case["seed"])
        assert (found.largest, found.column_bits) == (case["largest"], case["column_bits"])
        assert [f"{p:032x}" for p in found.probabilities[:4]] == case["probabilities"]
        joined = b"".join(p.to_bytes(16, "big") for p in found.probabilities)
        assert hashlib.sha256(joined).hexdigest() == case["probabilities_sha256"]
        columns = [
            stay.to_bytes(16, "big") + alias.to_bytes(4, "big", signed=True)
            for stay, alias in zip(found.stay, found.alias, strict=True)
        ]
        assert [column.hex() for column in columns[:4]] == case["first_columns"]
        assert hashlib.sha256(b"".join(columns)).hexdigest() == case["columns_sha256"]
        assert ref.samples(found, seed, 0, len(case["samples"])) == case["samples"]
        assert ref.samples(found, seed, 2**20, len(case["samples_from_2_20"])) == case["samples_from_2_20"]


READERS: dict[str, Callable[[Vector], None]] = {
    "pipeline-text": pipeline_text,
    "clipping": clipping,
    "sampling": sampling,
    "rotation": rotation,
    "pipeline-encoding": pipeline_encoding,
    "noise-calibration": noise_calibration,
    "noise-table": noise_table,
    "noisy-encoding": noisy_encoding,
}
