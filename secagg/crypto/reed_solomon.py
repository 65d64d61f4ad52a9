"""Reed–Solomon decoding over GF(2^256 + 297): which of the values of a polynomial are wrong.

Syndromes, Berlekamp–Massey, and a search for the roots of the error locator (Massey 1969). With m points and dimension
t it takes about m·(m − t) multiplications by small numbers, far less than an interpolation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from secagg.crypto import polynomial
from secagg.crypto.polynomial import PRIME


@dataclass(frozen=True, slots=True)
class Located:
    """What a decoding found.

    Attributes:
        wrong: positions of the wrong values, ascending.
        at_zero: the value at 0 of the polynomial that all other values lie on.
    """

    wrong: tuple[int, ...]
    at_zero: int


class Code:
    """The polynomials of degree < `dimension`, by their values at fixed points."""

    def __init__(self, xs: Sequence[int], dimension: int, weights: Sequence[int] | None = None) -> None:
        """Args:
        xs: distinct, not 0, at least `dimension`.
        dimension: t ≥ 1.
        weights: the `barycentric_weights` of xs, if they are known.
        """
        self._xs = tuple(xs)
        self._dimension = dimension
        self.weights = polynomial.barycentric_weights(self._xs) if weights is None else weights
        self._zero_weights = polynomial.lagrange_from(self._xs, self.weights, 0)

    def locate(self, values: Sequence[int]) -> Located | None:
        """The one polynomial that at most ⌊(m − t)/2⌋ of the values miss; None if there is none."""
        reversed_locator = _berlekamp_massey(self._syndromes(values))
        errors = len(reversed_locator) - 1
        if 2 * errors > len(self._xs) - self._dimension:
            return None
        locator = reversed_locator[::-1]  # Π (X − x) over the wrong points
        at = [polynomial.evaluate(locator, x) for x in self._xs]
        wrong = tuple(i for i, value in enumerate(at) if value == 0)
        if len(wrong) != errors:
            return None
        # f·locator vanishes where values are wrong, and its degree is below m: all m points give its value at 0.
        product = sum(a * e % PRIME * y for a, e, y in zip(self._zero_weights, at, values, strict=True))
        return Located(wrong, product * pow(locator[0], -1, PRIME) % PRIME)

    def _syndromes(self, values: Sequence[int]) -> list[int]:
        """S_j = Σ w_i·x_i^j·y_i for j < m − t: all 0 for values of one polynomial of degree < t."""
        terms = [w * y % PRIME for w, y in zip(self.weights, values, strict=True)]
        syndromes = []
        for _ in range(len(self._xs) - self._dimension):
            syndromes.append(sum(terms) % PRIME)
            terms = [term * x % PRIME for term, x in zip(terms, self._xs, strict=True)]
        return syndromes


def _berlekamp_massey(sequence: Sequence[int]) -> list[int]:
    """The shortest recurrence c, with c_0 = 1 and Σ c_i·s_(n − i) = 0 for all n ≥ its degree."""
    current, previous = [1], [1]
    length, shift, last = 0, 1, 1
    for n in range(len(sequence)):
        window = sequence[n - len(current) + 1 : n + 1] if len(current) <= n + 1 else sequence[: n + 1]
        discrepancy = sum(c * s for c, s in zip(current, reversed(window), strict=False)) % PRIME
        if discrepancy == 0:
            shift += 1
            continue
        factor = discrepancy * pow(last, -1, PRIME) % PRIME
        adjusted = current + [0] * max(0, len(previous) + shift - len(current))
        for i, c in enumerate(previous, start=shift):
            adjusted[i] = (adjusted[i] - factor * c) % PRIME
        if 2 * length <= n:
            length, shift, last, previous = n + 1 - length, 1, discrepancy, current
        else:
            shift += 1
        current = adjusted
    return current + [0] * (length + 1 - len(current))
