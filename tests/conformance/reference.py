"""The derivations of proto/PROTOCOL.md a second time: from its text alone, in plain Python, with nothing of secagg.

Slow and short on purpose. It holds the vectors to the specification rather than to the code that made them.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.conformance import aegis, xwing

PRIME = 2**256 + 297
SUITE, AEGIS_SUITE = b"X25519_SHA256_AES128", b"X25519_SHA256_AEGIS128X4"
HYBRID_SUITE = b"XWING_SHA256_AES256"
STRIDE = 2**18


def frame(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def digest(*parts: bytes) -> bytes:
    return hashlib.sha256(frame(*parts)).digest()


def hkdf(key_material: bytes, salt: bytes, info: bytes, size: int = 16) -> bytes:
    return HKDF(SHA256(), size, salt, info).derive(key_material)


def public_key(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def key_size(suite: bytes) -> int:
    return 32 if suite == HYBRID_SUITE else 16


def public_key_of(suite: bytes, private: bytes) -> bytes:
    return xwing.public_key(private) if suite == HYBRID_SUITE else public_key(private)


def pair_secret(seed: bytes, round_id: bytes, bound: bytes, giver: str, receiver: str) -> bytes:
    """What the owner of the seed of a mask key gives."""
    ends = (bound, giver.encode(), receiver.encode())
    return hkdf(seed, round_id, frame(b"secagg/v1/pair-secret", HYBRID_SUITE, *ends), 32)


def pair_seal(
    secret: bytes, encapsulated: bytes, agreed: bytes, *, round_id: bytes, bound: bytes, ends: tuple[str, str]
) -> bytes:
    """Without the ciphertext of the encapsulation before it. `encapsulated`: its secret; `ends`: giver and receiver."""
    names = (end.encode() for end in ends)
    info = frame(b"secagg/v1/pair-secret-sealing", HYBRID_SUITE, bound, *names)
    key = hkdf(encapsulated + agreed, round_id, info, 32)
    return seal(key, secret, share_associated_data(bound, *ends))


def pair_secret_digest(bound: bytes, giver: str, receiver: str, secret: bytes) -> bytes:
    return digest(b"secagg/v1/pair-secret-digest", bound, giver.encode(), receiver.encode(), secret)


def context(round_id: bytes, config: bytes, model_digest: bytes) -> bytes:
    return digest(b"secagg/v1/context", round_id, hashlib.sha256(config).digest(), model_digest)


def input_context(bound: bytes, model_digest: bytes) -> bytes:
    return digest(b"secagg/v1/input-context", bound, model_digest)


def model_digest(arrays: Mapping[str, tuple[str, Sequence[int], bytes]]) -> bytes:
    """Arrays by name: dtype, shape, little-endian bytes."""
    hashed = frame(b"secagg/v1/model")
    for name in sorted(arrays, key=str.encode):
        dtype, shape, data = arrays[name]
        hashed += frame(name.encode(), dtype.encode(), ",".join(map(str, shape)).encode()) + data
    return hashlib.sha256(hashed).digest()


Keys = tuple[int, str, bytes, bytes, Sequence[bytes]]
"""A roster entry: index, id, channel and mask public key, certificates."""


def roster_digest(members: Iterable[Keys]) -> bytes:
    fields = [b"secagg/v1/roster"]
    for index, name, channel, mask, certificates in members:
        fields += [index.to_bytes(4, "big"), name.encode(), channel, mask, b"", frame(b"", *certificates)]
    return digest(*fields)


def entry_digest(index: int, name: str, channel: bytes, mask: bytes, certificates: Sequence[bytes]) -> bytes:
    fields = (index.to_bytes(4, "big"), name.encode(), channel, mask, b"", frame(b"", *certificates))
    return digest(b"secagg/v1/roster-entry", *fields)


def sparse_roster_digest(members: Iterable[Keys]) -> bytes:
    fields = [b"secagg/v1/sparse-roster"]
    for index, name, channel, mask, certificates in members:
        entry = entry_digest(index, name, channel, mask, certificates)
        fields += [index.to_bytes(4, "big"), name.encode(), entry]
    return digest(*fields)


def graph_context(bound: bytes, roster: bytes) -> bytes:
    """`bound`: the context for seals, the input context for masks."""
    return digest(b"secagg/v1/graph-context", bound, roster)


def graph_seed(bound: bytes, roster: bytes) -> bytes:
    return digest(b"secagg/v1/graph-seed", bound, roster)


def on_ring(seed: bytes, members: int) -> list[int]:
    """Indices in the order in which they stand."""
    return sorted(range(1, members + 1), key=lambda i: digest(b"secagg/v1/graph-place", seed, i.to_bytes(4, "big")))


def neighbours(seed: bytes, members: int, degree: int, index: int) -> list[int]:
    """Ascending, without `index`."""
    ring = on_ring(seed, members)
    at = ring.index(index)
    return sorted(ring[(at + step) % members] for step in range(-degree // 2, degree // 2 + 1) if step)


def committee(seed: bytes, members: int, size: int) -> list[int]:
    """Ascending."""
    by_mark = sorted(
        range(1, members + 1), key=lambda i: digest(b"secagg/v1/graph-committee", seed, i.to_bytes(4, "big"))
    )
    return sorted(by_mark[:size])


def _tail(population: int, marked: int, draws: int, least: int) -> Fraction:
    ways = sum(
        math.comb(marked, x) * math.comb(population - marked, draws - x) for x in range(max(0, least), draws + 1)
    )
    return Fraction(ways, math.comb(population, draws))


def ring_is_safe(
    ring: Mapping[str, int], *, threshold: int, max_participants: int, max_colluding: int, active: bool
) -> bool:
    """What the table of parameters and the three tails demand. `ring` has the field names of config.proto."""
    n, c, k, h = ring["min_participants"], max_colluding, ring["degree"], ring["degree"] // 2
    t_k, s, t_c = ring["neighbour_threshold"], ring["committee"], ring["committee_threshold"]
    in_range = k % 2 == 0 and 2 <= k <= n - 2 and 2 <= t_k <= k and threshold <= n <= max_participants
    if not in_range or not (s // 2 < t_c <= s <= n if active else s == t_c == 0):
        return False
    i = 2 * t_k - k - 1 if active else t_k
    owner, bound = _tail(n - 1, c, k, i), Fraction(1, 2 ** (102 if active else 41))
    holds = [n * owner <= bound, not owner or (i - 1) * n >= k * c]
    if not active:
        pairs = Fraction(max_participants * (max_participants - k - 1), 2)
        gone = Fraction(math.comb(c + max_participants - threshold, k), math.comb(max_participants, k))
        return all([*holds, pairs * gone <= bound])
    j, least = t_k - 1 - h, 2 * t_c - s
    cut, texts = _tail(n, c, h, j), _tail(n, c, s, least)
    holds += [Fraction(n * (n - k - 1), 2) * cut**2 <= bound, texts <= bound, not texts or least * n >= s * c]
    holds.append(not cut or (j * (n + 1) - h * c) * n * (n - k - 1) >= (n - h) * (n + 1 - h) * (n + 1 - c))
    return all(holds)


def advertisement_signed(bound: bytes, name: str, channel: bytes, mask: bytes) -> bytes:
    return frame(b"secagg/v1/advertise-keys-signature", bound, name.encode(), channel, mask, b"")


def sets_signed(bound: bytes, roster: bytes, survivors: Iterable[int], dropped: Iterable[int]) -> bytes:
    joined = [b"".join(i.to_bytes(4, "big") for i in indices) for indices in (survivors, dropped)]
    return frame(b"secagg/v1/consistency-signature", bound, roster, *joined)


def commitment(bound: bytes, name: str, seed: bytes) -> bytes:
    return digest(b"secagg/v1/self-mask-commitment", bound, name.encode(), seed)


def share_digest(kind: str, bound: bytes, owner: str, holder: str, share: bytes) -> bytes:
    """Of a share of a `mask-key`, a `self-mask` seed or a `key-seed`."""
    return digest(f"secagg/v1/{kind}-share-digest".encode(), bound, owner.encode(), holder.encode(), share)


def dealt_digest(receiver: str, entry: bytes) -> bytes:
    """What stands for an entry: it is seal and digests."""
    return digest(b"secagg/v1/dealt-entry", receiver.encode(), entry)


def dealing_signed(bound: bytes, members: bytes, sender: str, digests: bytes) -> bytes:
    """`members`: the roster digest; `digests`: those of all entries, joined."""
    return frame(b"secagg/v1/dealing-signature", bound, members, sender.encode(), digests)


def split_entries(peers: Iterable[int], joined: bytes) -> dict[int, bytes]:
    """The entries of a message, which have one size, by peer."""
    order = list(peers)
    size = len(joined) // max(len(order), 1)
    return {peer: joined[at * size : (at + 1) * size] for at, peer in enumerate(order)}


def sealing_key(
    shared: bytes, round_id: bytes, bound: bytes, sender: str, receiver: str, *, suite: bytes = SUITE
) -> bytes:
    info = frame(b"secagg/v1/share-sealing", suite, bound, sender.encode(), receiver.encode())
    return hkdf(shared, round_id, info, key_size(suite))


def share_associated_data(bound: bytes, sender: str, receiver: str) -> bytes:
    return frame(b"secagg/v1/share", bound, sender.encode(), receiver.encode())


def seal(key: bytes, plaintext: bytes, associated_data: bytes) -> bytes:
    return AESGCM(key).encrypt(bytes(12), plaintext, associated_data)


def pairwise_key(shared: bytes, round_id: bytes, bound: bytes, one: str, other: str, *, suite: bytes = SUITE) -> bytes:
    low, high = sorted((one.encode(), other.encode()))
    return hkdf(shared, round_id, frame(b"secagg/v1/pairwise-mask", suite, bound, low, high), key_size(suite))


def self_mask_key(seed: bytes, round_id: bytes, bound: bytes, name: str, *, suite: bytes = SUITE) -> bytes:
    return hkdf(seed, round_id, frame(b"secagg/v1/self-mask", suite, bound, name.encode()), key_size(suite))


def words(key: bytes, word_bits: int, count: int) -> list[int]:
    """The first words of AES-CTR from counter zero."""
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(count * word_bits // 8))
    size = word_bits // 8
    return [int.from_bytes(stream[i : i + size], "little") for i in range(0, len(stream), size)]


def mask_words(suite: bytes, key: bytes, word_bits: int, start: int, count: int) -> list[int]:
    """Words [start, start + count) of a mask stream."""
    size = word_bits // 8
    first, last = start * size, (start + count) * size
    strides = range(first // STRIDE, (last - 1) // STRIDE + 1)
    stream = b"".join(mask_stride(suite, key, number, min(last - number * STRIDE, STRIDE)) for number in strides)
    first -= strides[0] * STRIDE
    return [int.from_bytes(stream[i : i + size], "little") for i in range(first, first + count * size, size)]


@lru_cache
def mask_stride(suite: bytes, key: bytes, number: int, size: int) -> bytes:
    """The first `size` bytes of a stride."""
    if suite == AEGIS_SUITE:
        return aegis.encrypt(key, number.to_bytes(16), bytes(size))
    counter = number.to_bytes(12) + (2).to_bytes(4)
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(size))


def word_bits(ring_bits: int) -> int:
    return next(w for w in (8, 16, 32, 64) if w >= ring_bits)


def pack(values: Iterable[int], bits: int) -> bytes:
    """Lane l has the values l, L + l, 2L + l, … as one large number; the first words of all lanes come first."""
    listed, width = list(values), word_bits(bits)
    lanes = len(listed) // width
    one_by_one = [joined(listed[lane : lanes * width : lanes], bits) for lane in range(lanes)]
    words = [lane[at : at + width // 8] for at in range(0, bits * width // 8, width // 8) for lane in one_by_one]
    return b"".join(words) + joined(listed[lanes * width :], bits)


def joined(values: Sequence[int], bits: int) -> bytes:
    """As one large number: value i at bit i·b, little-endian."""
    return sum(v << i * bits for i, v in enumerate(values)).to_bytes(-(-len(values) * bits // 8), "little")


def unpack(data: bytes, count: int, bits: int) -> list[int]:
    width = word_bits(bits)
    lanes, size = count // width, width // 8
    words = [data[at : at + size] for at in range(0, lanes * bits * size, size)]
    one_by_one = [taken_apart(b"".join(words[lane::lanes]), width, bits) for lane in range(lanes)]
    rest = data[len(words) * size :]
    return [lane[j] for j in range(width) for lane in one_by_one] + taken_apart(rest, count - lanes * width, bits)


def taken_apart(data: bytes, count: int, bits: int) -> list[int]:
    number = int.from_bytes(data, "little")
    assert number >> count * bits == 0
    return [number >> i * bits & (1 << bits) - 1 for i in range(count)]


def chunk_values(bits: int) -> int:
    per_stride = 2**21 // word_bits(bits)
    return max(count for count in range(per_stride, 2**23 + 1, per_stride) if count * bits <= 2**23)


def chunk_counts(size: int, bits: int) -> list[int]:
    """How many of `size` values each chunk has."""
    each = chunk_values(bits)
    return [min(each, size - at) for at in range(0, size, each)]


def chunked(values: Sequence[int], bits: int) -> list[bytes]:
    """The payload of each chunk."""
    each = chunk_values(bits)
    return [pack(values[at : at + each], bits) for at in range(0, len(values), each)]


def masked(suite: bytes, bits: int, values: Sequence[int], masks: Iterable[tuple[bytes, int]]) -> list[bytes]:
    """The payload of each chunk. `masks`: keys of streams, each added (1) or subtracted (−1)."""
    total = list(values)
    for key, sign in masks:
        stream = mask_words(suite, key, word_bits(bits), 0, len(total))
        total = [x + sign * m for x, m in zip(total, stream, strict=True)]
    return chunked([x % 2**bits for x in total], bits)


def evaluate(coefficients: Sequence[int], x: int) -> int:
    return sum(c * pow(x, k, PRIME) for k, c in enumerate(coefficients)) % PRIME


def split(secret: bytes, coefficients: bytes, holders: Iterable[int]) -> dict[int, bytes]:
    """`coefficients`: 48 bytes for each power of x from the first on."""
    f = [int.from_bytes(secret, "big")]
    f += [int.from_bytes(coefficients[i : i + 48], "big") for i in range(0, len(coefficients), 48)]
    return {x: evaluate(f, x).to_bytes(33, "big") for x in holders}


def join(shares: Mapping[int, bytes]) -> int:
    """f(0) of the polynomial through all of the shares."""
    total = 0
    for x, y in shares.items():
        top = math.prod(-other for other in shares if other != x)
        bottom = math.prod(x - other for other in shares if other != x)
        total += int.from_bytes(y, "big") * top * pow(bottom, -1, PRIME)
    return total % PRIME


def encode(
    values: Iterable[float], *, clip: float, value_bits: int, weight: int, max_weight: int, uniforms: Iterable[int]
) -> list[int]:
    """Every operation is one float64 operation, in this order."""
    top = 2**value_bits - 1
    step = 2 * clip / top
    factor, scale = weight / max_weight, 1 / step
    encoded = []
    for v, u in zip(values, uniforms, strict=True):
        x = min(max(v, -clip), clip)
        x = x * factor
        x = x + clip
        x = x * scale
        x = x + u * 2.0**-32
        encoded.append(min(math.floor(x), top))
    return [*encoded, weight]


def coordinate_bits(value_bits: int, max_weight: int) -> int:
    return max(value_bits, max_weight.bit_length())


def rounding_key(seed: bytes) -> bytes:
    return hkdf(seed, b"", frame(b"secagg/v1/stochastic-rounding"))


def receipt_signed(*known: bytes, survivors: Sequence[str], sums_digest: bytes, signed_ms: int) -> bytes:
    """`known`: round id, context, task, model digest and roster digest."""
    names = frame(b"", *(name.encode() for name in survivors))
    return frame(b"secagg/v1/receipt-signature", *known, names, sums_digest, signed_ms.to_bytes(8, "big"))


def result_signed(bound: bytes, roster: bytes, survivors: Sequence[int], sums_digest: bytes) -> bytes:
    indices = b"".join(i.to_bytes(4, "big") for i in survivors)
    return frame(b"secagg/v1/result-signature", bound, roster, indices, sums_digest)


def decode(
    sums: Sequence[int], *, clip: float, value_bits: int, max_weight: int, summands: int, size: int
) -> tuple[list[float], int]:
    """Means before the cast to their dtypes, and the weight. `ValueError` where C32 refuses."""
    (weight,) = sums[size:]
    if not summands <= weight <= summands * max_weight:
        raise ValueError("C32: weight")
    step = 2 * clip / (2**value_bits - 1)
    most = clip + summands * step * max_weight / weight
    means = []
    for s in sums[:size]:
        x = float(s)
        x = x * step
        x = x - summands * clip
        x = x * (max_weight / weight)
        if abs(x) > most * (1 + 2**-20):
            raise ValueError("C32: magnitude")
        means.append(x)
    return means, weight
