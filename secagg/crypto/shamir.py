"""Shamir secret sharing over GF(2^256 + 297), with correction of wrong shares.

A share is the polynomial's value at x = holder's index (1, 2, …), 33 bytes big-endian.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from secagg.crypto import polynomial
from secagg.crypto.polynomial import PRIME
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.errors import DecodeError

SECRET_SIZE: Final = 32
SHARE_SIZE: Final = 33

_COEFFICIENT_BYTES: Final = 48  # reduced mod a 257-bit prime: bias below 2^-127
_SEARCH_STEPS: Final = 5_000_000  # a matter of seconds: an interpolation takes about t² of them


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
    if len(data) != SHARE_SIZE or value >= PRIME:
        raise DecodeError(f"a share is {SHARE_SIZE} bytes below the field prime")
    return value


@dataclass(frozen=True, slots=True)
class Recovered:
    """A reconstructed secret.

    Attributes:
        secret: 32 bytes.
        wrong: holders whose shares do not lie on its polynomial, in the explanation that needs the fewest liars. Empty
            too where another may need as few: colluding liars can choose shares so that others seem to have lied.
    """

    secret: Secret
    wrong: tuple[int, ...]


class Decoder:
    """Reconstruction from one fixed set of holders; what depends on the holders alone is computed once.

    It remembers whose shares were wrong before, and so finds the right ones of the next secret sooner.
    """

    def __init__(self, holders: Sequence[int], threshold: int, salt: bytes = b"", *, accept_steps: int = 0) -> None:
        """Args:
        holders: at least `threshold` distinct indices.
        salt: what colluding holders could not foresee when they chose their shares, such as a digest of all shares.
        accept_steps: what asking `accepts` costs in a search, in steps of about a microsecond.
        """
        self.holders = tuple(holders)
        self.threshold = threshold
        self._salt = salt
        self._at_zero = polynomial.lagrange_at_zero(self.holders[:threshold])
        self._check = self._dual_codeword(salt)
        self._suspicion: Counter[int] = Counter()
        self._steps = _SEARCH_STEPS
        self._step = threshold**2 + accept_steps
        self._trusted: Decoder | None = None  # for the holders under no suspicion
        self._at_suspects: dict[int, list[int]] = {}  # what gives their shares from the trusted ones

    def _dual_codeword(self, salt: bytes) -> list[int]:
        """h with Σ h_j·f(x_j) = 0 for every f of degree < t: a wrong share shows, but for a chance of about 2^-250.

        h_j = g(x_j) / Π_{i≠j}(x_j − x_i) with g of degree < m − t (the dual of a Reed–Solomon code). g comes from
        a hash: two liars who knew h could choose errors that cancel in the sum, and the salt keeps it from them.
        """
        spare = len(self.holders) - self.threshold
        seed = ",".join(map(str, self.holders)).encode() + b";" + salt
        g = [int.from_bytes(hashlib.sha512(b"%d:" % i + seed).digest(), "big") % PRIME for i in range(spare)]
        weights = polynomial.barycentric_weights(self.holders)
        return [w * polynomial.evaluate(g, x) % PRIME for x, w in zip(self.holders, weights, strict=True)]

    def recover(self, shares: Mapping[int, int], accepts: Callable[[Secret], bool]) -> Recovered | None:
        """The secret that `accepts` confirms, corrected if need be; None if no correction fits.

        Args:
            shares: value by holder, for exactly this decoder's holders.
            accepts: whether a candidate is the secret its owner committed to.
        """
        secret = self._agreed(shares, accepts)
        if secret is not None:
            return Recovered(secret, ())
        found = self._without_suspects(shares, accepts)
        return found or self._correct([shares[x] for x in self.holders], accepts)

    def _agreed(self, shares: Mapping[int, int], accepts: Callable[[Secret], bool]) -> Secret | None:
        """The accepted secret, if all holders agree on it."""
        values = [shares[x] for x in self.holders]
        if sum(h * y for h, y in zip(self._check, values, strict=True)) % PRIME:
            return None
        secret = _as_secret(_combined(self._at_zero, values))
        return secret if secret is not None and accepts(secret) else None

    def _without_suspects(self, shares: Mapping[int, int], accepts: Callable[[Secret], bool]) -> Recovered | None:
        """Who lied about one secret most likely lies about all; decoding anew costs a second with 600 holders."""
        trusted = tuple(x for x in self.holders if not self._suspicion[x])
        if not self.threshold <= len(trusted) < len(self.holders):
            return None
        if self._trusted is None or self._trusted.holders != trusted:
            self._trusted = Decoder(trusted, self.threshold, self._salt)
            suspects = (x for x in self.holders if self._suspicion[x])
            self._at_suspects = {x: polynomial.lagrange(trusted[: self.threshold], x) for x in suspects}
        secret = self._trusted._agreed(shares, accepts)
        if secret is None:
            return None
        values = [shares[x] for x in trusted[: self.threshold]]
        wrong = tuple(x for x, at in self._at_suspects.items() if _combined(at, values) != shares[x])
        found = Recovered(secret, wrong)
        return found if self._alone(found) else None

    def _correct(self, values: list[int], accepts: Callable[[Secret], bool]) -> Recovered | None:
        """Unique decoding up to (m − t)/2 wrong shares; beyond it, a bounded search that the commitment decides."""
        f = polynomial.decode_reed_solomon(self.holders, values, self.threshold)
        if f is not None:
            if found := self._explain(f, values, accepts):
                self._suspicion.update(found.wrong)
                return found
            if not self._wrong(f, values):
                return None  # all agree on a secret that is not the right one: no t of them are right
        return self._search(values, accepts)

    def _search(self, values: list[int], accepts: Callable[[Secret], bool]) -> Recovered | None:
        """Through t of the shares, those of the least suspect holders first, until one explanation stands alone."""
        points = sorted(zip(self.holders, values, strict=True), key=lambda point: self._suspicion[point[0]])
        first: Recovered | None = None
        for subset in itertools.combinations(points, self.threshold):
            found = self._explain(polynomial.interpolate(*zip(*subset, strict=True)), values, accepts)
            if found is not None:
                if first is not None and found.wrong != first.wrong:
                    return Recovered(first.secret, ())
                if first is None:
                    first = found
                    self._suspicion.update(found.wrong)
                if self._alone(found):
                    return found
            self._steps -= self._step
            if self._steps < 0:
                return Recovered(first.secret, ()) if first else None
        return first

    def _alone(self, found: Recovered) -> bool:
        """Whether any other explanation needs more liars: two of one secret name m − t + 2 holders or more."""
        return 2 * len(found.wrong) < len(self.holders) - self.threshold + 2

    def _explain(self, f: list[int], values: list[int], accepts: Callable[[Secret], bool]) -> Recovered | None:
        secret = _as_secret(polynomial.evaluate(f, 0))
        return Recovered(secret, self._wrong(f, values)) if secret is not None and accepts(secret) else None

    def _wrong(self, f: list[int], values: list[int]) -> tuple[int, ...]:
        return tuple(x for x, y in zip(self.holders, values, strict=True) if polynomial.evaluate(f, x) != y)


def _combined(coefficients: Sequence[int], values: Sequence[int]) -> int:
    """Σ a_j·y_j, over as many values as there are coefficients."""
    return sum(a * y for a, y in zip(coefficients, values, strict=False)) % PRIME


def _as_secret(value: int) -> Secret | None:
    return Secret(value.to_bytes(SECRET_SIZE, "big")) if value < 1 << (8 * SECRET_SIZE) else None
