"""Custody `threshold`: a joint key that nobody holds, and decryption in parts (Mouchet et al. 2021, ePrint 2020/304).

s = sum of s_u, each from a 32-byte seed. The error of a share comes from the same seed, so whoever recovers a seed of
a participant that fell away can compute its whole share again and compare it with what was committed to. Errors of a
revealed share protect nothing any more.
"""

import numpy as np

from secagg.crypto.labels import DEALT_KEY_DIGEST, KEY_SHARE_COMMITMENT
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest
from secagg.errors import AuthenticationError, DecodeError
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Profile
from secagg.lattice.residues import pack_residues, unpack_residues
from secagg.lattice.rlwe import SecretKey, add, centred_binomial, lift, negative, to_ntt
from secagg.lattice.streams import reference_polynomial


def key_share(profile: Profile, seed: Secret, context: bytes) -> U64:
    """b_u = -(a s_u + e_u), a the round's common reference: uint64[key primes, N], NTT values. Public."""
    product = SecretKey(profile, seed, context).times_reference(reference_polynomial(profile, context))
    error = to_ntt(profile, centred_binomial(seed, context, profile.ring_degree))
    return negative(profile.key_primes, add(profile.key_primes, product, error))


def pack_key_share(profile: Profile, share: U64) -> bytes:
    """A share on the wire: prime by prime, N residues packed to the width of the primes."""
    return pack_residues(share, profile.prime_bits)


def unpack_key_share(profile: Profile, data: bytes) -> U64:
    """uint64[key primes, N].

    Raises:
        DecodeError: wrong length, a residue that is not below its prime, or a share of zeros.
    """
    share = unpack_residues(data, (len(profile.key_primes), profile.ring_degree), profile.key_primes)
    if not share.any():  # check: C62, C71
        raise DecodeError("a key share is zero")
    return share


def commitment(context: bytes, participant: str, share: bytes) -> bytes:
    """SHA-256 over the framed label, context, participant and packed share: sent before anybody's share is known."""
    return digest(KEY_SHARE_COMMITMENT, context, participant.encode(), share)


def check_commitment(committed: bytes, context: bytes, participant: str, share: bytes) -> None:
    """Refuse a share chosen after the others were seen: it could cancel them.

    Raises:
        AuthenticationError: naming the participant.
    """
    if commitment(context, participant, share) != committed:  # check: C61, C71
        raise AuthenticationError(f"the key share of {participant} does not fit its commitment", culprit=participant)


def check_recovered_seed(profile: Profile, seed: Secret, context: bytes, participant: str, share: bytes) -> None:
    """Refuse a seed, put together from Shamir shares, that does not give the share its owner had committed to.

    Raises:
        AuthenticationError: naming the participant; the seed was dealt or recovered wrongly.
    """
    if pack_key_share(profile, key_share(profile, seed, context)) != share:
        raise AuthenticationError(
            f"the recovered seed of {participant} does not give its key share", culprit=participant
        )


def dealt_key_digest(context: bytes, seed: Secret) -> bytes:
    """What participants compare before they encrypt, to see that the dealer gave all of them the same key."""
    return digest(DEALT_KEY_DIGEST, context, seed.expose())


def joint_key(profile: Profile, shares: list[U64]) -> U64:
    """b = sum of b_u, uint64[key primes, N]: with the reference polynomial a, the public key of s = sum of s_u.

    Raises:
        ConfigError: more shares than the profile's noise bound was made for.
    """
    profile.check_summands(len(shares))
    total = shares[0]
    for share in shares[1:]:
        total = add(profile.key_primes, total, share)
    return total


def partial_decryption(profile: Profile, key: SecretKey, c1: U64, rng: Rng) -> U64:
    """d_u = c1 s_u + E_u for the aggregate's c1, uint64[blocks, primes, N]; E_u is uniform in [-2**f, 2**f).

    Leaves once per round: two partials of one c1 average the flood away, and another c1 opens another ciphertext.
    """
    words = np.frombuffer(rng.token(8 * len(c1) * profile.ring_degree), "<i8").reshape(len(c1), profile.ring_degree)
    flood = words >> np.int64(63 - profile.flood_bits)
    return add(profile.primes, key.times(c1), lift(profile, flood.astype(np.int64, copy=False)))


def fallen_part(key: SecretKey, c1: U64) -> U64:
    """c1 s_u of a decryptor that fell away, from its recovered key. No flood: the seed is public by now."""
    return key.times(c1)
