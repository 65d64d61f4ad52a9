"""Uniform residues from short public seeds: the c1 of a seeded ciphertext, and the common reference string.

One stream for each prime q of b bits. HKDF-SHA256 gives 32 bytes: two AES-128 keys, `draw` and `redraw`. Element p is
the little-endian 64-bit word p of the AES-CTR key stream of `draw` (zero IV), reduced to its low b bits. Where that
is not below q, element p is the first word below q, reduced alike, of the key stream of `redraw` whose IV is p in 8
big-endian bytes and 8 zero bytes. So every element is exactly uniform and can be computed alone. AES with a public
key as a public expander: as FrodoKEM does.

Coefficient i of block k is element k * N + i.
"""

import sys
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from secagg.crypto.kdf import derive
from secagg.crypto.labels import REFERENCE_STRING, RESIDUE_STREAM
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Profile

SEED_SIZE: Final = 16
_KEY_SIZE: Final = 16
_AES_BLOCK: Final = 16
_WORDS_PER_AES_BLOCK: Final = 2
_STRIDE_BYTES: Final = 1 << 18
_ZEROS: Final = bytes(_STRIDE_BYTES)


class UniformResidues:
    """The stream of one prime."""

    __slots__ = ("_draw", "_mask", "_prime", "_redraw")

    def __init__(self, key: Secret, prime: int) -> None:
        """Args: key: 32 bytes."""
        self._draw = key.expose()[:_KEY_SIZE]
        self._redraw = key.expose()[_KEY_SIZE:]
        self._prime = prime
        self._mask = (1 << prime.bit_length()) - 1

    def elements(self, start: int, count: int) -> U64:
        """uint64[count]: elements start, start + 1, ... `start` is even."""
        out = np.empty(count, np.uint64)
        self.write(start, out)
        return out

    def write(self, start: int, out: U64) -> None:
        """Write the next residues into `out`, contiguous uint64[count], in the place of a new array."""
        counter = (start // _WORDS_PER_AES_BLOCK).to_bytes(_AES_BLOCK, "big")
        _write_key_stream(self._draw, counter, out)
        np.bitwise_and(out, np.uint64(self._mask), out=out)
        if out.max(initial=0) >= self._prime:
            for at in np.flatnonzero(out >= np.uint64(self._prime)):
                out[at] = self._draw_again(start + int(at))

    def _draw_again(self, position: int) -> int:
        stream = _cipher(self._redraw, position.to_bytes(8, "big") + bytes(8))
        while True:
            word = int.from_bytes(stream.update(bytes(8)), "little") & self._mask
            if word < self._prime:
                return word


class SeededPolynomials:
    """The c1 of every block of one participant's vector."""

    __slots__ = ("_ring_degree", "_streams")

    def __init__(self, profile: Profile, seed: bytes, *, context: bytes, participant: str) -> None:
        """Args: seed: 16 fresh bytes, public. context: 32 bytes of the round."""
        self._ring_degree = profile.ring_degree
        self._streams = tuple(
            UniformResidues(_stream_key(seed, context, frame(RESIDUE_STREAM, participant.encode()), prime), prime)
            for prime in profile.primes
        )

    def blocks(self, blocks: range) -> U64:
        """uint64[blocks, primes, N] of consecutive blocks."""
        start, count = blocks.start * self._ring_degree, len(blocks) * self._ring_degree
        by_prime = np.empty((len(self._streams), count), np.uint64)
        for j, stream in enumerate(self._streams):
            stream.write(start, by_prime[j])
        return by_prime.reshape(len(self._streams), len(blocks), self._ring_degree).transpose(1, 0, 2)


def reference_polynomial(profile: Profile, context: bytes) -> U64:
    """The common reference string a: uint64[key primes, N], NTT values. It follows from the context; nobody chooses."""
    return np.stack(
        [
            UniformResidues(_stream_key(context, b"", frame(REFERENCE_STRING), prime), prime).elements(
                0, profile.ring_degree
            )
            for prime in profile.key_primes
        ]
    )


def _stream_key(seed: bytes, salt: bytes, purpose: bytes, prime: int) -> Secret:
    info = purpose + prime.to_bytes(8, "big")
    return derive(Secret(seed), salt=salt, info=info, size=2 * _KEY_SIZE)


def _cipher(key: bytes, counter: bytes) -> CipherContext:
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()


def _write_key_stream(key: bytes, counter: bytes, out: U64) -> None:
    """Fill contiguous uint64 with the AES-CTR key stream from a counter on."""
    view, cipher = out.view(np.uint8).data, _cipher(key, counter)
    for start in range(0, len(view), _STRIDE_BYTES):
        piece = view[start : start + _STRIDE_BYTES]
        cipher.update_into(memoryview(_ZEROS)[: len(piece)], piece)
    if sys.byteorder == "big":
        out.byteswap(inplace=True)
