"""Cosines in fixed point, the same on every machine: floating-point transforms differ in their last bits."""

from functools import lru_cache
from math import isqrt
from typing import Final

FRACTION_BITS: Final = 256
_ONE: Final = 1 << FRACTION_BITS


@lru_cache
def table(ring_degree: int) -> tuple[int, ...]:
    """cos(pi k / N) * 2**256 for k in [0, 2N), each within 2**-200 of the truth. N is a power of two."""
    cosine, sine = -_ONE, 0  # of pi
    for _ in range(ring_degree.bit_length() - 1):
        cosine, sine = isqrt((_ONE + cosine) * _ONE // 2), isqrt((_ONE - cosine) * _ONE // 2)
    x, y, out = _ONE, 0, []
    for _ in range(2 * ring_degree):
        out.append(x)
        x, y = (x * cosine - y * sine) >> FRACTION_BITS, (x * sine + y * cosine) >> FRACTION_BITS
    return tuple(out)


def rounded(numerator: int, denominator: int) -> int:
    """The integer nearest to numerator / (denominator * 2**256)."""
    divisor = denominator << FRACTION_BITS
    return (2 * numerator + divisor) // (2 * divisor)
