"""The transform is SEAL's in order and root, and multiplies polynomials modulo X**N + 1."""

import numpy as np
import pytest
import tenseal.sealapi as seal

from secagg.lattice.decoding import batch_order, evaluate
from secagg.lattice.modular import MAX_MODULUS_BITS, U64, Modulus
from secagg.lattice.ntt import Ntt, bit_reverse, ntt
from secagg.lattice.parameters import Custody, Scheme
from secagg.lattice.primes import ntt_primes, primitive_root
from secagg.lattice.slots import bfv_slots, ckks_slots, fill
from tests.encrypted import numbers, profile_of, seal_context


def uniform(prime: int, *shape: int) -> U64:
    return np.random.default_rng(7).integers(0, prime, shape, dtype=np.uint64)


@pytest.mark.parametrize(("degree", "bits"), [(8, 30), (64, 45), (4096, 60), (8192, 56)])
def test_there_and_back(degree: int, bits: int) -> None:
    transform = ntt(degree, ntt_primes(degree, bits, 1)[0])
    rows = uniform(transform.modulus.prime, 3, degree)
    rows[0, :2] = [0, transform.modulus.prime - 1]
    before = rows.copy()
    assert (transform.inverse(transform.forward(rows)) == rows).all()
    assert (rows == before).all()


def test_position_i_holds_the_value_at_the_bit_reversed_odd_power() -> None:
    degree, prime = 16, ntt_primes(16, 40, 1)[0]
    coefficients = uniform(prime, degree)
    psi, order = primitive_root(degree, prime), bit_reverse(4)
    points = [pow(psi, 2 * int(k) + 1, prime) for k in order]
    expected = [sum(int(c) * pow(x, i, prime) for i, c in enumerate(coefficients)) % prime for x in points]
    assert ntt(degree, prime).forward(coefficients).tolist() == expected


def test_products_are_negacyclic() -> None:
    degree, prime = 32, ntt_primes(32, 60, 1)[0]
    transform, modulus = ntt(degree, prime), Modulus(prime)
    a, b = uniform(prime, 2, degree)
    product = transform.inverse(modulus.mul(transform.forward(a), modulus.factor(transform.forward(b))))
    expected = [0] * degree
    for i in range(degree):
        for j in range(degree):
            sign = -1 if i + j >= degree else 1
            expected[(i + j) % degree] += sign * int(a[i]) * int(b[j])
    assert product.tolist() == [x % prime for x in expected]


def test_a_prime_that_does_not_fit_the_ring_is_refused() -> None:
    with pytest.raises(ValueError, match="mod 64"):
        Ntt(32, 97 * 2 + 1)
    with pytest.raises(ValueError, match="bits"):
        Modulus(1 << MAX_MODULUS_BITS)


@pytest.mark.parametrize("bits", [30, 45, 60])
def test_modular_arithmetic_agrees_with_big_integers(bits: int) -> None:
    prime = ntt_primes(64, bits, 1)[0]
    modulus = Modulus(prime)
    a = np.concatenate([uniform(prime, 500), np.array([0, 1, prime - 1], np.uint64)])
    b = a[::-1].copy()
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    assert modulus.add(a, b).tolist() == [(x + y) % prime for x, y in pairs]
    assert modulus.sub(a, b).tolist() == [(x - y) % prime for x, y in pairs]
    assert modulus.neg(a).tolist() == [-x % prime for x in a.tolist()]
    assert modulus.mul(a, modulus.factor(b)).tolist() == [x * y % prime for x, y in pairs]
    signed = np.array([-(1 << 62), -1, 0, 1, (1 << 62) - 1])
    assert modulus.lift(signed).tolist() == [x % prime for x in signed.tolist()]


def test_a_factor_takes_any_word_and_does_not_print() -> None:
    modulus = Modulus(ntt_primes(64, 60, 1)[0])
    words = np.array([2**64 - 1, 2**63, 12345], np.uint64)
    factor = modulus.factor(modulus.prime - 2)
    assert modulus.mul(words, factor).tolist() == [x * (modulus.prime - 2) % modulus.prime for x in words.tolist()]
    assert str(modulus.prime - 2) not in repr(factor)


def test_batching_is_seals() -> None:
    """Slots that SEAL encodes to a plaintext come out of our transform modulo t in the same order."""
    profile = profile_of(Scheme.BFV, Custody.PARTICIPANTS)
    slots = bfv_slots(profile, fill(profile, numbers(1, profile.values_per_block))[0])
    plain = seal.Plaintext()
    seal.BatchEncoder(seal_context(profile)).encode(slots.tolist(), plain)
    coefficients = np.array([plain[i] for i in range(plain.coeff_count())], np.uint64)
    ours = ntt(profile.ring_degree, profile.plain_modulus).forward(coefficients)
    assert (ours[batch_order(profile.ring_degree)] == slots).all()


def test_ckks_residues_and_slots_are_seals() -> None:
    """A CKKS plaintext of SEAL holds NTT values; our inverse transform and FFT lead back to the slots."""
    profile = profile_of(Scheme.CKKS, Custody.PARTICIPANTS)
    slots = ckks_slots(fill(profile, numbers(1, profile.values_per_block))[0])
    plain = seal.Plaintext()
    seal.CKKSEncoder(seal_context(profile)).encode(slots.tolist(), float(profile.scale), plain)
    values = np.array([plain[i] for i in range(profile.ring_degree)], np.uint64)
    residues = ntt(profile.ring_degree, profile.primes[0]).inverse(values).astype(np.int64)
    centred = np.where(residues > profile.primes[0] // 2, residues - profile.primes[0], residues)
    assert np.abs(evaluate(centred / profile.scale) - slots).max() < 0.01
