"""Vectors of the two schemes: profiles, slots, key shares, partial decryptions and decoding."""

import hashlib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from secagg.crypto import labels
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest
from secagg.errors import ConfigError, ProtocolViolation
from secagg.lattice import keyshares, noise
from secagg.lattice.decoding import decode
from secagg.lattice.layout import layout_of
from secagg.lattice.modular import I64, U64
from secagg.lattice.ntt import ntt
from secagg.lattice.parameters import Custody, Profile, Scheme, find_profile
from secagg.lattice.residues import ResidueVector, pack_residues
from secagg.lattice.rlwe import SecretKey, centred_binomial, lift, rebase
from secagg.lattice.slots import bfv_slots, ckks_slots
from secagg.lattice.streams import SeededPolynomials
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document
from secagg.tools.conformance.fixtures import ALICE, BOB, CONTEXT
from secagg.tools.conformance.primitives.rings import words_digest
from secagg.tools.conformance.replay.encryption import bfv_plaintext, plaintext
from secagg.tools.conformance.replay.round import Draws


def _profiles() -> Document:
    tasks = ((3, 8), (8, 8), (10, 16), (100, 16), (1000, 12), (10_000, 20), (100, 32))
    cases, refused = [], []
    for scheme in Scheme:
        for custody in Custody:
            for n, bits in (*tasks, (10_000, 32), (10_000, 18)):
                task = {"scheme": scheme.value, "custody": custody.value, "summands": n, "value_bits": bits}
                try:
                    cases.append(task | profile_fields(find_profile(scheme, custody, n, bits)))
                except ConfigError:
                    refused.append(task)
    return {"cases": cases, "none_for": refused}


def profile_fields(profile: Profile) -> dict[str, Any]:
    """A profile and what follows from it; bounds as C99 hex."""
    stated = {field.name: getattr(profile, field.name) for field in fields(profile)}
    stated |= {"scheme": profile.scheme.value, "custody": profile.custody.value, "scale": str(profile.scale)}
    upload = layout_of(profile, 1, 1 if profile.custody is Custody.PARTICIPANTS else 2)
    limit = (
        noise.bfv_limit(profile.modulus, profile.plain_modulus)
        if profile.scheme is Scheme.BFV
        else noise.CKKS_ROUNDING_LIMIT
    )
    return stated | {
        "field_bits": profile.field_bits,
        "values_per_block": profile.values_per_block,
        "upload_block_bytes": upload.block_bytes,
        "encryption_noise": profile.encryption_noise().hex(),
        "noise_bound": profile.noise_bound().hex(),
        "noise_limit": float(limit).hex(),
    }


def small_profile(scheme: Scheme, custody: Custody = Custody.PARTICIPANTS) -> Profile:
    """A profile for 8 summands of 8 bits."""
    return find_profile(scheme, custody, 8, 8)


def _block(profile: Profile, name: str, bits: int) -> U64:
    """A block of values below 2**bits: the low bits of 64-bit little-endian words of SHAKE-256 of a seed."""
    words = np.frombuffer(hashlib.shake_256(fixtures.seed(name)).digest(8 * profile.values_per_block), "<u8")
    return words.astype(np.uint64) & np.uint64((1 << bits) - 1)


def _slots() -> Iterator[Document]:
    for title, profile in (
        ("BFV, two values a slot", small_profile(Scheme.BFV)),
        ("BFV, one value a slot", find_profile(Scheme.BFV, Custody.PARTICIPANTS, 1000, 30)),
        ("CKKS", small_profile(Scheme.CKKS)),
    ):
        block = _block(profile, f"values of {title}", profile.value_bits)
        case = {"title": title, "values_seed": fixtures.seed(f"values of {title}"), "values": _sample(block)}
        yield case | {"profile": profile_fields(profile)} | _encoded(profile, block)


_PLACES = (0, 1, 2, 2047, 2048, 2049, 4095)


