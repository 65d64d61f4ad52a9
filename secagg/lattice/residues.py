"""Residues from and to bytes, and their sum: all that a coordinator ever does with a ciphertext. Needs numpy alone."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from secagg.crypto.labels import RESIDUES_DIGEST
from secagg.crypto.transcript import frame
from secagg.encoding.packing import pack, unpack
from secagg.errors import DecodeError, LocalError, ProtocolViolation
from secagg.lattice.layout import Layout
from secagg.lattice.modular import U64


def pack_residues(residues: U64, bits: int) -> bytes:
    """Residues of any shape, in C order, at `bits` bits each."""
    return pack(np.ascontiguousarray(residues).reshape(-1), bits)


def unpack_residues(data: bytes | memoryview, shape: tuple[int, ...], primes: tuple[int, ...]) -> U64:
    """uint64[..., primes, N] with every residue below its prime, all primes of one width.

    Raises:
        DecodeError: wrong length, or a residue that is not below its prime.
    """
    bits = primes[0].bit_length()
    residues = unpack(data, int(np.prod(shape)), bits).astype(np.uint64, copy=False).reshape(shape)
    for j, prime in enumerate(primes):
        largest = residues[..., j, :].max()
        if largest >= prime:  # check: C55, C77
            raise DecodeError(f"residue {largest} is not below the prime {prime}")
    return residues


def unpack_chunk(layout: Layout, chunk: int, data: bytes | memoryview) -> U64:
    """The residues of one chunk, uint64[blocks, polynomials, primes, N].

    Raises:
        DecodeError: no such chunk, a wrong length, or a residue that is not below its prime.
    """
    if not 0 <= chunk < layout.chunks:
        raise DecodeError(f"there is no chunk {chunk} in a vector of {layout.chunks}")
    if len(data) != layout.chunk_bytes(chunk):
        raise DecodeError(f"chunk {chunk} has {len(data)} bytes, not {layout.chunk_bytes(chunk)}")
    return unpack_residues(data, layout.shape(chunk), layout.primes)


def unreduced_room(bits: int) -> int:
    """How many residues of `bits` bits 64 bits hold the sum of."""
    return 1 << (64 - bits)


def reduce_in_place(residues: U64, primes: tuple[int, ...]) -> None:
    """uint64[..., primes, N] of any values, each modulo its prime."""
    for j, prime in enumerate(primes):
        np.remainder(residues[..., j, :], np.uint64(prime), out=residues[..., j, :])


def chunks_digest(layout: Layout, chunks: Iterable[bytes]) -> bytes:
    """SHA-256 of the label, framed, and then of all chunks. Each chunk passed `unpack_chunk` or was packed here."""
    state = hashlib.sha256(frame(RESIDUES_DIGEST, layout.total_bytes.to_bytes(8, "big")))
    for chunk in chunks:
        state.update(chunk)
    return state.digest()


@dataclass(frozen=True, slots=True)
class ResidueVector:
    """A whole vector of residues: uint64[blocks, polynomials, primes, N]."""

    layout: Layout
    residues: U64

    def block_slice(self, chunk: int) -> U64:
        """The residues of a chunk."""
        blocks = self.layout.block_range(chunk)
        return self.residues[blocks.start : blocks.stop]

    def chunk(self, chunk: int) -> bytes:
        """The bytes of a chunk."""
        return pack_residues(self.block_slice(chunk), self.layout.prime_bits)

    def all_chunks(self) -> list[bytes]:
        """The bytes of the whole vector, chunk by chunk."""
        return [self.chunk(i) for i in range(self.layout.chunks)]

    def digest(self) -> bytes:
        """`chunks_digest` of this vector: what participants sign and compare."""
        return chunks_digest(self.layout, map(self.chunk, range(self.layout.chunks)))

    def refuse_zero(self) -> None:
        """Refuse a polynomial that is zero: a zero c1 is a transparent ciphertext, which anybody can read.

        Raises:
            ProtocolViolation: some polynomial of some block is zero.
        """
        if not self.residues.any(axis=(2, 3)).all():  # check: C78
            raise ProtocolViolation("a ciphertext has a zero polynomial: it is transparent and hides nothing")


class Accumulator:
    """The running sum of residue vectors, in the memory of one vector whatever the number of summands.

    Additions are left unreduced while 64 bits hold them (2**4 summands of 60 bits, 2**20 of 44), so folding is one
    pass of additions.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._total = np.zeros((layout.blocks, layout.polynomials, len(layout.primes), layout.ring_degree), np.uint64)
        self._unreduced = [0] * layout.chunks
        self._summands = [0] * layout.chunks
        self._room = unreduced_room(layout.prime_bits)

    def add(self, chunk: int, data: bytes | memoryview) -> None:
        """Check a chunk and fold it in; nothing is added when it is refused.

        Raises:
            DecodeError: the chunk is malformed.
        """
        self.fold(chunk, unpack_chunk(self.layout, chunk, data))

    def fold(self, chunk: int, residues: U64) -> None:
        """Fold in checked residues, uint64[blocks, polynomials, primes, N]."""
        if self._unreduced[chunk] == self._room:
            self._reduce(chunk)
        total = self._slice(chunk)
        np.add(total, residues, out=total)
        self._unreduced[chunk] += 1
        self._summands[chunk] += 1

    @property
    def summands(self) -> int:
        """Vectors added so far.

        Raises:
            LocalError: some chunks have had fewer summands than others.
        """
        if len(set(self._summands)) != 1:
            raise LocalError("the sum is incomplete: some chunks are missing")
        return self._summands[0]

    def finish(self) -> ResidueVector:
        """The sum, reduced.

        Raises:
            LocalError: nothing was added, or not to every chunk alike.
        """
        if not self.summands:
            raise LocalError("nothing was added")
        for chunk in range(self.layout.chunks):
            self._reduce(chunk)
        return ResidueVector(self.layout, self._total)

    def forget(self) -> None:
        """Drop the sum. Nothing can be added any more."""
        self._total = self._total[:0].copy()

    def _slice(self, chunk: int) -> U64:
        blocks = self.layout.block_range(chunk)
        return self._total[blocks.start : blocks.stop]

    def _reduce(self, chunk: int) -> None:
        reduce_in_place(self._slice(chunk), self.layout.primes)
        self._unreduced[chunk] = 1
