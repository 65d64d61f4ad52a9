"""Arithmetic modulo a prime below 2**61 on uint64 arrays, without a 128-bit type.

A product with a known factor w uses Shoup's trick (Harvey 2014, arXiv 1205.2926): with w' = floor(w * 2**64 / q) at
hand, the quotient of x * w by q is about the high word of x * w'. The high word is put together from 32-bit halves
and comes out low by at most 2, the trick itself adds 1, so the remainder lies in [0, 4q) and two conditional
subtractions finish it. A conditional subtraction is min(r, r - q): where r < q the difference wraps to a huge number.

Not constant time: numpy makes no such promise, and `min` may or may not branch.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

MAX_MODULUS_BITS: Final = 61
_LOW: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)


@dataclass(frozen=True, slots=True, repr=False)
class Factor:
    """A factor and the halves of its Shoup quotient. May hold a secret, so it does not print."""

    value: U64
    high: U64
    low: U64

    def __getitem__(self, at: slice | tuple[slice | None, ...]) -> "Factor":
        return Factor(self.value[at], self.high[at], self.low[at])


class Modulus:
    """A prime q < 2**61. Arrays in and out are uint64 in [0, q) unless said otherwise."""

    __slots__ = ("_q", "_twice", "prime")

    def __init__(self, prime: int) -> None:
        if prime.bit_length() > MAX_MODULUS_BITS:
            raise ValueError(f"a modulus has at most {MAX_MODULUS_BITS} bits, not {prime.bit_length()}")
        self.prime: Final = prime
        self._q: Final = np.uint64(prime)
        self._twice: Final = np.uint64(2 * prime)

    def add(self, a: U64, b: U64) -> U64:
        """The sum of two residues, modulo q."""
        return self.reduce_once(a + b)

    def sub(self, a: U64, b: U64) -> U64:
        """The difference of two residues, modulo q."""
        return self.reduce_once(a + (self._q - b))

    def neg(self, a: U64) -> U64:
        """The number that gives 0 with `a`, modulo q."""
        return self.reduce_once(self._q - a)

    def lift(self, signed: I64) -> U64:
        """Any int64 to its residue."""
        return np.mod(signed, np.int64(self.prime)).view(np.uint64)

    def factor(self, values: U64 | int) -> Factor:
        """Prepare factors in [0, q); takes about a microsecond for each."""
        array = np.asarray(values, np.uint64)
        quotients = np.array([(int(w) << 64) // self.prime for w in array.ravel()], np.uint64).reshape(array.shape)
        return Factor(array, quotients >> _HALF, quotients & _LOW)

    def mul(self, x: U64, factor: Factor) -> U64:
        """X * factor, for any uint64 x."""
        return self.reduce_once(self.mul_lazy(x, factor))

    def mul_lazy(self, x: U64, factor: Factor) -> U64:
        """X * factor in [0, 2q), for any uint64 x."""
        return self.reduce_twice(x * factor.value - self.quotient(x, factor) * self._q)

    def quotient(self, x: U64, factor: Factor) -> U64:
        """Floor(x * factor / q), or up to 3 less, for any uint64 x."""
        x_high = x >> _HALF
        result = x_high * factor.low
        result >>= _HALF
        other = x & _LOW
        other *= factor.high
        other >>= _HALF
        result += other
        x_high *= factor.high
        result += x_high
        return result

    def reduce_once(self, x: U64) -> U64:
        """[0, 2q) to [0, q)."""
        reduced: U64 = np.minimum(x, x - self._q)
        return reduced

    def reduce_twice(self, x: U64) -> U64:
        """[0, 4q) to [0, 2q)."""
        reduced: U64 = np.minimum(x, x - self._twice)
        return reduced

    def sub_lazy(self, a: U64, b: U64) -> U64:
        """A - b in (0, 4q), for a and b in [0, 2q)."""
        return a + (self._twice - b)
