"""X-Wing a second time, from draft-connolly-cfrg-xwing-kem and FIPS 203 alone: plain Python, slow, for tests only.

Polynomials are lists of 256 numbers mod Q. `hat` in a name says that it is transformed (FIPS 203, section 4.3).
"""

import hashlib
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

Q, N, RANK = 3329, 256, 3
ETA, DU, DV = 2, 10, 4
KEY_BYTES, CIPHERTEXT_BYTES = 1184, 1088

Polynomial = list[int]


def _bit_reversed(number: int) -> int:
    return int(f"{number:07b}"[::-1], 2)


ZETAS = [pow(17, _bit_reversed(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _bit_reversed(i) + 1, Q) for i in range(128)]


def _hashed(data: bytes) -> tuple[bytes, bytes]:
    """G of FIPS 203."""
    both = hashlib.sha3_512(data).digest()
    return both[:32], both[32:]


def _transformed(f: Polynomial) -> Polynomial:
    f, at, size = list(f), 1, 128
    while size >= 2:
        for start in range(0, N, 2 * size):
            for j in range(start, start + size):
                t = ZETAS[at] * f[j + size] % Q
                f[j], f[j + size] = (f[j] + t) % Q, (f[j] - t) % Q
            at += 1
        size //= 2
    return f


def _transformed_back(f: Polynomial) -> Polynomial:
    f, at, size = list(f), 127, 2
    while size <= 128:
        for start in range(0, N, 2 * size):
            for j in range(start, start + size):
                t = f[j]
                f[j], f[j + size] = (t + f[j + size]) % Q, ZETAS[at] * (f[j + size] - t) % Q
            at -= 1
        size *= 2
    return [x * pow(128, -1, Q) % Q for x in f]


def _times(f: Polynomial, g: Polynomial) -> Polynomial:
    """The product of two transformed polynomials."""
    made: Polynomial = []
    for i, gamma in enumerate(GAMMAS):
        (a, b), (c, d) = f[2 * i : 2 * i + 2], g[2 * i : 2 * i + 2]
        made += [(a * c + b * d * gamma) % Q, (a * d + b * c) % Q]
    return made


def _plus(*polynomials: Polynomial) -> Polynomial:
    return [sum(column) % Q for column in zip(*polynomials, strict=True)]


def _inner(f: list[Polynomial], g: list[Polynomial]) -> Polynomial:
    return _plus(*map(_times, f, g))


def _bits(data: bytes) -> list[int]:
    return [byte >> i & 1 for byte in data for i in range(8)]


def _joined(values: Polynomial, width: int) -> bytes:
    """ByteEncode."""
    return sum(x << i * width for i, x in enumerate(values)).to_bytes(N * width // 8, "little")


def _split(data: bytes, width: int) -> Polynomial:
    """ByteDecode, before anything is reduced."""
    number = int.from_bytes(data, "little")
    return [number >> i * width & (1 << width) - 1 for i in range(N)]


def _split_many(data: bytes, width: int) -> list[Polynomial]:
    size = N * width // 8
    return [_split(data[i : i + size], width) for i in range(0, len(data), size)]


def _shorter(f: Polynomial, width: int) -> Polynomial:
    """Compress: the nearest of 2^width steps, halves upwards."""
    return [((x << width + 1) + Q) // (2 * Q) % (1 << width) for x in f]


def _longer(f: Polynomial, width: int) -> Polynomial:
    """Decompress."""
    return [(2 * Q * x + (1 << width)) >> width + 1 for x in f]


def _uniform(seed: bytes) -> Polynomial:
    stream, found, at = hashlib.shake_128(seed).digest(3 * N * 4), Polynomial(), 0
    while len(found) < N:
        a, b, c = stream[at : at + 3]
        found += [x for x in (a + 256 * (b % 16), b // 16 + 16 * c) if x < Q]
        at += 3
    return found[:N]


def _small(seed: bytes, number: int) -> Polynomial:
    bits = _bits(hashlib.shake_256(seed + bytes([number])).digest(64 * ETA))
    pairs = [bits[i : i + 2 * ETA] for i in range(0, len(bits), 2 * ETA)]
    return [(sum(four[:ETA]) - sum(four[ETA:])) % Q for four in pairs]


@lru_cache(64)
def _matrix(seed: bytes) -> list[list[Polynomial]]:
    return [[_uniform(seed + bytes([j, i])) for j in range(RANK)] for i in range(RANK)]


@lru_cache(64)
def _ml_kem_keys(d: bytes) -> tuple[bytes, list[Polynomial]]:
    """Public key, and the transformed secret."""
    public_seed, secret_seed = _hashed(d + bytes([RANK]))
    secret_hat = [_transformed(_small(secret_seed, i)) for i in range(RANK)]
    errors = [_transformed(_small(secret_seed, RANK + i)) for i in range(RANK)]
    t_hat = [_plus(_inner(row, secret_hat), e) for row, e in zip(_matrix(public_seed), errors, strict=True)]
    return b"".join(_joined(f, 12) for f in t_hat) + public_seed, secret_hat


def _encrypted(public: bytes, message: bytes, coins: bytes) -> bytes:
    t_hat, matrix = _split_many(public[:-32], 12), _matrix(public[-32:])
    y_hat = [_transformed(_small(coins, i)) for i in range(RANK)]
    columns = [list(column) for column in zip(*matrix, strict=True)]
    u = [_plus(_transformed_back(_inner(c, y_hat)), _small(coins, RANK + i)) for i, c in enumerate(columns)]
    v = _plus(_transformed_back(_inner(t_hat, y_hat)), _small(coins, 2 * RANK), _longer(_bits(message), 1))
    return b"".join(_joined(_shorter(f, DU), DU) for f in u) + _joined(_shorter(v, DV), DV)


def _ml_kem_encapsulated(public: bytes, message: bytes) -> tuple[bytes, bytes]:
    """Secret and ciphertext."""
    secret, coins = _hashed(message + hashlib.sha3_256(public).digest())
    return secret, _encrypted(public, message, coins)


def _ml_kem_decapsulated(d: bytes, z: bytes, ciphertext: bytes) -> bytes:
    public, secret_hat = _ml_kem_keys(d)
    u = [_longer(f, DU) for f in _split_many(ciphertext[: 32 * DU * RANK], DU)]
    v = _longer(_split(ciphertext[32 * DU * RANK :], DV), DV)
    masked = _transformed_back(_inner(secret_hat, [_transformed(f) for f in u]))
    message = _joined(_shorter([(a - b) % Q for a, b in zip(v, masked, strict=True)], 1), 1)
    secret, again = _ml_kem_encapsulated(public, message)
    return secret if again == ciphertext else hashlib.shake_256(z + ciphertext).digest(32)


def expanded(seed: bytes) -> tuple[bytes, bytes, bytes]:
    """d and z of ML-KEM, and the private key of X25519."""
    made = hashlib.shake_256(seed).digest(96)
    return made[:32], made[32:64], made[64:]


def _public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agreed(private: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def public_key(seed: bytes) -> bytes:
    d, _, x25519 = expanded(seed)
    return _ml_kem_keys(d)[0] + _public(x25519)


def static_agreement(seed: bytes, peer: bytes) -> bytes:
    """Of the X25519 halves."""
    return agreed(expanded(seed)[2], peer[KEY_BYTES:])


def _combined(ml_kem: bytes, x25519: bytes, ciphertext: bytes, public: bytes) -> bytes:
    return hashlib.sha3_256(ml_kem + x25519 + ciphertext + public + bytes.fromhex("5c2e2f2f5e5c")).digest()


def encapsulated(public: bytes, coins: bytes) -> tuple[bytes, bytes]:
    """Secret and ciphertext, from 64 random bytes."""
    ml_kem, ciphertext = _ml_kem_encapsulated(public[:KEY_BYTES], coins[:32])
    ephemeral, owner = _public(coins[32:]), public[KEY_BYTES:]
    secret = _combined(ml_kem, agreed(coins[32:], owner), ephemeral, owner)
    return secret, ciphertext + ephemeral


def decapsulated(seed: bytes, ciphertext: bytes) -> bytes:
    d, z, x25519 = expanded(seed)
    ml_kem, ephemeral = ciphertext[:CIPHERTEXT_BYTES], ciphertext[CIPHERTEXT_BYTES:]
    secret = _ml_kem_decapsulated(d, z, ml_kem)
    return _combined(secret, agreed(x25519, ephemeral), ephemeral, _public(x25519))