def _sample(values: U64) -> dict[str, Any]:
    places = sorted({*_PLACES, len(values) // 2, len(values) - 1})
    return {"at": {i: int(values[i]) for i in places if i < len(values)}, "sha256": words_digest(values)}


def _encoded(profile: Profile, block: U64) -> dict[str, Any]:
    if profile.scheme is Scheme.BFV:
        return {"slots": _sample(bfv_slots(profile, block)), "coefficients": _sample(bfv_plaintext(profile, block))}
    complex_slots = ckks_slots(block)
    at = {i: [int(complex_slots[i].real), int(complex_slots[i].imag)] for i in _PLACES if i < len(complex_slots)}
    return {"slots": {"at": at}}


def _sparse() -> Iterator[Document]:
    """Few values, so that a reader can check the plaintext by evaluating it."""
    for scheme in Scheme:
        profile = small_profile(scheme)
        block = np.zeros(profile.values_per_block, np.uint64)
        block[[0, 1, 5, profile.values_per_block // 2, profile.values_per_block - 1]] = [1, 200, 255, 77, 3]
        hidden = plaintext(profile, block)
        yield {
            "scheme": scheme.value,
            "profile": profile_fields(profile),
            "values": {i: int(block[i]) for i in np.flatnonzero(block)},
            "hidden": [{"first": row[:8], "sha256": words_digest(row)} for row in hidden],
        }


def _fresh(profile: Profile, seed: Secret, values: U64) -> tuple[U64, U64, I64]:
    """A symmetric ciphertext with c1' from a fixed stream and an error from a seed, each uint64[1, primes, N]."""
    c1 = SeededPolynomials(profile, fixtures.seed("c1'")[:16], context=CONTEXT, participant="fresh").blocks(range(1))
    c1 = np.ascontiguousarray(c1)
    error = centred_binomial(Secret(fixtures.seed("fresh error")), CONTEXT, profile.ring_degree)
    hidden = plaintext(profile, values)
    if profile.ntt_form:
        hidden = np.stack([ntt(profile.ring_degree, q).forward(hidden[j]) for j, q in enumerate(profile.primes)])
    masked = SecretKey(profile, seed, CONTEXT).times(c1)
    small = lift(profile, error[None])
    c0 = np.empty_like(c1)
    for j, prime in enumerate(profile.primes):
        q = np.uint64(prime)
        c0[0, j] = (hidden[j] + small[0, j] + (q - masked[0, j])) % q
    return c0, c1, error


def _seeded_encryption() -> Iterator[Document]:
    for scheme in Scheme:
        profile, seed, stream_seed = small_profile(scheme), Secret(fixtures.seed("dealt key")), fixtures.seed("a")[:16]
        values = np.array([1, 200, 255], np.uint64)
        c0, c1, _ = _fresh(profile, seed, values)
        stream = SeededPolynomials(profile, stream_seed, context=CONTEXT, participant=ALICE).blocks(range(1))
        moved = rebase(profile, SecretKey(profile, seed, CONTEXT), c0, c1, stream)
        yield {
            "profile": profile_fields(profile),
            "key_seed": seed.expose(),
            "dealt_key_digest": keyshares.dealt_key_digest(CONTEXT, seed),
            "values": values,
            "fresh_c0": _polynomials(profile, c0),
            "fresh_c1": _polynomials(profile, c1),
            "stream_seed": stream_seed,
            "c1": _polynomials(profile, stream),
            "c0": _polynomials(profile, moved),
        }


def _polynomials(profile: Profile, residues: U64) -> dict[str, Any]:
    packed = pack_residues(residues, profile.prime_bits)
    first = residues.reshape(-1, profile.ring_degree)[:, :4]
    return {"first": first, "packed_sha256": hashlib.sha256(packed).digest()}


def _key_shares() -> Iterator[Document]:
    for scheme in Scheme:
        profile, shares, told = small_profile(scheme, Custody.THRESHOLD), [], []
        for name in (ALICE, BOB, "carol"):
            seed = fixtures.seed(f"key seed of {name}")
            share = keyshares.key_share(profile, Secret(seed), CONTEXT)
            packed = keyshares.pack_key_share(profile, share)
            shares.append(share)
            told.append(
                {
                    "participant_id": name,
                    "key_seed": seed,
                    "key_share": _polynomials(profile, share),
                    "size": len(packed),
                    "commitment": keyshares.commitment(CONTEXT, name, packed),
                }
            )
        joint = keyshares.joint_key(profile, shares)
        packed = pack_residues(joint, profile.prime_bits)
        yield {
            "profile": profile_fields(profile),
            "shares": told,
            "joint_key": _polynomials(profile, joint),
            "joint_key_digest": digest(labels.RESIDUES_DIGEST, packed),
        }


def _partial_decryption() -> Iterator[Document]:
    for scheme in Scheme:
        profile, seed = small_profile(scheme, Custody.THRESHOLD), Secret(fixtures.seed("key seed of Alice.1"))
        c1 = np.ascontiguousarray(
            SeededPolynomials(profile, fixtures.seed("sum")[:16], context=CONTEXT, participant="sum").blocks(range(1))
        )
        flood = hashlib.shake_256(fixtures.seed("flood")).digest(8 * profile.ring_degree)
        key = SecretKey(profile, seed, CONTEXT)
        partial = keyshares.partial_decryption(profile, key, c1, Draws([flood]))
        layout = layout_of(profile, 1, 1)
        yield {
            "profile": profile_fields(profile),
            "key_seed": seed.expose(),
            "c1": _polynomials(profile, c1),
            "c1_digest": ResidueVector(layout, c1[:, None]).digest(),
            "flood": (np.frombuffer(flood, "<i8") >> 1)[:8],
            "c1_times_s": _polynomials(profile, keyshares.fallen_part(key, c1)),
            "partial": _polynomials(profile, partial),
        }


def _decoding() -> Iterator[Document]:
    for scheme in Scheme:
        for custody in Custody:
            profile = small_profile(scheme, custody)
            values = np.array([0, 1, 2040, 777, 2039], np.uint64)  # sums of 8 values of 8 bits
            for title, error, count, summands in _errors(profile):
                phase = _phase(profile, values, error)
                case = {"title": title, "profile": profile_fields(profile), "count": count, "summands": summands}
                case |= {"error": str(error), "phase": _polynomials(profile, phase)}
                try:
                    case["values"] = decode(profile, phase, count, summands)
                except ProtocolViolation:
                    case["values"] = None
                yield case


def _errors(profile: Profile) -> list[tuple[str, int, int, int]]:
    """Title, error of coefficient 0, values and summands: as large as the bound allows, and more."""
    bfv = profile.scheme is Scheme.BFV
    bound = int(0.99 * (profile.noise_bound() if bfv else noise.CKKS_ROUNDING_LIMIT * profile.scale))
    too_much = profile.modulus // profile.plain_modulus if bfv else int(0.3 * profile.scale)
    return [
        ("without noise", 0, 5, 8),
        ("noise in one coefficient, as large as the bound", bound, 5, 8),
        ("the same, negative", -bound, 5, 8),
        ("noise that reaches half of Q/h" if bfv else "a value further than 1/4 from an integer", too_much, 5, 8),
        ("a value that 7 summands cannot reach", 0, 5, 7),
        ("a filler that is not zero", 0, 4, 8),
    ]


def _phase(profile: Profile, values: U64, error: int) -> U64:
    """Plaintext plus `error` in coefficient 0: uint64[1, primes, N] in the profile's form."""
    phase = plaintext(profile, values)
    for j, prime in enumerate(profile.primes):
        phase[j, 0] = (int(phase[j, 0]) + error) % prime
        if profile.ntt_form:
            phase[j] = ntt(profile.ring_degree, prime).forward(phase[j])
    return phase[None]


# fmt: off
VECTORS: Contents = {
    "profiles": (
        "The profile that the finder gives, its bounds, and tasks for which there is none", "Homomorphic profiles",
        _profiles),
    "slots": ("Values, slots and plaintext polynomials; the numbers at some places, and digests of all", "Slots",
        lambda: {"sparse": _sparse(), "cases": _slots()}),
    "seeded-encryption": ("A fresh ciphertext moved onto the c1 of a seed", "Seeded ciphertexts",
        lambda: {"context": CONTEXT, "participant_id": ALICE, "fresh_seed": fixtures.seed("c1'")[:16],
                 "fresh_participant_id": "fresh", "fresh_error_seed": fixtures.seed("fresh error"),
                 "cases": _seeded_encryption()}),
    "key-shares": ("Key shares from seeds, their commitments, and the joint key", "Key shares",
        lambda: {"context": CONTEXT, "cases": _key_shares()}),
    "partial-decryption": (
        "What a decryptor sends, with a fixed flood, and what its recovered seed gives", "Partial decryptions",
        lambda: {"context": CONTEXT, "c1_seed": fixtures.seed("sum")[:16], "c1_participant_id": "sum",
                 "flood_seed": fixtures.seed("flood"), "cases": _partial_decryption()}),
    "sum-decoding": (
        "Decrypted phases, c0 + c1 s, and the sums in them; null where the phase must be refused",
        "Decoding an encrypted sum", lambda: {"hidden": [0, 1, 2040, 777, 2039], "cases": _decoding()}),
}
# fmt: on
