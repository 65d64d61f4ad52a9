"""Keys from seeds, commitments, and the parts of a joint key."""

import hashlib

import numpy as np
import pytest

from secagg.crypto.labels import KEY_ERROR, TERNARY_KEY
from secagg.crypto.rng import SeededRng
from secagg.crypto.transcript import frame
from secagg.errors import AuthenticationError, ConfigError, DecodeError
from secagg.lattice.keyshares import (
    check_commitment,
    check_recovered_seed,
    commitment,
    dealt_key_digest,
    joint_key,
    key_share,
    pack_key_share,
    partial_decryption,
    unpack_key_share,
)
from secagg.lattice.ntt import ntt
from secagg.lattice.parameters import FLOOD_BITS, Custody, Scheme
from secagg.lattice.rlwe import SecretKey, centred_binomial, sub, ternary
from secagg.lattice.streams import reference_polynomial
from tests.encrypted import CONTEXT, SUMMANDS, key_seed, numbers, profile_of

PROFILE = profile_of(Scheme.BFV, Custody.THRESHOLD)


def test_ternary_keys_follow_the_specification() -> None:
    seed = key_seed()
    stream = hashlib.shake_256(frame(TERNARY_KEY, CONTEXT, seed.expose())).digest(10_000)
    expected = [byte % 3 - 1 for byte in stream if byte < 255][:4096]
    assert ternary(seed, CONTEXT, 4096).tolist() == expected
    assert abs(np.bincount(ternary(seed, CONTEXT, 32768) + 1) / 32768 - 1 / 3).max() < 0.02


def test_errors_follow_the_specification() -> None:
    seed = key_seed()
    stream = hashlib.shake_256(frame(KEY_ERROR, CONTEXT, seed.expose())).digest(6 * 4096)

    def error(i: int) -> int:
        bits = int.from_bytes(stream[6 * i : 6 * i + 6], "little")
        return (bits & 0x1FFFFF).bit_count() - (bits >> 21 & 0x1FFFFF).bit_count()

    drawn = centred_binomial(seed, CONTEXT, 4096)
    assert drawn.tolist() == [error(i) for i in range(4096)]
    assert 9.5 < drawn.var() < 11.5
    assert abs(drawn).max() <= 21


def test_the_context_separates_keys_of_one_seed() -> None:
    assert (ternary(key_seed(), CONTEXT, 4096) != ternary(key_seed(), bytes(32), 4096)).mean() > 0.5


def test_a_share_is_minus_a_s_plus_e() -> None:
    seed = key_seed()
    share = key_share(PROFILE, seed, CONTEXT)
    a_s = SecretKey(PROFILE, seed, CONTEXT).times_reference(reference_polynomial(PROFILE, CONTEXT))
    for j, prime in enumerate(PROFILE.key_primes):
        minus_e = ntt(PROFILE.ring_degree, prime).inverse((share[j] + a_s[j]) % np.uint64(prime))
        assert (
            (minus_e + centred_binomial(seed, CONTEXT, PROFILE.ring_degree).astype(np.uint64)) % np.uint64(prime) == 0
        ).all()


def test_a_share_travels_unchanged_and_strictly() -> None:
    share = key_share(PROFILE, key_seed(), CONTEXT)
    data = pack_key_share(PROFILE, share)
    assert (unpack_key_share(PROFILE, data) == share).all()
    too_large = share.copy()
    too_large[2, 0] = PROFILE.key_primes[2]
    for bad in (data[:-1], data + b"\0", bytes(len(data)), pack_key_share(PROFILE, too_large)):
        with pytest.raises(DecodeError):
            unpack_key_share(PROFILE, bad)


def test_a_share_that_does_not_fit_its_commitment_is_refused_by_name() -> None:
    share = pack_key_share(PROFILE, key_share(PROFILE, key_seed(), CONTEXT))
    committed = commitment(CONTEXT, "u", share)
    check_commitment(committed, CONTEXT, "u", share)
    for context, participant, data in [
        (bytes(32), "u", share),
        (CONTEXT, "v", share),
        (CONTEXT, "u", share[:-1] + b"\1"),
    ]:
        with pytest.raises(AuthenticationError) as caught:
            check_commitment(committed, context, participant, data)
        assert caught.value.culprit == participant


def test_a_recovered_seed_must_give_the_share() -> None:
    share = pack_key_share(PROFILE, key_share(PROFILE, key_seed(), CONTEXT))
    check_recovered_seed(PROFILE, key_seed(), CONTEXT, "u", share)
    with pytest.raises(AuthenticationError) as caught:
        check_recovered_seed(PROFILE, key_seed(1), CONTEXT, "u", share)
    assert caught.value.culprit == "u"


def test_dealt_keys_are_compared_without_showing_them() -> None:
    assert dealt_key_digest(CONTEXT, key_seed()) == dealt_key_digest(CONTEXT, key_seed())
    assert dealt_key_digest(CONTEXT, key_seed()) != dealt_key_digest(CONTEXT, key_seed(1))
    assert dealt_key_digest(CONTEXT, key_seed()) != dealt_key_digest(bytes(32), key_seed())
    assert key_seed().expose() not in dealt_key_digest(CONTEXT, key_seed())


def test_more_parties_than_the_bounds_were_made_for_are_refused() -> None:
    share = key_share(PROFILE, key_seed(), CONTEXT)
    with pytest.raises(ConfigError, match="n_max"):
        joint_key(PROFILE, [share] * (SUMMANDS + 1))


@pytest.mark.parametrize("scheme", Scheme)
def test_a_partial_is_the_part_and_a_flood_of_the_stated_width(scheme: Scheme) -> None:
    profile = profile_of(scheme, Custody.THRESHOLD)
    key = SecretKey(profile, key_seed(), CONTEXT)
    c1 = np.stack([numbers(3, profile.ring_degree, profile.prime_bits - 1) for _ in profile.primes])[None]
    flood = sub(profile.primes, partial_decryption(profile, key, c1, SeededRng(bytes(32))), key.times(c1))
    residues = flood[0]
    if profile.ntt_form:
        residues = np.stack([ntt(profile.ring_degree, q).inverse(residues[j]) for j, q in enumerate(profile.primes)])
    q0, q1 = profile.primes
    lifted = [int(x) + q0 * ((int(y) - int(x)) * pow(q0, -1, q1) % q1) for x, y in residues.T]
    centred = [x - profile.modulus if x > profile.modulus // 2 else x for x in lifted]
    assert all(-(1 << FLOOD_BITS) <= x < 1 << FLOOD_BITS for x in centred)
    assert max(centred) > 0.99 * 2**FLOOD_BITS
    assert min(centred) < -0.99 * 2**FLOOD_BITS
