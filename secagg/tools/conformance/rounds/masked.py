"""One whole round for each threat model, with a dropout in every phase: inputs, messages, intermediates, outcome."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig, ThreatModel
from secagg.context import Round, bind, digest_model
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.lattice.parameters import Custody
from secagg.messages import Leave, LeaveReason, ReleaseOrder
from secagg.phases import Phase, phases
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document, document, plain
from secagg.tools.conformance.replay.stage import Stage
from secagg.tools.conformance.rounds.masked_intermediates import intermediates
from secagg.wire.configuration import encode_config
from secagg.wire.results import encode_aggregate, sums_digest

SCHEMA = Schema((ArraySpec("dense/weight", (2, 3)), ArraySpec("bias", (3,), "float64"), ArraySpec("scale", ())))
ARRIVAL = (
    "cedar",
    "amber-9",
    "Aster",
    "juniper",
    "birch",
    "ginkgo",
    "amber-10",
    "elm",
    "iris",
    "fir",
    "dahlia",
    "hazel",
)
"""Ids in the order of their arrival. Sorted as bytes they are neither in natural nor in dictionary order."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part in a round, and who drops where."""

    everyone: tuple[str, ...]
    leaves_first: str  # after advertising keys
    drops: dict[Phase, str]  # by the phase in which nothing more comes


def vectors() -> Iterator[tuple[str, Document]]:
    """File name and content."""
    yield "round-semi-honest", _semi_honest()
    yield "round-active", _active()
    yield "round-noise", _noise()


def _semi_honest() -> Document:
    config = RoundConfig(
        task="conformance/semi-honest",
        schema=SCHEMA,
        encoding=FixedPoint(1.0, 8, 1000),
        max_participants=9,
        threshold=4,
        max_colluding=2,
        threat_model=ThreatModel.SEMI_HONEST,
        model_digest=digest_model(model()),
    )
    everyone = tuple(name for name in ARRIVAL if name not in {"hazel", "iris", "juniper"})
    drops = {Phase.SHARE_KEYS: "cedar", Phase.MASKED_INPUT: "elm", Phase.UNMASK: "fir"}
    return _play("round-semi-honest", config, Cast(everyone, "birch", drops))


def _active() -> Document:
    config = RoundConfig(
        task="conformance/active",
        schema=SCHEMA,
        encoding=FixedPoint(0.5, 16, 1),
        max_participants=12,
        threshold=7,
        max_colluding=1,
        threat_model=ThreatModel.ACTIVE,
        model_digest=digest_model(model()),
    )
    drops = {
        Phase.SHARE_KEYS: "cedar",
        Phase.MASKED_INPUT: "elm",
        Phase.CONSISTENCY_CHECK: "hazel",
        Phase.UNMASK: "fir",
    }
    return _play("round-active", config, Cast(ARRIVAL, "birch", drops))


def _noise() -> Document:
    """Every step of a pipeline but weights."""
    text = "feedback | clip(linf=1.0) | clip(l2=1.0) | sample(rate=0.75) | rotate | quantise(bits=12)"
    config = RoundConfig(
        task="conformance/noise",
        schema=SCHEMA,
        encoding=Pipeline.parse(f"{text} | noise(law=skellam, z=0.25)"),
        max_participants=8,
        threshold=4,
        max_colluding=1,
        threat_model=ThreatModel.SEMI_HONEST,
        model_digest=digest_model(model()),
    )
    everyone = tuple(name for name in ARRIVAL if name not in {"hazel", "iris", "juniper", "amber-9"})
    drops = {Phase.SHARE_KEYS: "cedar", Phase.MASKED_INPUT: "elm", Phase.UNMASK: "fir"}
    return _play("round-noise", config, Cast(everyone, "birch", drops))


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


AUTHORITY = "Conformance CA, test only"


