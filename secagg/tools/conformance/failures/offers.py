"""What a participant refuses before a round: offers (checks C1 to C4, C87, C98 and C101 of proto/PROTOCOL.md)."""

from typing import Any

from secagg.lattice.primes import ntt_primes
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.changes import Edit, changed, same
from secagg.tools.conformance.failures.script import (
    ACTIVE,
    BFV,
    JOINT,
    SPARSE,
    Failure,
    Play,
    Row,
    Script,
    Table,
    refused,
)
from secagg.wire.v1 import config_pb2

VIOLATION, POLICY, MALFORMED = refused("ProtocolViolation"), refused("PolicyViolation"), refused("DecodeError", None)


def offer(config: Edit = same, **given: Any) -> Play:
    """A participant is offered a round with a changed configuration.

    Args:
        config: change of the configuration's bytes.
        given: `policy` or `purpose` of the participant, the digest of its model, or bytes that follow.
    """

    def play(script: Script, failure: Failure) -> Document:
        stated: Document = {
            "config": config(bytes.fromhex(script.vector["config"]), script),
            "model_digest": script.replay.model_digest,
            "policy": {},
            "expect": failure.outcome(script),
        }
        return failure.document("offer", **(stated | given))

    return play


def fields(**values: Any) -> Edit:
    """A configuration with other fields; `a__b` is field b of field a, None clears, an edit starts from the field."""

    def edit(config: bytes, script: Script) -> bytes:
        message = config_pb2.RoundConfig.FromString(config)
        for path, value in values.items():
            *parents, name = path.split("__")
            holder: Any = message
            for parent in parents:
                holder = getattr(holder, parent)
            made = changed(value, getattr(holder, name), script)
            holder.ClearField(name)
            if isinstance(made, list | tuple):
                getattr(holder, name).extend(made)
            elif made is not None:
                setattr(holder, name, made)
        return message.SerializeToString(deterministic=True)

    return edit


def _unsafe(slug: str, title: str, change: str, **values: Any) -> Row:
    return f"unsafe-{slug}", "C2", title, change, offer(fields(**values)), VIOLATION


def _crowded(fields_at_top: int) -> Play:
    """As many fields, the last of which are arrays of one byte's name."""

    def play(script: Script, failure: Failure) -> Document:
        config = config_pb2.RoundConfig.FromString(bytes.fromhex(script.vector["config"]))
        known = sum(len(value) if field.is_repeated else 1 for field, value in config.ListFields())
        more = {"bytes": "12050a01781801", "times": fields_at_top - known}
        return offer(followed_by=more)(script, failure)

    return play


def _composite(_: Any, script: Script) -> list[int]:
    return [script.replay.profile.primes[0] - 2 * 4096]


*_WIDE, _WIDEST = ntt_primes(4096, 60, 3)
[_NARROW], _SPLIT = ntt_primes(4096, 31, 1), ntt_primes(4096, 54, 2)

# fmt: off
UNREADABLE: Table = {ACTIVE: [
    ("config-cut", "C1", "Bytes that are no configuration", "cut in a field",
     offer(lambda config, _: config[:-3]), MALFORMED),
    ("config-of-too-many-fields", "C98", "A configuration of more fields than one may have",
     "arrays of one name follow, until there are 100,065 fields; none may become an object before they are counted",
     _crowded(100_065), MALFORMED),
    ("config-of-as-many-fields", "C2", "A configuration of as many fields as one may have",
     "arrays of one name follow, until there are 100,064 fields at the top", _crowded(100_064), VIOLATION),
    ("unknown-suite", "C1", "A suite that nobody knows", "suite 77", offer(fields(suite=77)), MALFORMED),
    ("unknown-field", "C1", "A field that nobody knows", "field 99 is 1",
     offer(lambda config, _: config + bytes.fromhex("980601")), MALFORMED),
    ("unknown-field-of-an-array", "C1", "A field that nobody knows, in an array of the configuration",
     "an array more, in which field 99 is 1",
     offer(lambda config, _: config + bytes.fromhex("12080a017a1801980601")), MALFORMED),
]}

