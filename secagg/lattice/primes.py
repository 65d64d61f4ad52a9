"""NTT-friendly primes and roots of unity, in the order in which SEAL makes and uses them, computed without SEAL."""

from functools import lru_cache
from typing import Final

from secagg.errors import ConfigError

MAX_PRIME_BITS: Final = 60
"""SEAL's limit for a prime of the ciphertext modulus and for the plaintext modulus."""

# Deterministic for every n < 3.3 * 10**24 (Sorenson & Webster 2015, "Strong pseudoprimes to twelve prime bases").
_WITNESSES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def is_prime(n: int) -> bool:
    """Miller-Rabin with bases that decide every n below 2**64."""
    if n < 2:
        return False
    for p in _WITNESSES:
        if n % p == 0:
            return n == p
    odd = (n - 1) >> _twos(n - 1)
    return all(_passes(n, odd, base) for base in _WITNESSES)


def _twos(n: int) -> int:
    return (n & -n).bit_length() - 1


def _passes(n: int, odd: int, base: int) -> bool:
    x = pow(base, odd, n)
    if x in (1, n - 1):
        return True
    for _ in range(_twos(n - 1) - 1):
        x = x * x % n
        if x == n - 1:
            return True
    return False


@lru_cache
def ntt_primes(ring_degree: int, bits: int, count: int) -> tuple[int, ...]:
    """The `count` largest primes of exactly `bits` bits that are 1 mod 2N, smallest first.

    The order is that of SEAL's CoeffModulus::Create(N, [bits] * count); with a count of 1 this is also
    PlainModulus::Batching.

    Raises:
        ConfigError: there are not so many.
    """
    step = 2 * ring_degree
    found: list[int] = []
    candidate = ((1 << bits) - 1) // step * step + 1
    while len(found) < count and candidate > 1 << (bits - 1):
        if is_prime(candidate):
            found.append(candidate)
        candidate -= step
    if len(found) < count:
        raise ConfigError(f"there are no {count} primes of {bits} bits for ring degree {ring_degree}; use wider primes")
    return tuple(reversed(found))


def primitive_root(ring_degree: int, prime: int) -> int:
    """The smallest primitive 2N-th root of unity modulo `prime`, which is the one SEAL uses."""
    exponent = (prime - 1) // (2 * ring_degree)
    root = next(
        r for r in (pow(g, exponent, prime) for g in range(2, prime)) if pow(r, ring_degree, prime) == prime - 1
    )
    square = root * root % prime
    smallest = root
    for _ in range(ring_degree - 1):  # the primitive roots are the odd powers of any one of them
        root = root * square % prime
        smallest = min(smallest, root)
    return smallest
