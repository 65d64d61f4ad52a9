"""How far a decrypted sum of n ciphertexts can lie from the true sum: every bound that the parameters rest on.

Notation: ring degree N, ciphertext modulus Q, n summands, secret s = the sum of at most n ternary keys, errors e
centred binomial with 21 pairs of bits (what SEAL samples: variance 21/2, never beyond 21), tau for the rounding error
of a division, uniform in [-1/2, 1/2].

Random terms are sub-Gaussian with a variance proxy equal to their variance (centred binomial by Hoeffding; ternary
because (1 + 2 cosh x) / 3 <= exp(x**2 / 3); uniform because sinh(x) / x <= exp(x**2 / 6)), so a sum with proxy v
leaves [-B, B] with probability at most 2 exp(-B**2 / 2v). `TAIL` makes that 2**-72 for one coefficient or value: at
most 2**-40 over the 2**32 of the longest vector. Rounding of an encoded input is data, not chance, and is always
bounded by its worst case.
"""

import math
from typing import Final

FAILURE_BITS: Final = 40
MAX_VALUES_BITS: Final = 32
TAIL: Final = math.sqrt(2 * math.log(2) * (FAILURE_BITS + MAX_VALUES_BITS + 1))
"""Standard deviations that hold except with probability 2**-72: about 10.1."""

ERROR_BOUND: Final = 21
ERROR_VARIANCE: Final = ERROR_BOUND / 2
TERNARY_VARIANCE: Final = 2 / 3
UNIFORM_VARIANCE: Final = 1 / 12

CKKS_ROUNDING_LIMIT: Final = 0.25
"""A decoded CKKS value further than this from an integer is refused; parameters keep the error below it."""

BFV_HEADROOM: Final = 1 - 2.0**-20
"""Share of Q / 2t that noise may fill. The rest pays for the fractions of RNS decoding, which err by 2**-40."""


def symmetric(n: int) -> float:
    """|sum of e|: n fresh symmetric encryptions. TAIL * sqrt(n * 21/2), per coefficient."""
    return TAIL * math.sqrt(n * ERROR_VARIANCE)


def public_key(n: int, ring_degree: int, special_prime: int) -> float:
    """|sum of (e_pk u + e0 + e1 s) / P + tau0 + tau1 s|: n encryptions under a joint key of n, per coefficient.

    SEAL encrypts modulo Q * P and divides by the special prime P. What is divided is taken at its worst: |e_pk u| <=
    N * 21n and |e1 s| <= N * 21n. The rounding terms have proxy n / 12 * (1 + |s|**2), and |s|**2 <= 2 * N * 2n/3,
    twice its mean, except with probability exp(-N (1 - ln 2) / 2), which is below 2**-200 for N >= 1024 (Chernoff).
    """
    divided = n * ERROR_BOUND * (2 * n * ring_degree + 1) / special_prime
    key_norm = 2 * ring_degree * n * TERNARY_VARIANCE
    return divided + TAIL * math.sqrt(n * UNIFORM_VARIANCE * (1 + key_norm))


def flood(n: int, flood_bits: int) -> float:
    """|sum of E_u|, E_u uniform in [-2**f, 2**f): at most n * 2**f. Zero flood bits mean no flooding."""
    return n * 2.0**flood_bits if flood_bits else 0.0


def bfv_coefficient(n: int, encryption: float, flood_bits: int) -> float:
    """Distance of a summed phase from a multiple of Q/t: encryption noise, n/2 for rounding Q/t * m, and flooding."""
    return encryption + n / 2 + flood(n, flood_bits)


def bfv_limit(modulus: int, plain_modulus: int) -> float:
    """Decryption is exact while the noise stays below Q / 2t, less the headroom."""
    return modulus / (2 * plain_modulus) * BFV_HEADROOM


def ckks_slot(n: int, ring_degree: int, encryption_variance: float, encryption_worst: float, flood_bits: int) -> float:
    """Error of the real or imaginary part of one slot, in units of 1 / scale.

    A slot's part is sum_j x_j cos(theta_j) over N coefficients, and the squares of the cosines add up to N/2. So: n *
    N/2 for the rounding of n encodings to integer coefficients; TAIL * sqrt(variance * N/2) for independent errors of
    the given variance; N times the worst coefficient for the correlated rest; TAIL * sqrt(n * 2**2f / 3 * N/2) for
    flooding.
    """
    rounding = n * ring_degree / 2
    independent = TAIL * math.sqrt(encryption_variance * ring_degree / 2)
    flooding = TAIL * 2.0**flood_bits * math.sqrt(n / 3 * ring_degree / 2) if flood_bits else 0.0
    return rounding + independent + ring_degree * encryption_worst + flooding


def ckks_floating_point(ring_degree: int, largest_sum: int, modulus: int, scale: int) -> float:
    """Error of a decoded value from double-precision arithmetic, in units of the value.

    An FFT of N points errs by at most 7u log2(N) relative in the 2-norm (Higham 2002, Accuracy and Stability, theorem
    24.2; u = 2**-53), and the 2-norm of all slots is at most sqrt(N) * the largest sum. One transform encodes, one
    decodes; four more levels cover the scaling and twisting. Putting together the residues of a coefficient costs
    2**-51 * Q each.
    """
    transforms = 2 * 7 * 2.0**-53 * (math.log2(ring_degree) + 4) * math.sqrt(ring_degree) * largest_sum
    return transforms + ring_degree * 2.0**-51 * (modulus / scale)


def ckks_coefficient(n: int, scale: int, largest_sum: int, encryption: float, flood_bits: int) -> float:
    """Largest coefficient of a phase: scale * sqrt(2) * largest sum (both parts of every slot full) and all noise."""
    return scale * math.sqrt(2) * largest_sum + n / 2 + encryption + flood(n, flood_bits)