UNSAFE: Table = {
    ACTIVE: [
        _unsafe("threshold-too-low", "2t = n + n_C", "max_colluding is 2", max_colluding=2),
        _unsafe("honest-single", "One honest update in the sum", "t is 12, n_C is 11", threshold=12, max_colluding=11),
        _unsafe("no-threshold", "No threshold at all", "threshold is 0", threshold=0),
        _unsafe("cohort-of-two", "A cohort of two", "max_participants is 2", max_participants=2),
        _unsafe("clip-infinite", "A clip that is no number", "clip is infinite", encoding__clip=float("inf")),
        _unsafe("values-too-wide", "Values wider than the code", "q is 33", encoding__value_bits=33),
        _unsafe("purpose-unreadable", "A purpose with a space", "purpose is 'to train'", purpose="to train"),
        _unsafe("array-twice", "Two arrays of one name", "bias twice", arrays=lambda honest, _: [*honest, honest[1]]),
        _unsafe("model-named-twice", "A model that is named at once and later", "model_later is set", model_later=True),
        _unsafe("digest-missing", "No model digest", "model_digest is empty", model_digest=b""),
    ],
    SPARSE: [
        ("unsafe-ring-cut", "C101", "A ring that a colluder cuts", "t_k is 6",
         offer(fields(ring__neighbour_threshold=6)),
         VIOLATION),
        ("unsafe-ring-colluder", "C101", "A ring that is safe for no colluder, and not for one", "max_colluding is 1",
         offer(fields(max_colluding=1)), VIOLATION),
        ("unsafe-ring-committee", "C101", "A committee of whom two halves sign", "t_c is 3 of 7",
         offer(fields(ring__committee_threshold=3)), VIOLATION),
        ("unsafe-ring-slow", "C101", "Longer than ten minutes to try lists of members", "advertise_keys_ms is 600,001",
         offer(fields(deadlines__advertise_keys_ms=600_001)), VIOLATION),
        ("unsafe-ring-small", "C101", "A ring of fewer members than a sum needs", "min_participants is 8, t is 9",
         offer(fields(ring__min_participants=8, ring__degree=6, ring__neighbour_threshold=5)), VIOLATION),
    ],
    BFV: [
        _unsafe("profile-insecure", "A profile below 128 bits", "two primes of 60 bits, and h",
                homomorphic__primes=_WIDE, homomorphic__plain_modulus=_WIDEST),
        _unsafe("profile-composite", "A prime that is none", "another number", homomorphic__primes=_composite),
        _unsafe("profile-too-small", "More participants than the profile is for", "7", homomorphic__summands=7),
        _unsafe("profile-other-bits", "A profile for other values", "7 bits", homomorphic__value_bits=7),
        _unsafe("profile-fields-carry", "Slots that can wrap", "a smaller t", homomorphic__plain_modulus=40961),
        _unsafe("profile-unused-prime", "Primes of which SEAL keeps the last for itself",
                "two primes of 54 bits, a plaintext modulus of 31", homomorphic__primes=_SPLIT,
                homomorphic__plain_modulus=_NARROW, homomorphic__values_per_slot=1),
        _unsafe("homomorphic-active", "More than this scheme holds", "ACTIVE", threat_model=2, threshold=9),
        _unsafe("homomorphic-model-later", "A homomorphic round whose model is named later",
                "model_later is set, and the digest is zeros", model_later=True, model_digest=bytes(32)),
        _unsafe("dealt-collusion", "A key that a colluder holds", "n_C is 1", max_colluding=1),
    ],
    JOINT: [
        _unsafe("joint-collusion", "Two lists that colluders sign", "2t = n + n_C", max_colluding=1),
        _unsafe("joint-minority", "A minority that decrypts", "t is 7 of 15", threshold=7),
        _unsafe("joint-unreleased", "A sum that nobody learns", "none", release_to_coordinator=None),
    ],
}

AGAINST_POLICY: Table = {
    ACTIVE: [
        ("below-policy-cohort", "C3", "A threshold below the participant's smallest cohort",
         "the participant demands a cohort of 8, the threshold is 7", offer(policy={"min_cohort": 8}), POLICY),
        ("below-policy-honest", "C3", "Fewer updates of participants that do not collude than the participant demands",
         "the participant demands 7; the threshold is 7 and n_C is 1", offer(policy={"min_honest": 7}), POLICY),
        ("below-policy-threat-model", "C3", "A threat model that the participant's policy rules out",
         "the configuration says semi-honest, the participant allows the active threat model only",
         offer(fields(threat_model=1), policy={"threat_models": ["ACTIVE"]}), POLICY),
        ("below-policy-suite", "C3", "A suite that is not hybrid where the participant demands one",
         "the participant demands a hybrid suite, the configuration names X25519_SHA256_AES128",
         offer(policy={"require_hybrid": True}), POLICY),
        ("below-policy-task", "C3", "A task that the participant does not take part in",
         "the participant allows another task only", offer(policy={"tasks": ["another"]}), POLICY),
        ("other-purpose", "C87", "A round for another purpose than the update was made for",
         "the configuration says evaluate, the participant names train, as where nobody names one",
         offer(fields(purpose="evaluate")), POLICY),
        ("training-for-evaluation", "C87", "A round to train where the participant evaluates",
         "the participant names evaluate, the configuration names no purpose, and so train",
         offer(purpose="evaluate"), POLICY),
        ("model-mismatch", "C4", "A round about another model",
         "the participant holds another model than the configuration names",
         offer(model_digest=fixtures.seed("another model")), refused("ModelMismatch")),
    ],
    SPARSE: [
        ("below-policy-graph", "C3", "A ring where the participant demands the complete graph",
         "the participant demands it, the configuration has a ring", offer(policy={"require_complete_graph": True}),
         POLICY),
    ],
    BFV: [
        ("below-policy-scheme", "C3", "A scheme that the policy rules out", "the participant's policy",
         offer(policy={"schemes": ["masked", "ckks"]}), POLICY),
        ("below-policy-custody", "C3", "A custody that the policy rules out", "the participant's policy",
         offer(policy={"custodies": ["threshold"]}), POLICY),
        ("below-policy-collusion", "C3", "Fewer colluders than the policy demands", "the participant's policy",
         offer(policy={"min_colluding_share": 0.5}), POLICY),
    ],
    JOINT: [
        ("below-policy-experimental", "C3", "An experimental round without consent", "the participant's policy",
         offer(policy={"allow_experimental": False}), POLICY),
    ],
}
# fmt: on

TABLES = (UNREADABLE, UNSAFE, AGAINST_POLICY)
