"""Ring elements from seeds: small secrets, small errors, and products with a secret key.

A key is 32 bytes that expand to a ternary polynomial, so that keys are dealt, shared and recovered as 32 bytes. Not
constant time.
"""

import hashlib
from typing import Final

import numpy as np

from secagg.crypto.labels import KEY_ERROR, TERNARY_KEY
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.lattice.modular import I64, U64, Modulus
from secagg.lattice.ntt import Ntt, ntt
from secagg.lattice.parameters import Profile

KEY_SEED_SIZE: Final = 32
_ERROR_BYTES: Final = 6  # 48 bits, of which 42 are used
_ERROR_PAIRS: Final = 21
_TERNARY_LIMIT: Final = 255  # the largest multiple of 3 that a byte can stay below


def ternary(seed: Secret, context: bytes, ring_degree: int) -> I64:
    """int64[N], uniform in {-1, 0, 1}.

    SHAKE-256 of frame(label, context, seed), byte by byte: 255 is skipped, any other byte b gives b mod 3 - 1.
    """
    state = hashlib.shake_256(frame(TERNARY_KEY, context, seed.expose()))
    size = ring_degree + ring_degree // 32
    while True:
        stream = np.frombuffer(state.digest(size), np.uint8)
        kept = stream[stream < _TERNARY_LIMIT][:ring_degree]
        if len(kept) == ring_degree:
            return (kept % 3).astype(np.int64) - 1
        size *= 2


def centred_binomial(seed: Secret, context: bytes, ring_degree: int) -> I64:
    """int64[N] in [-21, 21], variance 21/2: the error distribution of SEAL.

    SHAKE-256 of frame(label, context, seed), six bytes a coefficient, little-endian: the ones among bits 0..20 less
    those among 21..41.
    """
    stream = hashlib.shake_256(frame(KEY_ERROR, context, seed.expose())).digest(_ERROR_BYTES * ring_degree)
    words = np.zeros((ring_degree, 8), np.uint8)
    words[:, :_ERROR_BYTES] = np.frombuffer(stream, np.uint8).reshape(ring_degree, _ERROR_BYTES)
    bits = words.view("<u8")[:, 0]
    mask = np.uint64((1 << _ERROR_PAIRS) - 1)
    ones: I64 = np.bitwise_count(bits & mask).astype(np.int64)
    zeros: I64 = np.bitwise_count((bits >> np.uint64(_ERROR_PAIRS)) & mask).astype(np.int64)
    return ones - zeros


def to_ntt(profile: Profile, coefficients: I64) -> U64:
    """int64[N] to its NTT values under every key prime, uint64[key primes, N]."""
    return np.stack([t.forward(t.modulus.lift(coefficients)) for t in _transforms(profile, profile.key_primes)])


def lift(profile: Profile, coefficients: I64) -> U64:
    """int64[blocks, N] to the profile's form under the ciphertext primes, uint64[blocks, primes, N]."""
    parts = [(t, t.modulus.lift(coefficients)) for t in _transforms(profile, profile.primes)]
    return np.stack([t.forward(part) if profile.ntt_form else part for t, part in parts], axis=1)


class SecretKey:
    """A ternary key, ready to multiply ciphertexts. Holds secrets, does not print them."""

    __slots__ = ("_factors", "_profile")

    def __init__(self, profile: Profile, seed: Secret, context: bytes) -> None:
        """Args: seed: 32 bytes. context: 32 bytes of the round."""
        self._profile = profile
        values = to_ntt(profile, ternary(seed, context, profile.ring_degree))
        self._factors = tuple(
            t.modulus.factor(values[j]) for j, t in enumerate(_transforms(profile, profile.key_primes))
        )

    def residues(self) -> U64:
        """NTT values under every key prime, uint64[key primes, N]. Secret."""
        return np.stack([factor.value for factor in self._factors])

    def times_reference(self, a: U64) -> U64:
        """A * s for a in NTT values under every key prime, uint64[key primes, N]."""
        transforms = _transforms(self._profile, self._profile.key_primes)
        return np.stack([t.modulus.mul(a[j], self._factors[j]) for j, t in enumerate(transforms)])

    def times(self, polynomials: U64) -> U64:
        """C * s for ciphertext polynomials in the profile's form, uint64[blocks, primes, N]."""
        out = np.empty_like(polynomials)
        for j, t in enumerate(_transforms(self._profile, self._profile.primes)):
            if self._profile.ntt_form:
                out[:, j] = t.modulus.mul(polynomials[:, j], self._factors[j])
            else:
                out[:, j] = t.inverse(t.modulus.mul(t.forward(polynomials[:, j]), self._factors[j]))
        return out


def rebase(profile: Profile, key: SecretKey, c0: U64, c1: U64, a: U64) -> U64:
    """The c0 that goes with `a` instead of c1, plaintext and error kept: c0 + (c1 - a) s. uint64[blocks, primes, N]."""
    return add(profile.primes, c0, key.times(sub(profile.primes, c1, a)))


def add(primes: tuple[int, ...], a: U64, b: U64) -> U64:
    """A + b, uint64[..., primes, N]."""
    return np.stack([Modulus(q).add(a[..., j, :], b[..., j, :]) for j, q in enumerate(primes)], axis=-2)


def sub(primes: tuple[int, ...], a: U64, b: U64) -> U64:
    """A - b, uint64[..., primes, N]."""
    return np.stack([Modulus(q).sub(a[..., j, :], b[..., j, :]) for j, q in enumerate(primes)], axis=-2)


def negative(primes: tuple[int, ...], a: U64) -> U64:
    """The polynomial that adds up to zero with `a`, modulo each prime: uint64[..., primes, N]."""
    return np.stack([Modulus(q).neg(a[..., j, :]) for j, q in enumerate(primes)], axis=-2)


def _transforms(profile: Profile, primes: tuple[int, ...]) -> list[Ntt]:
    return [ntt(profile.ring_degree, prime) for prime in primes]
