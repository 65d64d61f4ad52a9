"""The negacyclic number-theoretic transform: Z_q[X]/(X**N + 1) to its values at odd powers of a 2N-th root of unity.

Order and root are SEAL's: psi is the smallest primitive 2N-th root, and position i of the transform holds the value
at psi**(2 * bitreverse(i) + 1). Cooley-Tukey forward, Gentleman-Sande backward (Longa & Naehrig 2016, ePrint
2016/504, algorithms 1 and 2) with Harvey's lazy reduction: between the levels values stay below 4q.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.lattice.modular import U64, Factor, Modulus
from secagg.lattice.primes import primitive_root

_CACHED_WORDS: Final = 1 << 15
"""Transformed together, so that the temporaries stay in the L2 cache."""


def bit_reverse(width: int) -> npt.NDArray[np.intp]:
    """intp[2**width]: position i holds i with its `width` bits reversed."""
    indices = np.arange(1 << width, dtype=np.intp)
    out = np.zeros_like(indices)
    for _ in range(width):
        out = (out << 1) | (indices & 1)
        indices >>= 1
    return out


class Ntt:
    """The transform of one ring degree N (a power of two) and one prime q = 1 mod 2N, q < 2**61."""

    __slots__ = ("_inverse_degree", "_inverse_roots", "_roots", "modulus", "ring_degree")

    def __init__(self, ring_degree: int, prime: int) -> None:
        if (prime - 1) % (2 * ring_degree):
            raise ValueError(f"{prime} is not 1 mod {2 * ring_degree}")
        self.ring_degree: Final = ring_degree
        self.modulus: Final = Modulus(prime)
        root = primitive_root(ring_degree, prime)
        self._roots: Final = self._powers(root)
        self._inverse_roots: Final = self._powers(pow(root, -1, prime))
        self._inverse_degree: Final = self.modulus.factor(pow(ring_degree, -1, prime))

    def _powers(self, root: int) -> Factor:
        """root**bitreverse(i) for i in 0..N-1."""
        powers = [1]
        for _ in range(self.ring_degree - 1):
            powers.append(powers[-1] * root % self.modulus.prime)
        order = bit_reverse(self.ring_degree.bit_length() - 1)
        return self.modulus.factor(np.array(powers, np.uint64)[order])

    def forward(self, coefficients: U64) -> U64:
        """uint64[..., N] of coefficients in [0, q) to values in [0, q), in a new array."""
        return self._in_pieces(coefficients, self._forward)

    def inverse(self, values: U64) -> U64:
        """uint64[..., N] of values in [0, q) to coefficients in [0, q), in a new array."""
        return self._in_pieces(values, self._inverse)

    def _in_pieces(self, source: U64, transform: Callable[[U64], U64]) -> U64:
        rows = source.reshape(-1, self.ring_degree)
        out = np.array(rows, np.uint64, order="C")
        step = max(1, _CACHED_WORDS // self.ring_degree)
        for start in range(0, len(out), step):
            out[start : start + step] = transform(out[start : start + step])
        return out.reshape(source.shape)

    def _forward(self, rows: U64) -> U64:
        """Works in place on C-contiguous uint64[rows, N]; the result may be another array."""
        groups, gap = 1, self.ring_degree // 2
        while groups < self.ring_degree:
            pairs = rows.reshape(len(rows), groups, 2, gap)
            roots = self._roots[groups : 2 * groups][:, None]
            upper = self.modulus.reduce_twice(pairs[:, :, 0])
            lower = self.modulus.mul_lazy(pairs[:, :, 1], roots)
            np.add(upper, lower, out=pairs[:, :, 0])
            pairs[:, :, 1] = self.modulus.sub_lazy(upper, lower)
            groups, gap = 2 * groups, gap // 2
        return self.modulus.reduce_once(self.modulus.reduce_twice(rows))

    def _inverse(self, rows: U64) -> U64:
        """Works in place on C-contiguous uint64[rows, N]; the result is another array."""
        groups, gap = self.ring_degree // 2, 1
        while groups >= 1:
            pairs = rows.reshape(len(rows), groups, 2, gap)
            roots = self._inverse_roots[groups : 2 * groups][:, None]
            difference = self.modulus.sub_lazy(pairs[:, :, 0], pairs[:, :, 1])
            pairs[:, :, 0] = self.modulus.reduce_twice(pairs[:, :, 0] + pairs[:, :, 1])
            pairs[:, :, 1] = self.modulus.mul_lazy(difference, roots)
            groups, gap = groups // 2, 2 * gap
        return self.modulus.mul(rows, self._inverse_degree)


@lru_cache(maxsize=32)
def ntt(ring_degree: int, prime: int) -> Ntt:
    """The transform, with its tables made once per process."""
    return Ntt(ring_degree, prime)
