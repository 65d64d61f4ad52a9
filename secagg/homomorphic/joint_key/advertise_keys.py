"""Round 0, AdvertiseKeys, in custody `threshold`.

Participant: makes a fresh channel key, and its share of the joint encryption key from a fresh seed. Sends the public
channel key and a commitment to the key share, signed: nobody can choose its share after it has seen the others'.

Coordinator: the same in every scheme; see `secagg.rounds.advertise_keys`.
"""

from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.homomorphic.joint_key.share_keys import AwaitingRoster
from secagg.homomorphic.profile import profile_of
from secagg.lattice.keyshares import commitment, key_share, pack_key_share
from secagg.lattice.rlwe import KEY_SEED_SIZE
from secagg.messages import AdvertiseKeys
from secagg.rounds.membership import Membership


def join(membership: Membership) -> tuple[AwaitingRoster, AdvertiseKeys]:
    """Make a fresh channel key and key share; commit to the share, signed.

    Raises:
        PolicyViolation: the round is below our policy.
    """
    membership.policy.check(membership.round.config)  # check: C3
    channel = KeyPair.generate(membership.rng)
    seed = Secret(membership.rng.token(KEY_SEED_SIZE))
    profile, context = profile_of(membership.round.config), membership.round.context
    share = pack_key_share(profile, key_share(profile, seed, context))
    committed = commitment(context, membership.participant_id, share)
    keys = membership.signed_keys(AdvertiseKeys(channel.public, b"", key_share_commitment=committed))
    return AwaitingRoster(membership, channel, seed, share, keys), keys
