"""Readers that hold the vectors of ring arithmetic and of the two schemes to `ring_reference.py`."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from tests.conformance import reference as ref
from tests.conformance import ring_reference as ring
from tests.conformance.against_specification import sign

Vector = dict[str, Any]
Polys = list[list[int]]
unhex = bytes.fromhex


def words_digest(values: Sequence[int]) -> str:
    return hashlib.sha256(b"".join(v.to_bytes(8, "little") for v in values)).hexdigest()


class Profile:
    """A profile as a vector states it."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.bfv, self.joint = told["scheme"] == "bfv", told["custody"] == "threshold"
        self.n, self.value_bits, self.degree = told["summands"], told["value_bits"], told["ring_degree"]
        self.primes: list[int] = told["primes"]
        self.special, self.plain, self.scale = told["special_prime"], told["plain_modulus"], int(told["scale"])
        self.fields = told["values_per_slot"]
        self.key_primes = [*self.primes, self.special] if self.special else self.primes
        self.modulus = math.prod(self.primes)
        self.bits = self.primes[0].bit_length()
        self.field_bits = self.value_bits + (self.n - 1).bit_length()

    @property
    def numbers(self) -> list[int]:
        """What enters a binding."""
        return [self.degree, *self.key_primes, self.plain, self.scale, self.fields]

    def hidden(self, values: Mapping[int, int]) -> list[int]:
        """Coefficients that an encryption of some values hides, as integers."""
        if self.bfv:
            flat = [0] * (self.degree * self.fields)
            for i, v in values.items():
                flat[i] = v
            slots = ring.bfv_slots(flat, self.degree, self.fields, self.field_bits)
            return ring.bfv_scaled(ring.bfv_plaintext(slots, self.plain), self.modulus, self.plain)
        half = self.degree // 2
        slots_ = {i % half: (values.get(i % half, 0), values.get(half + i % half, 0)) for i in values}
        return ring.ckks_scaled(slots_, self.degree, self.scale)

    def lift(self, coefficients: Sequence[int]) -> Polys:
        """In the form that travels."""
        return [self.form([c % p for c in coefficients], p) for p in self.primes]

    def form(self, coefficients: list[int], prime: int) -> list[int]:
        return coefficients if self.bfv else ring.transform(coefficients, prime)

    def times(self, polys: Polys, secret: Sequence[int]) -> Polys:
        """Polynomials in the form that travels, times a secret."""
        out = []
        for poly, p in zip(polys, self.primes, strict=True):
            s = ring.transform([c % p for c in secret], p)
            values = ring.multiply(ring.transform(poly, p) if self.bfv else poly, s, p)
            out.append(ring.inverse(values, p) if self.bfv else values)
        return out

    def plus(self, a: Polys, b: Polys) -> Polys:
        return [ring.plus(x, y, p) for x, y, p in zip(a, b, self.primes, strict=True)]

    def minus(self, a: Polys, b: Polys) -> Polys:
        return [ring.minus(x, y, p) for x, y, p in zip(a, b, self.primes, strict=True)]

    def seeded(self, seed: bytes, context: bytes, name: str) -> Polys:
        """C1 of a seed, one block."""
        return [ring.stream(ring.input_key(seed, context, name, p), p, 0, self.degree)[0] for p in self.primes]

    def key_share(self, seed: bytes, context: bytes) -> Polys:
        secret, error = ring.ternary(seed, context, self.degree), ring.error(seed, context, self.degree)
        out = []
        for p, a in zip(self.key_primes, self.reference(context), strict=True):
            s, e = (ring.transform([c % p for c in small], p) for small in (secret, error))
            out.append([-x % p for x in ring.plus(ring.multiply(a, s, p), e, p)])
        return out

    def reference(self, context: bytes) -> Polys:
        return [ring.stream(ring.reference_key(context, p), p, 0, self.degree)[0] for p in self.key_primes]

    def coefficients(self, phase: Polys) -> list[int]:
        """Modulo Q, of a phase in the form that travels."""
        polys = phase if self.bfv else [ring.inverse(v, p) for v, p in zip(phase, self.primes, strict=True)]
        return ring.combined(polys, self.primes)

    def pack(self, polys: Sequence[Sequence[int]]) -> bytes:
        return ref.pack([r for poly in polys for r in poly], self.bits)

    def unpack(self, data: bytes) -> Polys:
        flat = ref.unpack(data, 8 * len(data) // self.bits, self.bits)
        return [flat[i : i + self.degree] for i in range(0, len(flat), self.degree)]


def matches(profile: Profile, polys: Polys, told: Mapping[str, Any]) -> None:
    assert [poly[:4] for poly in polys] == told["first"]
    assert hashlib.sha256(profile.pack(polys)).hexdigest() == told["packed_sha256"]


def primes(vector: Vector) -> None:
    for case in vector["cases"]:
        degree = case["ring_degree"]
        assert case["primes"] == ring.primes(degree, case["bits"], len(case["primes"]))
        assert case["roots"] == [ring.root(degree, p) for p in case["primes"][: len(case["roots"])]]
        assert len(case["roots"]) == (len(case["primes"]) if degree <= 8192 else 0)


def transform(vector: Vector) -> None:
    for case in vector["cases"]:
        degree, prime = case["ring_degree"], case["prime"]
        monomial = [0, 1, *[0] * (degree - 2)]
        poly = monomial if case["title"] == "X" else ring.stream(unhex(vector["key"]), prime, 0, degree)[0]
        values = ring.transform(poly, prime)
        assert (poly[:16], values[:16]) == (case["coefficients"], case["values"])
        assert [ring.value(poly, i, prime) for i in range(8)] == values[:8]
        assert (words_digest(poly), words_digest(values)) == (case["coefficients_sha256"], case["values_sha256"])
        assert ring.inverse(values, prime) == poly
        assert ring.root(degree, prime) == case["root"]


def packing(vector: Vector) -> None:
    key = unhex(vector["key"])
    for case in vector["cases"]:
        degree, polynomials, blocks = case["ring_degree"], case["polynomials"], case["blocks"]
        bits = case["primes"][0].bit_length()
        size = polynomials * len(case["primes"]) * degree * bits // 8
        per = max(1, 2**20 // size)
        counts = [min(per, blocks - start) for start in range(0, blocks, per)]
        assert (bits, size, per) == (case["residue_bits"], case["block_bytes"], case["blocks_per_chunk"])
        assert case["chunk_bytes"] == [count * size for count in counts]
        if "packed_sha256" in case:
            streams = [ring.stream(key, p, 0, blocks * polynomials * degree)[0] for p in case["primes"]]
            order = [s[k * degree : (k + 1) * degree] for k in range(blocks * polynomials) for s in streams]
            flat = [r for poly in order for r in poly]
            packed = ref.pack(flat, bits)
            assert hashlib.sha256(packed).hexdigest() == case["packed_sha256"]
            assert packed.hex().startswith(case["begins"])
            assert case.get("residues", flat) == flat
            assert case.get("packed", packed.hex()) == packed.hex()
    refused = vector["refused"]
    degree, prime = refused["ring_degree"], refused["prime"]
    for case in refused["packed"]:
        data = unhex(case["packed"])
        right_size = len(data) == degree * prime.bit_length() // 8
        assert not right_size or max(ref.unpack(data, degree, prime.bit_length())) >= prime


def streams(vector: Vector) -> None:
    seed, context = unhex(vector["seed"]), unhex(vector["context"])
    for case in vector["cases"]:
        prime, degree = case["prime"], case["count"]
        own = case["purpose"] == "input"
        key = (
            ring.input_key(seed, context, vector["participant_id"], prime)
            if own
            else ring.reference_key(context, prime)
        )
        assert key.hex() == case["key"]
        block, _ = ring.stream(key, prime, 0, degree)
        assert (block[:8], words_digest(block)) == (case["first"], case["sha256"])
        later = case["later"]
        assert ring.stream(key, prime, later["start"], 8)[0] == later["elements"]
    for case in vector["redraws"]:
        found, again = ring.stream(unhex(case["key"]), case["prime"], 0, len(case["elements"]))
        assert (found, again) == (case["elements"], case["drawn_again"])
        assert again
        assert min(case["refused"]) >= case["prime"]


def small(vector: Vector) -> None:
    context = unhex(vector["context"])
    for case in vector["cases"]:
        for name, sample in (("ternary", ring.ternary), ("centred_binomial", ring.error)):
            found = sample(unhex(case["seed"]), context, case["ring_degree"])
            assert found[:32] == case[name]
            assert hashlib.sha256(bytes(c % 256 for c in found)).hexdigest() == case[f"{name}_sha256"]


MOST_BITS = {4096: 109, 8192: 218, 16384: 438, 32768: 881}
TAU = math.sqrt(2 * math.log(2) * 73)


def bounds(p: Profile) -> tuple[float, float, float, bool]:
    """Encryption noise, its bound, the limit, and whether nothing wraps."""
    n, degree, top = p.n, p.degree, p.n * (2**p.value_bits - 1)
    noise = TAU * math.sqrt(n * 10.5)
    if p.joint:
        noise = n * 21 * (2 * n * degree + 1) / p.special + TAU * math.sqrt(n / 12 * (1 + 4 * n * degree / 3))
    flood = n * 2.0**62 if p.joint else 0.0
    if p.bfv:
        fits = top * (1 + (p.fields == 2) * 2**p.field_bits) < p.plain
        return noise, noise + n / 2 + flood, p.modulus / (2 * p.plain) * (1 - 2**-20), fits
    spread = TAU * math.sqrt(n * 10.5 * degree / 2)
    if p.joint:
        spread = degree * noise + TAU * 2.0**62 * math.sqrt(n / 3 * degree / 2)
    drift = 14 * 2**-53 * (math.log2(degree) + 4) * math.sqrt(degree) * top + degree * 2**-51 * (p.modulus / p.scale)
    fits = 2 * (math.sqrt(2) * p.scale * top + n / 2 + noise + flood) < p.modulus
    return noise, (n * degree / 2 + spread) / p.scale + drift, 0.25, fits


def check_profile(told: Mapping[str, Any]) -> None:
    p = Profile(told)
    assert ring.primes(p.degree, p.bits, len(p.key_primes)) == list(p.key_primes)
    assert 30 <= p.bits <= 60
    assert math.prod(p.key_primes).bit_length() <= MOST_BITS[p.degree]
    assert bool(p.special) == p.joint
    if p.bfv:
        assert ring.primes(p.degree, p.plain.bit_length(), 1) == [p.plain]
        assert p.plain not in p.key_primes
    noise, bound, limit, fits = bounds(p)
    for found, name in ((noise, "encryption_noise"), (bound, "noise_bound"), (limit, "noise_limit")):
        assert math.isclose(found, float.fromhex(told[name]), rel_tol=1e-12)
    assert fits
    assert bound < limit
    assert not p.joint or math.log2(noise + p.n / 2) + 40 <= 62
    assert told["field_bits"] == p.field_bits
    assert told["values_per_block"] == (p.degree * p.fields if p.bfv else p.degree)
    assert told["upload_block_bytes"] == (2 if p.joint else 1) * len(p.primes) * p.degree * p.bits // 8


def profiles(vector: Vector) -> None:
    for case in vector["cases"]:
        check_profile(case)
    stated = {(c["scheme"], c["custody"], c["summands"], c["value_bits"]) for c in vector["cases"] + vector["none_for"]}
    assert len(stated) == len(vector["cases"]) + len(vector["none_for"])


def slots(vector: Vector) -> None:
    for case in vector["cases"]:
        p = Profile(case["profile"])
        check_profile(case["profile"])
        count = case["profile"]["values_per_block"]
        raw = hashlib.shake_256(unhex(case["values_seed"])).digest(8 * count)
        mask = 2**p.value_bits - 1
        values = [int.from_bytes(raw[i : i + 8], "little") & mask for i in range(0, len(raw), 8)]
        _sampled(values, case["values"])
        if p.bfv:
            made = ring.bfv_slots(values, p.degree, p.fields, p.field_bits)
            _sampled(made, case["slots"])
            _sampled(ring.bfv_plaintext(made, p.plain), case["coefficients"])
        else:
            half = p.degree // 2
            assert case["slots"]["at"] == {i: [values[int(i)], values[half + int(i)]] for i in case["slots"]["at"]}
    for case in vector["sparse"]:
        p = Profile(case["profile"])
        hidden = p.hidden({int(i): v for i, v in case["values"].items()})
        for prime, told in zip(p.primes, case["hidden"], strict=True):
            residues = [c % prime for c in hidden]
            assert (residues[:8], words_digest(residues)) == (told["first"], told["sha256"])


def _sampled(values: Sequence[int], told: Mapping[str, Any]) -> None:
    assert {i: values[int(i)] for i in told["at"]} == told["at"]
    assert words_digest(values) == told["sha256"]


def seeded_encryption(vector: Vector) -> None:
    context, name = unhex(vector["context"]), vector["participant_id"]
    for case in vector["cases"]:
        p, seed = Profile(case["profile"]), unhex(case["key_seed"])
        secret, error = (
            ring.ternary(seed, context, p.degree),
            ring.error(unhex(vector["fresh_error_seed"]), context, p.degree),
        )
        c1 = p.seeded(unhex(vector["fresh_seed"]), context, vector["fresh_participant_id"])
        message = [m + e for m, e in zip(p.hidden(dict(enumerate(case["values"]))), error, strict=True)]
        c0 = p.minus(p.lift(message), p.times(c1, secret))
        a = p.seeded(unhex(case["stream_seed"]), context, name)
        moved = p.plus(c0, p.times(p.minus(c1, a), secret))
        for polys, stated in ((c0, "fresh_c0"), (c1, "fresh_c1"), (a, "c1"), (moved, "c0")):
            matches(p, polys, case[stated])
        assert ref.digest(b"secagg/v1/dealt-key", context, seed).hex() == case["dealt_key_digest"]


def key_shares(vector: Vector) -> None:
    context = unhex(vector["context"])
    for case in vector["cases"]:
        p = Profile(case["profile"])
        joint = [[0] * p.degree] * len(p.key_primes)
        for told in case["shares"]:
            share = p.key_share(unhex(told["key_seed"]), context)
            packed = p.pack(share)
            matches(p, share, told["key_share"])
            assert len(packed) == told["size"]
            assert commitment(context, told["participant_id"], packed).hex() == told["commitment"]
            joint = [ring.plus(x, y, q) for x, y, q in zip(joint, share, p.key_primes, strict=True)]
        matches(p, joint, case["joint_key"])
        assert ref.digest(b"secagg/v1/residues", p.pack(joint)).hex() == case["joint_key_digest"]


def commitment(context: bytes, name: str, packed: bytes) -> bytes:
    return ref.digest(b"secagg/v1/key-share-commitment", context, name.encode(), packed)


def flood(seed: bytes, degree: int) -> list[int]:
    """What the vectors add: 64-bit little-endian signed words of SHAKE-256, shifted right by one."""
    raw = hashlib.shake_256(seed).digest(8 * degree)
    return [int.from_bytes(raw[i : i + 8], "little", signed=True) >> 1 for i in range(0, len(raw), 8)]


def c1_digest(packed: bytes) -> bytes:
    return hashlib.sha256(ref.frame(b"secagg/v1/residues", len(packed).to_bytes(8, "big")) + packed).digest()


def partial_decryption(vector: Vector) -> None:
    context = unhex(vector["context"])
    for case in vector["cases"]:
        p = Profile(case["profile"])
        c1 = p.seeded(unhex(vector["c1_seed"]), context, vector["c1_participant_id"])
        noise = flood(unhex(vector["flood_seed"]), p.degree)
        product = p.times(c1, ring.ternary(unhex(case["key_seed"]), context, p.degree))
        assert noise[:8] == case["flood"]
        assert all(-(2**62) <= e < 2**62 for e in noise)
        for polys, stated in ((c1, "c1"), (product, "c1_times_s"), (p.plus(product, p.lift(noise)), "partial")):
            matches(p, polys, case[stated])
        assert c1_digest(p.pack(c1)).hex() == case["c1_digest"]


def decoding(vector: Vector) -> None:
    hidden = dict(enumerate(vector["hidden"]))
    for case in vector["cases"]:
        p = Profile(case["profile"])
        check_profile(case["profile"])
        coefficients = p.hidden(hidden)
        coefficients[0] += int(case["error"])
        phase = p.lift(coefficients)
        matches(p, phase, case["phase"])
        assert decoded(p, p.coefficients(phase), case["count"], case["summands"]) == case["values"]


def decoded(p: Profile, coefficients: list[int], count: int, summands: int) -> list[int] | None:
    """The values, or None where they must be refused. CKKS: of the first slots only, and one filler."""
    if p.bfv:
        slots_ = ring.bfv_decoded(coefficients, p.modulus, p.plain)
        mask = 2**p.field_bits - 1
        values = [s & mask for s in slots_] + [s >> p.field_bits for s in slots_] if p.fields == 2 else slots_
    else:
        parts = [ring.ckks_slot(coefficients, i, p.modulus, p.scale).real for i in range(count + 1)]
        if max(abs(x - round(x)) for x in parts) > 0.25:
            return None
        values = [round(x) for x in parts]
    refused = max(values) > summands * (2**p.value_bits - 1) or any(values[count:])
    return None if refused else values[:count]


def bindings(vector: Vector) -> None:
    context, name, payload = unhex(vector["context"]), vector["participant_id"], unhex(vector["payload"])
    for case in vector["cases"]:
        p = Profile(case["profile"])
        assert [str(n) for n in p.numbers] == case["numbers"]
        binding = ring.input_binding(context, name, p.numbers, unhex(case["key_digest"]), unhex(case["seed"]))
        assert binding.hex() == case["input_binding"] == hashlib.sha256(unhex(case["input_frame"])).hexdigest()
        for chunk in case["chunks"]:
            made = ring.chunk_binding(binding, chunk["number"], payload).hex()
            assert made == chunk["binding"] == hashlib.sha256(unhex(chunk["frame"])).hexdigest()


def indices(numbers: Sequence[int]) -> bytes:
    return b"".join(i.to_bytes(4, "big") for i in numbers)


def roster_digest(members: Sequence[Mapping[str, Any]]) -> bytes:
    fields = [b"secagg/v1/roster"]
    for m in members:
        keys = [unhex(m[key]) for key in ("channel_public_key", "mask_public_key", "key_share_commitment")]
        fields += [indices([m["index"]]), m["participant_id"].encode(), *keys]
        fields.append(ref.frame(b"", *map(unhex, m["certificates"])))
    return ref.digest(*fields)


def signed(label: str, context: bytes, *fields: bytes) -> bytes:
    return ref.frame(f"secagg/v1/{label}-signature".encode(), context, *fields)


def signed_bytes(vector: Vector) -> None:
    context, roster = unhex(vector["context"]), roster_digest(vector["members"])
    member, name = vector["members"][0], vector["participant_id"].encode()
    survivors, dropped = indices(vector["survivors"]), indices(vector["dropped"])
    dealer = indices([vector["dealer"]])
    keys = (unhex(member["channel_public_key"]), b"", unhex(member["key_share_commitment"]))
    made = {
        "advertise_keys": signed("advertise-keys", context, name, *keys),
        "key_confirmation": signed("key-confirmation", context, roster, dealer, unhex(vector["key_digest"])),
        "sum_report": signed("sum-report", context, roster, survivors, unhex(vector["sums_digest"])),
        "consistency_check": signed("decryption", context, roster, survivors, dropped, unhex(vector["c1_digest"])),
        "recovery_check": signed("recovery", context, roster, indices(vector["fallen"])),
    }
    key = ec.derive_private_key(int(vector["private_scalar_test_only"], 16), ec.SECP256R1())
    assert roster.hex() == vector["roster_digest"]
    assert made.keys() == vector["signatures"].keys()
    for kind, told in vector["signatures"].items():
        assert (made[kind].hex(), sign(key, made[kind]).hex()) == (told["signed"], told["signature"])


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
}
"""By kind."""
