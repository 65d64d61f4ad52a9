"""The wire form of ciphertexts: layout, strict unpacking, folding, digests."""

import hashlib
from itertools import product

import numpy as np
import pytest

from secagg.crypto.labels import RESIDUES_DIGEST
from secagg.crypto.transcript import frame
from secagg.encoding.packing import CHUNK_BYTES, unpack
from secagg.errors import DecodeError, LocalError, ProtocolViolation
from secagg.lattice.layout import Layout, layout_of
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Custody, Scheme
from secagg.lattice.primes import ntt_primes
from secagg.lattice.residues import (
    Accumulator,
    ResidueVector,
    pack_residues,
    unpack_chunk,
    unpack_residues,
)
from tests.encrypted import CASES, profile_of

SMALL = Layout(64, ntt_primes(64, 45, 2), 2, 3)


def uniform(layout: Layout, seed: int = 0) -> U64:
    rng = np.random.default_rng(seed)
    shape = (layout.blocks, layout.polynomials, layout.ring_degree)
    return np.stack([rng.integers(0, q, shape, dtype=np.uint64) for q in layout.primes], axis=2)


def test_the_order_is_block_polynomial_prime_coefficient() -> None:
    residues = uniform(SMALL)
    blocks, polynomials, primes, degree = residues.shape
    places = product(range(blocks), range(polynomials), range(primes), range(degree))
    packed = pack_residues(residues, 45)
    assert unpack(packed, residues.size, 45).tolist() == [int(residues[place]) for place in places]


@pytest.mark.parametrize(("scheme", "custody"), CASES)
@pytest.mark.parametrize("polynomials", [1, 2])
def test_chunks_are_whole_blocks_of_at_most_a_mebibyte(scheme: Scheme, custody: Custody, polynomials: int) -> None:
    layout = layout_of(profile_of(scheme, custody), 1_000_000, polynomials)
    assert [b for chunk in range(layout.chunks) for b in layout.block_range(chunk)] == list(range(layout.blocks))
    sizes = [layout.chunk_bytes(chunk) for chunk in range(layout.chunks)]
    assert sum(sizes) == layout.total_bytes
    assert max(sizes) <= CHUNK_BYTES
    assert all(size + layout.block_bytes > CHUNK_BYTES for size in sizes[:-1])


def test_a_block_longer_than_a_chunk_is_a_chunk() -> None:
    layout = Layout(32768, ntt_primes(32768, 60, 5), 2, 2)
    assert layout.block_bytes > CHUNK_BYTES
    assert (layout.blocks_per_chunk, layout.chunks) == (1, 2)


def test_unpacking_undoes_packing() -> None:
    residues = uniform(SMALL)
    assert (unpack_chunk(SMALL, 0, pack_residues(residues, 45)) == residues).all()


@pytest.mark.parametrize("change", [-1, 1, -45, 45])
def test_a_wrong_length_is_refused(change: int) -> None:
    data = pack_residues(uniform(SMALL), 45)
    with pytest.raises(DecodeError, match="bytes"):
        unpack_chunk(SMALL, 0, data[:change] if change < 0 else data + bytes(change))


@pytest.mark.parametrize("chunk", [-1, 1])
def test_a_chunk_that_does_not_exist_is_refused(chunk: int) -> None:
    with pytest.raises(DecodeError, match="no chunk"):
        unpack_chunk(SMALL, chunk, b"")


@pytest.mark.parametrize("prime", [0, 1])
@pytest.mark.parametrize("excess", [0, 1])
def test_a_residue_that_is_not_below_its_prime_is_refused(prime: int, excess: int) -> None:
    residues = uniform(SMALL)
    residues[2, 1, prime, 63] = SMALL.primes[prime] + excess
    with pytest.raises(DecodeError, match="not below"):
        unpack_chunk(SMALL, 0, pack_residues(residues, 45))
    residues[2, 1, prime, 63] = SMALL.primes[prime] - 1
    unpack_chunk(SMALL, 0, pack_residues(residues, 45))


def test_bits_behind_the_last_residue_are_refused() -> None:
    prime = ntt_primes(64, 45, 1)
    data = bytearray(pack_residues(np.zeros((1, 3), np.uint64), 45))
    unpack_residues(bytes(data), (1, 3), prime)
    data[-1] |= 0x80
    with pytest.raises(DecodeError):
        unpack_residues(bytes(data), (1, 3), prime)


def test_another_profiles_ciphertext_is_refused() -> None:
    ours = layout_of(profile_of(Scheme.BFV, Custody.PARTICIPANTS), 5000, 1)
    theirs = layout_of(profile_of(Scheme.CKKS, Custody.PARTICIPANTS), 5000, 1)
    with pytest.raises(DecodeError):
        unpack_chunk(ours, 0, bytes(theirs.chunk_bytes(0)))


@pytest.mark.parametrize("bits", [45, 60])
def test_the_sum_is_exact_beyond_the_room_for_unreduced_additions(bits: int) -> None:
    layout = Layout(64, ntt_primes(64, bits, 2), 1, 2)
    vectors = [uniform(layout, seed) for seed in range(40)]
    total = Accumulator(layout)
    for vector in vectors:
        total.add(0, pack_residues(vector, bits))
    expected = [
        [[sum(int(v[b, 0, j, i]) for v in vectors) % q for i in range(64)] for j, q in enumerate(layout.primes)]
        for b in range(2)
    ]
    assert total.finish().residues[:, 0].tolist() == expected


def test_a_refused_chunk_adds_nothing() -> None:
    residues = uniform(SMALL)
    total = Accumulator(SMALL)
    total.add(0, pack_residues(residues, 45))
    bad = residues.copy()
    bad[2, 1, 1, 63] = SMALL.primes[1]
    with pytest.raises(DecodeError):
        total.add(0, pack_residues(bad, 45))
    assert total.summands == 1
    assert (total.finish().residues == residues).all()


def test_an_incomplete_or_empty_sum_is_not_given_out() -> None:
    layout = layout_of(profile_of(Scheme.CKKS, Custody.PARTICIPANTS), 300_000, 1)
    total = Accumulator(layout)
    with pytest.raises(LocalError, match="nothing"):
        total.finish()
    total.add(0, bytes(layout.chunk_bytes(0)))
    with pytest.raises(LocalError, match="missing"):
        total.finish()


def test_chunks_of_a_vector_make_up_its_digest() -> None:
    vector = ResidueVector(SMALL, uniform(SMALL))
    label = frame(RESIDUES_DIGEST, SMALL.total_bytes.to_bytes(8, "big"))
    assert vector.digest() == hashlib.sha256(label + b"".join(vector.all_chunks())).digest()
    changed = vector.residues.copy()
    changed[0, 0, 0, 0] ^= np.uint64(1)
    assert ResidueVector(SMALL, changed).digest() != vector.digest()


def test_a_transparent_sum_is_refused() -> None:
    residues = uniform(SMALL)
    ResidueVector(SMALL, residues).refuse_zero()
    residues[1, 1] = 0
    with pytest.raises(ProtocolViolation, match="transparent"):
        ResidueVector(SMALL, residues).refuse_zero()
