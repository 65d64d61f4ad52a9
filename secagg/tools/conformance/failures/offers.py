"""What a participant refuses before a round and after it: offers (C1 to C4) and aggregates (C30 and C31)."""

from collections.abc import Callable, Iterator
from typing import Any

from secagg.lattice.primes import ntt_primes
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Document, document
from secagg.tools.conformance.failures.script import Script, refused
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
        return _offer(script, slug, check, title, change=change, expect=expect, **given)

    def edited(edit: Edit) -> bytes:
        return _edited(script, edit)

    malformed = refused("DecodeError", None)
    yield case("config-cut", "C1", "Bytes that are no configuration", "cut in a field", malformed, config=honest[:-3])
    yield case(
        "config-of-too-many-fields",
        "C98",
        "A configuration of empty arrays, two bytes each",
        "100,065 empty arrays follow; no object may be made of each before they are counted",
        malformed,
        followed_by={"bytes": "1200", "times": 100_065},
    )
    suite = edited(lambda m: setattr(m, "suite", 77))
    yield case("unknown-suite", "C1", "A suite that nobody knows", "suite 77", malformed, config=suite)
    for slug, title, change, edit in (
        ("threshold-too-low", "2t = n + n_C", "max_colluding is 2", lambda m: setattr(m, "max_colluding", 2)),
        ("honest-single", "One honest update in the sum", "t is 12, n_C is 11", _all_but_one_collude),
        ("no-threshold", "No threshold at all", "threshold is 0", lambda m: setattr(m, "threshold", 0)),
        ("cohort-of-two", "A cohort of two", "max_participants is 2", lambda m: setattr(m, "max_participants", 2)),
        ("clip-infinite", "A clip that is no number", "clip is infinite", lambda m: setattr(m.encoding, "clip", 1e999)),
        ("values-too-wide", "Values wider than the code", "q is 33", lambda m: setattr(m.encoding, "value_bits", 33)),
        ("purpose-unreadable", "A purpose with a space", "purpose is 'to train'", _unreadable_purpose),
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
        "below-policy-honest",
        "C3",
        "Fewer updates of participants that do not collude than the participant demands",
        "the participant demands 7; the threshold is 7 and n_C is 1",
        policy,
        policy={"min_honest": 7},
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
        "other-purpose",
        "C87",
        "A round for another purpose than the update was made for",
        "the configuration says evaluate, the participant names train, as where nobody names one",
        policy,
        config=edited(lambda m: setattr(m, "purpose", "evaluate")),
    )
    yield case(
        "training-for-evaluation",
        "C87",
        "A round to train where the participant evaluates",
        "the participant names evaluate, the configuration names no purpose, and so train",
        policy,
        purpose="evaluate",
    )
    yield case(
        "model-mismatch",
        "C4",
        "A round about another model",
        "the participant holds another model than the configuration names",
        refused("ModelMismatch"),
        model_digest=fixtures.seed("another model"),
    )


def _unreadable_purpose(config: Any) -> None:
    config.purpose = "to train"


def _all_but_one_collude(config: Any) -> None:
    config.threshold, config.max_colluding = config.max_participants, config.max_participants - 1


def _offer(script: Script, slug: str, check: str, title: str, **given: Any) -> Vector:
    content = {
        "config": bytes.fromhex(script.vector["config"]),
        "model_digest": script.stage.config.model_digest,
        "policy": {},
    }
    return f"failure-{slug}", document("offer", title, "Checks", check=check, **content | given)


def _edited(script: Script, edit: Edit) -> bytes:
    """The script's configuration, changed."""
    message = config_pb2.RoundConfig.FromString(bytes.fromhex(script.vector["config"]))
    edit(message)
    return message.SerializeToString(deterministic=True)


def homomorphic_vectors(dealt: Script, joint: Script) -> Iterator[Vector]:
    """Offers of homomorphic rounds: file name and content."""
    *wide, widest = ntt_primes(4096, 60, 3)
    narrow, split = ntt_primes(4096, 31, 1)[0], ntt_primes(4096, 54, 2)
    composite = dealt.stage.profile.primes[0] - 2 * 4096
    for script, slug, title, change, edit in (
        (
            dealt,
            "profile-insecure",
            "A profile below 128 bits",
            "two primes of 60 bits, and h",
            _profile(primes=wide, plain_modulus=widest),
        ),
        (dealt, "profile-composite", "A prime that is none", "another number", _profile(primes=[composite])),
        (dealt, "profile-too-small", "More participants than the profile is for", "7", _profile(summands=7)),
        (dealt, "profile-other-bits", "A profile for other values", "7 bits", _profile(value_bits=7)),
        (dealt, "profile-fields-carry", "Slots that can wrap", "a smaller t", _profile(plain_modulus=40961)),
        (
            dealt,
            "profile-unused-prime",
            "Primes of which SEAL keeps the last for itself",
            "two primes of 54 bits, a plaintext modulus of 31",
            _profile(primes=list(split), plain_modulus=narrow, values_per_slot=1),
        ),
        (dealt, "homomorphic-active", "More than this scheme holds", "ACTIVE", _active),
        (dealt, "dealt-collusion", "A key that a colluder holds", "n_C is 1", lambda m: setattr(m, "max_colluding", 1)),
        (
            joint,
            "joint-collusion",
            "Two lists that colluders sign",
            "2t = n + n_C",
            lambda m: setattr(m, "max_colluding", 1),
        ),
        (joint, "joint-minority", "A minority that decrypts", "t is 7 of 15", lambda m: setattr(m, "threshold", 7)),
        (
            joint,
            "joint-unreleased",
            "A sum that nobody learns",
            "none",
            lambda m: m.ClearField("release_to_coordinator"),
        ),
    ):
        config = _edited(script, edit)
        yield _offer(script, f"unsafe-{slug}", "C2", title, change=change, expect=VIOLATION, config=config)
    terms: list[tuple[Script, str, str, Document]] = [
        (dealt, "scheme", "A scheme that the policy rules out", {"schemes": ["masked", "ckks"]}),
        (dealt, "custody", "A custody that the policy rules out", {"custodies": ["threshold"]}),
        (joint, "experimental", "An experimental round without consent", {"allow_experimental": False}),
        (dealt, "collusion", "Fewer colluders than the policy demands", {"min_colluding_share": 0.5}),
    ]
    for script, slug, title, policy in terms:
        change, expect = "the participant's policy", refused("PolicyViolation")
        yield _offer(script, f"below-policy-{slug}", "C3", title, change=change, expect=expect, policy=policy)


def _active(message: Any) -> None:
    """The active threat model, at a threshold that it allows."""
    message.threat_model, message.threshold = 2, message.max_participants


def _profile(**changes: Any) -> Edit:
    """Fields of the profile, changed."""

    def edit(message: Any) -> None:
        for name, value in changes.items():
            if isinstance(value, list):
                getattr(message.homomorphic, name)[:] = value
            else:
                setattr(message.homomorphic, name, value)

    return edit


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
