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


def barycentric_weights(xs: Sequence[int]) -> list[int]:
    """1 / Π_{i≠j}(x_j − x_i) for each j."""
    weights = []
    for j, x in enumerate(xs):
        differences = [x - other for other in xs]
        differences[j] = 1
        product = 1
        for start in range(0, len(xs), _REDUCE_EVERY):
            product = product * math.prod(differences[start : start + _REDUCE_EVERY]) % PRIME
        weights.append(pow(product, -1, PRIME))
    return weights


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
    return [w * everything * pow(at - x, -1, PRIME) % PRIME for x, w in zip(xs, weights, strict=True)]
