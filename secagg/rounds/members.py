"""Who is in the round, at the coordinator: indices, names and certificates, once the roster is fixed."""

from dataclasses import dataclass, field

from secagg import roster as rosters
from secagg.crypto.identity import VerifiedIdentity
from secagg.errors import NotInRoundError
from secagg.messages import Index, Listing, Member, ParticipantId, Roster
from secagg.rounds.graph import Neighbourhoods


@dataclass(slots=True)
class Members:
    """The members of one round. Empty until the first phase is closed, and the same from then on.

    Attributes:
        roster: everyone who could take part (U1).
        digest: 32 bytes over the roster; members sign it with whatever they sign.
        listing: with a sparse graph, all members in short; else None.
        at: the line of the roster for each index.
        index: the place of each member.
        identities: verified certificates by member; empty where keys are not signed.
    """

    roster: Roster = field(default_factory=lambda: Roster(()))
    digest: bytes = b""
    listing: Listing | None = None
    at: dict[Index, Member] = field(default_factory=dict)
    index: dict[ParticipantId, Index] = field(default_factory=dict)
    identities: dict[ParticipantId, VerifiedIdentity] = field(default_factory=dict)

    def fix(self, roster: Roster, identities: dict[ParticipantId, VerifiedIdentity], *, sparse: bool) -> None:
        """The first phase is closed: nobody joins any more. `sparse` is whether the round has a sparse graph."""
        self.roster = roster
        self.listing = rosters.listing_of(roster.members) if sparse else None
        self.digest = rosters.roster_digest(Roster(roster.members, self.listing))
        self.at = {m.index: m for m in roster.members}
        self.index = {m.participant_id: m.index for m in roster.members}
        self.identities = identities

    def shown_to(self, index: Index, graph: Neighbourhoods) -> Roster:
        """The roster that closes ADVERTISE_KEYS for one member: all, or the entries that its graph needs."""
        if self.listing is None:
            return self.roster
        needed = sorted({index, *graph.of(index), *graph.committee})
        return Roster(tuple(self.at[i] for i in needed), self.listing)

    def name(self, index: Index) -> ParticipantId:
        """The name of the participant at `index` of the roster."""
        return self.at[index].participant_id

    def index_of(self, sender: ParticipantId) -> Index:
        """The sender's place in the roster.

        Raises:
            NotInRoundError: it has none.
        """
        if sender not in self.index:
            raise NotInRoundError(f"{sender} is not in this round")
        return self.index[sender]
