"""Round 1, ShareKeys, of a masked round (Bonawitz et al. 2017, figure 4, round 1).

Participant: checks the roster. It draws the seed of its self-mask (b_u), splits the mask key and b_u with threshold t
among its neighbours and itself, and seals one pair of shares to each neighbour; in the hybrid suite also a secret that
their mask will be made of. It sends what it sealed, and a
commitment to b_u by which the coordinator will know the right seed when it is recovered.

Coordinator: takes one message of each member if it has one entry for each neighbour, each of the right size. Whoever
delivered is in U2. It answers each member with the entries that its neighbours in U2 sealed to it and, where the model
is named later, with the model's digest.
"""

from dataclasses import dataclass
from typing import ClassVar

from secagg.config import ThreatModel
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.errors import DecodeError, ProtocolViolation
from secagg.events import Event
from secagg.masked import pair_secrets, shares
from secagg.masked.shares import SharePair
from secagg.messages import AdvertiseKeys, Index, Member, ParticipantId, Phase, Roster, ShareDelivery, ShareKeys
from secagg.rounds import dealing
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import DealingPhase
from secagg.rounds.graph import isolated
from secagg.rounds.membership import Membership
from secagg.rounds.session import Turn, Waiting
from secagg.rounds.shared_state import SharedState

SELF_MASK_SEED_SIZE = 32
COMMITMENT_SIZE = 32


@dataclass(frozen=True, slots=True)
class AwaitingRoster:
    """Keys are advertised; next comes the roster. Holds secrets."""

    awaits: ClassVar = Phase.ADVERTISE_KEYS
    takes: ClassVar = Roster
    membership: Membership
    channel: KeyPair
    mask: KeyPair
    keys: AdvertiseKeys

    def receive(self, roster: Roster, turn: Turn) -> tuple[Waiting, ShareKeys]:
        """Check the roster; split our secrets among our neighbours."""
        checked = CheckedRoster.check(self.membership, roster, self.keys, turn.now, signed=self.membership.active)
        membership = checked.membership  # its round knows the members
        neighbours = checked.neighbours
        seed = Secret(membership.rng.token(SELF_MASK_SEED_SIZE))
        holders = (*neighbours, checked.own_index)
        pairs = shares.split(self.mask.private, seed, membership.round.config.share_threshold, holders, membership.rng)
        sealed = {i: self._entry(membership, checked.members[i], pairs[i]) for i in neighbours}
        commitment = shares.commit(membership.round, membership.participant_id, seed)
        following = turn.after(self, checked, self.channel, self.mask, seed, pairs[checked.own_index])
        return following, dealing.deal(checked, commitment, sealed)

    def _entry(self, membership: Membership, receiver: Member, pair: SharePair) -> bytes:
        round_, own, encapsulate = membership.round, membership.participant_id, membership.encapsulate
        hybrid = round_.config.suite.hybrid
        gift = pair_secrets.give(round_, self.mask, own, receiver, encapsulate) if hybrid else None
        return shares.seal(round_, self.channel, own, receiver, pair, gift=gift, encapsulate=encapsulate)


class ShareKeysPhase(DealingPhase):
    """Round 1 at the coordinator."""

    another = "shared other keys"

    def __init__(self, state: SharedState) -> None:
        super().__init__(state)
        self.kind = dealing.masked(state.round.config.suite)

    def check(self, index: Index, message: ShareKeys, name: ParticipantId) -> None:
        """A commitment, and one sealed pair for each neighbour."""
        members = self.state.members
        if len(message.commitment) != COMMITMENT_SIZE or message.key_share:  # check: commitment-size
            raise DecodeError(f"{name}: a commitment is {COMMITMENT_SIZE} bytes, without a key share", culprit=name)
        if set(message.sealed) != set(self.state.graph.of(index)):  # check: C40
            raise ProtocolViolation(f"{name} must seal shares to its neighbours, no more and no fewer", culprit=name)
        self.kind.check(message, signed=bool(members.identities), sender=name)  # check: C93

    def isolated(self, alive: set[Index]) -> set[Index]:
        """On a ring, those whose secrets could not be recovered: too few of their neighbours are left. A semi-honest
        round does not go on without them: who drops out there must not depend on the ring.
        """
        state = self.state
        if state.round.config.ring is None or state.round.config.threat_model is ThreatModel.SEMI_HONEST:
            return set()
        gone = state.members.at.keys() - alive
        alone = isolated(state.graph, alive, gone, state.round.config.share_threshold)
        for index in alone:
            del self.accepted[index]
        return alone

    def close(self, alive: set[Index]) -> list[Event]:
        """Everybody in U2 has neighbours there, enough to recover its secrets.

        Raises:
            RoundAborted: BELOW_THRESHOLD.
        """
        self.state.check_shares(alive)
        return []

    def answer(self, index: Index) -> ShareDelivery:
        """What the member's neighbours in U2 sealed to it and, where it is named later, the model.

        Raises:
            LocalError: the model is named later, and was not named yet.
        """
        round_, accepted = self.state.round, self.accepted
        found = ((i, accepted[i].sealed.get(index)) for i in self.state.graph.of(index) if i in accepted)
        sealed = {i: entry for i, entry in found if entry is not None}
        return ShareDelivery(sealed, model_digest=round_.model_digest if round_.config.model_later else b"")
