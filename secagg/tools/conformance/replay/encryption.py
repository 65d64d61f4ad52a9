"""Encryption of the vectors: the same ciphertexts on every run, without TenSEAL.

TenSEAL's randomness cannot be seeded. So a ciphertext of the vectors is one of two things. Either TenSEAL made it once
and its residues were recorded (`secagg.tools.conformance.record`), or it follows from three stated seeds by the
schemes' own formulas, in exact arithmetic (proto/PROTOCOL.md, "Vectors").
"""

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from secagg.crypto.secret import Secret
from secagg.errors import LocalError
from secagg.lattice import slots
from secagg.lattice.decoding import batch_order, decode, powers_of_three
from secagg.lattice.jobs import Decrypt, Encrypt, Job, OpenDecryption, OpenPublicKey, OpenSymmetric
from secagg.lattice.modular import I64, U64
from secagg.lattice.ntt import Ntt, ntt
from secagg.lattice.parameters import Profile, Scheme
from secagg.lattice.residues import pack_residues, unpack_chunk, unpack_residues
from secagg.lattice.rlwe import SecretKey, add, centred_binomial, rebase, ternary
from secagg.lattice.streams import SeededPolynomials, reference_polynomial
from secagg.tools.conformance import vectors
from secagg.tools.conformance.replay import cosines


class ReplayedBackend:
    """A `Backend` for one participant of the vectors: recorded or derived ciphertexts, decryption by numpy."""

    def __init__(self, encryption: Mapping[str, Any], participant: str) -> None:
        """Args: encryption: as the vector states it: where the residues are recorded, or three seeds."""
        self._encryption = encryption
        self._participant = participant
        self._open: OpenSymmetric | OpenPublicKey | OpenDecryption | None = None

    def do(self, job: Job) -> bytes:
        """Do what a real backend does (`jobs.Desk.do`), with the randomness that the vector states.

        Raises:
            LocalError: nothing fitting was opened before.
        """
        match job, self._open:
            case Encrypt(), OpenSymmetric() as opened:
                return pack_residues(self._seeded(opened, job.values), opened.profile.prime_bits)
            case Encrypt(), OpenPublicKey() as opened:
                return pack_residues(self._public(opened, job.values), opened.profile.prime_bits)
            case Decrypt(), OpenDecryption() as opened:
                return _decrypted(opened, job).astype("<u8").tobytes()
            case ((Encrypt() | Decrypt()), _):
                raise LocalError("nothing is open for this")
            case _:
                self._open = job
                return b""

    def _seeded(self, opened: OpenSymmetric, values: U64) -> U64:
        """Custody `participants`: the recorded ciphertext, moved onto the seed's c1: uint64[1, 1, primes, N]."""
        fresh = recorded(self._encryption["recorded"], self._participant, opened.profile, opened.context)
        key = SecretKey(opened.profile, Secret(opened.key_seed), opened.context)
        stream = SeededPolynomials(
            opened.profile, opened.seed, context=opened.context, participant=opened.participant
        ).blocks(range(1))
        return rebase(opened.profile, key, fresh[:, 0], fresh[:, 1], stream)[:, None]

    def _public(self, opened: OpenPublicKey, values: U64) -> U64:
        """Custody `threshold`: uint64[1, 2, primes, N]."""
        if "recorded" in self._encryption:
            return recorded(self._encryption["recorded"], self._participant, opened.profile, opened.context)
        seeds = {name: Secret(bytes.fromhex(self._encryption[name])) for name in ("u", "e0", "e1")}
        return public_key_encryption(opened.profile, opened.joint_key, opened.context, seeds, values)[None]


@lru_cache
def _recording(name: str) -> dict[str, Any]:
    return vectors.read(name)


def recorded(name: str, participant: str, profile: Profile, context: bytes) -> U64:
    """What TenSEAL once made for a participant: uint64[1, 2, primes, N].

    Raises:
        LocalError: it was recorded for another round.
    """
    recording = _recording(name)
    if recording["context"] != context.hex():
        raise LocalError(f"{name} was recorded for another context; run python -m secagg.tools.conformance.record")
    packed = base64.b64decode(recording["ciphertexts"][participant])
    shape = (1, 2, len(profile.primes), profile.ring_degree)
    return unpack_residues(packed, shape, profile.primes)


