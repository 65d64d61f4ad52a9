"""Attacks on the arithmetic of homomorphic summation, each beside the defence that stops it and winning without it."""

from dataclasses import replace

import numpy as np
import pytest

from secagg.crypto.rng import SeededRng
from secagg.errors import AuthenticationError, DecodeError, ProtocolViolation
from secagg.lattice import decoding, jobs, keyshares, slots, tenseal_backend
from secagg.lattice.decoding import bfv_decode, ckks_decode, decode
from secagg.lattice.jobs import Decrypt, Desk, OpenDecryption
from secagg.lattice.keyshares import fallen_part, partial_decryption
from secagg.lattice.modular import I64, U64
from secagg.lattice.ntt import ntt
from secagg.lattice.parameters import Custody, Profile, Scheme
from secagg.lattice.primes import ntt_primes
from secagg.lattice.residues import pack_residues, unpack_residues
from secagg.lattice.rlwe import SecretKey, add, centred_binomial, lift, sub, ternary
from secagg.lattice.slots import Complex, Float
from tests.encrypted import CONTEXT, Joint, dealt_sum, key_seed, numbers, profile_of, symmetric_encryptor

DEALT, JOINT = Custody.PARTICIPANTS, Custody.THRESHOLD


# -- A repeated seed. Adversary: the coordinator, without a key. It subtracts two ciphertexts with one c1.


def difference_of(profile: Profile, first: U64, second: U64) -> U64:
    """Slots of the difference of two plaintexts, from c0 alone: right if both went with the same c1."""
    row: U64 = bfv_decode(profile, sub(profile.primes, first[:, 0], second[:, 0]))[0]
    return row


def test_different_seeds_hide_the_difference() -> None:
    profile = profile_of(Scheme.BFV, DEALT)
    values = [numbers(i, profile.ring_degree) for i in range(2)]
    first, second = (symmetric_encryptor(profile, f"p{i}").encrypt(v, 0) for i, v in enumerate(values))
    expected = (values[0].astype(object) - values[1].astype(object)) % profile.plain_modulus
    assert (difference_of(profile, first, second) == expected).mean() < 0.01


def test_a_repeated_seed_would_show_the_difference() -> None:
    """The twin: what the coordinator's check of seeds and the binding to the participant stop."""
    profile = profile_of(Scheme.BFV, DEALT)
    values = [numbers(i, profile.ring_degree) for i in range(2)]
    first, second = (symmetric_encryptor(profile, "p0").encrypt(v, 0) for v in values)
    expected = (values[0].astype(object) - values[1].astype(object)) % profile.plain_modulus
    assert (difference_of(profile, first, second) == expected).all()


# -- Li & Micciancio 2021. Adversary: whoever sees a ciphertext and its unrounded CKKS decryption. A small ring.

SMALL = replace(profile_of(Scheme.CKKS, DEALT), ring_degree=64, primes=ntt_primes(64, 45, 1))


def coefficients_of(values: Complex) -> Float:
    """complex128[N/2] of slots to the float64[N] of the real polynomial that has them: the inverse of `evaluate`."""
    degree = 2 * len(values)
    positions = (decoding.powers_of_three(degree) - 1) // 2
    everywhere = np.zeros(degree, np.complex128)
    everywhere[positions], everywhere[degree - 1 - positions] = values, values.conj()
    twisted = np.fft.fft(everywhere, norm="forward")
    return np.real(twisted * np.exp(-1j * np.pi * np.arange(degree) / degree))


def encoded(values: Complex) -> U64:
    """uint64[1, 1, N]: the NTT values of slots times scale."""
    integers = np.rint(coefficients_of(values) * SMALL.scale).astype(np.int64)
    return lift(SMALL, integers[None])


