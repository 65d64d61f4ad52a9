"""Readers that hold vectors to the real code, step by step."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from secagg_client.calls.call import PreparedCall
from secagg_client.participation.results import Offer
from secagg_client.participation.session import Participation
from secagg_client.participation.terms import Contribution, Terms

from secagg import roster as rosters
from secagg.aggregates import Aggregate
from secagg.config import RoundConfig, Suite
from secagg.context import Context, Round, RoundId, bind, bind_model, digest_model
from secagg.crypto import shamir, signing, xwing
from secagg.crypto.agreement import KeyPair
from secagg.crypto.identity import TrustAnchors, VerifiedIdentity
from secagg.crypto.kdf import derive
from secagg.crypto.mask_stream import MaskCipher
from secagg.crypto.prg import Words
from secagg.crypto.rng import SystemRng
from secagg.crypto.sealing import seal
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest, frame
from secagg.crypto.xwing import HybridKeyPair
from secagg.encoding.fixedpoint import FixedPoint, FixedPointUpdate, decode_mean
from secagg.encoding.packing import chunk_values, pack, packed_size, unpack
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import (
    AuthenticationError,
    ConfigError,
    DecodeError,
    Exhibit,
    PolicyViolation,
    ProtocolViolation,
    RemoteError,
    SecAggError,
)
from secagg.lattice.jobs import Job
from secagg.masked import masks, pair_secrets, shares
from secagg.masked.shares import SharePair
from secagg.masked.vector import MaskedVector
from secagg.messages import AdvertiseKeys, Dealt, Index, Member, ParticipantId, Roster, SurvivorSet
from secagg.receipts import Receipt, Statement
from secagg.robust.combining import combined
from secagg.robust.grouping import Combine, Groups
from secagg.rounds.certification import Result
from secagg.rounds.dealing import HYBRID_MASKED, entry_digest, judge, to_sign
from secagg.rounds.graph import ring_of
from secagg.rounds.releases import Release, ReleaseMemory
from secagg.sparse.ring import Ring
from secagg.sparse.tails import check as check_ring
from secagg.tools.conformance import fixtures, vectors, wire
from secagg.tools.conformance.primitives import hybrid
from secagg.tools.conformance.primitives.derivations import Multiples
from secagg.tools.conformance.replay import archive
from secagg.tools.conformance.replay.round import Draws, Replay, read_arrays, read_policy, refusal
from secagg.tools.conformance.rounds import masked
from secagg.wire.agreement import decode_proof
from secagg.wire.calls import ADVERTISE
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.parsing import parse
from secagg.wire.receipts import decode_receipt
from secagg.wire.results import PackedAggregate, PackedGroups, decode_aggregate, sums_digest
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.conformance import audit_code, lattice_code, ledger_code, pipeline_code
from tests.conversing import makes

Vector = dict[str, Any]
unhex = bytes.fromhex


# --- published values ---------------------------------------------------------------------------------------------


def x25519(vector: Vector) -> None:
    def multiply(scalar: bytes, u: bytes) -> bytes:
        return KeyPair.from_private(Secret(scalar)).agree(u, peer="published").expose()

    for m in vector["multiplications"]:
        assert multiply(unhex(m["scalar"]), unhex(m["u"])).hex() == m["result"]
    k = u = b"\x09" + bytes(31)
    expected = {i["times"]: i["result"] for i in vector["iterated"]}
    for times in range(1, max(expected) + 1):
        k, u = multiply(k, u), k
        assert expected.get(times, k.hex()) == k.hex()
    a = vector["agreement"]
    for own, peer in (("a", "b"), ("b", "a")):
        pair = KeyPair.from_private(Secret(unhex(a[f"private_{own}"])))
        assert pair.public.hex() == a[f"public_{own}"]
        assert pair.agree(unhex(a[f"public_{peer}"]), peer=peer).expose().hex() == a["shared"]


def hkdf(vector: Vector) -> None:
    for d in vector["derivations"]:
        salt, info, material = unhex(d["salt"]), unhex(d["info"]), unhex(d["key_material"])
        assert HKDF(SHA256(), d["size"], salt, info).derive(material).hex() == d["result"]
        assert derive(Secret(material), salt=salt, info=info, size=d["size"]).expose().hex() == d["result"]


def aes_ctr(vector: Vector) -> None:
    for e in vector["encryptions"]:
        cipher = Cipher(algorithms.AES(unhex(e["key"])), modes.CTR(unhex(e["counter"])))
        assert cipher.encryptor().update(unhex(e["plaintext"])).hex() == e["ciphertext"]


def aes_gcm(vector: Vector) -> None:
    for e in vector["encryptions"]:
        key, nonce, text, ad = (unhex(e[k]) for k in ("key", "nonce", "plaintext", "associated_data"))
        assert AESGCM(key).encrypt(nonce, text, ad).hex() == e["ciphertext"] + e["tag"]
        if nonce == bytes(12):
            assert seal(Secret(key), text, ad).hex() == e["ciphertext"] + e["tag"]


def aegis(vector: Vector) -> None:
    """The package that makes the masks of a suite."""
    MaskCipher.AEGIS_128X4.require()
    cipher = import_module("aeg.aegis128x4")
    for e in vector["encryptions"]:
        key, nonce, text, ad = (unhex(e[k]) for k in ("key", "nonce", "plaintext", "associated_data"))
        ciphertext, tag = cipher.encrypt_detached(key, nonce, text, ad)
        assert (ciphertext.hex(), tag.hex()) == (e["ciphertext"], e["tag"])
        zeros, _ = cipher.encrypt_detached(key, nonce, bytes(1000))
        assert cipher.stream(key, nonce, 1000) == zeros


def x_wing(vector: Vector) -> None:
    for e in vector["encapsulations"]:
        pair = HybridKeyPair.from_private(Secret(unhex(e["seed"])))
        assert hashlib.sha256(pair.public).hexdigest() == e["public_key_sha256"]
        assert pair.decapsulate(unhex(e["ciphertext"]), sender="published").expose().hex() == e["secret"]
        secret, ciphertext = xwing.encapsulate(pair.public)
        assert pair.decapsulate(ciphertext, sender="us") == secret


def recorded_encapsulations(vector: Vector) -> None:
    """Each gives its receiver the secret that is recorded. Who the receivers are, the vectors say that use them."""
    seeds = {hybrid.PAIR_SECRETS: hybrid.privates(), masked.HYBRID: masked.hybrid_privates()}
    assert vector["vectors"].keys() == seeds.keys()
    for name, by_sender in vector["vectors"].items():
        assert by_sender.keys() == seeds[name].keys()
        for by_purpose in by_sender.values():
            for purpose, by_receiver in by_purpose.items():
                for receiver, one in by_receiver.items():
                    pair = HybridKeyPair.from_private(Secret(seeds[name][receiver][purpose]))
                    assert pair.decapsulate(unhex(one["ciphertext"]), sender="").expose().hex() == one["secret"]


def pair_secrets_vector(vector: Vector) -> None:
    round_ = Round(RoundId(unhex(vector["round_id"])), _hybrid_config(), Context(unhex(vector["context"])))
    seeds = {ParticipantId(g["giver"]): Secret(unhex(g["giver_mask_private_key"])) for g in vector["gifts"]}
    pairs = {name: HybridKeyPair.from_private(seed) for name, seed in seeds.items()}
    got = {}
    for gift in vector["gifts"]:
        giver, receiver = ParticipantId(gift["giver"]), ParticipantId(gift["receiver"])
        own, peer = pairs[giver], pairs[receiver]
        assert peer.public.hex() == gift["receiver_mask_public_key"]
        secret = pair_secrets.given(round_, own.private, giver, receiver)
        assert secret.expose().hex() == gift["pair_secret"]
        stated = Secret(unhex(gift["encapsulation"]["secret"])), unhex(gift["encapsulation"]["ciphertext"])
        to = Member(Index(1), receiver, AdvertiseKeys(b"", peer.public))
        made = pair_secrets.give(round_, own, giver, to, {peer.public: stated}.__getitem__)
        assert (made.sealed.hex(), made.digest.hex()) == (gift["pair_seal"], gift["digest"])
        entry = bytes(HYBRID_MASKED.seal_size) + made.sealed + bytes(64) + made.digest
        member = Member(Index(1), giver, AdvertiseKeys(b"", own.public))
        got[giver] = pair_secrets.open_given(round_, peer, member, receiver, entry)
        assert got[giver] == secret
    one, other = pairs
    shared = pair_secrets.both(one, got[one], other, got[other])
    key = masks.pairwise_mask_key(round_, one, other, shared)
    assert key.expose().hex() == vector["mask"]["key"]


def _hybrid_config() -> RoundConfig:
    return decode_config(unhex(vectors.load(masked.HYBRID)["config"]))


def ecdsa(vector: Vector) -> None:
    key = ec.derive_private_key(int(vector["private_scalar"], 16), ec.SECP256R1())
    point = key.public_key().public_numbers()
    assert (point.x, point.y) == (int(vector["public_x"], 16), int(vector["public_y"], 16))
    for s in vector["signatures"]:
        made = signing.sign(key, unhex(s["message"]))
        assert decode_dss_signature(made) == (int(s["r"], 16), int(s["s"], 16))
        signing.verify(key.public_key(), unhex(s["message"]), made, culprit=None)


# --- derivations ----------------------------------------------------------------------------------------------------


def framing(vector: Vector) -> None:
    for case in vector["cases"]:
        parts = [unhex(part) for part in case["parts"]]
        assert (frame(*parts).hex(), digest(*parts).hex()) == (case["frame"], case["digest"])


def model_digest(vector: Vector) -> None:
    for case in vector["cases"]:
        model = {
            name: np.frombuffer(unhex(a["little_endian"]), np.dtype(a["dtype"]).newbyteorder("<")).reshape(a["shape"])
            for name, a in case["arrays"].items()
        }
        assert digest_model(model).hex() == case["digest"]
        assert digest_model({n: a.astype(a.dtype.newbyteorder(">")) for n, a in model.items()}).hex() == case["digest"]


def context(vector: Vector) -> None:
    made = bind(RoundId(unhex(vector["round_id"])), unhex(vector["config"]), unhex(vector["model_digest"]))
    assert made.hex() == vector["context"]
    assert hashlib.sha256(unhex(vector["config"])).hexdigest() == vector["config_digest"]


def input_context(vector: Vector) -> None:
    made = bind_model(Context(unhex(vector["context"])), unhex(vector["model_digest"]))
    assert made.hex() == vector["input_context"]
    assert hashlib.sha256(unhex(vector["frame"])).digest() == made


def _roster(vector: Vector) -> Roster:
    return Roster(
        tuple(
            Member(
                Index(m["index"]),
                ParticipantId(m["participant_id"]),
                AdvertiseKeys(
                    unhex(m["channel_public_key"]),
                    unhex(m["mask_public_key"]),
                    b"",
                    tuple(map(unhex, m["certificates"])),
                ),
            )
            for m in vector["members"]
        )
    )


def roster_digest(vector: Vector) -> None:
    assert rosters.roster_digest(_roster(vector)).hex() == vector["digest"]


def sparse_roster(vector: Vector) -> None:
    members = _roster(vector).members
    assert [rosters.entry_digest(m).hex() for m in members] == [told["entry_digest"] for told in vector["members"]]
    assert rosters.roster_digest(Roster((), rosters.listing_of(members))).hex() == vector["digest"]


def sparse_graph(vector: Vector) -> None:
    for case in vector["cases"]:
        ring = Ring(
            degree=case["degree"],
            neighbour_threshold=2,
            committee=case["committee_size"],
            committee_threshold=case["committee_size"],
            min_participants=case["members"],
        )
        graph = ring_of(ring, unhex(case["seed"]), case["members"])
        assert list(graph.order) == case["ring"]
        assert sorted(graph.committee) == case["committee"]
        for index, known in case["neighbours"].items():
            assert list(graph.of(Index(int(index)))) == known


def sparse_parameters(vector: Vector) -> None:
    for case in vector["cases"]:
        cohort = {name: case[name] for name in ("threshold", "max_participants", "max_colluding")}
        with nullcontext() if case["safe"] else pytest.raises(ConfigError):
            check_ring(Ring(**case["ring"]), **cohort, active=case["threat_model"] == "ACTIVE")


def bounds(vector: Vector) -> None:
    errors = {"DecodeError": DecodeError, "ProtocolViolation": ProtocolViolation}
    for case in vector["cases"]:
        if "error" in case:
            with pytest.raises(errors[case["error"]]):
                decode_config(unhex(case["config"]))
        else:
            config = decode_config(unhex(case["config"]))
            assert (config.vector_len, config.ring_bits) == (case["vector_len"], case["ring_bits"])


def policies(vector: Vector) -> None:
    for case in vector["cases"]:
        policy, config = read_policy(case["policy"]), decode_config(unhex(case["config"]))
        if case["taken"]:
            policy.check(config)
        else:
            with pytest.raises(PolicyViolation):
                policy.check(config)


def certificate_chains(vector: Vector) -> None:
    trust = TrustAnchors.from_pem(fixtures.pem(unhex(vector["ca"])))
    for case in vector["cases"]:
        now = datetime.fromtimestamp(case.get("at_ms", vector["at_ms"]) / 1000, UTC)
        chain = tuple(map(unhex, case["chain"]))
        verify = trust.verify_participant if case["of"] == "participant" else trust.verify_coordinator
        if not case["taken"]:
            with pytest.raises(AuthenticationError):
                verify(chain, now)
        elif isinstance(found := verify(chain, now), VerifiedIdentity):
            assert (found.participant_id, found.organisation) == (case["participant_id"], case["organisation"])


def signed_bytes(vector: Vector) -> None:
    roster, bound = _roster(vector), Context(unhex(vector["context"]))
    name, keys = ParticipantId(vector["participant_id"]), roster.members[0].keys
    sets = SurvivorSet(tuple(map(Index, vector["survivors"])), tuple(map(Index, vector["dropped"])))
    key = ec.derive_private_key(int(vector["private_scalar_test_only"], 16), ec.SECP256R1())
    advertised = rosters.advertisement_to_sign(bound, name, keys)
    agreed = rosters.survivors_to_sign(bound, rosters.roster_digest(roster), sets)
    for made, stated in ((advertised, vector["advertise_keys"]), (agreed, vector["consistency_check"])):
        assert made.hex() == stated["signed"]
        assert signing.sign(key, made).hex() == stated["signature"]
        key.public_key().verify(unhex(stated["signature"]), made, ec.ECDSA(hashes.SHA256()))


def _round(vector: Vector) -> Round:
    config = next(c for _, c in vectors.load_kind("round"))["config"]
    round_id = RoundId(unhex(vector.get("round_id", "00" * 16)))
    return Round(round_id, decode_config(unhex(config)), Context(unhex(vector["context"])))


def commitment(vector: Vector) -> None:
    seed = Secret(unhex(vector["self_mask_seed"]))
    assert shares.commit(_round(vector), ParticipantId(vector["participant_id"]), seed).hex() == vector["commitment"]


def sealing(vector: Vector) -> None:
    round_ = _round(vector)
    privates = {d["sender"]: Secret(unhex(d["sender_private_key"])) for d in vector["directions"]}
    for d in vector["directions"]:
        pair = SharePair(Secret(unhex(d["mask_key_share"])), Secret(unhex(d["self_mask_share"])))
        sender, receiver = (_member(d[end], d[f"{end}_public_key"]) for end in ("sender", "receiver"))
        own = KeyPair.from_private(privates[sender.participant_id])
        sealed = shares.seal(round_, own, sender.participant_id, receiver, pair)
        assert sealed.hex() == d["sealed"] + "".join(d["digests"])
        theirs = KeyPair.from_private(privates[receiver.participant_id])
        assert shares.open_sealed(round_, theirs, sender, receiver.participant_id, sealed) == pair


def dealing(vector: Vector) -> None:
    sender, members = ParticipantId(vector["sender"]), unhex(vector["roster_digest"])
    digests = [entry_digest(ParticipantId(e["receiver"]), unhex(e["entry"])) for e in vector["entries"]]
    assert [made.hex() for made in digests] == [e["digest"] for e in vector["entries"]]
    covered = to_sign(Context(unhex(vector["context"])), members, sender, b"".join(digests))
    assert covered.hex() == vector["signed"]
    begun = covered[: -4 - sum(map(len, digests))]
    for case in vector["cases"]:
        refused = entry_digest(ParticipantId(vector["refused_by"]), unhex(case["entry"]))
        error = AuthenticationError("refused").about(Exhibit(sender, refused, unhex(vector["public_key"]), begun))
        shown = case.get("shown")
        judge(error, shown and Dealt(unhex(shown["digests"]), unhex(shown["signature"])))
        assert error.culprit == case.get("culprit"), case["title"]


def _member(name: str, channel_public_key: str) -> Member:
    return Member(Index(1), ParticipantId(name), AdvertiseKeys(unhex(channel_public_key), bytes(32)))


def mask_keys(vector: Vector) -> None:
    round_, pair, own = _round(vector), vector["pairwise"], vector["self_mask"]
    one, other = map(ParticipantId, pair["ids"])
    shared = KeyPair.from_private(Secret(unhex(pair["private_keys"][0]))).agree(unhex(pair["public_keys"][1]), peer="")
    assert shared.expose().hex() == pair["shared_secret"]
    for ends in ((one, other), (other, one)):
        assert masks.pairwise_mask_key(round_, *ends, shared).expose().hex() == pair["key"]
    seed = Secret(unhex(own["seed"]))
    assert masks.self_mask_key(round_, ParticipantId(own["participant_id"]), seed).expose().hex() == own["key"]


def mask_stream(vector: Vector) -> None:
    key = Secret(unhex(vector["key"]))
    for case in vector["cases"]:
        dtype = np.dtype(f"<u{case['word_bits'] // 8}")
        words: Words = np.zeros(len(case["words"]), dtype)
        masks.add_masks(words, case["start"], [masks.Mask(key, negative=False)], Suite[vector["suite"]])
        assert words.tolist() == case["words"]


def secret_sharing(vector: Vector) -> None:
    for case in vector["cases"]:
        drawn = unhex("".join(case["coefficient_bytes"]))
        holders = [int(x) for x in case["shares"]]
        made = shamir.share(Secret(unhex(case["secret"])), case["threshold"], holders, Draws([drawn]))
        assert {str(x): share.expose().hex() for x, share in made.items()} == case["shares"]
        points = case["reconstruction"]["holders"]
        values = {x: shamir.decode_share(made[x].expose()) for x in points}
        found = shamir.Decoder(points, case["threshold"]).recover(values, lambda _: True)
        assert found is not None
        assert found.secret.expose().hex() == case["secret"]
    for bad in vector["not_a_share"]:
        with pytest.raises(DecodeError):
            shamir.decode_share(unhex(bad))


def share_correction(vector: Vector) -> None:
    def accepts(secret: Secret) -> bool:
        return hashlib.sha256(secret.expose()).digest() == unhex(vector["secret_sha256"])

    for case in vector["cases"]:
        values = {int(x): shamir.decode_share(unhex(y)) for x, y in case["shares"].items()}
        found = shamir.Decoder(sorted(values), vector["threshold"]).recover(values, accepts)
        told = None
        if found is not None:
            secret = found.secret.expose().hex()
            told = {"secret": secret, "consistent": found.consistent, "wrong": list(found.wrong)}
        assert told == case["outcome"], case["title"]


# --- encoding and packing -------------------------------------------------------------------------------------------


def encoding(vector: Vector) -> None:
    for case in vector["cases"]:
        code = FixedPoint(float.fromhex(case["clip"]), case["value_bits"], case["max_weight"])
        values = np.array([float.fromhex(v) for v in case["values"]], case["dtype"])
        schema = Schema((ArraySpec("values", values.shape, case["dtype"]),))
        seed = Secret(unhex(case["rounding_seed"]))
        encoder = FixedPointUpdate(code, schema.check({"values": values}), case["weight"], seed)
        assert (code.step.hex(), code.coordinate_bits) == (case["step"], case["coordinate_bits"])
        assert encoder.read(0, encoder.vector_len).tolist() == case["encoded"]


def decoding(vector: Vector) -> None:
    for case in vector["cases"]:
        schema = Schema(tuple(ArraySpec(a["name"], tuple(a["shape"]), a["dtype"]) for a in case["arrays"]))
        code = FixedPoint(float.fromhex(case["clip"]), case["value_bits"], case["max_weight"])
        mean = decode_mean(code, schema, np.array(case["sums"], np.uint64), case["summands"])
        assert (mean.weight, mean.error_bound.hex()) == (case["weight"], case["error_bound"])
        assert {n: [float(v).hex() for v in a.reshape(-1)] for n, a in mean.arrays.items()} == case["mean"]
    for case in vector["refused"]:
        code = FixedPoint(1.0, case["value_bits"], case["max_weight"])
        schema = Schema((ArraySpec("values", (1,)),))
        with pytest.raises(ProtocolViolation):
            decode_mean(code, schema, np.array(case["sums"], np.uint64), case["summands"])


def ranges(vector: Vector) -> None:
    for case in vector["cases"]:
        config = decode_config(unhex(case["config"]))
        total: Words = np.zeros(config.vector_len, np.uint64)
        assert encode_config(config).hex() == case["config"]
        for person in case["people"]:
            update = {
                spec.name: np.array([float.fromhex(v) for v in person["values"][spec.name]], spec.dtype).reshape(
                    spec.shape
                )
                for spec in config.schema.arrays
            }
            seed = Secret(unhex(person["rounding_seed"]))
            encoder = config.code.encode(config.schema.check(update), person["weight"], seed, bytes(32))
            assert encoder.read(0, config.vector_len, np.dtype("<u8")).tolist() == person["encoded"]
            total = total + encoder.read(0, config.vector_len, np.dtype("<u8"))
        assert total.tolist() == case["sums"]
        mean = Aggregate(total, ("a", "b", "c")).mean(config)
        bounds = {array: bound.hex() for array, bound in mean.error_bounds.items()}
        assert (mean.weight, bounds) == (case["weight"], case["error_bounds"])
        assert {n: [float(v).hex() for v in a.reshape(-1)] for n, a in mean.arrays.items()} == case["mean"]


def integers(vector: Vector) -> None:
    for case in vector["cases"]:
        config = decode_config(unhex(case["config"]))
        total: Words = np.zeros(config.vector_len, np.uint64)
        assert encode_config(config).hex() == case["config"]
        assert config.ring_bits == case["ring_bits"]
        for person in case["people"]:
            update = {
                spec.name: np.array(person["values"][spec.name], spec.dtype).reshape(spec.shape)
                for spec in config.schema.arrays
            }
            encoder = config.code.encode(config.schema.check(update), 1, Secret(bytes(32)))
            assert encoder.read(0, config.vector_len, np.dtype("<u8")).tolist() == person["encoded"]
            total = total + encoder.read(0, config.vector_len, np.dtype("<u8"))
        assert total.tolist() == case["sums"]
        totals = Aggregate(total, ("a", "b", "c")).totals(config)
        assert {name: array.reshape(-1).tolist() for name, array in totals.arrays.items()} == case["totals"]
    config, names = decode_config(unhex(vector["config"])), tuple(map(str, range(vector["summands"])))
    Aggregate(np.array(vector["largest"], np.uint64), names).totals(config)
    for case in vector["refused"]:
        with pytest.raises(ProtocolViolation):
            Aggregate(np.array(case["sums"], np.uint64), names).totals(config)


def packing(vector: Vector) -> None:
    for case in vector["cases"]:
        bits, packed = case["bits"], unhex(case["packed"])
        values = unpack(packed, len(case["values"]), bits)
        assert values.tolist() == case["values"]
        assert pack(np.ascontiguousarray(values), bits) == packed
    for case in vector["refused"]:
        with pytest.raises(DecodeError):
            unpack(unhex(case["packed"]), case["count"], case["bits"])


def chunks(vector: Vector) -> None:
    for case in vector["cases"]:
        assert chunk_values(case["bits"]) == case["values_per_chunk"]
        assert [packed_size(count, case["bits"]) for count in case["counts"]] == case["sizes"]


def masked_chunks(vector: Vector) -> None:
    config = decode_config(unhex(vector["config"]))
    streams = tuple(masks.Mask(Secret(unhex(mask["key"])), mask["negative"]) for mask in vector["masks"])
    made = list(MaskedVector(Multiples(config.vector_len, int(vector["step"]), vector["value_bits"]), config, streams))
    assert [vector["ring_bits"], vector["vector_len"]] == [config.ring_bits, config.vector_len]
    assert [chunk.number for chunk in made] == [chunk["number"] for chunk in vector["chunks"]]
    for chunk, stated in zip(made, vector["chunks"], strict=True):
        assert len(chunk.payload) == packed_size(stated["count"], config.ring_bits) == stated["size"]
        assert hashlib.sha256(chunk.payload).hexdigest() == stated["sha256"]


def configuration(vector: Vector) -> None:
    for case in vector["cases"]:
        config = decode_config(unhex(case["bytes"]))
        assert encode_config(config).hex() == case["bytes"]
        assert [{"name": a.name, "shape": list(a.shape), "dtype": a.dtype} for a in config.schema.arrays] == case[
            "arrays"
        ]
        told = {
            "task": config.task,
            "clip": config.fixed_point.clip.hex(),
            "value_bits": config.fixed_point.value_bits,
            "max_weight": config.fixed_point.max_weight,
            "max_participants": config.max_participants,
            "threshold": config.threshold,
            "max_colluding": config.max_colluding,
            "threat_model": config.threat_model.name,
            "suite": config.suite.name,
            "graph": "COMPLETE" if config.ring is None else "RING",
            "model_digest": config.model_digest.hex(),
            "release_to_participants": config.release_to_participants,
            "purpose": config.purpose,
            "join_ms": round(config.deadlines.join_s * 1000),
            "ring_bits": config.ring_bits,
            "vector_len": config.vector_len,
            "word_bits": 8 * config.ring_dtype.itemsize,
        }
        assert told == {key: case[key] for key in told}


def differencing(vector: Vector) -> None:
    def release(told: Vector) -> Release:
        survivors = frozenset(map(ParticipantId, told["survivors"]))
        return Release(told["model"].encode(), survivors, told["threshold"], told["purpose"])

    for case in vector["cases"]:
        memory = ReleaseMemory(100)
        for number, told in enumerate(case["before"]):
            memory.record(RoundId(bytes([number]) * 16), release(told))
        before = memory.rounds
        exposed = memory.claim(RoundId(b"n" * 16), release(case["sum"]))
        assert sorted(exposed) == case["exposed"]
        assert (len(memory.rounds) == len(before)) is bool(exposed)


def groups(vector: Vector) -> None:
    ids = GroupedRoundId(RoundId(unhex(vector["parent"])), unhex(vector["opened"]))
    for case in vector["cases"]:
        config = decode_config(unhex(case["config"]))
        assert config.groups is not None
        assert (config.groups.parent.hex(), config.groups.number) == (vector["parent"], case["number"])
        assert GroupedRoundId.of(RoundId(unhex(case["round_id"])), unhex(case["config"]), config.groups) == ids
        assert ids.context(case["number"], unhex(vector["model_digest"])).hex() == case["context"]
    for case in vector["combinations"]:
        plan = Groups(count=len(case["means"]), combine=Combine[case["combine"]], trim=case["trim"])
        means = [np.array(mean) for mean in case["means"]]
        np.testing.assert_array_equal(combined(means, case["weights"], plan), case["result"])
    packed = {int(number): PackedAggregate((), (), unhex(digest)) for number, digest in vector["digests"].items()}
    assert PackedGroups(dict(sorted(packed.items()))).digest.hex() == vector["sums_digest"]


# --- rounds and refusals ----------------------------------------------------------------------------------------------


def _resolved(expect: Vector, messages: Mapping[str, Vector]) -> Vector:
    """The outcome that a step states, with the bytes of the messages that it names."""
    if "answer" in expect:
        return {"answer": messages[expect["answer"]]["parts"]}
    if "replies" in expect and all(isinstance(reply, str) for reply in expect["replies"]):
        return {"replies": [messages[reply]["parts"] for reply in expect["replies"]]}
    return expect


def whole_round(vector: Vector) -> None:
    replay, known, told = Replay(vector), dict(vector["messages"]), vector["outcome"]
    for number, step in enumerate(vector["steps"]):
        outcome, _ = replay.play(step, known)
        stated = archive.abridged(_resolved(step["expect"], vector["messages"]))
        assert archive.abridged(outcome) == stated, f"step {number}"
        known |= archive.told(step["expect"], outcome, known)
    for slug in vector["messages"]:
        fields = wire.encode(wire.decode(known[slug]))["fields"]
        assert fields == vector["messages"][slug].get("fields", fields)
    learned = [] if replay.kind != "participants" else [replay.learned(name) for name in told["survivors"]]
    aggregates = [a for a in (replay.coordinator.aggregate, *learned) if a is not None]
    assert aggregates
    for aggregate in aggregates:
        _check_aggregate(vector, replay, aggregate)


def _check_aggregate(vector: Vector, replay: Replay, aggregate: Aggregate) -> None:
    told = vector["outcome"]
    assert (aggregate.sums.tolist(), list(aggregate.survivors)) == (told["sums"], told["survivors"])
    assert sums_digest(aggregate, replay.config).hex() == told["sums_digest"]
    mean = aggregate.mean(replay.config, replay.named.input_context)
    assert (mean.weight, mean.error_bound.hex()) == (told["weight"], told["error_bound"])
    assert {n: [float(v).hex() for v in a.reshape(-1)] for n, a in mean.arrays.items()} == told["mean"]
    received = decode_aggregate(map(pb.AggregatePart.FromString, map(unhex, told["aggregate"])), replay.config)
    assert received.sums.tolist() == told["sums"]
    digest_of_model = digest_model({n: _model_array(vector, n) for n in vector["model"]})
    assert digest_of_model.hex() == vector["model_digest"]


def _model_array(vector: Vector, name: str) -> np.ndarray[Any, np.dtype[Any]]:
    """The model of the vectors has the arrays of its update."""
    return read_arrays(vector["model"], decode_config(unhex(vector["config"])).schema)[name]


def failure(vector: Vector) -> None:
    """All steps but the last pass as stated; the last is refused as stated."""
    honest, known = vectors.load(vector["round"]), archive.messages(vector["round"])
    messages = known | dict(archive.completed(vector["messages"], known))
    replay = Replay(honest, vector.get("policy"), vector.get("released"))
    replay.advance(honest["steps"][: vector["after"]], messages, vector["steps"][0]["at"])
    for step in vector["steps"]:
        outcome, _ = replay.play(step, messages)
        assert archive.abridged(outcome) == archive.abridged(_resolved(step["expect"], messages))
    assert replay.leave == vector.get("leave")


class Idle:
    """A backend that nothing is asked of: an offer that must be refused is refused before."""

    def do(self, job: Job) -> bytes:
        raise AssertionError(f"{type(job).__name__} in a round that must be refused")

    def close(self) -> None:
        """Nothing is open."""


def offer(vector: Vector) -> None:
    """The client refuses before it makes its first call."""
    honest = vectors.load("round-active")
    replay = Replay(honest)
    credentials = replay.credentials("dahlia")
    assert credentials is not None
    update = read_arrays(honest["participants"]["dahlia"]["update"], replay.config.schema)
    terms = Terms(
        credentials.identity,
        credentials.trust,
        read_policy(vector["policy"]),
        SystemRng(),
        lambda: float(fixtures.NOW_S),
        backend=Idle,
    )

    def join(
        config_bytes: bytes, digest_of_model: bytes, given: Terms, purpose: str = "train"
    ) -> PreparedCall[Any] | None:
        contribution = Contribution(update=update, weight=1, model_digest=digest_of_model, purpose=purpose)
        decoded = Offer(replay.round.round_id, decode_config(config_bytes), config_bytes)
        return Participation(given, contribution, decoded).advance(None)

    more = vector.get("followed_by", {"bytes": "", "times": 0})
    flood = unhex(more["bytes"]) * more["times"]
    with pytest.raises(RemoteError) as caught:
        join(unhex(vector["config"]) + flood, unhex(vector["model_digest"]), terms, vector.get("purpose", "train"))
    assert refusal(caught.value) == vector["expect"]
    lenient = Terms(credentials.identity, credentials.trust, read_policy({}), SystemRng(), terms.clock, backend=Idle)
    assert makes(join(unhex(honest["config"]), unhex(honest["model_digest"]), lenient), ADVERTISE)


def aggregate(vector: Vector) -> None:
    config = Replay(vectors.load(vector["round"])).config
    parts = [unhex(part) for part in vector["parts"]]
    if not vector["expect"]:
        decode_aggregate([parse(pb.AggregatePart, part) for part in parts], config)
        return
    with pytest.raises(SecAggError) as caught:
        decode_aggregate([parse(pb.AggregatePart, part) for part in parts], config)
    assert refusal(caught.value) == vector["expect"]


def endings(vector: Vector) -> None:
    """The signed bytes, and that the honest ending is believed."""
    roster, receipt = _played_roster(vector), vector["receipt"]
    statement = Statement(
        round_id=RoundId(unhex(vector["round_id"])),
        context=Context(unhex(vector["context"])),
        task=vector["task"],
        model_digest=unhex(vector["model_digest"]),
        roster_digest=rosters.roster_digest(roster),
        survivors=tuple(vector["survivors"]),
        sums_digest=unhex(vector["sums_digest"]),
    )
    assert statement.to_sign(vector["signed_ms"]).hex() == receipt["signed"]
    bound, digest = statement.context, statement.sums_digest
    signed = rosters.result_to_sign(bound, rosters.roster_digest(roster), map(Index, vector["indices"]), digest)
    assert signed.hex() == vector["result"]["signed"]
    told = {"round": vector["round"], "receipt": receipt["message"], "proof": vector["result"]["signatures"]}
    assert _believed(told) == digest
    exported = Receipt(statement, decode_receipt(pb.Receipt.FromString(unhex(receipt["message"]))).signed).export()
    assert Receipt.parse(exported).statement == statement


def ending(vector: Vector) -> None:
    with pytest.raises(SecAggError) as caught:
        _believed(vector)
    assert refusal(caught.value) == vector["expect"]


def _played_roster(vector: Vector) -> Roster:
    roster = wire.decode(vectors.load(vector["round"])["messages"]["roster"])
    assert isinstance(roster, Roster)
    return roster


def _believed(vector: Vector) -> bytes:
    """The digest that a participant believes in."""
    played = vectors.load(vector["round"])
    replay, roster, survivors = Replay(played), _played_roster(vector), tuple(played["outcome"]["survivors"])
    told = decode_receipt(pb.Receipt.FromString(unhex(vector["receipt"])))
    if told.survivors != len(survivors):
        raise ProtocolViolation("another number of survivors", culprit="coordinator")
    receipt = Receipt(Statement.of(replay.round, roster, survivors, told.sums_digest), told.signed)
    assert replay.trust is not None
    receipt.verify(replay.trust, datetime.fromtimestamp(vector.get("now_ms", fixtures.NOW_S * 1000) / 1000, UTC))
    if "proof" in vector:
        parts = map(pb.ConsistencyProofPart.FromString, map(unhex, vector["proof"]))
        result = Result.of(replay.round, roster, survivors, told.sums_digest)
        assert result.is_certified(decode_proof(parts))
    return told.sums_digest


READERS: dict[str, Callable[[Vector], None]] = {
    "endings": endings,
    "ending": ending,
    "x25519": x25519,
    "hkdf": hkdf,
    "aes-ctr": aes_ctr,
    "aes-gcm": aes_gcm,
    "aegis-128x4": aegis,
    "x-wing": x_wing,
    "encapsulations": recorded_encapsulations,
    "pair-secrets": pair_secrets_vector,
    "ecdsa": ecdsa,
    "framing": framing,
    "model-digest": model_digest,
    "context": context,
    "input-context": input_context,
    "roster-digest": roster_digest,
    "sparse-roster": sparse_roster,
    "sparse-graph": sparse_graph,
    "sparse-parameters": sparse_parameters,
    "signed-bytes": signed_bytes,
    "bounds": bounds,
    "policies": policies,
    "certificate-chains": certificate_chains,
    "commitment": commitment,
    "sealing": sealing,
    "dealing": dealing,
    "mask-keys": mask_keys,
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
    "failure": failure,
    "variation": failure,
    **lattice_code.READERS,
    **pipeline_code.READERS,
    **ledger_code.READERS,
    **audit_code.READERS,
    "offer": offer,
    "aggregate": aggregate,
}
"""By kind: every kind, so that no vector goes unread."""
