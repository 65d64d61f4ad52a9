"""The parameter finder: its primes are SEAL's, its profiles are safe and exact, and everything else is refused."""

import math
import os
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import tenseal.sealapi as seal

from secagg.crypto.secret import Secret
from secagg.errors import ConfigError, SecAggError
from secagg.lattice import parameters
from secagg.lattice.parameters import MAX_MODULUS_BITS, Custody, Profile, Scheme, field_bits, find_profile
from secagg.lattice.primes import is_prime, ntt_primes, primitive_root
from secagg.lattice.streams import SeededPolynomials
from secagg.lattice.tenseal_backend import Decryptor, SymmetricEncryptor
from tests.encrypted import CASES, profile_of, seal_context

BFV, CKKS = Scheme.BFV, Scheme.CKKS
DEALT, JOINT = Custody.PARTICIPANTS, Custody.THRESHOLD


@pytest.mark.parametrize("degree", [4096, 8192, 16384])
@pytest.mark.parametrize("bits", [30, 45, 54, 60])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_primes_are_seals(degree: int, bits: int, count: int) -> None:
    theirs = [prime.value() for prime in seal.CoeffModulus.Create(degree, [bits] * count)]
    assert list(ntt_primes(degree, bits, count)) == theirs


@pytest.mark.parametrize("bits", [30, 41, 48, 60])
def test_the_plaintext_modulus_is_seals(bits: int) -> None:
    assert ntt_primes(4096, bits, 1) == (seal.PlainModulus.Batching(4096, bits).value(),)


@pytest.mark.parametrize("degree", MAX_MODULUS_BITS)
def test_the_security_table_is_seals(degree: int) -> None:
    assert seal.CoeffModulus.MaxBitCount(degree, seal.SEC_LEVEL_TYPE.TC128) == MAX_MODULUS_BITS[degree]


def test_primality_agrees_with_division() -> None:
    def by_division(n: int) -> bool:
        return n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))

    assert [n for n in range(5_000) if is_prime(n)] == [n for n in range(5_000) if by_division(n)]
    assert not is_prime(3_215_031_751)  # a strong pseudoprime to the bases 2, 3, 5 and 7
    assert is_prime((1 << 61) - 1)


def test_too_many_primes_are_refused() -> None:
    with pytest.raises(ConfigError, match="wider"):
        ntt_primes(32768, 17, 3)


def test_the_root_is_the_smallest_primitive_one() -> None:
    prime = ntt_primes(64, 30, 1)[0]
    roots = [pow(primitive_root(64, prime), k, prime) for k in range(1, 128, 2)]
    assert primitive_root(64, prime) == min(roots)
    assert all(pow(root, 64, prime) == prime - 1 for root in roots)


@pytest.mark.parametrize(("scheme", "custody"), CASES)
@pytest.mark.parametrize(("summands", "bits"), [(1, 16), (10, 16), (100, 16), (256, 16), (1000, 16), (2, 8), (1000, 1)])
def test_what_is_found_passes_the_check_and_seal(scheme: Scheme, custody: Custody, summands: int, bits: int) -> None:
    profile = find_profile(scheme, custody, summands, bits)
    profile.check()
    assert profile == find_profile(scheme, custody, summands, bits)
    assert math.prod(profile.key_primes).bit_length() <= MAX_MODULUS_BITS[profile.ring_degree]
    context = seal_context(profile)
    assert context.parameters_set(), context.parameters_error_message()


def test_sizes_of_the_profiles_of_the_benchmark() -> None:
    sizes = {(s, c): find_profile(s, c, 100, 16) for s, c in CASES}
    per_value = {
        case: len(profile.primes) * profile.prime_bits * profile.ring_degree / 8 / profile.values_per_block
        for case, profile in sizes.items()
    }
    assert per_value == {(CKKS, DEALT): 5.625, (BFV, DEALT): 3.5, (CKKS, JOINT): 12.75, (BFV, JOINT): 7.25}


def test_a_field_has_room_for_the_sum() -> None:
    assert [field_bits(16, n) for n in (1, 2, 3, 4, 5, 256, 257)] == [16, 17, 18, 18, 19, 24, 25]


