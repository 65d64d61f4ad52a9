"""What a program must have for a vector to concern it: the words in the field `needs` of each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from secagg.errors import DecodeError
from secagg.tools.conformance.document import Document
from secagg.wire.parsing import parse
from secagg.wire.v1 import config_pb2 as pb

COORDINATOR: Final = "coordinator"
"""It is a coordinator."""

_BY_KIND: Final[Mapping[str, Sequence[str]]] = {
    "signed": ("ecdsa", "signed-bytes", "certificate-chains", "dealing"),
    "model-later": ("input-context",),
    "ring": ("sparse-roster", "sparse-graph", "sparse-parameters"),
    "aegis": ("aegis-128x4",),
    "hybrid": ("x-wing", "encapsulations", "pair-secrets"),
    "pipeline": (
        *("pipeline-text", "clipping", "sampling", "rotation", "pipeline-encoding"),
        *("noise-calibration", "noise-table", "noisy-encoding"),
    ),
    "integers": ("integers",),
    "groups": ("groups",),
    "homomorphic": (
        *("ring-primes", "ring-transform", "residue-packing", "residue-stream", "small-polynomials", "profiles"),
        *("slots", "seeded-encryption", "key-shares", "partial-decryption", "sum-decoding", "encrypted-bindings"),
        *("homomorphic-signed-bytes", "recorded"),
    ),
    "results": ("decoding", "endings", "ending", "aggregate"),
    "ledger": ("privacy-ledger",),
    "audit-log": ("audit-log",),
    COORDINATOR: ("share-correction",),
}

_SUITES: Final = {"X25519_SHA256_AEGIS128X4": "aegis", "XWING_SHA256_AES256": "hybrid"}
_BY_CASE: Final = ("bounds", "policies")
"""Kinds whose cases have `needs` each."""


def needs_of(config: bytes) -> list[str]:
    """What a configuration speaks of, whether it may be accepted or not: whoever lacks something may refuse it for
    that reason alone (proto/PROTOCOL.md, section 18). Bytes that are no configuration need nothing.
    """
    try:
        read = parse(pb.RoundConfig, config)
    except DecodeError:
        return []
    homomorphic = read.HasField("homomorphic")
    needed = {
        "signed": read.threat_model == pb.THREAT_MODEL_ACTIVE or homomorphic,
        "model-later": read.model_later,
        "ring": read.HasField("ring"),
        "aegis": read.suite == pb.SUITE_X25519_SHA256_AEGIS128X4,
        "hybrid": read.suite == pb.SUITE_XWING_SHA256_AES256,
        "homomorphic": homomorphic,
        "pipeline": bool(read.pipeline),
        "integers": read.HasField("integers"),
        "groups": read.HasField("groups"),
    }
    return sorted(word for word, needs in needed.items() if needs)


def tagged(made: Iterator[tuple[str, Document]]) -> Iterator[tuple[str, Document]]:
    """Vectors with their `needs`. A round comes before what departs from it."""
    rounds: dict[str, list[str]] = {}
    for name, vector in made:
        needs = _needs(vector, rounds)
        if vector["kind"] == "round":
            rounds[name] = needs
        if vector["kind"] in _BY_CASE:
            for case in vector["cases"]:
                case["needs"] = needs_of(bytes.fromhex(case["config"]))
        yield name, vector | {"needs": needs}


def _needs(vector: Document, rounds: Mapping[str, list[str]]) -> list[str]:
    kind = vector["kind"]
    needs = {word for word, kinds in _BY_KIND.items() if kind in kinds}
    if kind in {"round", "offer"}:
        needs |= {*needs_of(bytes.fromhex(vector["config"]))}
    elif "round" in vector:
        needs |= {*rounds[vector["round"]]}
    if vector.get("suite") in _SUITES:
        needs.add(_SUITES[vector["suite"]])
    if "steps" in vector and kind != "round" and vector["steps"][0]["at"] == COORDINATOR:
        needs.add(COORDINATOR)
    return sorted(needs)
