"""Ring arithmetic of proto/PROTOCOL.md a second time: from its text alone, on Python's integers, without secagg.

Slow and short on purpose, as `reference.py` is.
"""

import cmath
import hashlib
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.conformance.reference import digest, frame, hkdf

Poly = list[int]


def is_prime(n: int) -> bool:
    if n < 4:
        return n in {2, 3}
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        x = pow(base, odd, n)
        if base % n and x not in {1, n - 1} and all((x := x * x % n) != n - 1 for _ in range(twos - 1)):
            return False
    return True


def primes(degree: int, bits: int, count: int) -> list[int]:
    """The largest of exactly that width that are 1 mod 2N, ascending."""
    found: list[int] = []
    candidate = (2**bits - 2) // (2 * degree) * 2 * degree + 1
    while len(found) < count:
        assert candidate.bit_length() == bits
        found += [candidate] if is_prime(candidate) else []
        candidate -= 2 * degree
    return found[::-1]


@lru_cache
def root(degree: int, prime: int) -> int:
    """The smallest primitive 2N-th root of unity."""
    any_root = next(
        r for g in range(2, prime) if pow(r := pow(g, (prime - 1) // (2 * degree), prime), degree, prime) == prime - 1
    )
    powers, square = [any_root], any_root * any_root % prime
    for _ in range(degree - 1):
        powers.append(powers[-1] * square % prime)
    return min(powers)


def reverse(i: int, width: int) -> int:
    return int(format(i, f"0{width}b")[::-1], 2)


@lru_cache
def _root_powers(degree: int, prime: int) -> list[int]:
    powers = [1]
    for _ in range(2 * degree - 1):
        powers.append(powers[-1] * root(degree, prime) % prime)
    return powers


def value(poly: Sequence[int], i: int, prime: int) -> int:
    """Position i of the transform, straight from its definition."""
    degree = len(poly)
    exponent = 2 * reverse(i, degree.bit_length() - 1) + 1
    powers = _root_powers(degree, prime)
    return sum(c * powers[exponent * j % (2 * degree)] for j, c in enumerate(poly)) % prime


def transform(poly: Sequence[int], prime: int) -> Poly:
    """All positions. Splits X^M - r^2 into X^(M/2) - r and X^(M/2) + r until nothing is left of X."""
    degree, powers = len(poly), _root_powers(len(poly), prime)
    pieces = [(list(poly), degree)]  # modulo X^len - psi^exponent
    while len(pieces[0][0]) > 1:
        pieces = [half for piece in pieces for half in _halves(*piece, powers, prime)]
    return [piece[0] % prime for piece, _ in pieces]


def _halves(piece: Poly, exponent: int, powers: Sequence[int], prime: int) -> list[tuple[Poly, int]]:
    half, factor = len(piece) // 2, powers[exponent // 2]
    high = [c * factor % prime for c in piece[half:]]
    low = piece[:half]
    return [
        ([x + y for x, y in zip(low, high, strict=True)], exponent // 2),
        ([x - y for x, y in zip(low, high, strict=True)], exponent // 2 + len(powers) // 2),
    ]


def inverse(values: Sequence[int], prime: int) -> Poly:
    """Back to coefficients: the transform of the values in natural order, at the inverse root."""
    degree, width = len(values), len(values).bit_length() - 1
    natural = [values[reverse(i, width)] for i in range(degree)]
    unity = pow(root(degree, prime), -2, prime)
    spectrum = _cyclic(natural, unity, prime)
    scale, back = pow(degree, -1, prime), pow(root(degree, prime), -1, prime)
    out, twist = [], scale
    for x in spectrum:
        out.append(x * twist % prime)
        twist = twist * back % prime
    return out


def _cyclic(x: Sequence[int], unity: int, prime: int) -> Poly:
    """X_j = sum of x_i unity^(ij)."""
    if len(x) == 1:
        return [x[0]]
    even, odd = (_cyclic(x[k::2], unity * unity % prime, prime) for k in (0, 1))
    factor, upper, lower = 1, [], []
    for a, b in zip(even, odd, strict=True):
        upper.append((a + factor * b) % prime)
        lower.append((a - factor * b) % prime)
        factor = factor * unity % prime
    return upper + lower


def multiply(a: Sequence[int], b: Sequence[int], prime: int) -> Poly:
    """Two transforms, position by position."""
    return [x * y % prime for x, y in zip(a, b, strict=True)]


def plus(a: Sequence[int], b: Sequence[int], prime: int) -> Poly:
    return [(x + y) % prime for x, y in zip(a, b, strict=True)]


def minus(a: Sequence[int], b: Sequence[int], prime: int) -> Poly:
    return [(x - y) % prime for x, y in zip(a, b, strict=True)]


def input_key(seed: bytes, context: bytes, name: str, prime: int) -> bytes:
    return hkdf(seed, context, frame(b"secagg/v1/residue-stream", name.encode()) + prime.to_bytes(8, "big"), 32)


def reference_key(context: bytes, prime: int) -> bytes:
    return hkdf(context, b"", frame(b"secagg/v1/common-reference-string") + prime.to_bytes(8, "big"), 32)


def stream(key: bytes, prime: int, start: int, count: int) -> tuple[Poly, list[int]]:
    """Elements [start, start + count), and which of them were drawn again. `start` is even."""
    mask = 2 ** prime.bit_length() - 1
    raw = _key_stream(key[:16], (start // 2).to_bytes(16, "big"), 8 * count)
    drawn = [int.from_bytes(raw[i : i + 8], "little") & mask for i in range(0, len(raw), 8)]
    again = [i for i, x in enumerate(drawn) if x >= prime]
    for i in again:
        more = _key_stream(key[16:], (start + i).to_bytes(8, "big") + bytes(8), 1 << 12)
        candidates = (int.from_bytes(more[k : k + 8], "little") & mask for k in range(0, len(more), 8))
        drawn[i] = next(x for x in candidates if x < prime)
    return drawn, again


def _key_stream(key: bytes, counter: bytes, size: int) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(size))


def ternary(seed: bytes, context: bytes, degree: int) -> Poly:
    stream_ = hashlib.shake_256(frame(b"secagg/v1/ternary-key", context, seed)).digest(2 * degree)
    return [x % 3 - 1 for x in stream_ if x != 255][:degree]


def error(seed: bytes, context: bytes, degree: int) -> Poly:
    raw = hashlib.shake_256(frame(b"secagg/v1/key-error", context, seed)).digest(6 * degree)
    words = [int.from_bytes(raw[i : i + 6], "little") for i in range(0, len(raw), 6)]
    low = 2**21 - 1
    return [(w & low).bit_count() - (w >> 21 & low).bit_count() for w in words]


def exponents(degree: int) -> list[int]:
    """Of slots 0 to N/2 - 1."""
    return [pow(3, i, 2 * degree) for i in range(degree // 2)]


def bfv_slots(values: Sequence[int], degree: int, fields: int, field_bits: int) -> Poly:
    padded = [*values, *[0] * (degree * fields - len(values))]
    return [sum(padded[i + k * degree] << k * field_bits for k in range(fields)) for i in range(degree)]


def bfv_positions(degree: int) -> list[int]:
    """Where slot i stands among the positions of the transform."""
    width = degree.bit_length() - 1
    at = [*exponents(degree), *(2 * degree - e for e in exponents(degree))]
    return [reverse((e - 1) // 2, width) for e in at]


def bfv_plaintext(slots: Sequence[int], modulus: int) -> Poly:
    values = [0] * len(slots)
    for slot, position in zip(slots, bfv_positions(len(slots)), strict=True):
        values[position] = slot
    return inverse(values, modulus)


def bfv_scaled(plaintext: Sequence[int], modulus: int, plain_modulus: int) -> Poly:
    return [(modulus * m + (plain_modulus + 1) // 2) // plain_modulus for m in plaintext]


def bfv_decoded(phase: Sequence[int], modulus: int, plain_modulus: int) -> Poly:
    """Slots of coefficients modulo Q."""
    plain = [(2 * plain_modulus * x + modulus) // (2 * modulus) % plain_modulus for x in phase]
    values = transform(plain, plain_modulus)
    return [values[position] for position in bfv_positions(len(plain))]


PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
DIGITS = 70


@lru_cache
def cosines(degree: int) -> list[Decimal]:
    """cos(pi k / N) for k in [0, 2N): the series for pi / N, then one rotation after the other."""
    with localcontext() as precision:
        precision.prec = DIGITS
        angle, term, c, s = PI / degree, Decimal(1), Decimal(0), Decimal(0)
        for k in range(40):
            c, s = (c + term * (-1) ** (k // 2), s) if k % 2 == 0 else (c, s + term * (-1) ** (k // 2))
            term = term * angle / (k + 1)
        x, y, out = Decimal(1), Decimal(0), []
        for _ in range(2 * degree):
            out.append(x)
            x, y = x * c - y * s, x * s + y * c
    return out


def ckks_scaled(slots: dict[int, tuple[int, int]], degree: int, scale: int) -> Poly:
    """Rounded coefficients; `slots` has real and imaginary part of those that are not zero."""
    table, at, turn = cosines(degree), exponents(degree), 2 * degree
    with localcontext() as precision:
        precision.prec = DIGITS
        factor = Decimal(2 * scale) / degree
        return [
            round(
                factor
                * sum(
                    re * table[at[i] * j % turn] + im * table[(at[i] * j - degree // 2) % turn]
                    for i, (re, im) in slots.items()
                )
            )
            for j in range(degree)
        ]


def ckks_slot(phase: Sequence[int], i: int, modulus: int, scale: int) -> complex:
    """Slot i of coefficients modulo Q."""
    degree = len(phase)
    centred = [x - modulus if 2 * x > modulus else x for x in phase]
    at = pow(3, i, 2 * degree)
    table = [cmath.exp(1j * math.pi * k / degree) for k in range(2 * degree)]
    return sum(c / scale * table[at * j % (2 * degree)] for j, c in enumerate(centred))


def combined(residues: Sequence[Poly], moduli: Sequence[int]) -> Poly:
    """The numbers modulo Q that have these residues."""
    product = math.prod(moduli)
    units = [product // p * pow(product // p, -1, p) for p in moduli]
    return [sum(r * u for r, u in zip(column, units, strict=True)) % product for column in zip(*residues, strict=True)]


def input_binding(context: bytes, name: str, numbers: Iterable[int], key: bytes, seed: bytes) -> bytes:
    joined = b"".join(n.to_bytes(16, "big") for n in numbers)
    return digest(b"secagg/v1/encrypted-input", context, name.encode(), joined, key, seed)


def chunk_binding(binding: bytes, number: int, payload: bytes) -> bytes:
    hashed = hashlib.sha256(payload).digest()
    return digest(b"secagg/v1/encrypted-input-chunk", binding, number.to_bytes(4, "big"), hashed)
