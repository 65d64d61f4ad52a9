"""The phase SHARE_KEYS in custody `participants`.

Participant: checks the roster; draws the seed of a key, and seals it to everyone, in case its key is the one that
counts. Sends the sealed seeds and a digest of the seed, which is the same for everyone.

Coordinator: takes one message of each member if it has one entry for each other member, all with the digest that the
message commits to. The key that counts is that of the first member, in the order of the roster, that delivered (the
dealer): if one fails to deliver, the next one's key counts, without another exchange of messages. The coordinator
answers everyone with the dealer's entry for it, and the dealer with nothing.
"""

from dataclasses import dataclass
from typing import ClassVar

from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.errors import DecodeError, ProtocolViolation
from secagg.homomorphic.dealt_key.state import DealtKeyState
from secagg.lattice.keyshares import dealt_key_digest
from secagg.lattice.rlwe import KEY_SEED_SIZE
from secagg.messages import AdvertiseKeys, Index, ParticipantId, Phase, Roster, ShareDelivery, ShareKeys
from secagg.rounds import dealing
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import DealingPhase
from secagg.rounds.membership import Membership
from secagg.rounds.session import Turn, Waiting

DIGEST_SIZE = 32


@dataclass(frozen=True, slots=True)
class AwaitingRoster:
    """Keys are advertised; next comes the roster. Holds secrets."""

    awaits: ClassVar = Phase.ADVERTISE_KEYS
    takes: ClassVar = Roster
    membership: Membership
    channel: KeyPair
    keys: AdvertiseKeys

    def receive(self, roster: Roster, turn: Turn) -> tuple[Waiting, ShareKeys]:
        """Check the roster; seal a fresh key to everyone, in case we are the dealer."""
        membership = self.membership
        checked = CheckedRoster.check(membership, roster, self.keys, turn.now, signed=True)
        seed = Secret(membership.rng.token(KEY_SEED_SIZE))
        digest = dealt_key_digest(membership.round.context, seed)
        sealed = {
            i: dealing.seal(
                membership.round,
                dealing.DEALT_KEY,
                self.channel,
                sender=membership.participant_id,
                receiver=member,
                content=seed.expose(),
                digests=digest,
            )
            for i, member in checked.members.items()
            if i != checked.own_index
        }
        return turn.after(self, checked, self.channel, seed), dealing.deal(checked, digest, sealed)


class ShareKeysPhase(DealingPhase):
    """SHARE_KEYS at the coordinator."""

    state: DealtKeyState
    kind = dealing.DEALT_KEY
    another = "shared another key"

    def check(self, index: Index, message: ShareKeys, name: ParticipantId) -> None:
        """One sealed key for each other member, and the digest of that key."""
        if set(message.sealed) != set(self.state.members.at) - {index}:  # check: C69
            raise ProtocolViolation(f"{name} must seal its key to everyone, no more and no fewer", culprit=name)
        self.kind.check(message, signed=True, sender=name)  # check: C70-entry
        if len(message.commitment) != DIGEST_SIZE or message.key_share:  # check: C70-commitment
            raise DecodeError(f"{name}: the digest of a key is {DIGEST_SIZE} bytes, without a key share", culprit=name)
        dealt = {self.kind.digest_in(entry, 0) for entry in message.sealed.values()}
        if not dealt <= {message.commitment}:  # check: C93
            raise ProtocolViolation(f"{name} dealt another key than the one it committed to", culprit=name)

    def answer(self, index: Index) -> ShareDelivery:
        """The dealer's key, sealed to the member; nothing for the dealer."""
        dealer = self.state.dealer
        return ShareDelivery({dealer: self.accepted[dealer].sealed[index]} if index != dealer else {})
