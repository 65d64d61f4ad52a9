"""Readers that hold vectors to `reference.py`, which knows nothing of secagg."""

import hashlib
import math
import struct
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import combinations
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secagg.tools.conformance import vectors
from secagg.tools.conformance.replay import archive
from secagg.wire.v1 import config_pb2, data_plane_pb2
from tests.conformance import aegis, xwing
from tests.conformance import pipeline_reference as pipelines
from tests.conformance import reference as ref

Vector = dict[str, Any]
unhex = bytes.fromhex


def framing(vector: Vector) -> None:
    for case in vector["cases"]:
        parts = [unhex(part) for part in case["parts"]]
        assert ref.frame(*parts).hex() == case["frame"]
        assert ref.digest(*parts).hex() == case["digest"]


def model_digest(vector: Vector) -> None:
    for case in vector["cases"]:
        arrays = {n: (a["dtype"], a["shape"], unhex(a["little_endian"])) for n, a in case["arrays"].items()}
        assert hashlib.sha256(unhex(case["hashed"])).hexdigest() == case["digest"]
        assert ref.model_digest(arrays).hex() == case["digest"]


def context(vector: Vector) -> None:
    made = ref.context(unhex(vector["round_id"]), unhex(vector["config"]), unhex(vector["model_digest"]))
    assert made.hex() == vector["context"] == hashlib.sha256(unhex(vector["frame"])).hexdigest()


def input_context(vector: Vector) -> None:
    made = ref.input_context(unhex(vector["context"]), unhex(vector["model_digest"]))
    assert made.hex() == vector["input_context"]
    assert hashlib.sha256(unhex(vector["frame"])).digest() == made


def _members(vector: Vector) -> list[ref.Keys]:
    return [
        (
            m["index"],
            m["participant_id"],
            unhex(m["channel_public_key"]),
            unhex(m["mask_public_key"]),
            [unhex(c) for c in m["certificates"]],
        )
        for m in vector["members"]
    ]


def roster_digest(vector: Vector) -> None:
    assert ref.roster_digest(_members(vector)).hex() == vector["digest"]
    assert hashlib.sha256(unhex(vector["frame"])).hexdigest() == vector["digest"]


def sparse_roster(vector: Vector) -> None:
    members = _members(vector)
    assert [ref.entry_digest(*m).hex() for m in members] == [told["entry_digest"] for told in vector["members"]]
    assert ref.sparse_roster_digest(members).hex() == vector["digest"]
    assert hashlib.sha256(unhex(vector["frame"])).hexdigest() == vector["digest"]


def sparse_graph(vector: Vector) -> None:
    for case in vector["cases"]:
        bound, roster, n = unhex(case["context"]), unhex(case["roster_digest"]), case["members"]
        seed = ref.graph_seed(bound, roster)
        assert (seed.hex(), ref.graph_context(bound, roster).hex()) == (case["seed"], case["graph_context"])
        assert ref.on_ring(seed, n) == case["ring"]
        assert ref.committee(seed, n, case["committee_size"]) == case["committee"]
        for index, known in case["neighbours"].items():
            assert ref.neighbours(seed, n, case["degree"], int(index)) == known


def sparse_parameters(vector: Vector) -> None:
    for case in vector["cases"]:
        cohort = {name: case[name] for name in ("threshold", "max_participants", "max_colluding")}
        active = case["threat_model"] == "ACTIVE"
        assert ref.ring_is_safe(case["ring"], **cohort, active=active) is case["safe"]


def signed_bytes(vector: Vector) -> None:
    bound, (_, _, channel, mask, _) = unhex(vector["context"]), _members(vector)[0]
    advertised = ref.advertisement_signed(bound, vector["participant_id"], channel, mask)
    roster = ref.roster_digest(_members(vector))
    sets = ref.sets_signed(bound, roster, vector["survivors"], vector["dropped"])
    key = ec.derive_private_key(int(vector["private_scalar_test_only"], 16), ec.SECP256R1())
    assert roster.hex() == vector["roster_digest"]
    for made, stated in ((advertised, vector["advertise_keys"]), (sets, vector["consistency_check"])):
        assert made.hex() == stated["signed"]
        assert sign(key, made).hex() == stated["signature"]


def endings(vector: Vector) -> None:
    members, bound = _members_of_round(vector["round"]), unhex(vector["context"])
    roster, digest = ref.roster_digest(members), unhex(vector["sums_digest"])
    assert roster.hex() == vector["roster_digest"]
    known = unhex(vector["round_id"]), bound, vector["task"].encode(), unhex(vector["model_digest"]), roster
    told = {"survivors": vector["survivors"], "sums_digest": digest, "signed_ms": vector["signed_ms"]}
    receipt = ref.receipt_signed(*known, **told)
    result = ref.result_signed(bound, roster, vector["indices"], digest)
    key = ec.derive_private_key(int(vector["coordinator"]["private_scalar_test_only"], 16), ec.SECP256R1())
    assert (receipt.hex(), sign(key, receipt).hex()) == (vector["receipt"]["signed"], vector["receipt"]["signature"])
    assert result.hex() == vector["result"]["signed"]
    numbers = {name: index for index, name, *_ in members}
    assert [numbers[name] for name in vector["survivors"]] == vector["indices"]
    played = vectors.load(vector["round"])
    signer = played["participants"][vector["result"]["signer"]]["identity"]
    own = ec.derive_private_key(int(signer["private_scalar_test_only"], 16), ec.SECP256R1())
    assert sign(own, result).hex() == vector["result"]["signature"]
    message = data_plane_pb2.Receipt.FromString(unhex(vector["receipt"]["message"]))
    assert message.sums_digest == digest
    assert message.survivors == len(vector["survivors"])
    assert message.signature.hex() == vector["receipt"]["signature"]
    assert [c.hex() for c in message.certificates] == [vector["coordinator"]["certificate"]]