@pytest.mark.parametrize("summands", [0, -1, (1 << 20) + 1])
def test_summands_out_of_range_are_refused(summands: int) -> None:
    with pytest.raises(ConfigError, match="n_max"):
        find_profile(BFV, DEALT, summands, 16)


@pytest.mark.parametrize("bits", [0, 49])
def test_value_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(ConfigError, match="bits"):
        find_profile(BFV, DEALT, 10, bits)


def test_sums_beyond_double_precision_are_refused_for_ckks_with_advice() -> None:
    with pytest.raises(ConfigError, match="use bfv"):
        find_profile(CKKS, DEALT, 1000, 32)
    find_profile(BFV, DEALT, 1000, 32)


def test_too_many_parties_for_the_flood_are_refused() -> None:
    with pytest.raises(ConfigError, match="flood"):
        find_profile(BFV, JOINT, 1 << 20, 16)


def test_more_summands_than_n_max_are_refused() -> None:
    profile = profile_of(BFV, DEALT)
    profile.check_summands(10)
    with pytest.raises(ConfigError, match="n_max"):
        profile.check_summands(11)


def test_vector_lengths_are_bounded() -> None:
    profile = profile_of(BFV, DEALT)
    assert [profile.blocks(n) for n in (1, 8192, 8193)] == [1, 1, 2]
    for values in (0, (1 << 32) + 1):
        with pytest.raises(ConfigError, match="values"):
            profile.blocks(values)


