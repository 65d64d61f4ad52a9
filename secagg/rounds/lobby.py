"""Round 0 at the coordinator: who advertised keys, and the roster once it is fixed."""

from dataclasses import dataclass, field
from datetime import datetime

from secagg import roster as rosters
from secagg.context import Round
from secagg.crypto import agreement
from secagg.crypto.agreement import KEY_SIZE
from secagg.crypto.identity import TrustAnchors, VerifiedIdentity
from secagg.errors import DecodeError, NotInRoundError, ProtocolViolation, RemoteError
from secagg.messages import AdvertiseKeys, Index, Member, ParticipantId, Roster


@dataclass(slots=True)
class Lobby:
    """Accepted keys by sender, and places in the roster. A refused message leaves no trace.

    Attributes:
        trust: the deployment's CA; None where keys are not signed.
    """

    round: Round
    trust: TrustAnchors | None
    advertised: dict[ParticipantId, AdvertiseKeys] = field(default_factory=dict)
    identities: dict[ParticipantId, VerifiedIdentity] = field(default_factory=dict)
    roster: Roster = field(default_factory=lambda: Roster(()))
    members: dict[Index, Member] = field(default_factory=dict)
    index: dict[ParticipantId, Index] = field(default_factory=dict)
    digest: bytes = b""  # of the roster

    def take(self, sender: ParticipantId, message: AdvertiseKeys, at: datetime) -> None:
        """Keep the sender's keys.

        Raises:
            RemoteError: other keys before, wrong sizes, a key twice, or a signature that does not verify.
        """
        if sender in self.advertised:
            raise ProtocolViolation(f"{sender} advertised other keys before", culprit=sender)
        if len(self.advertised) >= self.round.config.max_participants:
            raise NotInRoundError(f"the round is full; {sender} came too late")
        self._check_sizes(sender, message)
        try:
            rosters.check_distinct_keys([*self.advertised.values(), message])
        except ProtocolViolation as error:
            raise ProtocolViolation(f"{sender}: {error}", culprit=sender) from None
        if self.trust is not None:
            member = Member(Index(0), sender, message)
            try:
                self.identities[sender] = rosters.verify_member(self.round, self.trust, member, at)
            except RemoteError as error:
                raise type(error)(f"{sender}: {error}", culprit=sender) from None
        self.advertised[sender] = message

    def _check_sizes(self, sender: ParticipantId, message: AdvertiseKeys) -> None:
        if len(message.channel_public_key) != KEY_SIZE:
            raise DecodeError(f"{sender}: a public key is {KEY_SIZE} bytes", culprit=sender)
        wanted = rosters.advertised_sizes(self.round.config)
        found = len(message.mask_public_key), len(message.key_share_commitment)
        if found != wanted:
            raise DecodeError(
                f"{sender}: mask key and commitment have {found} bytes where the scheme wants {wanted}", culprit=sender
            )
        if self.trust is None and (message.signature or message.certificates):
            # Nobody would look at them, and all members would have to take them.
            raise DecodeError(f"{sender}: keys are signed, in a round that signs nothing", culprit=sender)
        # A key of low order would make every honest participant leave: it stops here.
        for key in filter(None, (message.channel_public_key, message.mask_public_key)):
            agreement.check_public_key(key, owner=sender)

    def forget(self, sender: ParticipantId) -> None:
        """The sender leaves before the roster is fixed.

        Raises:
            NotInRoundError: it had not come.
        """
        if self.advertised.pop(sender, None) is None:
            raise NotInRoundError(f"{sender} is not in this round")
        self.identities.pop(sender, None)

    def fix(self) -> None:
        """U1 is complete: assign indices."""
        self.roster = rosters.assign(self.advertised)
        self.digest = rosters.roster_digest(self.roster)
        self.members = {m.index: m for m in self.roster.members}
        self.index = {m.participant_id: m.index for m in self.roster.members}

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
