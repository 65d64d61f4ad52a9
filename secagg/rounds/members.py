"""Who is in the round, at the coordinator: indices, names and certificates, once the roster is fixed."""

from dataclasses import dataclass, field, replace

from secagg import roster as rosters
from secagg.crypto.identity import VerifiedIdentity
from secagg.errors import NotInRoundError
from secagg.messages import Index, Member, ParticipantId, Roster
from secagg.rounds.graph import Neighbourhoods


@dataclass(slots=True)
class Members:
    """The members of one round. Empty until the first phase is closed, and the same from then on.

    Attributes:
        roster: everyone who could take part (U1); with a sparse graph also in short.
        digest: 32 bytes over the roster; members sign it with whatever they sign.
        at: the line of the roster for each index.
        index: the place of each member.
        identities: verified certificates by member; empty where keys are not signed.
    """

    roster: Roster = field(default_factory=lambda: Roster(()))
    digest: bytes = b""
    at: dict[Index, Member] = field(default_factory=dict)
    index: dict[ParticipantId, Index] = field(default_factory=dict)
    identities: dict[ParticipantId, VerifiedIdentity] = field(default_factory=dict)

    def fix(self, roster: Roster, identities: dict[ParticipantId, VerifiedIdentity], *, sparse: bool) -> None:
        """The first phase is closed: nobody joins any more. `sparse` is whether the round has a sparse graph."""
        self.roster = replace(roster, listing=rosters.listing_of(roster.members)) if sparse else roster
        self.digest = rosters.roster_digest(self.roster)
        self.at = {m.index: m for m in roster.members}
        self.index = {m.participant_id: m.index for m in roster.members}
        self.identities = identities

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


def shown_to(index: Index, graph: Neighbourhoods, roster: Roster) -> Roster:
    """What one member is shown of the whole roster: all, or with a sparse graph the entries that it needs."""
    if roster.listing is None:
        return roster
    needed = sorted({index, *graph.of(index), *graph.committee})
    return Roster(tuple(roster.members[i - 1] for i in needed), roster.listing)
