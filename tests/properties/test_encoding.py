"""Laws of encoding, packing, masking and sharing."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from secagg.config import Suite
from secagg.crypto import polynomial, shamir
from secagg.crypto.polynomial import PRIME
from secagg.crypto.prg import word_dtype
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding.fixedpoint import FixedPoint, FixedPointUpdate, decode_mean
from secagg.encoding.packing import pack, packed_size, unpack
from secagg.encoding.schema import Schema
from secagg.errors import DecodeError
from secagg.masked.masks import Mask, add_masks
from tests.interpolation import interpolate

secrets = st.binary(min_size=32, max_size=32).map(Secret)
seeds = st.binary(min_size=32, max_size=32)


@given(st.integers(1, 64), st.data())
def test_packing_comes_back(bits: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=200))
    values = np.array(numbers, word_dtype(bits))
    packed = pack(values, bits)
    assert len(packed) == packed_size(len(numbers), bits)
    assert unpack(packed, len(numbers), bits).tolist() == numbers


@given(st.integers(1, 64), st.integers(1, 50), st.binary(max_size=420))
def test_what_unpacks_packs_to_the_same_bytes(bits: int, count: int, data: bytes) -> None:
    """Bytes are one vector's encoding or refused."""
    data = data[: packed_size(count, bits)]
    try:
        values = unpack(data, count, bits)
    except DecodeError:
        return
    assert pack(values, bits) == data


@given(
    st.sampled_from(Suite),
    st.sampled_from([8, 16, 32, 64]),
    st.integers(1, 40_000),
    st.lists(st.integers(1, 40_000), max_size=5),
    seeds,
)
def test_masks_do_not_depend_on_how_the_vector_is_cut(
    suite: Suite, bits: int, size: int, cuts: list[int], key: bytes
) -> None:
    size_of_key = suite.key_size
    masks = [Mask(Secret(key[:size_of_key]), negative=False), Mask(Secret(key[-size_of_key:]), negative=True)]
    whole = np.zeros(size, word_dtype(bits))
    add_masks(whole, 0, masks, suite)
    parts = np.zeros(size, word_dtype(bits))
    edges = sorted({0, size, *(cut for cut in cuts if cut < size)})
    for start, stop in pairwise(edges):
        add_masks(parts[start:stop], start, masks, suite)
    assert np.array_equal(whole, parts)


@given(st.data(), secrets, seeds, st.integers(1, 12), st.integers(0, 8))
def test_any_t_shares_reconstruct(data: st.DataObject, secret: Secret, seed: bytes, threshold: int, spare: int) -> None:
    holders = data.draw(
        st.lists(st.integers(1, 10_000), min_size=threshold + spare, max_size=threshold + spare, unique=True)
    )
    dealt = {
        x: shamir.decode_share(y.expose()) for x, y in shamir.share(secret, threshold, holders, SeededRng(seed)).items()
    }
    chosen = data.draw(st.lists(st.sampled_from(holders), min_size=threshold, unique=True))
    found = shamir.Decoder(chosen, threshold).recover({x: dealt[x] for x in chosen}, secret.__eq__)
    assert found is not None
    assert found.secret == secret


@given(st.data(), secrets, st.integers(0, PRIME - 1), seeds, st.integers(2, 10))
def test_t_minus_one_shares_fit_any_secret(
    data: st.DataObject, secret: Secret, candidate: int, seed: bytes, threshold: int
) -> None:
    """There is a polynomial of degree below t through the shares held and any candidate: they rule nothing out."""
    dealt = shamir.share(secret, threshold, range(1, threshold + 3), SeededRng(seed))
    held = data.draw(
        st.lists(st.sampled_from(sorted(dealt)), min_size=threshold - 1, max_size=threshold - 1, unique=True)
    )
    ys = [shamir.decode_share(dealt[x].expose()) for x in held]
    f = interpolate([0, *held], [candidate, *ys])
    assert len(f) <= threshold
    assert [polynomial.evaluate(f, x) for x in (0, *held)] == [candidate, *ys]


@given(st.data(), secrets, seeds, st.integers(1, 6), st.integers(0, 5))
def test_wrong_shares_within_the_spare_are_corrected_and_named(
    data: st.DataObject, secret: Secret, seed: bytes, threshold: int, spare: int
) -> None:
    """Corrected and named as long as half of the shares to spare are right."""
    holders = range(1, threshold + spare + 1)
    dealt = {
        x: shamir.decode_share(y.expose()) for x, y in shamir.share(secret, threshold, holders, SeededRng(seed)).items()
    }
    wrong = data.draw(st.lists(st.sampled_from(holders), max_size=spare // 2, unique=True))
    for x in wrong:
        dealt[x] = (dealt[x] + data.draw(st.integers(1, PRIME - 1))) % PRIME
    found = shamir.Decoder(holders, threshold).recover(dealt, secret.__eq__)
    assert found is not None
    assert found.secret == secret
    assert found.consistent == (not wrong)
    in_the_way = min(wrong, default=threshold + 1) <= threshold
    assert set(found.wrong) == (set(wrong) if in_the_way else set())


@given(st.data(), st.sampled_from(["float32", "float64"]), st.integers(2, 32), st.integers(1, 6), seeds)
def test_the_mean_is_within_its_bound(
    data: st.DataObject, dtype: str, value_bits: int, people: int, seed: bytes
) -> None:
    code = FixedPoint(data.draw(st.sampled_from([1e-6, 1.0, 1e6])), value_bits, data.draw(st.integers(1, 2**32 - 1)))
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=4))
    elements = st.floats(-2e6, 2e6, width=32 if dtype == "float32" else 64)
    updates = [data.draw(hnp.arrays(dtype, shape, elements=elements)) for _ in range(people)]
    weights = [data.draw(st.integers(1, code.max_weight)) for _ in range(people)]
    schema = Schema.of(updates[0])
    sums = np.zeros(code.vector_len(schema), np.uint64)
    for i, (update, weight) in enumerate(zip(updates, weights, strict=True)):
        rounding = Secret(bytes([i]) + seed[1:])
        encoder = FixedPointUpdate(code, schema.check(update), weight, rounding)
        sums += encoder.read(0, encoder.vector_len, np.dtype("<u8"))
    mean = decode_mean(code, schema, sums, people)
    clipped = [np.clip(update.astype(np.float64), -code.clip, code.clip) for update in updates]
    exact = np.average(clipped, axis=0, weights=weights)
    found = mean.arrays["values"]
    assert found.dtype == np.dtype(dtype)
    assert found.shape == shape
    assert mean.weight == sum(weights)
    # The bound is on the mean before its cast; float64 itself rounds when the bound is far below the values' own size.
    slack = np.abs(exact).max() * np.finfo(dtype).eps + code.clip * 1e-9
    assert np.abs(found - exact).max() <= mean.error_bound + slack