def _decrypted(opened: OpenDecryption, job: Decrypt) -> U64:
    c0, c1 = (unpack_chunk(job.layout, job.chunk, data)[:, 0] for data in (job.c0, job.c1))
    key = SecretKey(opened.profile, Secret(opened.key_seed), opened.context)
    phase = add(opened.profile.primes, c0, key.times(c1))
    return decode(opened.profile, np.ascontiguousarray(phase), job.count, job.summands)


def public_key_encryption(
    profile: Profile, joint_key: U64, context: bytes, seeds: Mapping[str, Secret], values: U64
) -> U64:
    """One block under a joint key with the randomness of three seeds: uint64[2, primes, N].

    (b u + e0, a u + e1) modulo Q P, divided by P and rounded, plus the plaintext on the first.
    """
    degree = profile.ring_degree
    small = ternary(seeds["u"], context, degree)
    errors = [centred_binomial(seeds[name], context, degree) for name in ("e0", "e1")]
    public = (joint_key, reference_polynomial(profile, context))
    masks = [_divided(profile, _masked(profile, p, small, e)) for p, e in zip(public, errors, strict=True)]
    masks[0] = add(profile.primes, masks[0], plaintext(profile, values))
    if profile.ntt_form:
        masks = [np.stack([t.forward(m[j]) for j, t in enumerate(_transforms(profile))]) for m in masks]
    return np.stack(masks)


def _masked(profile: Profile, public: U64, small: I64, error: I64) -> U64:
    """Public * small + error: coefficients under every key prime."""
    out = np.empty_like(public)
    for j, prime in enumerate(profile.key_primes):
        t = ntt(profile.ring_degree, prime)
        product = t.modulus.mul(public[j], t.modulus.factor(t.forward(t.modulus.lift(small))))
        out[j] = t.modulus.add(t.inverse(product), t.modulus.lift(error))
    return out


def _divided(profile: Profile, residues: U64) -> U64:
    """Round(x / P) for x modulo Q P, uint64[key primes, N]: uint64[primes, N]."""
    special = profile.special_prime
    half = np.uint64(special // 2)
    remainder = (residues[-1] + half) % np.uint64(special)
    out = np.empty_like(residues[:-1])
    for j, t in enumerate(_transforms(profile)):
        prime = np.uint64(t.modulus.prime)
        difference = t.modulus.sub((residues[j] + half) % prime, remainder % prime)
        out[j] = t.modulus.mul(difference, t.modulus.factor(pow(special, -1, t.modulus.prime)))
    return out


def plaintext(profile: Profile, values: U64) -> U64:
    """Values of one block as the coefficients that an encryption hides: uint64[primes, N]."""
    block = slots.fill(profile, values)[0]
    scaled = _bfv(profile, block) if profile.scheme is Scheme.BFV else _ckks(profile, block)
    return np.array([[c % prime for c in scaled] for prime in profile.primes], np.uint64)


def bfv_plaintext(profile: Profile, block: U64) -> U64:
    """One block of values as the coefficients of its plaintext polynomial: uint64[N], below t."""
    placed = np.empty(profile.ring_degree, np.uint64)
    placed[batch_order(profile.ring_degree)] = slots.bfv_slots(profile, block)
    return ntt(profile.ring_degree, profile.plain_modulus).inverse(placed)


def _bfv(profile: Profile, block: U64) -> list[int]:
    """Round(Q m / t)."""
    q, t = profile.modulus, profile.plain_modulus
    return [(q * int(m) + (t + 1) // 2) // t for m in bfv_plaintext(profile, block)]


def _ckks(profile: Profile, block: U64) -> list[int]:
    """Round(scale * m), where m takes the slots' values at exp(i pi 3**k / N) and their conjugates."""
    degree = profile.ring_degree
    real, imaginary = block.reshape(2, -1).tolist()
    exponents = powers_of_three(degree).tolist()
    filled = [(k, x, y) for k, x, y in zip(exponents, real, imaginary, strict=True) if x or y]
    table = cosines.table(degree)
    return [
        cosines.rounded(
            sum(x * table[k * j % (2 * degree)] + y * table[(k * j - degree // 2) % (2 * degree)] for k, x, y in filled)
            * 2
            * profile.scale,
            degree,
        )
        for j in range(degree)
    ]


def _transforms(profile: Profile) -> list[Ntt]:
    return [ntt(profile.ring_degree, prime) for prime in profile.primes]
