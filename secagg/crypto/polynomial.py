"""Polynomials over GF(2^256 + 297): evaluation, interpolation and Reed–Solomon decoding.

A polynomial is a list of coefficients, lowest degree first. Python's integers are not constant-time; the secrets that
pass through here live for one round and are split or joined once.
"""

from collections.abc import Sequence
from typing import Final

PRIME: Final = 2**256 + 297


_REDUCE_EVERY: Final = 16  # Horner steps: x is a small index, so 16 products outgrow the prime by little


def evaluate(f: Sequence[int], x: int) -> int:
    """f(x), by Horner's rule."""
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
        product = 1
        for i, other in enumerate(xs):
            if i != j:
                product = product * (x - other) % PRIME
        weights.append(pow(product, -1, PRIME))
    return weights


def lagrange_at_zero(xs: Sequence[int]) -> list[int]:
    """Coefficients a with f(0) = Σ a_j·f(x_j) for every f of degree < len(xs)."""
    return lagrange(xs, 0)


def lagrange(xs: Sequence[int], at: int) -> list[int]:
    """Coefficients a with f(at) = Σ a_j·f(x_j) for every f of degree < len(xs); `at` is none of the x_j."""
    everything = 1
    for x in xs:
        everything = everything * (at - x) % PRIME
    return [w * everything * pow(at - x, -1, PRIME) % PRIME for x, w in zip(xs, barycentric_weights(xs), strict=True)]


def interpolate(xs: Sequence[int], ys: Sequence[int]) -> list[int]:
    """The polynomial of degree < len(xs) through the points."""
    everything = vanishing(xs)
    result = [0] * len(xs)
    for x, y, w in zip(xs, ys, barycentric_weights(xs), strict=True):
        scale = y * w % PRIME
        quotient, _ = divide(everything, [-x % PRIME, 1])
        for i, coefficient in enumerate(quotient):
            result[i] = (result[i] + scale * coefficient) % PRIME
    return result


def vanishing(xs: Sequence[int]) -> list[int]:
    """Π (X − x_j)."""
    result = [1]
    for x in xs:
        shifted = [0, *result]
        for i, coefficient in enumerate(result):
            shifted[i] = (shifted[i] - x * coefficient) % PRIME
        result = shifted
    return result


def divide(dividend: Sequence[int], divisor: Sequence[int]) -> tuple[list[int], list[int]]:
    """Quotient and remainder; the divisor's leading coefficient is not zero."""
    remainder = list(dividend)
    quotient = [0] * max(len(dividend) - len(divisor) + 1, 1)
    inverse = pow(divisor[-1], -1, PRIME)
    for shift in range(len(dividend) - len(divisor), -1, -1):
        factor = remainder[shift + len(divisor) - 1] * inverse % PRIME
        quotient[shift] = factor
        for i, coefficient in enumerate(divisor):
            remainder[shift + i] = (remainder[shift + i] - factor * coefficient) % PRIME
    return quotient, _trim(remainder)


def decode_reed_solomon(xs: Sequence[int], ys: Sequence[int], dimension: int) -> list[int] | None:
    """The f of degree < `dimension` that differs from at most (m − dimension)/2 of the m points; None if there is none.

    Gao's algorithm (2003): run Euclid on Π(X − x_j) and the interpolant until the remainder's degree is small, then
    divide.
    """
    r0, r1 = vanishing(xs), _trim(interpolate(xs, ys))
    v0: list[int] = [0]
    v1: list[int] = [1]
    while 2 * _degree(r1) >= len(xs) + dimension:
        quotient, remainder = divide(r0, r1)
        r0, r1 = r1, remainder
        v0, v1 = v1, _subtract(v0, _multiply(quotient, v1))
    f, remainder = divide(r1, v1) if _degree(r1) >= _degree(v1) else ([0], r1)
    f = _trim(f)
    return f if _degree(remainder) < 0 and _degree(f) < dimension else None


def _degree(f: Sequence[int]) -> int:
    """−1 for the zero polynomial. `f` is trimmed."""
    return len(f) - 1 if any(f) else -1


def _trim(f: list[int]) -> list[int]:
    while len(f) > 1 and f[-1] == 0:
        f.pop()
    return f


def _multiply(f: Sequence[int], g: Sequence[int]) -> list[int]:
    product = [0] * (len(f) + len(g) - 1)
    for i, a in enumerate(f):
        for j, b in enumerate(g):
            product[i + j] = (product[i + j] + a * b) % PRIME
    return _trim(product)


def _subtract(f: Sequence[int], g: Sequence[int]) -> list[int]:
    size = max(len(f), len(g))
    padded = zip([*f, *[0] * (size - len(f))], [*g, *[0] * (size - len(g))], strict=True)
    return _trim([(a - b) % PRIME for a, b in padded])
