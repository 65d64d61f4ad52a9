"""Polynomials over GF(2^256 + 297): evaluation and interpolation.

A polynomial is a list of coefficients, lowest degree first. Python's integers are not constant-time; the secrets that
pass through here live for one round and are split or joined once.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

PRIME: Final = 2**256 + 297


_REDUCE_EVERY: Final = 16  # products: indices are small, so 16 of them outgrow the prime by little


def evaluate(f: Sequence[int], x: int) -> int:
    """The value f(x) of a polynomial, by Horner's rule."""
    y = 0
    descending = f[::-1]
    for start in range(0, len(f), _REDUCE_EVERY):
        for coefficient in descending[start : start + _REDUCE_EVERY]:
            y = y * x + coefficient
        y %= PRIME
    return y


def evaluate_both(f: Sequence[int], g: Sequence[int], xs: Sequence[int]) -> list[tuple[int, int]]:
    """(f(x), g(x)) at each x, by Horner's rule at all x at once. The two are as long as each other.

    Args:
        f: coefficients below the prime.
        g: coefficients below the prime.
        xs: at least one; 0 to 2^30 − 1.
    """
    # A number is eight limbs of 32 bits, lowest first. Each x lets a limb grow by the bits of x, and a limb has room
    # for 30 before its carries are passed on.
    x = np.array(xs, np.int64)
    steps = _ROOM // max(1, max(xs).bit_length())
    y = np.zeros((_LIMBS, 2, len(xs)), np.int64)
    for number, coefficients in enumerate(zip(reversed(_limbs(f)), reversed(_limbs(g)), strict=True)):
        if number % steps == 0:
            _carry(y)
        y *= x
        y += np.stack(coefficients, axis=1)[:, :, None]
    values = [_number(limbs) for limbs in y.reshape(_LIMBS, -1).T.tolist()]
    return list(zip(values[: len(xs)], values[len(xs) :], strict=True))


_LIMBS, _LIMB, _ROOM = 8, 32, 30
_WRAPPED: Final = -297  # 2^256 modulo the prime


def _limbs(numbers: Sequence[int]) -> NDArray[np.int64]:
    """Numbers below the prime as rows of limbs."""
    data = b"".join([number.to_bytes((_LIMBS + 1) * 4, "little") for number in numbers])
    limbs = np.frombuffer(data, "<u4").reshape(len(numbers), _LIMBS + 1).astype(np.int64)
    limbs[:, 0] += _WRAPPED * limbs[:, _LIMBS]
    return limbs[:, :_LIMBS]


def _carry(y: NDArray[np.int64]) -> None:
    """Bring limbs below 2^63 back to 32 bits, in place. The first time a limb still gets a carry of 31 bits, and the
    lowest one 297 of them; the second time carries are small.
    """
    for _ in range(2):
        carries = y >> _LIMB
        y &= (1 << _LIMB) - 1
        y[1:] += carries[:-1]
        y[0] += _WRAPPED * carries[-1]


def _number(limbs: Sequence[int]) -> int:
    """The number modulo the prime, of limbs of any size and sign."""
    number = 0
    for limb in reversed(limbs):
        number = (number << _LIMB) + limb
    return number % PRIME


def inverses(values: Sequence[int]) -> list[int]:
    """1 / v for each value, none of which is a multiple of the prime: one inversion and three products for each."""
    before, product = [], 1
    for value in values:
        before.append(product)
        product = product * value % PRIME
    behind = pow(product, -1, PRIME)
    found = []
    for value, prefix in zip(reversed(values), reversed(before), strict=True):
        found.append(behind * prefix % PRIME)
        behind = behind * value % PRIME
    return found[::-1]


def differences(x: int, xs: Sequence[int]) -> int:
    """Π (x − x_i) over the x_i that are not x."""
    factors = [x - other for other in xs if other != x]
    product = 1
    for start in range(0, len(factors), _REDUCE_EVERY):
        product = product * math.prod(factors[start : start + _REDUCE_EVERY]) % PRIME
    return product


def barycentric_weights(xs: Sequence[int]) -> list[int]:
    """1 / Π_{i≠j}(x_j − x_i) for each j."""
    return inverses([differences(x, xs) for x in xs])


def lagrange_at_zero(xs: Sequence[int]) -> list[int]:
    """Coefficients a with f(0) = Σ a_j·f(x_j) for every f of degree < len(xs)."""
    return lagrange_from(xs, barycentric_weights(xs), 0)


def lagrange_from(xs: Sequence[int], weights: Sequence[int], at: int) -> list[int]:
    """Coefficients a with f(at) = Σ a_j·f(x_j) for every f of degree < len(xs).

    Args:
        xs: distinct.
        weights: their `barycentric_weights`.
        at: none of the x_j.
    """
    everything = 1
    for x in xs:
        everything = everything * (at - x) % PRIME
    distances = inverses([at - x for x in xs])
    return [w * everything % PRIME * d % PRIME for w, d in zip(weights, distances, strict=True)]