def _play(name: str, config: RoundConfig, cast: Cast) -> Document:
    vector = document(
        "round",
        f"A round, {config.threat_model.name.lower().replace('_', '-')}, with a dropout in each phase",
        "The round",
        note="Every private value here is derived from a published label: for tests only.",
        **round_inputs(name, config, cast),
    )
    record = Recorder(Stage(vector), cast)
    record.play()
    vector["messages"], vector["steps"] = record.messages, record.steps
    aggregate = record.stage.coordinator.aggregate
    if aggregate is None:
        raise AssertionError("the round of the vectors did not end with a sum")
    vector |= plain(
        {"intermediates": intermediates(vector, record.stage), "outcome": outcome(aggregate, record.stage.round)}
    )
    return vector


def outcome(aggregate: Aggregate, round_: Round) -> dict[str, Any]:
    """The sum and what it means."""
    config = round_.config
    digest, mean = sums_digest(aggregate, config), aggregate.mean(config, round_.context)
    return {
        "survivors": aggregate.survivors,
        "sums": aggregate.sums,
        "sums_digest": digest,
        "aggregate": [part.SerializeToString() for part in encode_aggregate(aggregate, config, digest)],
        "weight": mean.weight,
        "error_bound": mean.error_bound.hex(),
        "mean": {key: [float(v).hex() for v in a.reshape(-1)] for key, a in mean.arrays.items()},
    }


def round_inputs(name: str, config: RoundConfig, cast: Cast) -> dict[str, Any]:
    """What a round of the vectors is made from."""
    config_bytes, round_id = encode_config(config), fixtures.seed(f"id of {name}")[:16]
    inputs: dict[str, Any] = {
        "config": config_bytes,
        "round_id": round_id,
        "model": {key: a.astype(a.dtype.newbyteorder("<")).tobytes() for key, a in model().items()},
        "model_digest": config.model_digest,
        "context": bind(round_id, config_bytes, config.model_digest),  # type: ignore[arg-type]
        "participants": {who: participant_inputs(name, who, config) for who in cast.everyone},
        "drops": {"ADVERTISE_KEYS": cast.leaves_first} | {p.name: who for p, who in cast.drops.items()},
    }
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
        "update": {key: a.astype(a.dtype.newbyteorder("<")).tobytes() for key, a in update.items()},
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


def draw_sizes(config: RoundConfig) -> dict[str, int]:
    """Bytes of a participant's random values, by name."""
    polynomial = 48 * (config.threshold - 1)
    if config.homomorphic is None:
        keys = dict.fromkeys(("channel_private_key", "mask_private_key", "self_mask_seed"), 32)
        return keys | dict.fromkeys(("mask_key_coefficients", "self_mask_coefficients"), polynomial)
    keys = {"channel_private_key": 32, "key_seed": 32}
    if config.homomorphic.custody is Custody.PARTICIPANTS:
        return keys | {"stream_seed": 16}
    return keys | {"key_seed_coefficients": polynomial, "flood_seed": 32}


_SLUGS = {
    "AdvertiseKeys": "advertise-keys",
    "ShareKeys": "share-keys",
    "MaskedInputChunk": "masked-input",
    "ConsistencyCheck": "consistency-check",
    "Unmask": "unmask",
    "KeyConfirmation": "key-confirmation",
    "EncryptedInputChunk": "encrypted-input",
    "SumReport": "sum-report",
    "SumChunk": "sum",
    "PartialChunk": "partial-decryption",
    "RecoveryCheck": "recovery-check",
    "RecoverSeeds": "recover-seeds",
}

_ANSWERS = {
    "Roster": "roster",
    "SurvivorSet": "survivors",
    "EncryptedSum": "encrypted-sum",
    "FallenSet": "fallen",
    "ReleaseOrder": "no-order",
}
_PROOFS = {
    Phase.CONFIRM_KEY: "key-proof",
    Phase.CONSISTENCY_CHECK: "consistency-proof",
    Phase.RECOVERY_CHECK: "recovery-proof",
}


