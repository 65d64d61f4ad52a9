"""What the coordinator has received, and the checks that a participant's message must pass to be kept."""

from dataclasses import dataclass, field
from datetime import datetime

from secagg import roster as rosters
from secagg.context import Round
from secagg.crypto import shamir, signing
from secagg.crypto.agreement import KEY_SIZE
from secagg.crypto.identity import TrustAnchors, VerifiedIdentity
from secagg.crypto.sealing import TAG_SIZE
from secagg.errors import DecodeError, NotInRoundError, ProtocolViolation
from secagg.masked.graph import CompleteGraph, Neighbourhoods, neighbourhoods
from secagg.masked.participant import verify_member
from secagg.masked.phases import Phase
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    Index,
    MaskKeyShare,
    Member,
    ParticipantId,
    Roster,
    SelfMaskShare,
    ShareKeys,
    SurvivorSet,
    Unmask,
)

COMMITMENT_SIZE = 32
SEALED_SIZE = 2 * shamir.SHARE_SIZE + TAG_SIZE


@dataclass(slots=True)
class Intake:
    """Accepted messages by sender; the roster and the survivor set once they are fixed.

    Each `take_*` keeps the message or raises a `RemoteError` that names the sender; a refused message leaves no trace.
    """

    round: Round
    trust: TrustAnchors | None  # None if semi-honest
    advertised: dict[ParticipantId, AdvertiseKeys] = field(default_factory=dict)
    identities: dict[ParticipantId, VerifiedIdentity] = field(default_factory=dict)
    roster: Roster = field(default_factory=lambda: Roster(()))
    members: dict[Index, Member] = field(default_factory=dict)
    index: dict[ParticipantId, Index] = field(default_factory=dict)
    graph: Neighbourhoods = field(default_factory=lambda: CompleteGraph(0))
    shared: dict[Index, ShareKeys] = field(default_factory=dict)
    sets: SurvivorSet = field(default_factory=lambda: SurvivorSet((), ()))
    signed: dict[Index, ConsistencyCheck] = field(default_factory=dict)
    answers: dict[Index, Unmask] = field(default_factory=dict)

    def fix_roster(self) -> None:
        """U1 is complete: assign indices."""
        self.roster = rosters.assign(self.advertised)
        self.members = {m.index: m for m in self.roster.members}
        self.index = {m.participant_id: m.index for m in self.roster.members}
        self.graph = neighbourhoods(self.round.config.graph, len(self.members))

    def forget(self, sender: ParticipantId) -> None:
        """The sender leaves before the roster is fixed.

        Raises:
            NotInRoundError: it had not come.
        """
        if self.advertised.pop(sender, None) is None:
            raise NotInRoundError(f"{sender} is not in this round")
        self.identities.pop(sender, None)

    def name(self, index: Index) -> ParticipantId:
        """The participant at `index` of the roster."""
        return self.members[index].participant_id

    def index_of(self, sender: ParticipantId) -> Index:
        """The sender's place in the roster.

        Raises:
            NotInRoundError: it has none.
        """
        if sender not in self.index:
            raise NotInRoundError(f"{sender} is not in this round")
        return self.index[sender]

    def delivered(self, index: Index, phase: Phase) -> bool:
        """Whether the participant's message of `phase` was accepted. Not for masked inputs: the accumulator knows
        those.
        """
        match phase:
            case Phase.ADVERTISE_KEYS:
                return index in self.members
            case Phase.SHARE_KEYS:
                return index in self.shared
            case Phase.MASKED_INPUT:
                return index in self.sets.survivors
            case Phase.CONSISTENCY_CHECK:
                return index in self.signed
            case Phase.UNMASK:
                return index in self.answers

    def take_keys(self, sender: ParticipantId, message: AdvertiseKeys, at: datetime) -> None:
        """Round 0: sizes, signature and certificate (active), no key twice."""
        if sender in self.advertised:
            raise ProtocolViolation(f"{sender} advertised other keys before", culprit=sender)
        if {len(message.channel_public_key), len(message.mask_public_key)} != {KEY_SIZE}:
            raise DecodeError(f"{sender}: a public key is {KEY_SIZE} bytes", culprit=sender)
        try:
            rosters.check_distinct_keys([*self.advertised.values(), message])
        except ProtocolViolation as error:
            raise ProtocolViolation(f"{sender}: {error}", culprit=sender) from None
        if self.trust is not None:
            member = Member(Index(0), sender, message)
            self.identities[sender] = verify_member(self.round, self.trust, member, at)
        self.advertised[sender] = message

    def take_shares(self, index: Index, message: ShareKeys) -> None:
        """Round 1: a commitment, and one sealed pair for each neighbour."""
        name = self.name(index)
        if index in self.shared:
            raise ProtocolViolation(f"{name} shared other keys before", culprit=name)
        if len(message.commitment) != COMMITMENT_SIZE:
            raise DecodeError(f"{name}: a commitment is {COMMITMENT_SIZE} bytes", culprit=name)
        if set(message.sealed) != set(self.graph.of(index)):
            raise ProtocolViolation(f"{name} must seal shares to its neighbours, no more and no fewer", culprit=name)
        if any(len(sealed) != SEALED_SIZE for sealed in message.sealed.values()):
            raise DecodeError(f"{name}: a sealed pair of shares is {SEALED_SIZE} bytes", culprit=name)
        self.shared[index] = message

    def take_signature(self, index: Index, message: ConsistencyCheck) -> None:
        """Round 3: a valid signature on our survivor set."""
        name = self.name(index)
        signed = rosters.survivors_to_sign(self.round.context, self.roster, self.sets)
        signing.verify(self.identities[name].public_key, signed, message.signature, culprit=name)
        self.signed[index] = message

    def take_revealed(self, index: Index, message: Unmask) -> None:
        """Round 4: for each neighbour that shared keys one share, of the kind that the survivor set asks for."""
        name = self.name(index)
        if index in self.answers:
            raise ProtocolViolation(f"{name} revealed other shares before", culprit=name)
        if set(message.shares) != {index, *self.graph.of(index)} & set(self.shared):
            raise ProtocolViolation(f"{name} must reveal one share for each neighbour that shared keys", culprit=name)
        for owner, revealed in message.shares.items():
            wanted = MaskKeyShare if owner in self.sets.dropped else SelfMaskShare
            if not isinstance(revealed, wanted):
                raise ProtocolViolation(f"{name} revealed the wrong kind of share", culprit=name)
            try:
                shamir.decode_share(revealed.share.expose())
            except DecodeError as error:
                raise DecodeError(f"{name}: {error}", culprit=name) from None
        self.answers[index] = message
