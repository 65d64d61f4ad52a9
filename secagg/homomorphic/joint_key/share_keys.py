"""The phase SHARE_KEYS in custody `threshold`.

Participant: checks the roster; shows its key share, and splits the seed of it with threshold t among everyone, sealed.

Coordinator: takes one message of each member if it has one entry for each other member, and its key share fits the
commitment of round 0. The joint key is the sum of the key shares. It answers everyone with all key shares, and with the
shares of seeds that were sealed to it.
"""

from dataclasses import dataclass
from typing import ClassVar

from secagg.crypto import labels, shamir
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest
from secagg.errors import DecodeError, ProtocolViolation
from secagg.events import Event
from secagg.homomorphic.joint_key.state import JointKeyState
from secagg.homomorphic.profile import profile_of
from secagg.homomorphic.transcripts import seed_share_digest
from secagg.lattice.keyshares import check_commitment, joint_key, unpack_key_share
from secagg.lattice.residues import pack_residues
from secagg.messages import AdvertiseKeys, Index, ParticipantId, Phase, Roster, ShareDelivery, ShareKeys
from secagg.rounds import dealing
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import DealingPhase
from secagg.rounds.membership import Membership
from secagg.rounds.session import Turn, Waiting


@dataclass(frozen=True, slots=True)
class AwaitingRoster:
    """We committed to a key share; next comes the roster. Holds secrets."""

    awaits: ClassVar = Phase.ADVERTISE_KEYS
    takes: ClassVar = Roster
    membership: Membership
    channel: KeyPair
    seed: Secret
    key_share: bytes
    keys: AdvertiseKeys

    def receive(self, roster: Roster, turn: Turn) -> tuple[Waiting, ShareKeys]:
        """Check the roster; show our key share, and split its seed among everyone."""
        membership = self.membership
        checked = CheckedRoster.check(membership, roster, self.keys, turn.now, signed=True)
        pieces = shamir.share(self.seed, membership.threshold, list(checked.members), membership.rng)
        sealed = {
            i: dealing.seal(
                membership.round,
                dealing.SEED_SHARE,
                self.channel,
                sender=membership.participant_id,
                receiver=member,
                content=pieces[i].expose(),
                digests=seed_share_digest(membership.round.context, membership.participant_id, member, pieces[i]),
            )
            for i, member in checked.members.items()
            if i != checked.own_index
        }
        following = turn.after(self, checked, self.channel, self.seed, self.key_share, pieces[checked.own_index])
        return following, dealing.deal(checked, b"", sealed, self.key_share)


class ShareKeysPhase(DealingPhase):
    """SHARE_KEYS at the coordinator."""

    state: JointKeyState
    kind = dealing.SEED_SHARE
    another = "shared another key"

    def __init__(self, state: JointKeyState) -> None:
        super().__init__(state)
        self._profile = profile_of(state.round.config)

    def check(self, index: Index, message: ShareKeys, name: ParticipantId) -> None:
        """One sealed share of the seed for each other member, and the key share that was committed to."""
        members = self.state.members
        if set(message.sealed) != set(members.at) - {index}:  # check: C69
            raise ProtocolViolation(f"{name} must seal its seed to everyone, no more and no fewer", culprit=name)
        if message.commitment:  # check: C70-commitment
            raise DecodeError(f"{name}: a commitment, which belongs to the keys of this scheme", culprit=name)
        self.kind.check(message, signed=True, sender=name)  # check: C70-entry
        committed = members.at[index].keys.key_share_commitment
        check_commitment(committed, self.state.round.context, name, message.key_share)  # check: C71
        try:
            unpack_key_share(self._profile, message.key_share)  # check: C71-share
        except DecodeError as error:
            raise DecodeError(f"{name}: {error}", culprit=name) from None

    def close(self, alive: set[Index]) -> list[Event]:
        """The joint key is known."""
        shares = [unpack_key_share(self._profile, message.key_share) for _, message in sorted(self.accepted.items())]
        joint = joint_key(self._profile, shares)
        self.state.key_digest = digest(labels.RESIDUES_DIGEST, pack_residues(joint, self._profile.prime_bits))
        return []

    def answer(self, index: Index) -> ShareDelivery:
        """All key shares, and what the others sealed to the member."""
        sealed = {i: m.sealed[index] for i, m in self.accepted.items() if i != index}
        return ShareDelivery(sealed, {i: m.key_share for i, m in self.accepted.items()})
