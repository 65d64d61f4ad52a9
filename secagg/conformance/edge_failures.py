"""What a participant refuses before a round and after it: offers (C1 to C4) and aggregates (C30 and C31)."""

from collections.abc import Callable, Iterator
from typing import Any

from secagg.conformance import fixtures
from secagg.conformance.document import Document, document
from secagg.conformance.failures import Script, refused
from secagg.wire.v1 import config_pb2, messages_pb2

Vector = tuple[str, Document]
VIOLATION = refused("ProtocolViolation")
Edit = Callable[[Any], object]


def vectors(active: Script) -> Iterator[Vector]:
    """File name and content."""
    yield from _offers(active)
    yield from _aggregates(active)


def _offers(script: Script) -> Iterator[Vector]:
    honest = bytes.fromhex(script.vector["config"])

    def case(slug: str, check: str, title: str, change: str, expect: Document, **given: Any) -> Vector:
        content = {"config": honest, "model_digest": script.stage.config.model_digest, "policy": {}} | given
        return f"failure-{slug}", document(
            "offer", title, "Checks", check=check, change=change, expect=expect, **content
        )

    def edited(edit: Edit) -> bytes:
        message = config_pb2.RoundConfig.FromString(honest)
        edit(message)
        return message.SerializeToString(deterministic=True)

    malformed = refused("DecodeError", None)
    yield case("config-cut", "C1", "Bytes that are no configuration", "cut in a field", malformed, config=honest[:-3])
    suite = edited(lambda m: setattr(m, "suite", 77))
    yield case("unknown-suite", "C1", "A suite that nobody knows", "suite 77", malformed, config=suite)
    for slug, title, change, edit in (
        ("threshold-too-low", "2t = n + n_C", "max_colluding is 2", lambda m: setattr(m, "max_colluding", 2)),
        ("no-threshold", "No threshold at all", "threshold is 0", lambda m: setattr(m, "threshold", 0)),
        ("cohort-of-two", "A cohort of two", "max_participants is 2", lambda m: setattr(m, "max_participants", 2)),
        ("clip-infinite", "A clip that is no number", "clip is infinite", lambda m: setattr(m.encoding, "clip", 1e999)),
        ("values-too-wide", "Values wider than the code", "q is 33", lambda m: setattr(m.encoding, "value_bits", 33)),
        ("array-twice", "Two arrays of one name", "bias twice", lambda m: m.arrays.append(m.arrays[1])),
        ("digest-missing", "No model digest", "model_digest is empty", lambda m: setattr(m, "model_digest", b"")),
    ):
        yield case(f"unsafe-{slug}", "C2", title, change, VIOLATION, config=edited(edit))
    policy = refused("PolicyViolation")
    yield case(
        "below-policy-cohort",
        "C3",
        "A threshold below the participant's smallest cohort",
        "the participant demands a cohort of 8, the threshold is 7",
        policy,
        policy={"min_cohort": 8},
    )
    yield case(
        "below-policy-threat-model",
        "C3",
        "A threat model that the participant's policy rules out",
        "the configuration says semi-honest, the participant allows the active threat model only",
        policy,
        config=edited(lambda m: setattr(m, "threat_model", 1)),
        policy={"threat_models": ["ACTIVE"]},
    )
    yield case(
        "below-policy-task",
        "C3",
        "A task that the participant does not take part in",
        "the participant allows another task only",
        policy,
        policy={"tasks": ["another"]},
    )
    yield case(
        "model-mismatch",
        "C4",
        "A round about another model",
        "the participant holds another model than the configuration names",
        refused("ModelMismatch"),
        model_digest=fixtures.seed("another model"),
    )


def _aggregates(script: Script) -> Iterator[Vector]:
    honest = [bytes.fromhex(part) for part in script.vector["outcome"]["aggregate"]]

    def case(slug: str, check: str, title: str, change: str, *, parts: list[bytes], expect: Document) -> Vector:
        content: Document = {"round": script.name, "parts": parts, "expect": expect}
        return f"failure-{slug}", document("aggregate", title, "Checks", check=check, change=change, **content)

    malformed = refused("DecodeError")
    yield case(
        "aggregate-cut", "C30", "A sum that ends early", "no part with values", parts=honest[:1], expect=malformed
    )
    few = messages_pb2.AggregatePart.FromString(honest[0])
    del few.survivors[6:]
    yield case(
        "aggregate-below-threshold",
        "C30",
        "A sum of too few",
        "six survivors are named, the threshold is 7",
        parts=[few.SerializeToString(deterministic=True), *honest[1:]],
        expect=malformed,
    )
    other = messages_pb2.AggregatePart.FromString(honest[1])
    other.payload = bytes([other.payload[0] ^ 1]) + other.payload[1:]
    yield case(
        "aggregate-altered",
        "C31",
        "A sum that is not the one of the receipt",
        "one bit of the sum",
        parts=[honest[0], other.SerializeToString(deterministic=True)],
        expect=refused("AuthenticationError"),
    )
