"""Readers that hold the vectors of ring arithmetic and of the two schemes to the real code."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from secagg import roster as rosters
from secagg.context import Context
from secagg.crypto import labels, signing
from secagg.crypto.kdf import derive
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest, frame
from secagg.errors import ConfigError, DecodeError, ProtocolViolation
from secagg.homomorphic import transcripts
from secagg.lattice import keyshares, noise
from secagg.lattice.decoding import decode
from secagg.lattice.layout import Layout, layout_of
from secagg.lattice.modular import U64
from secagg.lattice.ntt import ntt
from secagg.lattice.parameters import Custody, Profile, Scheme, find_profile
from secagg.lattice.primes import ntt_primes, primitive_root
from secagg.lattice.residues import ResidueVector, pack_residues, unpack_residues
from secagg.lattice.rlwe import SecretKey, centred_binomial, lift, rebase, ternary
from secagg.lattice.slots import bfv_slots, ckks_slots
from secagg.lattice.streams import SeededPolynomials, UniformResidues
from secagg.messages import AdvertiseKeys, Index, Member, ParticipantId, Roster, SurvivorSet
from secagg.tools.conformance import vectors
from secagg.tools.conformance.replay.encryption import plaintext
from secagg.tools.conformance.replay.round import Draws, Replay

Vector = dict[str, Any]
unhex = bytes.fromhex


def words_digest(values: U64) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, "<u8").tobytes()).hexdigest()


def profile_in(told: Mapping[str, Any]) -> Profile:
    """The profile that a vector states; its bounds must be those of the code."""
    profile = Profile(
        Scheme(told["scheme"]),
        Custody(told["custody"]),
        told["summands"],
        told["value_bits"],
        told["ring_degree"],
        tuple(told["primes"]),
        told["special_prime"],
        told["plain_modulus"],
        int(told["scale"]),
        told["values_per_slot"],
    )
    profile.check()
    assert (profile.field_bits, profile.values_per_block) == (told["field_bits"], told["values_per_block"])
    assert profile.encryption_noise().hex() == told["encryption_noise"]
    assert profile.noise_bound().hex() == told["noise_bound"]
    bfv = profile.scheme is Scheme.BFV
    limit = noise.bfv_limit(profile.modulus, profile.plain_modulus) if bfv else noise.CKKS_ROUNDING_LIMIT
    assert float(limit).hex() == told["noise_limit"]
    return profile


def matches(profile: Profile, residues: U64, told: Mapping[str, Any]) -> None:
    packed = pack_residues(residues, profile.prime_bits)
    assert residues.reshape(-1, profile.ring_degree)[:, :4].tolist() == told["first"]
    assert hashlib.sha256(packed).hexdigest() == told["packed_sha256"]
    assert unpack_residues(packed, residues.shape, _primes_of(profile, residues)).tolist() == residues.tolist()


def _primes_of(profile: Profile, residues: U64) -> tuple[int, ...]:
    return profile.primes if residues.shape[-2] == len(profile.primes) else profile.key_primes


def one_block(profile: Profile, seed: str, vector: Vector, name: str) -> U64:
    """C1 of a seed."""
    stream = SeededPolynomials(profile, unhex(seed), context=unhex(vector["context"]), participant=name)
    return np.ascontiguousarray(stream.blocks(range(1)))


def primes(vector: Vector) -> None:
    for case in vector["cases"]:
        found = ntt_primes(case["ring_degree"], case["bits"], len(case["primes"]))
        assert list(found) == case["primes"]
        for prime, root in zip(found, case["roots"], strict=False):
            assert primitive_root(case["ring_degree"], prime) == root


def transform(vector: Vector) -> None:
    for case in vector["cases"]:
        degree, prime = case["ring_degree"], case["prime"]
        coefficients = UniformResidues(Secret(unhex(vector["key"])), prime).elements(0, degree)
        if case["title"] == "X":
            coefficients = np.zeros(degree, np.uint64)
            coefficients[1] = 1
        values = ntt(degree, prime).forward(coefficients)
        assert (coefficients[:16].tolist(), values[:16].tolist()) == (case["coefficients"], case["values"])
        assert words_digest(coefficients) == case["coefficients_sha256"]
        assert words_digest(values) == case["values_sha256"]
        assert (ntt(degree, prime).inverse(values) == coefficients).all()


def packing(vector: Vector) -> None:
    for case in vector["cases"]:
        layout = Layout(case["ring_degree"], tuple(case["primes"]), case["polynomials"], case["blocks"])
        assert (layout.prime_bits, layout.block_bytes) == (case["residue_bits"], case["block_bytes"])
        assert layout.blocks_per_chunk == case["blocks_per_chunk"]
        assert [layout.chunk_bytes(i) for i in range(layout.chunks)] == case["chunk_bytes"]
        if "packed" in case:
            shape = (layout.blocks, layout.polynomials, len(layout.primes), layout.ring_degree)
            found = unpack_residues(unhex(case["packed"]), shape, layout.primes)
            assert found.reshape(-1).tolist() == case["residues"]
            assert pack_residues(found, layout.prime_bits).hex() == case["packed"]
            assert hashlib.sha256(unhex(case["packed"])).hexdigest() == case["packed_sha256"]
    refused = vector["refused"]
    for case in refused["packed"]:
        with pytest.raises(DecodeError):
            unpack_residues(unhex(case["packed"]), (1, refused["ring_degree"]), (refused["prime"],))


def streams(vector: Vector) -> None:
    seed, context, name = unhex(vector["seed"]), unhex(vector["context"]), vector["participant_id"]
    for case in vector["cases"]:
        prime, own = case["prime"], case["purpose"] == "input"
        purpose = frame(labels.RESIDUE_STREAM, name.encode()) if own else frame(labels.REFERENCE_STRING)
        info = purpose + prime.to_bytes(8, "big")
        key = derive(Secret(seed if own else context), salt=context if own else b"", info=info, size=32)
        assert (info.hex(), key.expose().hex()) == (case["info"], case["key"])
        stream = UniformResidues(key, prime)
        assert words_digest(stream.elements(0, case["count"])) == case["sha256"]
        assert stream.elements(0, 8).tolist() == case["first"]
        assert stream.elements(case["later"]["start"], 8).tolist() == case["later"]["elements"]
    for case in vector["redraws"]:
        found = UniformResidues(Secret(unhex(case["key"])), case["prime"]).elements(0, len(case["elements"]))
        assert found.tolist() == case["elements"]
        assert found[case["drawn_again"]].tolist() == case["instead"]


def small(vector: Vector) -> None:
    for case in vector["cases"]:
        for name, sample in (("ternary", ternary), ("centred_binomial", centred_binomial)):
            found = sample(Secret(unhex(case["seed"])), unhex(vector["context"]), case["ring_degree"])
            assert found[:32].tolist() == case[name]
            assert hashlib.sha256(found.astype(np.int8).tobytes()).hexdigest() == case[f"{name}_sha256"]


def profiles(vector: Vector) -> None:
    for case in vector["cases"]:
        task = (Scheme(case["scheme"]), Custody(case["custody"]), case["summands"], case["value_bits"])
        found = find_profile(*task)
        assert found == profile_in(case)
        polynomials = 1 if found.custody is Custody.PARTICIPANTS else 2
        assert layout_of(found, 1, polynomials).block_bytes == case["upload_block_bytes"]
    for case in vector["none_for"]:
        with pytest.raises(ConfigError):
            find_profile(Scheme(case["scheme"]), Custody(case["custody"]), case["summands"], case["value_bits"])


def slots(vector: Vector) -> None:
    for case in vector["cases"]:
        profile = profile_in(case["profile"])
        raw = hashlib.shake_256(unhex(case["values_seed"])).digest(8 * profile.values_per_block)
        block = np.frombuffer(raw, "<u8") & np.uint64((1 << profile.value_bits) - 1)
        _sampled(block, case["values"])
        if profile.scheme is Scheme.BFV:
            _sampled(bfv_slots(profile, block), case["slots"])
        else:
            made = ckks_slots(block)
            assert {i: [int(made[int(i)].real), int(made[int(i)].imag)] for i in case["slots"]["at"]} == case["slots"][
                "at"
            ]
    for case in vector["sparse"]:
        profile = profile_in(case["profile"])
        values = np.zeros(profile.values_per_block, np.uint64)
        for i, value in case["values"].items():
            values[int(i)] = value
        hidden = plaintext(profile, values)
        for row, told in zip(hidden, case["hidden"], strict=True):
            assert (row[:8].tolist(), words_digest(row)) == (told["first"], told["sha256"])
        phase = np.stack([_form(profile, row, q) for row, q in zip(hidden, profile.primes, strict=True)])
        assert (decode(profile, phase[None], len(values), 1) == values).all()


def _form(profile: Profile, coefficients: U64, prime: int) -> U64:
    return ntt(profile.ring_degree, prime).forward(coefficients) if profile.ntt_form else coefficients


def _sampled(values: U64, told: Mapping[str, Any]) -> None:
    assert {i: int(values[int(i)]) for i in told["at"]} == told["at"]
    assert words_digest(values) == told["sha256"]


def seeded_encryption(vector: Vector) -> None:
    context = unhex(vector["context"])
    for case in vector["cases"]:
        profile, seed = profile_in(case["profile"]), Secret(unhex(case["key_seed"]))
        key = SecretKey(profile, seed, context)
        c1 = one_block(profile, vector["fresh_seed"], vector, vector["fresh_participant_id"])
        error = centred_binomial(Secret(unhex(vector["fresh_error_seed"])), context, profile.ring_degree)
        hidden = plaintext(profile, np.array(case["values"], np.uint64))
        message = np.stack([_form(profile, row, q) for row, q in zip(hidden, profile.primes, strict=True)])[None]
        noisy, masked = lift(profile, error[None]), key.times(c1)
        c0 = np.empty_like(c1)
        for j, prime in enumerate(profile.primes):
            q = np.uint64(prime)
            c0[:, j] = (message[:, j] + noisy[:, j] + (q - masked[:, j])) % q
        a = one_block(profile, case["stream_seed"], vector, vector["participant_id"])
        moved = rebase(profile, key, c0, c1, a)
        for residues, stated in ((c0, "fresh_c0"), (c1, "fresh_c1"), (a, "c1"), (moved, "c0")):
            matches(profile, residues, case[stated])
        assert keyshares.dealt_key_digest(context, seed).hex() == case["dealt_key_digest"]


def key_shares(vector: Vector) -> None:
    context = unhex(vector["context"])
    for case in vector["cases"]:
        profile, shares = profile_in(case["profile"]), []
        for told in case["shares"]:
            share = keyshares.key_share(profile, Secret(unhex(told["key_seed"])), context)
            packed, name = keyshares.pack_key_share(profile, share), told["participant_id"]
            matches(profile, share, told["key_share"])
            assert len(packed) == told["size"]
            assert keyshares.commitment(context, name, packed).hex() == told["commitment"]
            keyshares.check_recovered_seed(profile, Secret(unhex(told["key_seed"])), context, name, packed)
            shares.append(keyshares.unpack_key_share(profile, packed))
        joint = keyshares.joint_key(profile, shares)
        matches(profile, joint, case["joint_key"])
        packed = pack_residues(joint, profile.prime_bits)
        assert digest(labels.RESIDUES_DIGEST, packed).hex() == case["joint_key_digest"]


def partial_decryption(vector: Vector) -> None:
    context = unhex(vector["context"])
    for case in vector["cases"]:
        profile = profile_in(case["profile"])
        key = SecretKey(profile, Secret(unhex(case["key_seed"])), context)
        c1 = one_block(profile, vector["c1_seed"], vector, vector["c1_participant_id"])
        flood = hashlib.shake_256(unhex(vector["flood_seed"])).digest(8 * profile.ring_degree)
        partial = keyshares.partial_decryption(profile, key, c1, Draws([flood]))
        for residues, stated in ((c1, "c1"), (keyshares.fallen_part(key, c1), "c1_times_s"), (partial, "partial")):
            matches(profile, residues, case[stated])
        assert ResidueVector(layout_of(profile, 1, 1), c1[:, None]).digest().hex() == case["c1_digest"]


def decoding(vector: Vector) -> None:
    values = np.array(vector["hidden"], np.uint64)
    for case in vector["cases"]:
        profile = profile_in(case["profile"])
        hidden = plaintext(profile, values)
        for j, prime in enumerate(profile.primes):
            hidden[j, 0] = (int(hidden[j, 0]) + int(case["error"])) % prime
        phase = np.stack([_form(profile, row, q) for row, q in zip(hidden, profile.primes, strict=True)])[None]
        matches(profile, phase, case["phase"])
        if case["values"] is None:
            with pytest.raises(ProtocolViolation):
                decode(profile, phase, case["count"], case["summands"])
        else:
            assert decode(profile, phase, case["count"], case["summands"]).tolist() == case["values"]


def bindings(vector: Vector) -> None:
    context, name = Context(unhex(vector["context"])), ParticipantId(vector["participant_id"])
    for case in vector["cases"]:
        key, seed = unhex(case["key_digest"]), unhex(case["seed"])
        binding = transcripts.input_binding(context, name, profile_in(case["profile"]), key, seed)
        assert binding.hex() == case["input_binding"]
        for chunk in case["chunks"]:
            made = transcripts.chunk_binding(binding, chunk["number"], unhex(vector["payload"]))
            assert made.hex() == chunk["binding"]


def signed_bytes(vector: Vector) -> None:
    members = tuple(
        Member(
            Index(m["index"]),
            ParticipantId(m["participant_id"]),
            AdvertiseKeys(
                unhex(m["channel_public_key"]),
                unhex(m["mask_public_key"]),
                b"",
                tuple(map(unhex, m["certificates"])),
                unhex(m["key_share_commitment"]),
            ),
        )
        for m in vector["members"]
    )
    context, roster = Context(unhex(vector["context"])), Roster(members)
    survivors, dropped, fallen = (tuple(map(Index, vector[k])) for k in ("survivors", "dropped", "fallen"))
    sets, name = SurvivorSet(survivors, dropped), ParticipantId(vector["participant_id"])
    made = {
        "advertise_keys": rosters.advertisement_to_sign(context, name, members[0].keys),
        "key_confirmation": transcripts.key_confirmation(
            context, roster, Index(vector["dealer"]), unhex(vector["key_digest"])
        ),
        "sum_report": transcripts.sum_report(context, roster, survivors, unhex(vector["sums_digest"])),
        "consistency_check": transcripts.decryption(context, roster, sets, unhex(vector["c1_digest"])),
        "recovery_check": transcripts.recovery(context, roster, fallen),
    }
    assert rosters.roster_digest(roster).hex() == vector["roster_digest"]
    key = signing_key(vector)
    for kind, told in vector["signatures"].items():
        assert made[kind].hex() == told["signed"]
        assert signing.sign(key, made[kind]).hex() == told["signature"]


def recorded(vector: Vector) -> None:
    """Of the right round, well-formed, and, opened with the round's keys, the values of their owners."""
    honest = vectors.load(vector["round"])
    replay = Replay(honest)
    assert vector["context"] == replay.round.context.hex()
    profile = replay.profile
    shape = (1, 2, len(profile.primes), profile.ring_degree)
    for name, packed in vector["ciphertexts"].items():
        residues = unpack_residues(base64.b64decode(packed), shape, profile.primes)
        secrets = [Secret(replay.random(owner)["key_seed"]) for owner in holders(honest, profile)]
        phase = np.ascontiguousarray(residues[:, 0])
        for secret in secrets:
            product = SecretKey(profile, secret, replay.round.context).times(np.ascontiguousarray(residues[:, 1]))
            for j, prime in enumerate(profile.primes):
                phase[:, j] = (phase[:, j] + product[:, j]) % np.uint64(prime)
        encoded = honest["intermediates"]["encoded"][name]
        assert decode(profile, phase, len(encoded), 1).tolist() == encoded


def holders(honest: Vector, profile: Profile) -> list[str]:
    """Whose key seeds make the round's key."""
    if profile.custody is Custody.PARTICIPANTS:
        return [honest["intermediates"]["dealer"]]
    return [name for name in honest["intermediates"]["key_shares"] if name != honest["drops"]["SHARE_KEYS"]]


def signing_key(vector: Vector) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int(vector["private_scalar_test_only"], 16), ec.SECP256R1())


READERS: dict[str, Callable[[Vector], None]] = {
    "ring-primes": primes,
    "ring-transform": transform,
    "residue-packing": packing,
    "residue-stream": streams,
    "small-polynomials": small,
    "profiles": profiles,
    "slots": slots,
    "seeded-encryption": seeded_encryption,
    "key-shares": key_shares,
    "partial-decryption": partial_decryption,
    "sum-decoding": decoding,
    "encrypted-bindings": bindings,
    "homomorphic-signed-bytes": signed_bytes,
    "recorded": recorded,
}
"""By kind."""
