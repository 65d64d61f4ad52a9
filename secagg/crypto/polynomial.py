"""Polynomials over GF(2^256 + 297): evaluation and interpolation.

A polynomial is a list of coefficients, lowest degree first. Python's integers are not constant-time; the secrets that
pass through here live for one round and are split or joined once.
"""

import math
from collections.abc import Sequence
from typing import Final

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
    """(f(x), g(x)) at each x. The two are as long as each other, and share the steps of Horner's rule.

    Args:
        f: coefficients below the prime.
        g: coefficients below the prime.
        xs: not negative.
    """
    # Both coefficients of a degree stand in one integer, the second `lane` bits higher: so far apart that what grows
    # in the lower one between two reductions does not reach the upper one.
    lane = PRIME.bit_length() + _REDUCE_EVERY * (max(xs, default=0).bit_length() + 1)
    lower = (1 << lane) - 1
    descending = [a | b << lane for a, b in zip(reversed(f), reversed(g), strict=True)]
    steps = [descending[i : i + _REDUCE_EVERY] for i in range(0, len(descending), _REDUCE_EVERY)]
    found = []
    for x in xs:
        y = 0
        for step in steps:
            y = (y & lower) % PRIME | (y >> lane) % PRIME << lane
            for coefficients in step:
                y = y * x + coefficients
        found.append(((y & lower) % PRIME, (y >> lane) % PRIME))
    return found


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
