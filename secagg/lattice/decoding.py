"""From the phase c0 + c1 s to values, without SEAL: how a coordinator decodes what partial decryptions open.

BFV: t/Q * x is rounded in RNS without big integers (Halevi, Polyakov & Shoup 2019, ePrint 2018/117, section 2.3),
then transformed modulo t. CKKS: the coefficients, centred, are evaluated at the primitive 2N-th roots of unity by an
FFT. Slot i belongs to the root of exponent 3**i.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from secagg.lattice.modular import U64, Modulus
from secagg.lattice.ntt import bit_reverse, ntt
from secagg.lattice.parameters import Profile, Scheme
from secagg.lattice.slots import Complex, Float, bfv_values, ckks_values, take


def decode(profile: Profile, phase: U64, count: int, summands: int) -> U64:
    """The first `count` summed values of uint64[blocks, primes, N] of phases in the profile's form.

    Raises:
        ProtocolViolation: it is not a sum of `summands` honest encryptions.
    """
    if profile.scheme is Scheme.BFV:
        values = bfv_values(profile, bfv_decode(profile, phase))
    else:
        values = ckks_values(ckks_decode(profile, phase))
    return take(profile, values, count, summands)


def bfv_decode(profile: Profile, phase: U64) -> U64:
    """uint64[blocks, primes, N] of coefficients to uint64[blocks, N] of slots in [0, t)."""
    t = profile.plain_modulus
    whole = np.zeros((len(phase), profile.ring_degree), np.uint64)
    fraction = np.zeros(whole.shape, np.float64)
    for j, prime in enumerate(profile.primes):
        digits = _digits(profile, phase, j)
        integer, remainder = _divided(digits, t, prime)
        whole = (whole + integer % np.uint64(t)) % np.uint64(t)
        fraction += remainder.astype(np.float64) / prime
    plain = (whole + np.rint(fraction).astype(np.uint64)) % np.uint64(t)
    return ntt(profile.ring_degree, t).forward(plain)[:, batch_order(profile.ring_degree)]


def ckks_decode(profile: Profile, phase: U64) -> Complex:
    """uint64[blocks, primes, N] of NTT values to complex128[blocks, N/2] of slots. Not rounded, so secret."""
    coefficients = np.empty_like(phase)
    for j, prime in enumerate(profile.primes):
        coefficients[:, j] = ntt(profile.ring_degree, prime).inverse(phase[:, j])
    return evaluate(_centred(profile, coefficients) / profile.scale)


def evaluate(coefficients: Float) -> Complex:
    """float64[..., N], a real polynomial, to complex128[..., N/2]: its values at exp(i pi 3**k / N)."""
    degree = coefficients.shape[-1]
    twist = np.exp(1j * np.pi * np.arange(degree) / degree)
    at_odd_powers: Complex = np.fft.ifft(coefficients * twist, axis=-1, norm="forward")
    return at_odd_powers[..., (powers_of_three(degree) - 1) // 2]


def _digits(profile: Profile, residues: U64, j: int) -> U64:
    """[x * (Q / q_j)**-1] mod q_j: x / Q is the sum of these over q_j, up to an integer."""
    prime = profile.primes[j]
    if len(profile.primes) == 1:
        return residues[:, j]
    modulus = Modulus(prime)
    return modulus.mul(residues[:, j], modulus.factor(pow(profile.modulus // prime, -1, prime)))


def _divided(digits: U64, numerator: int, prime: int) -> tuple[U64, U64]:
    """Floor and remainder of digits * numerator / prime. digits * (numerator // prime) must fit 64 bits."""
    modulus = Modulus(prime)
    factor = modulus.factor(numerator % prime)
    quotient = modulus.quotient(digits, factor)
    remainder = digits * factor.value - quotient * np.uint64(prime)  # in [0, 4q): the quotient is up to 3 low
    for _ in range(3):
        low = remainder >= np.uint64(prime)
        quotient += low
        remainder -= low * np.uint64(prime)
    return quotient + digits * np.uint64(numerator // prime), remainder


def _centred(profile: Profile, coefficients: U64) -> Float:
    """uint64[blocks, primes, N] to float64[blocks, N] in [-Q/2, Q/2], to 2**-53 relative (one prime) or 2**-51 * Q."""
    if len(profile.primes) == 1:
        prime = profile.primes[0]
        signed = coefficients[:, 0].astype(np.int64)
        return np.where(signed > prime // 2, signed - prime, signed).astype(np.float64)
    fraction = np.zeros((len(coefficients), profile.ring_degree), np.float64)
    for j, prime in enumerate(profile.primes):
        fraction += _digits(profile, coefficients, j).astype(np.float64) / prime
    return (fraction - np.rint(fraction)) * float(profile.modulus)


@lru_cache
def powers_of_three(ring_degree: int) -> npt.NDArray[np.intp]:
    """3**i mod 2N for i in [0, N/2)."""
    powers = [1]
    for _ in range(ring_degree // 2 - 1):
        powers.append(powers[-1] * 3 % (2 * ring_degree))
    return np.array(powers, np.intp)


@lru_cache
def batch_order(ring_degree: int) -> npt.NDArray[np.intp]:
    """Where SEAL's BatchEncoder keeps slot i among the NTT values: the first half at 3**i, the second at -3**i."""
    exponents = powers_of_three(ring_degree)
    order = bit_reverse(ring_degree.bit_length() - 1)
    return np.concatenate([order[(exponents - 1) // 2], order[(2 * ring_degree - exponents - 1) // 2]])
