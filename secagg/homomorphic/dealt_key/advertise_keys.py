"""Round 0, AdvertiseKeys, in custody `participants`.

Participant: makes a fresh channel key and sends the public one, signed. Nothing is masked, so there is no mask key.

Coordinator: the same in every scheme; see `secagg.rounds.advertise_keys`.
"""

from secagg.crypto.agreement import KeyPair
from secagg.homomorphic.dealt_key.share_keys import AwaitingRoster
from secagg.messages import AdvertiseKeys
from secagg.rounds.membership import Membership


def join(membership: Membership) -> tuple[AwaitingRoster, AdvertiseKeys]:
    """Make a fresh channel key, signed.

    Raises:
        PolicyViolation: the round is below our policy.
    """
    membership.policy.check(membership.round.config)  # check: C3
    channel = KeyPair.generate(membership.rng)
    keys = membership.signed_keys(AdvertiseKeys(channel.public, b""))
    return AwaitingRoster(membership, channel, keys), keys
