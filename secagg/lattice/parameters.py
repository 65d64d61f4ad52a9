"""Encryption parameters: what makes a profile safe and exact, and the smallest one for a task.

A profile is checked against the bounds of `noise` and the 128-bit column of the HomomorphicEncryption.org standard
(2018, table 1: ternary secret, classical attacks), whoever made it: a participant checks what the coordinator sends.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from secagg.errors import ConfigError
from secagg.lattice import noise
from secagg.lattice.primes import MAX_PRIME_BITS, is_prime, ntt_primes
from secagg.scalars import as_integer

MAX_MODULUS_BITS: Final = {4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""Ring degree to the largest log2 of all primes together, the special prime included, at 128-bit security."""

FLOOD_BITS: Final = 62
"""Smudging: E_u is uniform in [-2**62, 2**62), the widest that one 64-bit word holds."""

SMUDGING_BITS: Final = 40
"""The flood exceeds the noise that it hides by this factor at least: one coefficient of a partial decryption is then
within 2**-41 of what a simulator without the key would send, a vector of m values within m times that."""

MIN_PRIME_BITS: Final = 30
MAX_SUMMANDS: Final = 1 << 20
MAX_VALUE_BITS: Final = 48
MAX_VALUES: Final = 1 << noise.MAX_VALUES_BITS


class Scheme(Enum):
    """The homomorphic encryption that a round uses. Sums are the same to the bit in both."""

    CKKS = "ckks"
    """Computes with approximate numbers, which are rounded back to the exact integers."""
    BFV = "bfv"
    """Computes with integers exactly."""


