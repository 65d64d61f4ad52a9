"""Shamir secret sharing over GF(2^256 + 297), with correction of wrong shares.

A share is the polynomial's value at x = holder's index (1, 2, …), 33 bytes big-endian.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import mul
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
    coefficients = _polynomial(secret, threshold, rng)
    return {x: _encoded(polynomial.evaluate(coefficients, x)) for x in holders}


def share_both(
    first: Secret, second: Secret, threshold: int, holders: Sequence[int], rng: Rng
) -> dict[int, tuple[Secret, Secret]]:
    """The shares of two secrets, as of `share` for the first and then for the second; in less time than both take."""
    one, other = _polynomial(first, threshold, rng), _polynomial(second, threshold, rng)
    values = polynomial.evaluate_both(one, other, holders)
    return {x: (_encoded(a), _encoded(b)) for x, (a, b) in zip(holders, values, strict=True)}


def _polynomial(secret: Secret, threshold: int, rng: Rng) -> list[int]:
    noise = rng.token(_COEFFICIENT_BYTES * (threshold - 1))
    coefficients = [int.from_bytes(secret.expose(), "big")]
    coefficients += [
        int.from_bytes(noise[i : i + _COEFFICIENT_BYTES], "big") % PRIME
        for i in range(0, len(noise), _COEFFICIENT_BYTES)
    ]
    return coefficients


def _encoded(value: int) -> Secret:
    return Secret(value.to_bytes(SHARE_SIZE, "big"))


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


_COMING: Final = 7
"""A holder that is not among those of another decoder takes as long as so many that are gone."""


class Checks:
    """What all decoders of a round share: what they need of single numbers, and the secret of their check.

    The check of m shares is h with Σ h_j·f(x_j) = 0 for every f of degree < t: a wrong share shows, but for a chance of
    about 2^-240. h_j = g(x_j) / Π_{i≠j}(x_j − x_i) with g of degree < m − t (the dual of a Reed–Solomon code), and
    g(x) = Σ (r·x)^i. r comes from a hash: a dealer who knew h could choose errors that cancel in the sum, and the salt
    keeps it from that.
    """

    def __init__(self, salt: bytes = b"") -> None:
        """Args: salt: what a dealer could not foresee when it chose its shares, such as a digest of all shares."""
        self._r = int.from_bytes(hashlib.sha512(salt).digest(), "big") % PRIME
        self._inverses = [0, 1]
        self._below: dict[int, int] = {}  # 1 / (r·x − 1)
        self._values: defaultdict[int, dict[int, int]] = defaultdict(dict)

    def inverses(self, largest: int) -> Sequence[int]:
        """1 / d for the differences of two indices: d is the place, from 1 to `largest` or more. 1 / −d is −1 / d."""
        known = self._inverses
        for i in range(len(known), largest + 1):
            known.append(-(PRIME // i) * known[PRIME % i] % PRIME)
        return known

    def values(self, spare: int, xs: Sequence[int]) -> list[int]:
        """g(x) at each x, where g has `spare` coefficients."""
        known = self._values[spare]
        for x in xs:
            if x not in known:
                base = self._r * x % PRIME
                if x not in self._below:
                    self._below[x] = pow(base - 1, -1, PRIME)
                known[x] = (pow(base, spare, PRIME) - 1) * self._below[x] % PRIME
        return [known[x] for x in xs]


class Decoder:
    """Reconstruction from one fixed set of holders; what depends on the holders alone is computed once."""

    def __init__(
        self,
        holders: Sequence[int],
        threshold: int,
        checks: Checks | None = None,
        *,
        near: "Decoder | None" = None,
    ) -> None:
        """Args:
        holders: at least `threshold` distinct indices.
        threshold: t ≥ 1.
        checks: of the round; without a salt if None.
        near: of the same round, for other holders. The more of these are among ours, the less is left to compute.
        """
        self.holders = tuple(holders)
        self.threshold = threshold
        self._checks = checks or Checks()
        self._weights = self._of(near) if near is not None else self._anew()
        weights = [self._weights[x] for x in self.holders]
        inverses = self._checks.inverses(max(self.holders))
        # Over all shares, not t of them: these weights serve for the check too.
        self._at_zero = [-weight * inverses[x] % PRIME for weight, x in zip(weights, self.holders, strict=True)]
        self._everything = polynomial.differences(0, self.holders)
        values = self._checks.values(len(self.holders) - threshold, self.holders)
        self._check = [weight * value % PRIME for weight, value in zip(weights, values, strict=True)]

    def _anew(self) -> dict[int, int]:
        """1 / Π_{i≠j}(x_j − x_i), by holder."""
        return dict(zip(self.holders, polynomial.barycentric_weights(self.holders), strict=True))

    @cached_property
    def _of_first(self) -> "Decoder":
        """For the first t holders alone. It is needed only where the shares of an owner do not fit together."""
        return Decoder(self.holders[: self.threshold], self.threshold, self._checks, near=self)

    def _of(self, near: "Decoder") -> dict[int, int]:
        """The same, from those of a decoder for much the same holders: a factor for each holder that is another."""
        now, before = set(self.holders), set(near.holders)
        gone, come = sorted(before - now), sorted(now - before)
        if len(gone) + _COMING * len(come) > len(now):
            return self._anew()
        kept = sorted(now & before)
        factors = [near._weights[x] for x in kept]
        for other in gone:
            factors = [factor * (x - other) % PRIME for factor, x in zip(factors, kept, strict=True)]
        inverses = self._checks.inverses(max(now))
        for other in come:
            over = [inverses[x - other] if x > other else -inverses[other - x] for x in kept]
            factors = [factor * inverse % PRIME for factor, inverse in zip(factors, over, strict=True)]
        weights = dict(zip(kept, factors, strict=True))
        return weights | {x: pow(polynomial.differences(x, self.holders), -1, PRIME) for x in come}

    def recover(self, shares: Mapping[int, int], accepts: Callable[[Secret], bool]) -> Recovered | None:
        """The secret that `accepts` confirms, corrected if need be; None if there is none within reach.

        Args:
            shares: value by holder, for exactly this decoder's holders.
            accepts: whether a candidate is the secret its owner committed to.
        """
        return self.joined(shares, accepts) or self.corrected(shares, accepts)

    def joined(self, shares: Mapping[int, int], accepts: Callable[[Secret], bool]) -> Recovered | None:
        """The secret that all shares give or, if they do not fit together, the first t; if `accepts` confirms it.
        Cheap: two products for each share.
        """
        values = [shares[x] for x in self.holders]
        consistent = self._consistent(values)
        secret = _as_secret((self if consistent else self._of_first)._joined(values))
        return Recovered(secret, consistent) if secret is not None and accepts(secret) else None

    def corrected(self, shares: Mapping[int, int], accepts: Callable[[Secret], bool]) -> Recovered | None:
        """The secret by one decoding, which stands ⌊(m − t)/2⌋ wrong shares of the m."""
        values = [shares[x] for x in self.holders]
        if self._consistent(values):
            return None  # all agree on a secret that is not the right one
        weights = [self._weights[x] for x in self.holders]
        located = Code(self.holders, self.threshold, weights).locate(values)
        secret = None if located is None else _as_secret(located.at_zero)
        if located is None or secret is None or not accepts(secret):
            return None
        return Recovered(secret, consistent=False, wrong=tuple(self.holders[i] for i in located.wrong))

    def _joined(self, values: Sequence[int]) -> int:
        return _combined(self._at_zero, values[: len(self.holders)]) * self._everything % PRIME

    def _consistent(self, values: Sequence[int]) -> bool:
        return _combined(self._check, values) == 0


def _combined(coefficients: Sequence[int], values: Sequence[int]) -> int:
    """Σ a_j·y_j, over as many values as there are coefficients."""
    total: int = sum(map(mul, coefficients, values))
    return total % PRIME


def _as_secret(value: int) -> Secret | None:
    return Secret(value.to_bytes(SECRET_SIZE, "big")) if value < 1 << (8 * SECRET_SIZE) else None
