"""Everything that an object reaches, as bytes, and the forms in which a key could lie there."""

import gc
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.lattice.parameters import Profile
from secagg.lattice.residues import pack_residues
from secagg.lattice.rlwe import SecretKey, ternary

NEEDLE_BYTES = 48
"""Of a long form, the beginning is looked for. Forms begin at whole bytes."""


class RecordingRng(SeededRng):
    """Keeps what it gave out: every key, seed and coefficient of the round is made of it."""

    def __init__(self, seed: bytes = bytes(32)) -> None:
        super().__init__(seed)
        self.tokens: list[bytes] = []

    def token(self, size: int) -> bytes:
        self.tokens.append(super().token(size))
        return self.tokens[-1]

    def of_size(self, size: int) -> list[bytes]:
        return [token for token in self.tokens if len(token) == size]


def reached(root: object) -> Iterator[bytes]:
    """The bytes of everything that `root` refers to, directly or not: strings, arrays, integers, spools, closures."""
    seen, waiting = {id(root)}, [root]
    while waiting:
        thing = waiting.pop()
        if (data := _bytes_of(thing)) is not None:
            yield data
        for other in _referents(thing):
            if id(other) not in seen and not isinstance(other, ModuleType | type | CodeType):
                seen.add(id(other))
                waiting.append(other)


def _bytes_of(thing: object) -> bytes | None:
    match thing:
        case bytes() | bytearray() | memoryview():
            return bytes(thing)
        case np.ndarray():
            return thing.tobytes()
        case str():
            return thing.encode(errors="surrogatepass")
        case int() if thing.bit_length() > 64:
            return abs(thing).to_bytes((thing.bit_length() + 7) // 8, "big")
    return None


def _referents(thing: object) -> Iterable[Any]:
    if isinstance(thing, FunctionType):  # not its globals: those are the program
        return (*(thing.__closure__ or ()), *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values())
    if isinstance(thing, np.ndarray):
        return () if thing.base is None else (thing.base,)
    return gc.get_referents(thing)


def forms_of(profile: Profile, seed: bytes, context: bytes) -> dict[str, bytes]:
    """How a key could be remembered: its seed, its polynomial, its residues, packed and not."""
    coefficients = ternary(Secret(seed), context, profile.ring_degree)
    residues = SecretKey(profile, Secret(seed), context).residues()
    whole = {
        "polynomial of words": coefficients.tobytes(),
        "polynomial of bytes": coefficients.astype(np.int8).tobytes(),
        "polynomial mod q": (coefficients % profile.primes[0]).astype(np.uint64).tobytes(),
        "residues": residues.tobytes(),
        "packed residues": pack_residues(residues, profile.prime_bits),
    }
    return {"seed": seed} | {name: form[:NEEDLE_BYTES] for name, form in whole.items()}


def found(root: object, needles: Iterable[bytes]) -> set[bytes]:
    """Which of the needles lie anywhere in what `root` reaches."""
    wanted, seen = set(needles), set[bytes]()
    for blob in reached(root):
        seen |= {needle for needle in wanted - seen if needle in blob}
    return seen