class Recorder:
    """Plays a round and writes down every step with what came of it."""

    def __init__(self, stage: Stage, cast: Cast) -> None:
        self.stage = stage
        self.messages: dict[str, Document] = {}
        self.steps: list[Document] = []
        self._cast = cast
        self._now_ms = fixtures.NOW_S * 1000

    def play(self) -> None:
        """The whole round. What a participant that drops would have sent is made, and does not arrive."""
        leaving = self._cast.leaves_first
        for name in self._cast.everyone:
            self._up(name, self._participant({"at": name, "do": "join"}))
            if name == leaving:
                self._leave(name, LeaveReason.CANCELLED)
        self._close(Phase.ADVERTISE_KEYS)
        alive = [name for name in self._cast.everyone if name != leaving]
        order = phases(self.stage.config)
        for before, phase in pairwise(order):
            self._phase(before, phase, alive)
            alive.remove(self._cast.drops[phase])

    def _phase(self, before: Phase, phase: Phase, alive: list[str]) -> None:
        """Answer everyone with what closed `before`, and deliver the replies in `phase`."""
        for name in alive:
            replies = self._receive(name, before)
            if name != self._cast.drops[phase]:
                self._up(name, replies)
        if phase is Phase.SHARE_KEYS:
            self._up(alive[-1], [f"{alive[-1]}/share-keys"])  # repeated: changes nothing
        if phase is Phase.CONSISTENCY_CHECK:
            self._leave(self._cast.drops[phase], LeaveReason.FAILED)  # and the phase is over without its deadline
        self._close(phase)

    def _receive(self, name: str, before: Phase) -> list[str]:
        """Answer a participant with what closed `before`; the names of its replies."""
        return self._participant(
            {"at": name, "do": "receive", "message": self._answer(name, before), "now_ms": self._tick()}
        )

    def _close(self, phase: Phase) -> None:
        """Let the deadline of `phase` pass if it is still open."""
        if self.stage.coordinator.phase is phase:
            self._now_ms = round(self.stage.coordinator.deadline * 1000)
            self._coordinator({"at": "coordinator", "do": "tick", "now_ms": self._now_ms})

    def _answer(self, name: str, phase: Phase) -> str:
        step = {"at": "coordinator", "do": "answer", "participant": name, "phase": phase.name}
        _, [message] = self.stage.play(step, self.messages)
        slug = _ANSWERS.get(type(message).__name__, _PROOFS.get(phase, f"{name}/share-delivery"))
        if message == ReleaseOrder(upload=True):
            slug = "order"
        self._keep(slug, wire.encode(message))
        self.steps.append(step | {"expect": {"answer": slug}})
        return slug

    def _participant(self, step: Document) -> list[str]:
        _, replies = self.stage.play(step, self.messages)
        slugs = []
        for number, reply in enumerate(replies):
            slug = f"{step['at']}/{_SLUGS[type(reply).__name__]}"
            slugs.append(slug if len(replies) == 1 else f"{slug}-{number}")
            self._keep(slugs[-1], wire.encode(reply))
        self.steps.append(step | {"expect": {"replies": slugs}})
        return slugs

    def _up(self, name: str, slugs: list[str]) -> None:
        for slug in slugs:
            step = {"at": "coordinator", "do": "receive", "sender": name, "message": slug, "now_ms": self._tick()}
            self._coordinator(step)

    def _leave(self, name: str, reason: LeaveReason) -> None:
        self._keep(f"{name}/leave", wire.encode(Leave(reason)))
        self._up(name, [f"{name}/leave"])

    def _coordinator(self, step: Document) -> None:
        outcome, _ = self.stage.play(step, self.messages)
        if "events" not in outcome:
            raise AssertionError(f"the round of the vectors broke: {outcome}")
        self.steps.append(step | {"expect": outcome})

    def _keep(self, slug: str, message: Document) -> None:
        if self.messages.setdefault(slug, message) != message:
            raise AssertionError(f"two messages called {slug}")

    def _tick(self) -> int:
        self._now_ms += 10
        return self._now_ms