class Custody(Enum):
    """Who holds the key of a homomorphic round."""

    PARTICIPANTS = "participants"
    """Every participant holds the whole key: one that works with the coordinator opens every update."""
    THRESHOLD = "threshold"
    """Every participant holds a part, and as many as the threshold are needed to decrypt. Experimental."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The encryption parameters of a homomorphic round, which all sides must agree on. `find_profile` makes them.

    Attributes:
        scheme: CKKS or BFV.
        custody: who holds the key.
        summands: n_max, the most ciphertexts that are ever added.
        value_bits: every value is an integer in [0, 2**value_bits).
        ring_degree: N.
        primes: the ciphertext modulus Q as RNS primes of equal width, ascending.
        special_prime: P, which public-key encryption divides by; 0 where nobody encrypts with a public key.
        plain_modulus: t of BFV; 0 for CKKS.
        scale: the power of two that CKKS multiplies values by; 0 for BFV.
        values_per_slot: BFV: 1 or 2 fields of `field_bits` in one slot. CKKS: 2, the real and the imaginary part.
    """

    scheme: Scheme
    custody: Custody
    summands: int
    value_bits: int
    ring_degree: int
    primes: tuple[int, ...]
    special_prime: int
    plain_modulus: int
    scale: int
    values_per_slot: int

    @property
    def key_primes(self) -> tuple[int, ...]:
        """All primes, in SEAL's order: the special prime last."""
        return (*self.primes, self.special_prime) if self.special_prime else self.primes

    @property
    def modulus(self) -> int:
        """The ciphertext modulus Q: the product of the primes."""
        return math.prod(self.primes)

    @property
    def prime_bits(self) -> int:
        """Width of every prime, and of every residue on the wire."""
        return self.primes[0].bit_length()

    @property
    def field_bits(self) -> int:
        """Room for a sum: value_bits + ceil(log2 n_max), so that a field never carries into the next."""
        return field_bits(self.value_bits, self.summands)

    @property
    def largest_sum(self) -> int:
        """n_max * (2**value_bits - 1)."""
        return self.summands * ((1 << self.value_bits) - 1)

    @property
    def values_per_block(self) -> int:
        """Values in one ciphertext: N for CKKS (N/2 complex slots), N or 2N for BFV."""
        return self.ring_degree if self.scheme is Scheme.CKKS else self.ring_degree * self.values_per_slot

    @property
    def flood_bits(self) -> int:
        """f of the smudging noise; 0 where there are no partial decryptions."""
        return FLOOD_BITS if self.custody is Custody.THRESHOLD else 0

    @property
    def ntt_form(self) -> bool:
        """Ciphertexts travel as NTT values (CKKS) or as coefficients (BFV), each as SEAL has them."""
        return self.scheme is Scheme.CKKS

    def blocks(self, values: int) -> int:
        """Ciphertexts for that many values.

        Raises:
            ConfigError: none, or more than the failure probability was computed for.
        """
        if not 1 <= values <= MAX_VALUES:
            raise ConfigError(f"a vector has 1 to {MAX_VALUES} values, not {values}")
        return -(-values // self.values_per_block)

    def encryption_noise(self) -> float:
        """Bound on one coefficient of the noise of n_max ciphertexts, before rounding and flooding."""
        if not self.special_prime:
            return noise.symmetric(self.summands)
        return noise.public_key(self.summands, self.ring_degree, self.special_prime)

    def noise_bound(self) -> float:
        """BFV: noise of a summed coefficient, flooded. CKKS: error of a decoded value, to stay below 1/4."""
        if self.scheme is Scheme.BFV:
            return noise.bfv_coefficient(self.summands, self.encryption_noise(), self.flood_bits)
        public = self.special_prime != 0
        error = noise.ckks_slot(
            self.summands,
            self.ring_degree,
            0.0 if public else self.summands * noise.ERROR_VARIANCE,
            self.encryption_noise() if public else 0.0,
            self.flood_bits,
        )
        drift = noise.ckks_floating_point(self.ring_degree, self.largest_sum, self.modulus, self.scale)
        return error / self.scale + drift

    def check(self) -> None:
        """Refuse what is not safe or not exact.

        Raises:
            ConfigError: naming what is wrong and what to change.
        """
        _check_ranges(self)
        _check_primes(self)
        _check_security(self)
        if self.custody is Custody.THRESHOLD:
            _check_smudging(self)
        _check_exactness(self)
        _check_all_primes_encrypt(self)

    def check_summands(self, n: int) -> None:
        """Refuse to add more ciphertexts than the bounds were made for.

        Raises:
            ConfigError: n > n_max.
        """
        if n > self.summands:
            raise ConfigError(f"{n} summands exceed the profile's n_max of {self.summands}; raise n_max")


def field_bits(value_bits: int, summands: int) -> int:
    """Bits of a sum of `summands` values of `value_bits` bits, counted as the encoder counts them."""
    return value_bits + (summands - 1).bit_length()


def find_profile(scheme: Scheme, custody: Custody, summands: int, value_bits: int) -> Profile:
    """The parameters for a homomorphic round: the fewest bytes a value at the smallest ring degree. The same arguments
    always give the same parameters.

    Args:
        scheme: CKKS or BFV.
        custody: who holds the key.
        summands: most updates in a sum, the round's `max_participants`.
        value_bits: bits of an encoded value, as the round's encoding has them.

    Raises:
        ConfigError: no parameters of at least 128-bit security give an exact sum.
    """
    summands, value_bits = as_integer(summands, "n_max"), as_integer(value_bits, "value_bits")
    _check_counts(summands, value_bits)
    reason = "its sums are too wide; lower n_max or the bits per value" + (
        ", or use bfv" if scheme is Scheme.CKKS else ""
    )
    for degree in MAX_MODULUS_BITS:
        for draft in _drafts(scheme, custody, summands, value_bits, degree):
            try:
                draft.check()
            except ConfigError as refusal:
                reason = str(refusal)
            else:
                return draft
    raise ConfigError(f"no {scheme.value} profile sums {summands} values of {value_bits} bits: {reason}")


def _drafts(scheme: Scheme, custody: Custody, summands: int, value_bits: int, degree: int) -> Iterator[Profile]:
    """Candidates from few bytes to many."""
    base = Profile(scheme, custody, summands, value_bits, degree, (), 0, 0, 0, 2)
    for draft in _bfv_drafts(base) if scheme is Scheme.BFV else _ckks_drafts(base):
        specials = 0 if custody is Custody.PARTICIPANTS else 1
        for count in range(1, 5):
            yield from _with_primes(draft, count, specials)


def _bfv_drafts(base: Profile) -> Iterator[Profile]:
    """Two fields a slot where they fit, each with the smallest batching prime that holds the largest slot."""
    for fields in (2, 1):
        draft = replace(base, values_per_slot=fields)
        for bits in range(max(MIN_PRIME_BITS, fields * base.field_bits), MAX_PRIME_BITS + 1):
            plain_modulus = ntt_primes(base.ring_degree, bits, 1)[0]
            if plain_modulus > largest_slot(draft):
                yield replace(draft, plain_modulus=plain_modulus)
                break


def _ckks_drafts(base: Profile) -> Iterator[Profile]:
    """The smallest scale whose error stays below the limit, at the largest modulus that it could ever need."""
    for bits in range(1, 120):
        draft = replace(base, scale=1 << bits, primes=(1 << (bits + base.field_bits + 4),))
        if base.custody is Custody.THRESHOLD:
            draft = replace(draft, special_prime=1 << MIN_PRIME_BITS)
        if draft.noise_bound() <= noise.CKKS_ROUNDING_LIMIT:
            yield replace(base, scale=1 << bits)
            return


def _with_primes(draft: Profile, count: int, specials: int) -> Iterator[Profile]:
    """`draft` with `count` primes of the smallest width that is exact, if the security table has room for them."""
    limit = min(MAX_PRIME_BITS, (MAX_MODULUS_BITS[draft.ring_degree] + count + specials - 1) // (count + specials))
    for bits in range(MIN_PRIME_BITS, limit + 1):
        primes = ntt_primes(draft.ring_degree, bits, count + specials)
        candidate = replace(draft, primes=primes[:count], special_prime=primes[count] if specials else 0)
        if _exact(candidate) and candidate.plain_modulus not in primes:
            yield candidate
            return


def largest_slot(profile: Profile) -> int:
    """The largest integer that a BFV slot of a sum holds."""
    return sum(profile.largest_sum << (i * profile.field_bits) for i in range(profile.values_per_slot))


def _exact(profile: Profile) -> bool:
    try:
        _check_exactness(profile)
    except ConfigError:
        return False
    return True


def _check_exactness(profile: Profile) -> None:
    if profile.scheme is Scheme.BFV:
        _check_bfv(profile)
    else:
        _check_ckks(profile)


def _check_counts(summands: int, value_bits: int) -> None:
    if not 1 <= summands <= MAX_SUMMANDS:
        raise ConfigError(f"n_max must be 1 to {MAX_SUMMANDS}, not {summands}")
    if not 1 <= value_bits <= MAX_VALUE_BITS:
        raise ConfigError(
            f"homomorphic rounds take values of 1 to {MAX_VALUE_BITS} bits, not {value_bits}; narrow the bounds of "
            "integers (of a column: lower max_rows, or widen step), or use the masked scheme"
        )


def _check_ranges(profile: Profile) -> None:
    _check_counts(profile.summands, profile.value_bits)
    if profile.ring_degree not in MAX_MODULUS_BITS:
        raise ConfigError(f"ring degree {profile.ring_degree} is not one of {', '.join(map(str, MAX_MODULUS_BITS))}")
    if profile.values_per_slot not in ((1, 2) if profile.scheme is Scheme.BFV else (2,)):
        raise ConfigError(f"{profile.values_per_slot} values a slot do not fit {profile.scheme.value}")
    if (profile.plain_modulus != 0) != (profile.scheme is Scheme.BFV):
        raise ConfigError("a plaintext modulus belongs to bfv, and only to bfv")
    if (profile.scale != 0) != (profile.scheme is Scheme.CKKS):
        raise ConfigError("a scale belongs to ckks, and only to ckks")
    if (profile.special_prime != 0) != (profile.custody is Custody.THRESHOLD):
        raise ConfigError("a special prime belongs to threshold custody, and only to it")


def _check_primes(profile: Profile) -> None:
    primes = profile.key_primes + ((profile.plain_modulus,) if profile.plain_modulus else ())
    widths = {prime.bit_length() for prime in profile.key_primes}
    if not profile.primes or len(widths) != 1 or not MIN_PRIME_BITS <= min(widths) <= MAX_PRIME_BITS:
        raise ConfigError(
            f"ciphertext primes must have one width of {MIN_PRIME_BITS} to {MAX_PRIME_BITS} bits, not {sorted(widths)}"
        )
    if len(set(primes)) != len(primes):
        raise ConfigError("primes must differ from one another and from the plaintext modulus")
    for prime in primes:
        if prime % (2 * profile.ring_degree) != 1 or prime.bit_length() > MAX_PRIME_BITS or not is_prime(prime):
            raise ConfigError(
                f"{prime} is not a prime of at most {MAX_PRIME_BITS} bits that is 1 mod {2 * profile.ring_degree}"
            )


def _check_all_primes_encrypt(profile: Profile) -> None:
    """SEAL keeps the last of several primes for switching keys and encrypts modulo the product of the others, if those
    are parameters by themselves. That is what the special prime is for. Without one, BFV encrypts modulo all primes
    only where the others are no parameters, because their product is not above t; CKKS, with more than one, never does.
    """
    kept_whole = profile.plain_modulus and math.prod(profile.primes[:-1]) <= profile.plain_modulus
    if len(profile.primes) > 1 and not profile.special_prime and not kept_whole:  # check: all-primes-encrypt
        raise ConfigError(
            f"nobody can encrypt under {len(profile.primes)} primes without a special prime"
            + ("" if profile.scheme is Scheme.CKKS else " above this plaintext modulus")
            + "; use one wider prime, lower n_max or the bits per value, or use "
            + ("bfv" if profile.scheme is Scheme.CKKS else "a larger plaintext modulus")
        )


def _check_security(profile: Profile) -> None:
    bits = math.prod(profile.key_primes).bit_length()
    limit = MAX_MODULUS_BITS[profile.ring_degree]
    if bits > limit:  # check: 128-bit-security
        raise ConfigError(
            f"log q = {bits} exceeds {limit}, the most at ring degree {profile.ring_degree} for 128-bit security; "
            "lower n_max or the bits per value, or use a larger ring"
        )


def _check_smudging(profile: Profile) -> None:
    hidden = math.log2(profile.encryption_noise() + profile.summands / 2)
    if hidden + SMUDGING_BITS > profile.flood_bits:
        raise ConfigError(
            f"flooding of {profile.flood_bits} bits does not hide noise of {hidden:.1f} bits "
            f"by {SMUDGING_BITS} bits; lower n_max"
        )


def _check_bfv(profile: Profile) -> None:
    if largest_slot(profile) >= profile.plain_modulus:
        raise ConfigError("a slot can wrap: lower n_max or the bits per value, or put fewer values in a slot")
    if profile.noise_bound() >= noise.bfv_limit(profile.modulus, profile.plain_modulus):
        raise ConfigError("the noise can reach half of Q/t: lower n_max or the bits per value, or widen the primes")


def _check_ckks(profile: Profile) -> None:
    if profile.scale < 2 or profile.scale & (profile.scale - 1):
        raise ConfigError("the scale must be a power of two, at least 2")
    if profile.noise_bound() > noise.CKKS_ROUNDING_LIMIT:
        raise ConfigError(
            f"a decoded value can be {profile.noise_bound():.3g} off, more than {noise.CKKS_ROUNDING_LIMIT}: "
            "raise the scale, lower n_max or the bits per value, or use bfv"
        )
    largest = noise.ckks_coefficient(
        profile.summands, profile.scale, profile.largest_sum, profile.encryption_noise(), profile.flood_bits
    )
    if 2 * largest >= profile.modulus:
        raise ConfigError(
            "a coefficient can wrap modulo Q: widen the primes, lower the scale, n_max or the bits per value"
        )
