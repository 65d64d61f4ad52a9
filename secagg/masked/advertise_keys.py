"""Round 0, AdvertiseKeys, of a masked round (Bonawitz et al. 2017, figure 4, round 0).

Participant: makes two fresh key pairs and sends the public keys, signed where the coordinator may lie. Peers seal
shares to the channel key; pairwise masks come from the mask key.

Coordinator: the same in every scheme; see `secagg.rounds.advertise_keys`.
"""

from secagg.masked.share_keys import AwaitingRoster
from secagg.messages import AdvertiseKeys
from secagg.rounds.membership import Membership


def join(membership: Membership) -> tuple[AwaitingRoster, AdvertiseKeys]:
    """Make fresh keys; sign them against an active coordinator.

    Raises:
        PolicyViolation: the round is below our policy.
        MissingExtraError: what makes the masks of the round's suite is not installed.
        ConfigError: the suite needs ML-KEM-768, which is not there.
    """
    membership.policy.check(membership.round.config)  # check: C3
    membership.round.config.suite.require()  # check: suite-installed
    kind = membership.round.config.suite.key_pairs
    channel, mask = kind.generate(membership.rng), kind.generate(membership.rng)
    keys = AdvertiseKeys(channel.public, mask.public)
    if membership.active:
        keys = membership.signed_keys(keys)
    return AwaitingRoster(membership, channel, mask, keys), keys
