"""What the rounds of the vectors are made from: who takes part, with which updates and which randomness."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from secagg.config import UNNAMED_MODEL, RoundConfig
from secagg.context import RoundId, bind, bind_model, digest_model
from secagg.encoding.schema import ArraySpec, Schema
from secagg.messages import Phase
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import little_endian
from secagg.tools.conformance.replay.round import draw_sizes
from secagg.wire.configuration import encode_config

SCHEMA = Schema((ArraySpec("dense/weight", (2, 3)), ArraySpec("bias", (3,), "float64"), ArraySpec("scale", ())))
ARRIVAL = ("cedar", "amber-9", "Aster", "juniper", "birch", "ginkgo", "amber-10", "elm", "iris", "fir", "dahlia",
           "hazel")  # fmt: skip
"""Ids in the order of their arrival. Sorted as bytes they are neither in natural nor in dictionary order."""

AUTHORITY = "Conformance CA, test only"
NOTE = "Every private value here is derived from a published label: for tests only."


@dataclass(frozen=True, slots=True)
class Attendance:
    """Who takes part in a round, and who drops where."""

    everyone: tuple[str, ...]
    leaves_first: str  # after advertising keys
    drops: dict[Phase, str]  # by the phase in which nothing more comes

    @classmethod
    def without(cls, *absent: str, leaves_first: str = "birch", **drops: str) -> "Attendance":
        """Everyone of `ARRIVAL` but these; `drops` by the name of the phase."""
        everyone = tuple(name for name in ARRIVAL if name not in absent)
        return cls(everyone, leaves_first, {Phase[phase]: name for phase, name in drops.items()})


def round_config(name: str, **fields: Any) -> RoundConfig:
    """The configuration of a round about `model`."""
    named = UNNAMED_MODEL if fields.get("model_later") else digest_model(model())
    return RoundConfig(task=f"conformance/{name}", schema=SCHEMA, model_digest=named, **fields)


def model() -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """The model that every round of the vectors is about."""
    return {
        "dense/weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 8,
        "bias": np.array([0.5, -0.25, 0.125], np.float64),
        "scale": np.array(1.0, np.float32),
    }


def organisation(name: str) -> str:
    """Three organisations, by the first letter of the id."""
    return f"Organisation {'ABC'[ord(name[0].lower()) % 3]}"


def round_inputs(name: str, config: RoundConfig, attendance: Attendance) -> dict[str, Any]:
    """What a round of the vectors is made from."""
    config_bytes, round_id = encode_config(config), RoundId(fixtures.seed(f"id of {name}")[:16])
    context, model_digest = bind(round_id, config_bytes, config.model_digest), digest_model(model())
    inputs: dict[str, Any] = {
        "config": config_bytes,
        "round_id": round_id,
        "model": {key: little_endian(a) for key, a in model().items()},
        "model_digest": model_digest,
        "context": context,
        "participants": {who: participant_inputs(name, who, config) for who in attendance.everyone},
        "drops": {"ADVERTISE_KEYS": attendance.leaves_first} | {p.name: who for p, who in attendance.drops.items()},
    }
    if config.model_later:
        inputs["input_context"] = bind_model(context, model_digest)
    if config.signed:
        key = fixtures.signing_key(AUTHORITY)
        inputs["authority"] = {
            "certificate": fixtures.der(fixtures.authority(AUTHORITY)),
            "private_scalar_test_only": fixtures.scalar_hex(key),
        }
    return inputs


def participant_inputs(round_name: str, name: str, config: RoundConfig) -> dict[str, Any]:
    """Update, weight, randomness and identity of one participant."""
    stream = fixtures.rng(f"{round_name}/{name}")
    floats = np.frombuffer(stream.token(8 * SCHEMA.size), "<i8") / 2.0**63
    update = {spec.name: a for spec, a in zip(SCHEMA.arrays, SCHEMA.split(1.25 * floats).values(), strict=True)}
    inputs: dict[str, Any] = {
        "update": {key: little_endian(a) for key, a in update.items()},
        "values": {key: a.reshape(-1) for key, a in update.items()},
        "weight": 1 + int.from_bytes(stream.token(4), "big") % config.encoding.max_weight,
        "rounding_seed": stream.token(32),
        "random": {draw: stream.token(size) for draw, size in draw_sizes(config).items()},
    }
    if config.signed:
        inputs["identity"] = {
            "organisation": organisation(name),
            "private_scalar_test_only": fixtures.scalar_hex(fixtures.signing_key(name)),
            "certificate": fixtures.certificate(name, organisation(name), AUTHORITY),
        }
    return inputs
