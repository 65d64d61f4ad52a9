"""Where every residue lies in the bytes of a vector of ciphertexts.

Block by block; in a block polynomial by polynomial (c0, or c0 then c1); in a polynomial prime by prime in ascending
order; under a prime N residues, packed to the exact width of the primes (`encoding.packing`). N is a multiple of 64,
so every polynomial is whole bytes. The bytes are cut between blocks into chunks of at most 1 MiB (one block, where a
block is longer), all of the same number of blocks but the last.
"""

from dataclasses import dataclass

from secagg.encoding.packing import CHUNK_BYTES
from secagg.lattice.parameters import Profile


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of a vector of ciphertexts, or of one polynomial of each.

    Attributes:
        polynomials: 1 (c0 alone, c1 alone, a partial decryption) or 2 (c0 and c1).
        blocks: ciphertexts in the vector.
    """

    ring_degree: int
    primes: tuple[int, ...]
    polynomials: int
    blocks: int

    @property
    def prime_bits(self) -> int:
        """How many bits every residue takes on the wire."""
        return self.primes[0].bit_length()

    @property
    def block_residues(self) -> int:
        """How many residues one block of values becomes."""
        return self.polynomials * len(self.primes) * self.ring_degree

    @property
    def block_bytes(self) -> int:
        """How many bytes one block takes when its residues are packed."""
        return self.block_residues * self.prime_bits // 8

    @property
    def blocks_per_chunk(self) -> int:
        """Blocks of every chunk but the last."""
        return max(1, CHUNK_BYTES // self.block_bytes)

    @property
    def chunks(self) -> int:
        """Chunks of the whole vector."""
        return -(-self.blocks // self.blocks_per_chunk)

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole vector."""
        return self.blocks * self.block_bytes

    def block_range(self, chunk: int) -> range:
        """The blocks of a chunk in [0, chunks)."""
        start = chunk * self.blocks_per_chunk
        return range(start, min(start + self.blocks_per_chunk, self.blocks))

    def shape(self, chunk: int) -> tuple[int, int, int, int]:
        """(blocks, polynomials, primes, N) of a chunk's residues."""
        return (len(self.block_range(chunk)), self.polynomials, len(self.primes), self.ring_degree)

    def chunk_bytes(self, chunk: int) -> int:
        """Exact length of a chunk."""
        return len(self.block_range(chunk)) * self.block_bytes


def layout_of(profile: Profile, values: int, polynomials: int) -> Layout:
    """The layout of `values` values under a profile."""
    return Layout(profile.ring_degree, profile.primes, polynomials, profile.blocks(values))
