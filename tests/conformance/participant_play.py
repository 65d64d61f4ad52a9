"""Plays vectors against the participant of `participant_reference`, or against a mutant of it."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from types import ModuleType
from typing import Any

from google.protobuf.message import DecodeError as ProtobufError
from google.protobuf.message import Message

from secagg.tools.conformance import fixtures, vectors
from secagg.tools.conformance.replay import archive
from secagg.wire.v1 import config_pb2, data_plane_pb2
from tests.conformance import against_specification

Vector = Mapping[str, Any]
load = cache(vectors.load)
WIRE: dict[str, type[Message]] = {
    "AdvertiseKeys": data_plane_pb2.AdvertiseKeys,
    "ShareKeys": data_plane_pb2.ShareKeysPart,
    "MaskedInputChunk": data_plane_pb2.MaskedInputChunk,
    "ConsistencyCheck": data_plane_pb2.ConsistencyCheck,
    "Unmask": data_plane_pb2.UnmaskPart,
}
ROUNDS = (
    "round-active",
    "round-semi-honest",
    "round-active-model-later",
    "round-active-sparse",
    "round-semi-honest-sparse",
)
"""Those that a participant of masked rounds without pipelines takes part in."""
PLAYERS = ("dahlia", "Aster", "juniper")
"""Whom a whole round is played at: somebody in the middle, and both ends."""


def unhex(parts: list[str]) -> list[bytes]:
    return [bytes.fromhex(part) for part in parts]


def parsed(message: Vector) -> list[Message]:
    """The fields of a message that a participant sends."""
    return [WIRE[message["type"]].FromString(part) for part in unhex(message["parts"])]


def fields(messages: Iterable[Message]) -> list[str]:
    """What a message says: shares and entries in ascending order, since the page leaves their order open."""
    return [
        str([sorted(map(str, value)) if field.name == "shares" else value for field, value in message.ListFields()])
        for message in messages
    ]


def outcome(participant: Any, step: Vector, messages: Mapping[str, Vector]) -> list[Message]:
    """What a participant answers to a step; `Refused` of its module if it refuses."""
    if step["do"] == "join":
        return list(participant.join())
    message = messages[step["message"]]
    return list(participant.receive(message["type"], unhex(message["parts"]), step["now_ms"] / 1000))


def whole_round(module: ModuleType, vector: Vector) -> None:
    """All steps at some participants, each answered as the vector says."""
    for name in PLAYERS:
        if name not in vector["participants"]:
            continue
        participant = module.Participant(name, vector, {}, [])
        for step in vector["steps"]:
            if step["at"] == name:
                replies = [vector["messages"][reply] for reply in step["expect"]["replies"]]
                made = outcome(participant, step, vector["messages"])
                assert fields(made) == fields(m for reply in replies for m in parsed(reply))


def failure(module: ModuleType, vector: Vector) -> None:
    """All steps but the last are answered as stated, and the last is refused as stated, where one is."""
    honest, known = load(vector["round"]), archive.messages(vector["round"])
    messages = known | dict(archive.completed(vector["messages"], known))
    at = vector["steps"][0]["at"]
    participant = module.Participant(at, honest, vector.get("policy", {}), vector.get("released", []))
    for step in honest["steps"][: vector["after"]]:
        if step["at"] == at:
            outcome(participant, step, messages)
    for step in vector["steps"]:
        expect, replies, left = step["expect"], list[Message](), list[Vector]()
        refused = refusal(module, partial(answer, participant, step, messages, replies), left)
        if refused or "error" in expect:
            assert refused == expect
            assert left == [vector["leave"]]
        else:
            kind = type(replies[0])
            expected = [kind.FromString(part) for reply in expect["replies"] for part in unhex(reply)]
            assert fields(replies) == fields(expected)


def answer(participant: Any, step: Vector, messages: Mapping[str, Vector], replies: list[Message]) -> None:
    """Append what the participant answers."""
    replies.extend(outcome(participant, step, messages))


def refusal(module: ModuleType, act: Callable[[], object], left: list[Vector] | None = None) -> dict[str, str] | None:
    """How a vector states what `act` is refused with; None if it is not. `left` takes its `Leave`."""
    try:
        act()
    except module.Refused as error:
        if left is not None:
            left.append(error.leave)
        return {"error": error.error} | ({"culprit": error.culprit} if error.culprit else {})
    return None


def offer(module: ModuleType, vector: Vector) -> None:
    more = vector.get("followed_by", {"bytes": "", "times": 0})
    data = bytes.fromhex(vector["config"]) + bytes.fromhex(more["bytes"]) * more["times"]
    purpose, model = vector.get("purpose", "train"), bytes.fromhex(vector["model_digest"])
    offered = refusal(module, lambda: module.check_offer(data, model, vector["policy"], purpose))
    assert offered == vector["expect"]


def aggregate(module: ModuleType, vector: Vector) -> None:
    config = config_pb2.RoundConfig.FromString(bytes.fromhex(load(vector["round"])["config"]))
    read = refusal(module, lambda: module.read_aggregate(unhex(vector["parts"]), config))
    assert (read or {}) == vector["expect"]


def ending(module: ModuleType, vector: Vector) -> None:
    now_s = vector.get("now_ms", fixtures.NOW_S * 1000) / 1000
    heard = refusal(module, lambda: believed(module, vector["round"], vector["receipt"], vector.get("proof"), now_s))
    assert heard == vector["expect"]


def endings(module: ModuleType, vector: Vector) -> None:
    """The honest ending is believed, and certified."""
    message, proof = vector["receipt"]["message"], vector["result"]["signatures"]
    assert believed(module, vector["round"], message, None) is None
    assert believed(module, vector["round"], message, proof)


def believed(
    module: ModuleType, name: str, receipt: str, proof: list[str] | None, now_s: float = fixtures.NOW_S
) -> bool | None:
    played = load(name)
    made = against_specification.Rebuilt(played)
    keys = {
        index: module.Chain(
            made.certificates(who),
            bytes.fromhex(played["authority"]["certificate"]),
            datetime.fromtimestamp(fixtures.NOW_S, UTC),
            module.ExtendedKeyUsageOID.CLIENT_AUTH,
        ).key
        for who, index in made.index.items()
    }
    known = {
        "now_s": now_s,
        "authority": played["authority"]["certificate"],
        "round_id": made.round_id,
        "context": made.input_bound,
        "task": made.config.task,
        "model_digest": bytes.fromhex(played["model_digest"]),
        "survivors": played["outcome"]["survivors"],
        "indices": made.indices(played["outcome"]["survivors"]),
        "threshold": made.config.threshold,
    }
    parts = None if proof is None else unhex(proof)
    verdict: bool | None = module.believed(bytes.fromhex(receipt), parts, known, made.roster, keys)
    return verdict


def differencing(module: ModuleType, vector: Vector) -> None:
    for case in vector["cases"]:
        own = case["sum"]
        config = config_pb2.RoundConfig(threshold=own["threshold"], purpose=own["purpose"])
        before = [one for one in case["before"] if one["model"] == own["model"]]
        assert module.singled_out(frozenset(own["survivors"]), config, before) is bool(case["exposed"])


def configuration(module: ModuleType, vector: Vector) -> None:
    for case in vector["cases"]:
        config = module.read_config(bytes.fromhex(case["bytes"]))
        module.check_safe(config)
        assert (module.vector_length(config), module.ring_bits(config)) == (case["vector_len"], case["ring_bits"])


def bounds(module: ModuleType, vector: Vector) -> None:
    for case in vector["cases"]:
        data = bytes.fromhex(case["config"])
        refused = refusal(module, partial(safe, module, data))
        assert (refused or {}).get("error") == case.get("error"), case["title"]
        if not refused:
            config = module.read_config(data)
            assert (module.vector_length(config), module.ring_bits(config)) == (case["vector_len"], case["ring_bits"])


def safe(module: ModuleType, data: bytes) -> None:
    module.check_safe(module.read_config(data))


def policies(module: ModuleType, vector: Vector) -> None:
    refusing = {"error": "PolicyViolation", "culprit": "coordinator"}
    for case in vector["cases"]:
        config = module.read_config(bytes.fromhex(case["config"]))
        refused = refusal(module, partial(module.check_policy, config, case["policy"]))
        assert refused == (None if case["taken"] else refusing), case["title"]


def certificate_chains(module: ModuleType, vector: Vector) -> None:
    authority = bytes.fromhex(vector["ca"])
    refusing = {"error": "AuthenticationError", "culprit": "coordinator"}
    for case in vector["cases"]:
        found: list[object] = []

        def verify(case: Vector = case, found: list[object] = found) -> None:
            uses, chain = module.ExtendedKeyUsageOID, unhex(case["chain"])
            now = datetime.fromtimestamp(case.get("at_ms", vector["at_ms"]) / 1000, UTC)
            if case["of"] == "participant":
                found.extend(module.Chain(chain, authority, now, uses.CLIENT_AUTH).participant())
            else:
                module.Chain(chain, authority, now, uses.SERVER_AUTH).coordinator()

        refused = refusal(module, verify)
        assert refused == (None if case["taken"] else refusing), case["title"]
        if found:
            assert found == [case["participant_id"], case["organisation"]]


def integers(module: ModuleType, vector: Vector) -> None:
    for case in vector["cases"]:
        config = module.read_config(bytes.fromhex(case["config"]))
        module.check_safe(config)
        assert (module.vector_length(config), module.ring_bits(config)) == (len(case["sums"]), case["ring_bits"])
    config, summands = module.read_config(bytes.fromhex(vector["config"])), vector["summands"]
    module.check_totals(config, list(map(int, vector["largest"])), summands)
    for case in vector["refused"]:
        refused = refusal(module, partial(module.check_totals, config, list(map(int, case["sums"])), summands))
        assert refused == {"error": "ProtocolViolation"}, case["why"]


READERS: dict[str, Callable[[ModuleType, Vector], None]] = {
    "round": whole_round,
    "failure": failure,
    "variation": failure,
    "offer": offer,
    "aggregate": aggregate,
    "ending": ending,
    "endings": endings,
    "differencing": differencing,
    "configuration": configuration,
    "bounds": bounds,
    "policies": policies,
    "certificate-chains": certificate_chains,
    "integers": integers,
}


def masked_only(config: str) -> bool:
    """Whether a configuration is one of those that this participant knows enough of to say what is wrong with it."""
    try:
        read = config_pb2.RoundConfig.FromString(bytes.fromhex(config))
    except ProtobufError:
        return True
    return not read.HasField("homomorphic") and not read.pipeline


def concerns(name: str, vector: Vector) -> bool:
    """Whether this participant has to do what the vector says."""
    match vector["kind"]:
        case "round":
            return name in ROUNDS
        case "failure" | "variation":
            return vector["round"] in ROUNDS and vector["steps"][0]["at"] != "coordinator"
        case "offer":
            return masked_only(vector["config"])
        case kind:
            return kind in READERS