def small_ciphertext(values: Complex) -> tuple[U64, U64]:
    """(c0, c1) under the dealt key."""
    c1 = numbers(9, 64, 44).reshape(1, 1, 64)
    error = lift(SMALL, centred_binomial(key_seed(9), CONTEXT, 64)[None])
    c0 = sub(SMALL.primes, add(SMALL.primes, encoded(values), error), SecretKey(SMALL, key_seed(), CONTEXT).times(c1))
    return c0, c1


def key_from(c0: U64, c1: U64, decrypted: Complex) -> I64:
    """S = (m' - c0) / c1, centred: the key, if m' is the decryption with its noise."""
    prime, transform = SMALL.primes[0], ntt(64, SMALL.primes[0])
    numerator = sub(SMALL.primes, encoded(decrypted), c0)[0, 0]
    inverse = np.array([pow(int(x), -1, prime) for x in c1[0, 0]], np.uint64)
    key = transform.inverse(transform.modulus.mul(numerator, transform.modulus.factor(inverse))).astype(np.int64)
    return np.where(key > prime // 2, key - prime, key)


def small_decryption() -> tuple[U64, U64, Complex]:
    """A ciphertext and its decryption, not rounded."""
    c0, c1 = small_ciphertext(slots.ckks_slots(numbers(1, 64)))
    phase = add(SMALL.primes, c0, SecretKey(SMALL, key_seed(), CONTEXT).times(c1))
    return c0, c1, ckks_decode(SMALL, phase)[0]


def test_an_unrounded_decryption_would_give_the_key_away() -> None:
    """The twin of the next test: this is what rounding stops."""
    c0, c1, decrypted = small_decryption()
    assert (key_from(c0, c1, decrypted) == ternary(key_seed(), CONTEXT, 64)).all()


def test_a_rounded_decryption_does_not() -> None:
    c0, c1, decrypted = small_decryption()
    released = slots.ckks_values(decrypted)
    assert (released == numbers(1, 64)).all()
    key = key_from(c0, c1, slots.ckks_slots(released))
    assert (key == ternary(key_seed(), CONTEXT, 64)).mean() < 0.1


# -- Custody `threshold`. Adversary: the coordinator with all but one of the decryptors.


@pytest.mark.parametrize("scheme", Scheme)
def test_all_but_one_cannot_decrypt(scheme: Scheme) -> None:
    profile = profile_of(scheme, JOINT)
    joint, values = Joint(profile, 3), numbers(0, profile.values_per_block)
    aggregate = joint.sum([values])
    with pytest.raises(ProtocolViolation):
        decode(profile, joint.phase(aggregate, {0, 1}), len(values), 1)
    if scheme is Scheme.BFV:
        guessed = slots.bfv_values(profile, bfv_decode(profile, joint.phase(aggregate, {0, 1})))[0]
    else:
        guessed = np.rint(ckks_decode(profile, joint.phase(aggregate, {0, 1}))[0].real).astype(np.int64)
    assert (guessed == values[: len(guessed)]).mean() < 0.01


@pytest.mark.parametrize("scheme", Scheme)
def test_all_but_one_and_the_seed_of_the_last_can(scheme: Scheme) -> None:
    """The twin: the missing part is all that stood between them and the sum."""
    profile = profile_of(scheme, JOINT)
    joint, values = Joint(profile, 3), numbers(0, profile.values_per_block)
    opened = decode(profile, joint.phase(joint.sum([values]), {0, 1}, {2}), len(values), 1)
    assert (opened == values).all()


def key_from_partial(profile: Profile, part: U64, c1: U64) -> I64:
    """S_u = d_u / c1 under the first prime, centred: the key share, if d_u came without a flood."""
    prime = profile.primes[0]
    transform = ntt(profile.ring_degree, prime)
    inverse = np.array([pow(int(x), -1, prime) for x in transform.forward(c1[0, 0])], np.uint64)
    quotient = transform.modulus.mul(transform.forward(part[0, 0]), transform.modulus.factor(inverse))
    key = transform.inverse(quotient).astype(np.int64)
    return np.where(key > prime // 2, key - prime, key)


def test_the_flood_hides_the_key_of_a_partial() -> None:
    profile = profile_of(Scheme.BFV, JOINT)
    key, c1 = SecretKey(profile, key_seed(), CONTEXT), numbers(2, 2 * profile.ring_degree, profile.prime_bits - 1)
    c1 = c1.reshape(1, 2, -1)
    part = partial_decryption(profile, key, c1, SeededRng(bytes(32)))
    assert (key_from_partial(profile, part, c1) == ternary(key_seed(), CONTEXT, profile.ring_degree)).mean() < 0.01


def test_a_partial_without_a_flood_would_be_the_key() -> None:
    """The twin: and it is why a part is computed without a flood only from a seed that is public already."""
    profile = profile_of(Scheme.BFV, JOINT)
    key, c1 = SecretKey(profile, key_seed(), CONTEXT), numbers(2, 2 * profile.ring_degree, profile.prime_bits - 1)
    c1 = c1.reshape(1, 2, -1)
    recovered = key_from_partial(profile, fallen_part(key, c1), c1)
    assert (recovered == ternary(key_seed(), CONTEXT, profile.ring_degree)).all()


def test_a_key_share_chosen_last_would_cancel_the_others() -> None:
    """Adversary: a participant that sees b_1 first and makes the joint key its own. The commitment stops it."""
    profile = profile_of(Scheme.BFV, JOINT)
    honest = keyshares.key_share(profile, key_seed(1), CONTEXT)
    own = keyshares.key_share(profile, key_seed(2), CONTEXT)
    chosen = sub(profile.key_primes, own, honest)
    committed = keyshares.commitment(CONTEXT, "u", keyshares.pack_key_share(profile, own))
    late = keyshares.pack_key_share(profile, chosen)
    with pytest.raises(AuthenticationError, match="commitment"):
        keyshares.check_commitment(committed, CONTEXT, "u", late)
    assert (keyshares.joint_key(profile, [honest, chosen]) == own).all()  # without the check: a key of one holder


# -- Hostile bytes. Adversary: a coordinator that sends a malformed aggregate to be decrypted.


def hostile_job(profile: Profile) -> Decrypt:
    aggregate = dealt_sum(profile, [numbers(0, 10)])
    residues = aggregate.c0.residues.copy()
    residues[0, 0, 0, 0] = profile.primes[0]
    return Decrypt(aggregate.c0.layout, 0, pack_residues(residues, profile.prime_bits), aggregate.c1.chunk(0), 10, 1)


def loads_of(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What reaches SEAL's parser from here on."""
    seen: list[bytes] = []
    original = tenseal_backend._MemoryFile.load

    def load(self: tenseal_backend._MemoryFile, target: object, context: object, data: bytes) -> None:
        seen.append(data)
        original(self, target, context, data)

    monkeypatch.setattr(tenseal_backend._MemoryFile, "load", load)
    return seen


def test_residues_out_of_range_never_reach_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    profile, desk = profile_of(Scheme.BFV, DEALT), Desk()
    desk.do(OpenDecryption(profile, key_seed().expose(), CONTEXT))
    job, seen = hostile_job(profile), loads_of(monkeypatch)
    seen.clear()
    with pytest.raises(DecodeError, match="not below"):
        desk.do(job)
    assert seen == []


def test_without_the_check_they_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin of the test above: residues that are not reduced reach the library if nobody looks at them."""
    profile, desk = profile_of(Scheme.BFV, DEALT), Desk()
    desk.do(OpenDecryption(profile, key_seed().expose(), CONTEXT))
    job, seen = hostile_job(profile), loads_of(monkeypatch)
    seen.clear()

    def unchecked(layout: object, chunk: int, data: bytes) -> U64:
        return unpack_residues(data, (1, 1, 1, profile.ring_degree), ((1 << profile.prime_bits) - 1,))

    monkeypatch.setattr(jobs, "unpack_chunk", unchecked)
    with pytest.raises((ValueError, RuntimeError)):
        desk.do(job)
    assert len(seen) == 1
