"""Laws of homomorphic summation: sums are exact whatever the sizes, hostile residues are refused or harmless."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import ConfigError, RemoteError
from secagg.lattice.keyshares import pack_key_share, unpack_key_share
from secagg.lattice.layout import Layout
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.lattice.primes import ntt_primes
from secagg.lattice.residues import Accumulator, pack_residues, unpack_chunk
from tests.encrypted import numbers, profile_of, round_of

layouts = st.builds(
    lambda bits, primes, polynomials, blocks: Layout(64, ntt_primes(64, bits, primes), polynomials, blocks),
    st.integers(30, 60),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 4),
)


@st.composite
def mangled(draw: st.DrawFn) -> tuple[Layout, int, bytes]:
    """A layout, a chunk number, and bytes that are near to a valid chunk, or are not."""
    layout = draw(layouts)
    chunk = draw(st.one_of(st.just(0), st.integers(-2, 5)))
    if draw(st.booleans()):
        return layout, chunk, draw(st.binary(max_size=2 * layout.total_bytes))
    data = bytearray(np.random.default_rng(draw(st.integers(0, 2**32))).bytes(layout.total_bytes))
    for position in draw(st.lists(st.integers(0, layout.total_bytes - 1), max_size=8)):
        data[position] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    return layout, chunk, bytes(data[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))])


@given(mangled())
def test_hostile_residues_are_refused_or_are_exactly_what_they_encode(case: tuple[Layout, int, bytes]) -> None:
    layout, chunk, data = case
    try:
        residues = unpack_chunk(layout, chunk, data)
    except RemoteError:
        return
    assert pack_residues(residues, layout.prime_bits) == data
    assert all((residues[:, :, j] < np.uint64(prime)).all() for j, prime in enumerate(layout.primes))


@given(mangled())
def test_what_is_refused_leaves_the_sum_alone(case: tuple[Layout, int, bytes]) -> None:
    layout, chunk, data = case
    total = Accumulator(layout)
    zero = bytes(layout.total_bytes)
    total.add(0, zero)
    try:
        total.add(chunk, data)
    except RemoteError:
        assert not total.finish().residues.any()
    else:
        assert total.finish().chunk(0) == data


@given(st.integers(0, 2**32), st.integers(-3, 3))
def test_hostile_key_shares_are_refused_or_are_exactly_what_they_encode(seed: int, extra: int) -> None:
    profile = profile_of(Scheme.BFV, Custody.THRESHOLD)
    size = len(profile.key_primes) * profile.ring_degree * profile.prime_bits // 8
    data = np.random.default_rng(seed).bytes(size + extra)
    try:
        share = unpack_key_share(profile, data)
    except RemoteError:
        return
    assert pack_key_share(profile, share) == data


@given(layouts, st.integers(1, 20), st.integers(0, 2**32))
def test_the_fold_is_addition(layout: Layout, summands: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (layout.blocks, layout.polynomials, 64)
    vectors = [
        np.stack([rng.integers(0, q, shape, dtype=np.uint64) for q in layout.primes], axis=2) for _ in range(summands)
    ]
    total = Accumulator(layout)
    for vector in vectors:
        total.add(0, pack_residues(vector, layout.prime_bits))
    primes = np.array(layout.primes, object)[:, None]
    assert (total.finish().residues == sum(v.astype(object) for v in vectors) % primes).all()


@given(
    st.sampled_from(Scheme),
    st.sampled_from(Custody),
    st.integers(1, 20_000),
    st.integers(1, 10),
    st.integers(0, 2**32),
)
@settings(max_examples=15)
def test_sums_are_exact(scheme: Scheme, custody: Custody, count: int, summands: int, seed: int) -> None:
    vectors = [numbers(seed + i, count) for i in range(summands)]
    assert (round_of(scheme, custody, vectors) == np.sum(vectors, axis=0)).all()


@given(st.sampled_from(Scheme), st.sampled_from(Custody), st.integers(-1, 1 << 21), st.integers(-1, 64))
def test_the_finder_finds_what_passes_or_refuses(scheme: Scheme, custody: Custody, summands: int, bits: int) -> None:
    try:
        profile = find_profile(scheme, custody, summands, bits)
    except ConfigError:
        return
    profile.check()
