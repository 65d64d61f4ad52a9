"""AEGIS-128X4 a second time, from the text of draft-irtf-cfrg-aegis-aead alone: plain Python, slow, for tests only."""

from functools import lru_cache

LANES = 4
RATE = 2 * 16 * LANES
C0 = int.from_bytes(bytes.fromhex("000101020305080d1522375990e97962"))
C1 = int.from_bytes(bytes.fromhex("db3d18556dc22ff12011314273b528dd"))

State = list[list[int]]
"""State[i][j]: block j of lane i, as a big-endian number. The draft calls it V[j,i]."""


def _twice(x: int) -> int:
    return x << 1 ^ (0x11B if x & 0x80 else 0)


@lru_cache
def _tables() -> tuple[list[int], ...]:
    """For each row of a column, by byte: what SubBytes and MixColumns make of it, as a column."""
    powers, x = [], 1
    for _ in range(255):
        powers.append(x)
        x ^= _twice(x)  # times 3, which generates the field
    inverse = {1: 1} | {powers[i]: powers[255 - i] for i in range(1, 255)} | {0: 0}
    substituted = []
    for byte in range(256):
        x = inverse[byte] * 0x101
        substituted.append((x ^ x >> 4 ^ x >> 5 ^ x >> 6 ^ x >> 7 ^ 0x63) & 0xFF)
    first = [_twice(s) << 24 | s << 16 | s << 8 | (_twice(s) ^ s) for s in substituted]
    return tuple([column >> 8 * row | (column << 32 - 8 * row) & 0xFFFFFFFF for column in first] for row in range(4))


def aes_round(block: int, key: int) -> int:
    t0, t1, t2, t3 = _tables()
    b = block.to_bytes(16)
    return key ^ (
        (t0[b[0]] ^ t1[b[5]] ^ t2[b[10]] ^ t3[b[15]]) << 96
        | (t0[b[4]] ^ t1[b[9]] ^ t2[b[14]] ^ t3[b[3]]) << 64
        | (t0[b[8]] ^ t1[b[13]] ^ t2[b[2]] ^ t3[b[7]]) << 32
        | (t0[b[12]] ^ t1[b[1]] ^ t2[b[6]] ^ t3[b[11]])
    )


def _update(state: State, blocks: list[int]) -> None:
    """`blocks`: M0 of each lane, then M1 of each."""
    for i, lane in enumerate(state):
        added = {0: blocks[i], 4: blocks[LANES + i]}
        lane[:] = [aes_round(lane[j - 1], lane[j] ^ added.get(j, 0)) for j in range(8)]


def initial(key: bytes, nonce: bytes) -> State:
    k, n = int.from_bytes(key), int.from_bytes(nonce)
    state = [[k ^ n, C1, C0, C1, k ^ n, k ^ C0, k ^ C1, k ^ C0] for _ in range(LANES)]
    for _ in range(10):
        for i, lane in enumerate(state):
            context = int.from_bytes(bytes([i, LANES - 1]) + bytes(14))
            lane[3] ^= context
            lane[7] ^= context
        _update(state, [n] * LANES + [k] * LANES)
    return state


def _blocks(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 16]) for at in range(0, RATE, 16)]


def _padded(data: bytes) -> list[bytes]:
    return [data[at : at + RATE].ljust(RATE, b"\0") for at in range(0, len(data), RATE)]


def encrypt(key: bytes, nonce: bytes, message: bytes, associated_data: bytes = b"") -> bytes:
    """The ciphertext without its tag."""
    state, made = initial(key, nonce), b""
    for absorbed in _padded(associated_data):
        _update(state, _blocks(absorbed))
    for part in _padded(message):
        stream = [v[6] ^ v[1] ^ v[2] & v[3] for v in state] + [v[2] ^ v[5] ^ v[6] & v[7] for v in state]
        blocks = _blocks(part)
        made += b"".join((z ^ x).to_bytes(16) for z, x in zip(stream, blocks, strict=True))
        _update(state, blocks)
    return made[: len(message)]