def _members_of_round(name: str) -> list[ref.Keys]:
    found: list[ref.Keys] = []
    for part in vectors.load(name)["messages"]["roster"]["parts"]:
        for m in data_plane_pb2.RosterPart.FromString(unhex(part)).members:
            keys = m.keys
            chain = list(keys.certificates)
            found.append((m.index, m.participant_id, keys.channel_public_key, keys.mask_public_key, chain))
    return found


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    return key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def commitment(vector: Vector) -> None:
    made = ref.commitment(unhex(vector["context"]), vector["participant_id"], unhex(vector["self_mask_seed"]))
    assert made.hex() == vector["commitment"] == hashlib.sha256(unhex(vector["frame"])).hexdigest()


def sealing(vector: Vector) -> None:
    round_id, bound = unhex(vector["round_id"]), unhex(vector["context"])
    for d in vector["directions"]:
        shared = ref.agree(unhex(d["sender_private_key"]), unhex(d["receiver_public_key"]))
        key = ref.sealing_key(shared, round_id, bound, d["sender"], d["receiver"])
        associated_data = ref.share_associated_data(bound, d["sender"], d["receiver"])
        plaintext = unhex(d["mask_key_share"]) + unhex(d["self_mask_share"])
        assert ref.public_key(unhex(d["sender_private_key"])).hex() == d["sender_public_key"]
        assert (shared.hex(), key.hex(), associated_data.hex(), plaintext.hex()) == (
            d["shared_secret"],
            d["key"],
            d["associated_data"],
            d["plaintext"],
        )
        assert ref.seal(key, plaintext, associated_data).hex() == d["sealed"]
        kinds = {"mask-key": d["mask_key_share"], "self-mask": d["self_mask_share"]}
        digests = [ref.share_digest(k, bound, d["sender"], d["receiver"], unhex(s)) for k, s in kinds.items()]
        assert [made.hex() for made in digests] == d["digests"]
        assert unhex(d["nonce"]) == bytes(12)


