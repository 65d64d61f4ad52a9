"""A polynomial over the field of shares from its values, for tests that ask for coefficients."""

from collections.abc import Sequence

from secagg.crypto.polynomial import PRIME


def interpolate(xs: Sequence[int], ys: Sequence[int]) -> list[int]:
    """Coefficients of the polynomial of degree < len(xs) through the points, lowest first (Newton)."""
    result, product = [0], [1]
    for x, y in zip(xs, ys, strict=True):
        at = sum(c * pow(x, i, PRIME) for i, c in enumerate(result)) % PRIME
        scale = (y - at) * pow(sum(c * pow(x, i, PRIME) for i, c in enumerate(product)), -1, PRIME) % PRIME
        result = [(a + scale * b) % PRIME for a, b in zip([*result, 0], product, strict=False)]
        product = [(a - x * b) % PRIME for a, b in zip([0, *product], [*product, 0], strict=True)]
    return result