@pytest.mark.parametrize(
    ("case", "change", "message"),
    [
        ((BFV, DEALT), {"ring_degree": 2048}, "ring degree"),
        ((BFV, DEALT), {"values_per_slot": 3}, "values a slot"),
        ((BFV, DEALT), {"scale": 1 << 20}, "scale"),
        ((BFV, DEALT), {"plain_modulus": 0}, "plaintext modulus"),
        ((BFV, DEALT), {"special_prime": ntt_primes(4096, 60, 1)[0]}, "special prime"),
        ((BFV, JOINT), {"special_prime": 0}, "special prime"),
        ((BFV, DEALT), {"primes": ()}, "one width"),
        ((BFV, DEALT), {"primes": (ntt_primes(4096, 40, 1)[0], ntt_primes(4096, 41, 1)[0])}, "one width"),
        ((BFV, DEALT), {"primes": ntt_primes(4096, 29, 2)}, "one width"),
        ((BFV, DEALT), {"primes": ntt_primes(4096, 45, 1) * 2}, "differ"),
        ((BFV, DEALT), {"primes": ((1 << 48) - 1,)}, "not a prime"),
        ((BFV, DEALT), {"primes": ntt_primes(4096, 55, 2)}, "128-bit"),
        ((BFV, DEALT), {"primes": ntt_primes(4096, 46, 1)}, "half of Q/t"),
        ((BFV, DEALT), {"summands": 1 << 20}, "wrap"),
        ((BFV, DEALT), {"value_bits": 17}, "wrap"),
        ((BFV, DEALT), {"plain_modulus": ntt_primes(4096, 39, 1)[0]}, "wrap"),
        ((CKKS, DEALT), {"scale": 3 << 20}, "power of two"),
        ((CKKS, DEALT), {"scale": 1 << 12}, "can be .* off"),
        ((CKKS, DEALT), {"scale": 1 << 22}, "wrap modulo Q"),
        ((CKKS, DEALT), {"summands": 1000}, "can be .* off"),
        ((CKKS, JOINT), {"scale": 1 << 60}, "can be .* off"),
        ((BFV, JOINT), {"summands": 1 << 17}, "flood"),
        ((BFV, DEALT), {"primes": ntt_primes(4096, 54, 2)}, "nobody can encrypt under 2 primes .* larger plaintext"),
        ((BFV, DEALT), {"primes": ntt_primes(4096, 36, 3)}, "nobody can encrypt under 3 primes"),
    ],
)
def test_a_received_profile_is_checked(case: tuple[Scheme, Custody], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(profile_of(*case), **change).check()


def test_without_its_check_a_profile_that_rounds_wrongly_would_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the case above: the check of exactness is what stops it."""
    unsafe = replace(profile_of(CKKS, DEALT), scale=1 << 12)
    monkeypatch.setattr(parameters, "_check_exactness", lambda _: None)
    unsafe.check()


# --- the whole grid: what the finder gives encrypts ------------------------------------------------------------------

SUMMANDS = (3, 10, 100, 1000, 3950, 6000, 10_000)
BITS = (*range(1, 33), 40, 48)


def encrypts_under_all_primes(profile: Profile) -> bool:
    """SEAL encrypts at the first level of its chain: all primes but the special one, if there is one; else all."""
    context = seal_context(profile)
    return bool(context.first_parms_id() == context.key_parms_id()) == (not profile.special_prime)


def grid() -> dict[tuple[object, ...], Profile]:
    """The profiles of all tasks, one for each set of SEAL's parameters."""
    found: dict[tuple[object, ...], Profile] = {}
    for (scheme, custody), summands, bits in product(CASES, SUMMANDS, BITS):
        try:
            profile = find_profile(scheme, custody, summands, bits)
        except ConfigError:
            continue
        profile.check()
        found[scheme, profile.ring_degree, profile.key_primes, profile.plain_modulus, custody] = profile
    return found


def test_whatever_is_found_encrypts_under_all_its_primes() -> None:
    found = grid()
    assert len(found) > 150
    assert {len(profile.primes) for profile in found.values()} == {1, 2, 3}
    wrong = [profile for profile in found.values() if not encrypts_under_all_primes(profile)]
    assert not wrong


def test_without_the_check_wide_ckks_profiles_are_found_that_nobody_encrypts_under(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twin, and what the check says where it is the only reason."""
    for summands, bits in ((3950, 20), (6000, 19), (10_000, 18)):
        with pytest.raises(ConfigError, match="use bfv"):
            find_profile(CKKS, DEALT, summands, bits)
    with monkeypatch.context() as patch:
        patch.setattr(parameters, "_check_all_primes_encrypt", lambda _: None)
        unusable = [find_profile(CKKS, DEALT, *task) for task in ((3950, 20), (6000, 19), (10_000, 18))]
        small = replace(profile_of(BFV, DEALT), primes=ntt_primes(4096, 54, 2))
        small.check()
    for profile in (*unusable, small):
        with pytest.raises(ConfigError, match="nobody can encrypt under 2 primes without a special prime"):
            profile.check()
        assert not encrypts_under_all_primes(profile)
    monkeypatch.setattr(parameters, "_check_all_primes_encrypt", lambda _: None)
    for profile in (unusable[0], small):
        with pytest.raises((ValueError, RuntimeError, SecAggError)):
            sums_of_the_largest(profile)


def sums_of_the_largest(profile: Profile) -> int:
    """What one participant's block of largest values decrypts to."""
    seed, context, largest = os.urandom(16), bytes(32), np.full(3, (1 << profile.value_bits) - 1, np.uint64)
    secret = Secret(bytes(32))
    encryptor = SymmetricEncryptor(profile, secret, context=context, seed=seed, participant="a")
    c0 = encryptor.encrypt(largest, 0)[:, 0]
    c1 = SeededPolynomials(profile, seed, context=context, participant="a").blocks(range(1))
    (value,) = set(Decryptor(profile, secret, context=context).decrypt(c0, c1, 3, 1).tolist())
    return int(value)


@pytest.mark.parametrize(
    ("scheme", "summands", "bits"),
    [
        (CKKS, 3, 16),
        (CKKS, 10_000, 17),
        (CKKS, 3, 28),
        (BFV, 3, 1),
        (BFV, 1000, 16),
        (BFV, 10_000, 18),
        (BFV, 10_000, 32),
        (BFV, 1000, 48),
    ],
)
def test_the_largest_values_are_encrypted_and_decrypted(scheme: Scheme, summands: int, bits: int) -> None:
    assert sums_of_the_largest(find_profile(scheme, DEALT, summands, bits)) == 2**bits - 1
