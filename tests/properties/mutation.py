"""Bytes that are nearly a message."""

from collections.abc import Sequence

import numpy as np


def mutate(rng: np.random.Generator, valid: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Parts of one of the `valid` messages, with bytes flipped, cut out, repeated or taken from another one."""
    parts = list(valid[int(rng.integers(len(valid)))])
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(parts))) if parts else 0
        match int(rng.integers(8)):
            case 0 if parts:
                del parts[at]
            case 1 if parts:
                parts.insert(at, parts[int(rng.integers(len(parts)))])
            case 2:
                other = valid[int(rng.integers(len(valid)))]
                parts.insert(at, other[int(rng.integers(len(other)))])
            case _ if parts:
                parts[at] = _mutate_bytes(rng, parts[at])
    return parts


def _mutate_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    start, stop = sorted(int(rng.integers(len(data) + 1)) for _ in range(2))
    stop = min(stop, start + 16)
    match int(rng.integers(5)):
        case 0:
            return data[:start] + data[stop:]
        case 1:
            return data[:stop] + data[start:stop] + data[stop:]
        case 2:
            return data[:start] + rng.bytes(stop - start) + data[stop:]
        case 3:
            return data[:start] + rng.bytes(int(rng.integers(1, 12))) + data[start:]
        case _:
            at = min(start, len(data) - 1)
            return data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :] if data else b"\xff"
