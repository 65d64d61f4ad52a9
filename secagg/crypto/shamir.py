"""Shamir secret sharing over GF(2^256 + 297), with correction of wrong shares.

A share is the polynomial's value at x = holder's index (1, 2, …), 33 bytes big-endian.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from secagg.crypto import polynomial
from secagg.crypto.polynomial import PRIME
from secagg.crypto.reed_solomon import Code
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.errors import DecodeError

SECRET_SIZE: Final = 32
SHARE_SIZE: Final = 33

_COEFFICIENT_BYTES: Final = 48  # reduced mod a 257-bit prime: bias below 2^-127


def share(secret: Secret, threshold: int, holders: Iterable[int], rng: Rng) -> dict[int, Secret]:
    """One share for each holder's index; any `threshold` of them give the secret, fewer give nothing.

    Args:
        secret: 32 bytes.
        threshold: t ≥ 1.
        holders: distinct indices ≥ 1.
        rng: gives 48 bytes for each of the t − 1 coefficients, lowest degree first, read big-endian mod the prime.
    """
    noise = rng.token(_COEFFICIENT_BYTES * (threshold - 1))
    coefficients = [int.from_bytes(secret.expose(), "big")]
    coefficients += [
        int.from_bytes(noise[i : i + _COEFFICIENT_BYTES], "big") % PRIME
        for i in range(0, len(noise), _COEFFICIENT_BYTES)
    ]
    return {x: Secret(polynomial.evaluate(coefficients, x).to_bytes(SHARE_SIZE, "big")) for x in holders}


def decode_share(data: bytes) -> int:
    """The field element of a received share.

    Raises:
        DecodeError: not 33 bytes, or not below the prime.
    """
    value = int.from_bytes(data, "big")
    if len(data) != SHARE_SIZE or value >= PRIME:  # check: below-prime
        raise DecodeError(f"a share is {SHARE_SIZE} bytes below the field prime")
    return value


@dataclass(frozen=True, slots=True)
class Recovered:
    """A reconstructed secret.

    Attributes:
        secret: 32 bytes.
        consistent: whether all shares lie on one polynomial of degree < t.
        wrong: holders whose shares do not lie on the secret's polynomial; looked for only where they stood in the way.
    """

    secret: Secret
    consistent: bool
    wrong: tuple[int, ...] = ()


class Decoder:
    """Reconstruction from one fixed set of holders; what depends on the holders alone is computed once."""

    def __init__(self, holders: Sequence[int], threshold: int, salt: bytes = b"") -> None:
        """Args:
        holders: at least `threshold` distinct indices.
        salt: what a dealer could not foresee when it chose its shares, such as a digest of all shares.
        """
        self.holders = tuple(holders)
        self.threshold = threshold
        self._at_zero = polynomial.lagrange_at_zero(self.holders[:threshold])
        self._code = Code(self.holders, threshold)
        self._check = self._dual_codeword(salt)

    def _dual_codeword(self, salt: bytes) -> list[int]:
        """h with Σ h_j·f(x_j) = 0 for every f of degree < t: a wrong share shows, but for a chance of about 2^-250.

        h_j = g(x_j) / Π_{i≠j}(x_j − x_i) with g of degree < m − t (the dual of a Reed–Solomon code). g comes from
        a hash: a dealer who knew h could choose errors that cancel in the sum, and the salt keeps it from that.
        """
        spare = len(self.holders) - self.threshold
        seed = ",".join(map(str, self.holders)).encode() + b";" + salt
        g = [int.from_bytes(hashlib.sha512(b"%d:" % i + seed).digest(), "big") % PRIME for i in range(spare)]
        return [w * polynomial.evaluate(g, x) % PRIME for x, w in zip(self.holders, self._code.weights, strict=True)]

    def recover(self, shares: Mapping[int, int], accepts: Callable[[Secret], bool]) -> Recovered | None:
        """The secret that `accepts` confirms, corrected if need be; None if there is none within reach.

        Args:
            shares: value by holder, for exactly this decoder's holders.
            accepts: whether a candidate is the secret its owner committed to.
        """
        return self.joined(shares, accepts) or self.corrected(shares, accepts)

    def joined(self, shares: Mapping[int, int], accepts: Callable[[Secret], bool]) -> Recovered | None:
        """The secret that the first t shares give, if `accepts` confirms it. Cheap: one product for each share."""
        values = [shares[x] for x in self.holders]
        secret = _as_secret(_combined(self._at_zero, values))
        return Recovered(secret, self._consistent(values)) if secret is not None and accepts(secret) else None

    def corrected(self, shares: Mapping[int, int], accepts: Callable[[Secret], bool]) -> Recovered | None:
        """The secret by one decoding, which stands ⌊(m − t)/2⌋ wrong shares of the m."""
        values = [shares[x] for x in self.holders]
        if self._consistent(values):
            return None  # all agree on a secret that is not the right one
        located = self._code.locate(values)
        secret = None if located is None else _as_secret(located.at_zero)
        if located is None or secret is None or not accepts(secret):
            return None
        return Recovered(secret, consistent=False, wrong=tuple(self.holders[i] for i in located.wrong))

    def _consistent(self, values: Sequence[int]) -> bool:
        return _combined(self._check, values) == 0


def _combined(coefficients: Sequence[int], values: Sequence[int]) -> int:
    """Σ a_j·y_j, over as many values as there are coefficients."""
    return sum(a * y for a, y in zip(coefficients, values, strict=False)) % PRIME


def _as_secret(value: int) -> Secret | None:
    return Secret(value.to_bytes(SECRET_SIZE, "big")) if value < 1 << (8 * SECRET_SIZE) else None