def dealing(vector: Vector) -> None:
    """What was signed, and whom the receiver of an entry may name for it."""
    digests = [ref.dealt_digest(e["receiver"], unhex(e["entry"])) for e in vector["entries"]]
    assert [made.hex() for made in digests] == [e["digest"] for e in vector["entries"]]
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unhex(vector["public_key"]))

    def is_signed(joined: bytes, signature: bytes) -> bool:
        bound, members = unhex(vector["context"]), unhex(vector["roster_digest"])
        covered = ref.dealing_signed(bound, members, vector["sender"], joined)
        try:
            point.verify(signature, covered, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    bound, members = unhex(vector["context"]), unhex(vector["roster_digest"])
    assert ref.dealing_signed(bound, members, vector["sender"], b"".join(digests)).hex() == vector["signed"]
    assert is_signed(b"".join(digests), unhex(vector["signature"]))
    for case in vector["cases"]:
        refused, shown = ref.dealt_digest(vector["refused_by"], unhex(case["entry"])), case.get("shown")
        listed = "" if shown is None else shown["digests"]
        there = refused.hex() in {listed[i : i + 64] for i in range(0, len(listed), 64)}
        proven = there and is_signed(unhex(listed), unhex(shown["signature"]))
        assert case.get("culprit") == (vector["sender"] if proven else None), case["title"]


def mask_keys(vector: Vector) -> None:
    round_id, bound = unhex(vector["round_id"]), unhex(vector["context"])
    pair, own = vector["pairwise"], vector["self_mask"]
    for private, peer in ((0, 1), (1, 0)):
        shared = ref.agree(unhex(pair["private_keys"][private]), unhex(pair["public_keys"][peer]))
        assert shared.hex() == pair["shared_secret"]
        assert ref.pairwise_key(shared, round_id, bound, *reversed(pair["ids"])).hex() == pair["key"]
    assert ref.self_mask_key(unhex(own["seed"]), round_id, bound, own["participant_id"]).hex() == own["key"]


def published_aegis(vector: Vector) -> None:
    """The second implementation is held to the published values, too."""
    for e in vector["encryptions"]:
        key, nonce, text, ad = (unhex(e[k]) for k in ("key", "nonce", "plaintext", "associated_data"))
        assert aegis.encrypt(key, nonce, text, ad).hex() == e["ciphertext"]


def published_x_wing(vector: Vector) -> None:
    for e in vector["encapsulations"]:
        seed, ciphertext = unhex(e["seed"]), unhex(e["ciphertext"])
        public = xwing.public_key(seed)
        assert hashlib.sha256(public).hexdigest() == e["public_key_sha256"]
        assert xwing.encapsulated(public, unhex(e["coins"])) == (unhex(e["secret"]), ciphertext)
        assert xwing.decapsulated(seed, ciphertext).hex() == e["secret"]
        altered = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
        assert xwing.decapsulated(seed, altered).hex() != e["secret"]


def pair_secrets(vector: Vector) -> None:
    round_id, bound = unhex(vector["round_id"]), unhex(vector["context"])
    secrets = {}
    for gift in vector["gifts"]:
        giver, receiver = gift["giver"], gift["receiver"]
        own, peer = unhex(gift["giver_mask_private_key"]), unhex(gift["receiver_mask_private_key"])
        secret = secrets[giver] = ref.pair_secret(own, round_id, bound, giver, receiver)
        ciphertext = unhex(gift["encapsulation"]["ciphertext"])
        encapsulated, agreed = xwing.decapsulated(peer, ciphertext), xwing.static_agreement(own, xwing.public_key(peer))
        assert (secret.hex(), encapsulated.hex(), agreed.hex()) == (
            gift["pair_secret"],
            gift["encapsulation"]["secret"],
            gift["shared_secret"],
        )
        ends = (giver, receiver)
        sealed = ref.pair_seal(secret, encapsulated, agreed, round_id=round_id, bound=bound, ends=ends)
        assert (ciphertext + sealed).hex() == gift["pair_seal"]
        assert ref.pair_secret_digest(bound, giver, receiver, secret).hex() == gift["digest"]
    low, high = sorted(secrets, key=str.encode)
    key = ref.pairwise_key(secrets[low] + secrets[high], round_id, bound, low, high, suite=ref.HYBRID_SUITE)
    assert key.hex() == vector["mask"]["key"]


def mask_stream(vector: Vector) -> None:
    key = unhex(vector["key"])
    for case in vector["cases"]:
        suite, start, count = vector["suite"].encode(), case["start"], len(case["words"])
        found = ref.mask_words(suite, key, case["word_bits"], start, count)
        assert start * case["word_bits"] // 8 // ref.STRIDE == case["stride"]
        assert found == case["words"]
        assert b"".join(w.to_bytes(case["word_bits"] // 8, "little") for w in found).hex() == case["bytes"]


def secret_sharing(vector: Vector) -> None:
    assert int(vector["prime"], 16) == ref.PRIME
    for case in vector["cases"]:
        made = ref.split(unhex(case["secret"]), unhex("".join(case["coefficient_bytes"])), map(int, case["shares"]))
        assert {str(x): share.hex() for x, share in made.items()} == case["shares"]
        for drawn, coefficient in zip(case["coefficient_bytes"], case["coefficients"], strict=True):
            assert int(drawn, 16) % ref.PRIME == int(coefficient, 16)
        points = case["reconstruction"]["holders"]
        assert len(points) == case["threshold"]
        assert ref.join({x: made[x] for x in points}) == int(case["secret"], 16)


def share_correction(vector: Vector) -> None:
    """The first t shares if they give the secret; else all sets of as many as a decoding leaves, tried one by one."""
    threshold = vector["threshold"]
    for case in vector["cases"]:
        shares = {int(x): unhex(y) for x, y in case["shares"].items()}
        agree = {ref.join(dict(some)) for some in combinations(shares.items(), threshold)}
        outcome: dict[str, Any] = {"consistent": len(agree) == 1}
        first = ref.join(dict(list(shares.items())[:threshold]))
        if _is_secret(first, vector):
            outcome |= {"secret": first.to_bytes(32, "big").hex(), "wrong": []}
        else:
            least = len(shares) - (len(shares) - threshold) // 2
            outcome |= _decoded(shares, least, vector) if len(agree) > 1 else {}
        assert case["outcome"] == (outcome if "secret" in outcome else None), case["title"]


def _decoded(shares: dict[int, bytes], least: int, vector: Vector) -> dict[str, Any]:
    for some in combinations(shares.items(), least):
        found = {ref.join(dict(few)) for few in combinations(some, vector["threshold"])}
        if len(found) == 1 and _is_secret(secret := found.pop(), vector):
            wrong = [x for x, y in shares.items() if not _fits(dict(some), x, y, vector["threshold"])]
            return {"secret": secret.to_bytes(32, "big").hex(), "wrong": wrong}
    return {}


def _fits(right: dict[int, bytes], x: int, share: bytes, threshold: int) -> bool:
    """Whether the share is on the polynomial of the right ones."""
    others = {i: y for i, y in right.items() if i != x}
    few = dict(list(others.items())[: threshold - 1])
    return ref.join({**few, x: share}) == ref.join(dict(list(others.items())[:threshold]))


def _is_secret(candidate: int, vector: Vector) -> bool:
    small = candidate < 2**256
    return small and hashlib.sha256(candidate.to_bytes(32, "big")).hexdigest() == vector["secret_sha256"]


def encoding(vector: Vector) -> None:
    for case in vector["cases"]:
        key = ref.rounding_key(unhex(case["rounding_seed"]))
        uniforms = ref.words(key, 32, len(case["values"]))
        assert key.hex() == case["rounding_key"]
        assert uniforms == case["uniform_words"]
        found = ref.encode(
            map(float.fromhex, case["values"]),
            clip=float.fromhex(case["clip"]),
            value_bits=case["value_bits"],
            weight=case["weight"],
            max_weight=case["max_weight"],
            uniforms=uniforms,
        )
        assert found == case["encoded"]


def decoding(vector: Vector) -> None:
    for case in vector["cases"]:
        _check_mean(case, float.fromhex(case["clip"]), case)
    for case in vector["refused"]:
        code = {"value_bits": case["value_bits"], "max_weight": case["max_weight"]}
        with pytest.raises(ValueError, match="C32"):
            ref.decode(case["sums"], clip=1.0, **code, summands=case["summands"], size=1)


def _check_mean(told: Mapping[str, Any], clip: float, code: Mapping[str, Any]) -> None:
    """`told`: arrays, sums, summands, weight and mean."""
    sizes = {a["name"]: (_product(a["shape"]), a["dtype"]) for a in told["arrays"]}
    means, weight = ref.decode(
        told["sums"],
        clip=clip,
        value_bits=code["value_bits"],
        max_weight=code["max_weight"],
        summands=told["summands"],
        size=sum(size for size, _ in sizes.values()),
    )
    assert weight == told["weight"]
    at = 0
    for name, (size, dtype) in sizes.items():
        here = [_cast(v, dtype) for v in means[at : at + size]]
        assert here == [float.fromhex(v) for v in told["mean"][name]]
        at += size


def _cast(value: float, dtype: str) -> float:
    return value if dtype == "float64" else float(struct.unpack("<f", struct.pack("<f", value))[0])


def _product(shape: list[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product


def ranges(vector: Vector) -> None:
    """Array by array as section 10 says, with the array's own range in place of the clip."""
    for case in vector["cases"]:
        config = config_pb2.RoundConfig.FromString(unhex(case["config"]))
        code = _plain_code(config)
        at = 0
        for array in config.arrays:
            size = _product(list(array.shape))
            clip = array.range if array.HasField("range") else code["clip"]
            own = {"clip": clip, "value_bits": code["value_bits"], "max_weight": code["max_weight"]}
            for person in case["people"]:
                uniforms = ref.words(ref.rounding_key(unhex(person["rounding_seed"])), 32, at + size)[at:]
                values = [float.fromhex(v) for v in person["values"][array.name]]
                length = math.sqrt(sum(v * v for v in values))
                if length > code["norm"]:
                    values = [v * (code["norm"] / length) for v in values]
                found = ref.encode(values, **own, weight=person["weight"], uniforms=uniforms)
                assert found == [*person["encoded"][at : at + size], person["weight"]]
            own["summands"] = len(case["people"])
            means, weight = ref.decode([*case["sums"][at : at + size], case["sums"][-1]], **own, size=size)
            dtype = "float32" if array.dtype == config_pb2.DTYPE_FLOAT32 else "float64"
            assert [_cast(v, dtype) for v in means] == [float.fromhex(v) for v in case["mean"][array.name]]
            step = 2 * clip / (2 ** code["value_bits"] - 1)
            bound = own["summands"] * step * code["max_weight"] / weight
            assert (bound, weight) == (float.fromhex(case["error_bounds"][array.name]), case["weight"])
            at += size
        assert at + 1 == len(case["sums"])


def _plain_code(config: config_pb2.RoundConfig) -> dict[str, Any]:
    """Of the two encodings in the vector: the fixed-point code, and a norm per array before it."""
    if not config.pipeline:
        code = config.encoding
        return {"clip": code.clip, "value_bits": code.value_bits, "max_weight": code.max_weight, "norm": math.inf}
    pipe = pipelines.parse(config.pipeline)
    ((_, norm, per_array),) = pipe.clips
    assert per_array
    assert pipe.range is not None
    return {"clip": pipe.range, "value_bits": pipe.bits, "max_weight": pipe.max_weight, "norm": norm}


def integers(vector: Vector) -> None:
    for case in vector["cases"]:
        config = config_pb2.RoundConfig.FromString(unhex(case["config"]))
        bounds = _bounds(config)
        width = max(high - low for _, low, high, _ in bounds).bit_length()
        assert width + (config.max_participants - 1).bit_length() == case["ring_bits"]
        for person in case["people"]:
            sent = [v - low for name, low, _, _ in bounds for v in person["values"][name]]
            assert sent == person["encoded"]
        assert [sum(column) for column in zip(*(p["encoded"] for p in case["people"]), strict=True)] == case["sums"]
        at = 0
        for name, low, _, size in bounds:
            here = [s + len(case["people"]) * low for s in case["sums"][at : at + size]]
            by_person = [p["values"][name] for p in case["people"]]
            assert here == case["totals"][name] == [sum(x) for x in zip(*by_person, strict=True)]
            at += size
    bounds = _bounds(config_pb2.RoundConfig.FromString(unhex(vector["config"])))
    most = [vector["summands"] * (high - low) for _, low, high, size in bounds for _ in range(size)]
    assert all(s <= top for s, top in zip(vector["largest"], most, strict=True))
    for case in vector["refused"]:
        assert sum(s > top for s, top in zip(case["sums"], most, strict=True)) == 1


def _bounds(config: config_pb2.RoundConfig) -> list[tuple[str, int, int, int]]:
    """Name, smallest, largest and size of each array."""
    whole = config.integers
    return [
        (a.name, *((a.min, a.max) if a.HasField("max") else (whole.min, whole.max)), _product(list(a.shape)))
        for a in config.arrays
    ]


def packing(vector: Vector) -> None:
    for case in vector["cases"]:
        packed, bits = unhex(case["packed"]), case["bits"]
        assert ref.pack(case["values"], bits) == packed
        assert ref.unpack(packed, len(case["values"]), bits) == case["values"]


def chunks(vector: Vector) -> None:
    for case in vector["cases"]:
        per, bits = ref.chunk_values(case["bits"]), case["bits"]
        assert per == case["values_per_chunk"]
        assert ref.chunk_counts(case["vector_len"], bits) == case["counts"]
        assert [-(-n * bits // 8) for n in case["counts"]] == case["sizes"]
        assert max(case["sizes"]) <= 2**20


def masked_chunks(vector: Vector) -> None:
    bits, size = vector["ring_bits"], vector["vector_len"]
    values = [i * int(vector["step"]) % 2 ** vector["value_bits"] for i in range(size)]
    masks = [(unhex(mask["key"]), -1 if mask["negative"] else 1) for mask in vector["masks"]]
    made = ref.masked(vector["suite"].encode(), bits, values, masks)
    assert values[: len(vector["first"])] == vector["first"]
    assert [len(values), len(made)] == [size, len(vector["chunks"])]
    for number, (payload, chunk) in enumerate(zip(made, vector["chunks"], strict=True)):
        assert [chunk["number"], chunk["count"]] == [number, ref.chunk_counts(size, bits)[number]]
        assert [chunk["size"], chunk["sha256"]] == [len(payload), hashlib.sha256(payload).hexdigest()]
        assert [chunk["begins"], chunk["ends"]] == [payload[:32].hex(), payload[-32:].hex()]


def configuration(vector: Vector) -> None:
    for case in vector["cases"]:
        config = config_pb2.RoundConfig.FromString(unhex(case["bytes"]))
        size = sum(_product(list(a.shape)) for a in config.arrays)
        bits = ref.coordinate_bits(config.encoding.value_bits, config.encoding.max_weight)
        bits += (config.max_participants - 1).bit_length()
        assert (size + 1, bits, ref.word_bits(bits)) == (case["vector_len"], case["ring_bits"], case["word_bits"])
        assert (config.purpose or "train") == case["purpose"]
        assert config.deadlines.join_ms == case["join_ms"]
        assert 2**bits > config.max_participants * (2**config.encoding.value_bits - 1)
        assert 2**bits > config.max_participants * config.encoding.max_weight


def differencing(vector: Vector) -> None:
    """Cells, from the page: who is survivor of the same sums, held to the largest threshold of these."""
    for case in vector["cases"]:
        question = (case["sum"]["model"], case["sum"]["purpose"])
        sums = [s for s in [case["sum"], *case["before"]] if (s["model"], s["purpose"]) == question]
        everyone = sorted({name for s in sums for name in s["survivors"]})
        exposed: set[str] = set()
        for name in everyone:
            inside = [s for s in sums if name in s["survivors"]]
            cell = [other for other in everyone if [s for s in sums if other in s["survivors"]] == inside]
            if len(cell) < max(s["threshold"] for s in inside) and (not exposed or len(cell) < len(exposed)):
                exposed = set(cell)
        assert sorted(exposed) == case["exposed"]


def groups(vector: Vector) -> None:
    parent, opened = unhex(vector["parent"]), unhex(vector["opened"])
    for case in vector["cases"]:
        number = case["number"]
        varint = bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])
        ending = bytes([0x82, 1, 19 + len(varint), 0x22, 16]) + parent + b"\x28" + varint
        assert (opened + ending).hex() == case["config"]
        read = config_pb2.RoundConfig.FromString(opened + ending).groups
        assert (read.parent, read.number, read.count) == (parent, number, 300)
        round_id = ref.digest(b"secagg/v1/group-round-id", parent, number.to_bytes(2, "big"))[:16]
        assert round_id.hex() == case["round_id"]
        bound = ref.context(round_id, opened + ending, unhex(vector["model_digest"]))
        assert bound.hex() == case["context"]
    for case in vector["combinations"]:
        for number, result in enumerate(case["result"]):
            values = [mean[number] for mean in case["means"]]
            assert math.isclose(_combined(case, values), result, rel_tol=1e-14)
    ends = (int(n).to_bytes(2, "big") + unhex(vector["digests"][n]) for n in sorted(vector["digests"], key=int))
    assert hashlib.sha256(b"".join(ends)).hexdigest() == vector["sums_digest"]


def _combined(case: Vector, values: list[float]) -> float:
    ordered, count = sorted(values), len(values)
    match case["combine"]:
        case "MEDIAN":
            return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
        case "TRIMMED":
            return math.fsum(ordered[case["trim"] : count - case["trim"]]) / int(count - 2 * case["trim"])
    weights: list[int] = case["weights"]
    return math.fsum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


class Rebuilt:
    """A round computed anew from its inputs."""

    def __init__(self, vector: Vector) -> None:
        self.vector, self.config = vector, config_pb2.RoundConfig.FromString(unhex(vector["config"]))
        self.round_id = unhex(vector["round_id"])
        later, model = self.config.model_later, unhex(vector["model_digest"])
        self.bound = ref.context(self.round_id, unhex(vector["config"]), bytes(32) if later else model)
        self.input_bound = ref.input_context(self.bound, model) if later else self.bound
        self.suite = config_pb2.Suite.Name(self.config.suite).removeprefix("SUITE_").encode()
        self.people = vector["participants"]
        gone = vector["drops"]["ADVERTISE_KEYS"]
        self.index = {name: i for i, name in enumerate(sorted(set(self.people) - {gone}, key=str.encode), start=1)}
        self.task = self._task() if self.config.pipeline else None
        code = self.config.encoding
        summed = ref.coordinate_bits(code.value_bits, code.max_weight) + (self.config.max_participants - 1).bit_length()
        self.bits = self.task.ring_bits if self.task else summed
        self._encoded: dict[str, list[int]] = {}
        self.sparse = self.config.HasField("ring")
        self.least = self.config.ring.neighbour_threshold if self.sparse else self.config.threshold
        self.shared = [name for name in self.index if name != vector["drops"]["SHARE_KEYS"]]
        self.survivors = [name for name in self.shared if name != vector["drops"].get("MASKED_INPUT")]
        self.dropped = [name for name in self.shared if name not in self.survivors]

    @cached_property
    def roster(self) -> bytes:
        return self.roster_digest()

    @cached_property
    def seal_bound(self) -> bytes:
        return ref.graph_context(self.bound, self.roster) if self.sparse else self.bound

    @cached_property
    def mask_bound(self) -> bytes:
        return ref.graph_context(self.input_bound, self.roster) if self.sparse else self.input_bound

    @cached_property
    def neighbours(self) -> dict[str, list[str]]:
        names = list(self.index)
        if not self.sparse:
            return {name: [peer for peer in names if peer != name] for name in names}
        seed, degree = ref.graph_seed(self.bound, self.roster), self.config.ring.degree
        found = {name: ref.neighbours(seed, len(names), degree, i) for name, i in self.index.items()}
        return {name: [names[i - 1] for i in indices] for name, indices in found.items()}

    @cached_property
    def signers(self) -> list[str]:
        names = list(self.index)
        if not self.sparse:
            return names
        seed = ref.graph_seed(self.bound, self.roster)
        return [names[i - 1] for i in ref.committee(seed, len(names), self.config.ring.committee)]

    def _task(self) -> pipelines.Task:
        kinds = {config_pb2.DTYPE_FLOAT32: "float32", config_pb2.DTYPE_FLOAT64: "float64"}
        arrays = [(_product(list(a.shape)), kinds[a.dtype]) for a in self.config.arrays]
        honest = self.config.threshold - self.config.max_colluding
        pipe = pipelines.parse(self.config.pipeline)
        return pipelines.Task(pipe, arrays, self.input_bound, self.config.max_participants, honest)

    @property
    def active(self) -> bool:
        return self.config.threat_model == config_pb2.THREAT_MODEL_ACTIVE

    def random(self, name: str, draw: str) -> bytes:
        return unhex(self.people[name]["random"][draw])

    def public(self, name: str, kind: str) -> bytes:
        return ref.public_key_of(self.suite, self.random(name, f"{kind}_private_key"))

    def certificates(self, name: str) -> list[bytes]:
        return [unhex(self.people[name]["identity"]["certificate"])] if self.active else []

    def sign(self, name: str, message: bytes) -> bytes:
        if not self.active:
            return b""
        scalar = int(self.people[name]["identity"]["private_scalar_test_only"], 16)
        return sign(ec.derive_private_key(scalar, ec.SECP256R1()), message)

    def keys(self, name: str) -> data_plane_pb2.AdvertiseKeys:
        channel, mask = self.public(name, "channel"), self.public(name, "mask")
        return data_plane_pb2.AdvertiseKeys(
            channel_public_key=channel,
            mask_public_key=mask,
            signature=self.sign(name, ref.advertisement_signed(self.bound, name, channel, mask)),
            certificates=self.certificates(name),
        )

    def roster_digest(self) -> bytes:
        listed = ref.sparse_roster_digest if self.sparse else ref.roster_digest
        return listed(map(self.listed, self.index))

    def listed(self, name: str) -> ref.Keys:
        keys = self.public(name, "channel"), self.public(name, "mask"), self.certificates(name)
        return self.index[name], name, *keys

    def shares(self, name: str, kind: str) -> dict[int, bytes]:
        secret = "mask_private_key" if kind == "mask_key" else "self_mask_seed"
        holders = [self.index[peer] for peer in (*self.neighbours[name], name)]
        return ref.split(self.random(name, secret), self.random(name, f"{kind}_coefficients"), holders)

    def sealed(self, sender: str, receiver: str) -> bytes:
        if self.suite == ref.HYBRID_SUITE:
            ciphertext, shared = self.encapsulated(sender, receiver, "channel")
        else:
            ciphertext = b""
            shared = ref.agree(self.random(sender, "channel_private_key"), self.public(receiver, "channel"))
        key = ref.sealing_key(shared, self.round_id, self.seal_bound, sender, receiver, suite=self.suite)
        at = self.index[receiver]
        plaintext = self.shares(sender, "mask_key")[at] + self.shares(sender, "self_mask")[at]
        seal = ref.seal(key, plaintext, ref.share_associated_data(self.seal_bound, sender, receiver))
        shares = {"mask-key": plaintext[:33], "self-mask": plaintext[33:]}
        digests = [ref.share_digest(kind, self.bound, sender, receiver, share) for kind, share in shares.items()]
        if self.suite == ref.HYBRID_SUITE:
            pair_seal, digest = self.gift(sender, receiver)
            return ciphertext + seal + pair_seal + b"".join([*digests, digest])
        return seal + b"".join(digests)

    def check_dealt(self, sender: str, message: data_plane_pb2.ShareKeysPart, entries: dict[int, bytes]) -> None:
        """The message has these entries, ascending, and the sender's signature where members sign."""
        assert list(message.peers) == sorted(entries)
        assert ref.split_entries(message.peers, message.entries) == entries
        names = {i: name for name, i in self.index.items()}
        digests = b"".join(ref.dealt_digest(names[i], entries[i]) for i in sorted(entries))
        covered = ref.dealing_signed(self.bound, self.roster, sender, digests)
        assert message.signature == (self.sign(sender, covered) if self.active else b"")

    def encapsulated(self, sender: str, receiver: str, purpose: str) -> tuple[bytes, bytes]:
        """The recorded ciphertext, and what the receiver finds in it, with the agreement of the X25519 halves."""
        recorded = vectors.load("recorded-encapsulations")["vectors"][self.people[sender]["encapsulations"]]
        ciphertext = unhex(recorded[sender][purpose][receiver]["ciphertext"])
        seed, peer = self.random(receiver, f"{purpose}_private_key"), self.public(sender, purpose)
        return ciphertext, xwing.decapsulated(seed, ciphertext) + xwing.static_agreement(seed, peer)

    def pair_secret(self, giver: str, receiver: str) -> bytes:
        seed = self.random(giver, "mask_private_key")
        return ref.pair_secret(seed, self.round_id, self.seal_bound, giver, receiver)

    def gift(self, giver: str, receiver: str) -> tuple[bytes, bytes]:
        """Pair seal and digest."""
        secret = self.pair_secret(giver, receiver)
        ciphertext, both = self.encapsulated(giver, receiver, "mask")
        ends, bound = (giver, receiver), self.seal_bound
        sealed = ref.pair_seal(secret, both[:32], both[32:], round_id=self.round_id, bound=bound, ends=ends)
        return ciphertext + sealed, ref.pair_secret_digest(self.bound, giver, receiver, secret)

    def encoded(self, name: str) -> list[int]:
        if name not in self._encoded:
            self._encoded[name] = self._encode(name)
        return self._encoded[name]

    def _encode(self, name: str) -> list[int]:
        mine, code = self.people[name], self.config.encoding
        values: list[float] = []
        for a in self.config.arrays:
            kind = "f" if a.dtype == config_pb2.DTYPE_FLOAT32 else "d"
            values += struct.unpack(f"<{_product(list(a.shape))}{kind}", unhex(mine["update"][a.name]))
        if self.task is not None:
            return self.task.encoded(values, unhex(mine["rounding_seed"]), mine["weight"])
        key = ref.rounding_key(unhex(mine["rounding_seed"]))
        return ref.encode(
            values,
            clip=code.clip,
            value_bits=code.value_bits,
            weight=mine["weight"],
            max_weight=code.max_weight,
            uniforms=ref.words(key, 32, len(values)),
        )

    def mask(self, key: bytes) -> list[int]:
        return ref.mask_words(self.suite, key, ref.word_bits(self.bits), 0, len(self.encoded(self.shared[0])))

    def pairwise_key(self, one: str, other: str) -> bytes:
        if self.suite == ref.HYBRID_SUITE:
            low, high = sorted((one, other), key=str.encode)
            shared = self.pair_secret(low, high) + self.pair_secret(high, low)
        else:
            shared = ref.agree(self.random(one, "mask_private_key"), self.public(other, "mask"))
        return ref.pairwise_key(shared, self.round_id, self.mask_bound, one, other, suite=self.suite)

    def masked(self, name: str) -> list[int]:
        own = ref.self_mask_key(
            self.random(name, "self_mask_seed"), self.round_id, self.mask_bound, name, suite=self.suite
        )
        total = [x + m for x, m in zip(self.encoded(name), self.mask(own), strict=True)]
        for peer in self.shared:
            if peer in self.neighbours[name]:
                sign_of = 1 if self.index[name] > self.index[peer] else -1
                mask = self.mask(self.pairwise_key(name, peer))
                total = [x + sign_of * m for x, m in zip(total, mask, strict=True)]
        return [x % 2**self.bits for x in total]

    def indices(self, names: list[str]) -> list[int]:
        return [self.index[name] for name in names]


def _bytes(vector: Vector, slug: str) -> bytes:
    [part] = vector["messages"][slug]["parts"]
    return unhex(part)


def whole_round(vector: Vector) -> None:
    """Every message a participant sends, and the sum that comes out, from the inputs alone."""
    made = Rebuilt(vector)
    if made.suite == ref.HYBRID_SUITE:
        vector = vector | {"messages": archive.messages("round-hybrid")}
    assert made.bound.hex() == vector["context"]
    assert made.input_bound.hex() == vector.get("input_context", vector["context"])
    for name in vector["participants"]:
        assert made.keys(name) == data_plane_pb2.AdvertiseKeys.FromString(_bytes(vector, f"{name}/advertise-keys"))
    assert made.roster.hex() == vector["intermediates"]["roster_digest"]
    for name in made.index:
        _check_roster(vector, made, name)
        _check_shares(vector, made, name)
    sets = data_plane_pb2.SurvivorSet.FromString(_bytes(vector, "survivors"))
    assert (list(sets.survivors), list(sets.dropped)) == (made.indices(made.survivors), made.indices(made.dropped))
    for name in made.shared:
        _check_delivery(vector, made, name)
        chunk = data_plane_pb2.MaskedInputChunk.FromString(_bytes(vector, f"{name}/masked-input"))
        assert chunk.payload == ref.pack(made.masked(name), made.bits)
        assert vector["intermediates"]["participants"][name]["input"]["masked"] == made.masked(name)
    for name in made.survivors:
        _check_last_messages(vector, made, name)
    _check_outcome(vector, made)


def _check_roster(vector: Vector, made: Rebuilt, name: str) -> None:
    """Everyone's entry, or the entries of neighbours and committee beside a list of everyone."""
    roster = data_plane_pb2.RosterPart()
    for part in vector["messages"][f"{name}/roster" if made.sparse else "roster"]["parts"]:
        roster.MergeFromString(unhex(part))
    shown = {name, *made.neighbours[name], *made.signers} if made.sparse else set(made.index)
    entries = [(i, who) for who, i in made.index.items() if who in shown]
    assert [(m.index, m.participant_id) for m in roster.members] == entries
    assert list(roster.listed) == (list(made.index) if made.sparse else [])
    digests = [ref.entry_digest(*made.listed(who)) for who in made.index] if made.sparse else []
    assert roster.entry_digests == b"".join(digests)


def _check_shares(vector: Vector, made: Rebuilt, name: str) -> None:
    message = data_plane_pb2.ShareKeysPart.FromString(_bytes(vector, f"{name}/share-keys"))
    assert message.commitment == ref.commitment(made.bound, name, made.random(name, "self_mask_seed"))
    peers = {made.index[peer]: made.sealed(name, peer) for peer in made.neighbours[name]}
    made.check_dealt(name, message, peers)


def _check_delivery(vector: Vector, made: Rebuilt, name: str) -> None:
    """What the others who shared keys sealed to it and, where it is named now, the model."""
    message = data_plane_pb2.ShareDeliveryPart.FromString(_bytes(vector, f"{name}/share-delivery"))
    assert ref.split_entries(message.peers, message.entries) == {
        made.index[peer]: made.sealed(peer, name) for peer in made.shared if peer in made.neighbours[name]
    }
    assert message.model_digest == (unhex(vector["model_digest"]) if made.config.model_later else b"")


def _check_last_messages(vector: Vector, made: Rebuilt, name: str) -> None:
    if made.active:
        check = data_plane_pb2.ConsistencyCheck.FromString(_bytes(vector, f"{name}/consistency-check"))
        survivors, dropped = made.indices(made.survivors), made.indices(made.dropped)
        covered = ref.sets_signed(made.input_bound, made.roster, survivors, dropped)
        assert check.signature == (made.sign(name, covered) if name in made.signers else b"")
    if name == vector["drops"].get("CONSISTENCY_CHECK"):
        return
    unmask = data_plane_pb2.UnmaskPart.FromString(_bytes(vector, f"{name}/unmask"))
    found = {s.owner: (s.WhichOneof("share"), s.self_mask_share or s.mask_key_share) for s in unmask.shares}
    at = made.index[name]
    around = {name, *made.neighbours[name]}
    wanted = {made.index[o]: ("self_mask_share", made.shares(o, "self_mask")[at]) for o in around & {*made.survivors}}
    wanted |= {made.index[o]: ("mask_key_share", made.shares(o, "mask_key")[at]) for o in around & {*made.dropped}}
    assert found == wanted


def _check_outcome(vector: Vector, made: Rebuilt) -> None:
    """Unmasking from shares alone gives the plain sum of the survivors' encoded updates."""
    told = vector["intermediates"]["unmasking"]
    total = [sum(column) for column in zip(*(made.masked(name) for name in made.survivors), strict=True)]
    for name in made.survivors:
        seed = _joined(told["self_mask_seeds"][name]["shares"], made.least)
        mask = made.mask(ref.self_mask_key(seed, made.round_id, made.mask_bound, name, suite=made.suite))
        total = [x - m for x, m in zip(total, mask, strict=True)]
    for name in made.dropped:
        private = _joined(told["mask_keys"][name]["shares"], made.least)
        assert ref.public_key_of(made.suite, private) == made.public(name, "mask")
        for peer in made.survivors:
            if peer not in made.neighbours[name]:
                continue
            key = _recovered_key(made, private, name, peer)
            sign_of = -1 if made.index[peer] > made.index[name] else 1
            total = [x + sign_of * m for x, m in zip(total, made.mask(key), strict=True)]
    sums = [x % 2**made.bits for x in total]
    outcome = vector["outcome"]
    plain = [sum(c) for c in zip(*map(made.encoded, made.survivors), strict=True)]
    assert sums == outcome["sums"] == [x % 2**made.bits for x in plain]
    assert outcome["survivors"] == made.survivors
    check_mean(vector, made)


def _recovered_key(made: Rebuilt, private: bytes, dropped: str, survivor: str) -> bytes:
    """The key of a pair's mask, from the mask private key of who dropped out and what the coordinator passed on."""
    if made.suite != ref.HYBRID_SUITE:
        shared = ref.agree(private, made.public(survivor, "mask"))
    else:
        gave = ref.pair_secret(private, made.round_id, made.seal_bound, dropped, survivor)
        sealed, _ = made.gift(survivor, dropped)
        key = ref.hkdf(
            xwing.decapsulated(private, sealed[:1120]) + xwing.static_agreement(private, made.public(survivor, "mask")),
            made.round_id,
            ref.frame(
                b"secagg/v1/pair-secret-sealing", made.suite, made.seal_bound, survivor.encode(), dropped.encode()
            ),
            32,
        )
        associated_data = ref.share_associated_data(made.seal_bound, survivor, dropped)
        got = AESGCM(key).decrypt(bytes(12), sealed[1120:], associated_data)
        shared = gave + got if dropped.encode() < survivor.encode() else got + gave
    return ref.pairwise_key(shared, made.round_id, made.mask_bound, dropped, survivor, suite=made.suite)


def check_mean(vector: Vector, made: Rebuilt) -> None:
    """The digest of the sum, and the mean that it encodes."""
    outcome = vector["outcome"]
    assert hashlib.sha256(ref.pack(outcome["sums"], made.bits)).hexdigest() == outcome["sums_digest"]
    if made.task is not None:
        told = [float.fromhex(v) for a in made.config.arrays for v in outcome["mean"][a.name]]
        assert made.task.mean(outcome["sums"], len(made.survivors)) == (told, outcome["weight"])
        return
    code = made.config.encoding
    dtypes = {config_pb2.DTYPE_FLOAT32: "float32", config_pb2.DTYPE_FLOAT64: "float64"}
    arrays = [{"name": a.name, "shape": list(a.shape), "dtype": dtypes[a.dtype]} for a in made.config.arrays]
    about = outcome | {"arrays": arrays, "summands": len(made.survivors)}
    _check_mean(about, code.clip, {"value_bits": code.value_bits, "max_weight": code.max_weight})


def _joined(shares: Mapping[str, str], threshold: int) -> bytes:
    some = dict(list({int(x): unhex(y) for x, y in shares.items()}.items())[-threshold:])
    return ref.join(some).to_bytes(32, "big")


READERS: dict[str, Callable[[Vector], None]] = {
    "framing": framing,
    "model-digest": model_digest,
    "context": context,
    "input-context": input_context,
    "roster-digest": roster_digest,
    "sparse-roster": sparse_roster,
    "sparse-graph": sparse_graph,
    "sparse-parameters": sparse_parameters,
    "signed-bytes": signed_bytes,
    "endings": endings,
    "commitment": commitment,
    "sealing": sealing,
    "dealing": dealing,
    "mask-keys": mask_keys,
    "aegis-128x4": published_aegis,
    "x-wing": published_x_wing,
    "pair-secrets": pair_secrets,
    "mask-stream": mask_stream,
    "secret-sharing": secret_sharing,
    "share-correction": share_correction,
    "encoding": encoding,
    "decoding": decoding,
    "ranges": ranges,
    "integers": integers,
    "packing": packing,
    "chunks": chunks,
    "masked-chunks": masked_chunks,
    "configuration": configuration,
    "differencing": differencing,
    "groups": groups,
    "round": whole_round,
}
"""By kind. Published values and refusals have nothing to compute."""
