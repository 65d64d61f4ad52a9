"""The roster as a participant believes it: checked once, then asked about everyone in the round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from secagg import roster as rosters
from secagg.crypto import signing
from secagg.crypto.identity import VerifiedIdentity
from secagg.errors import PolicyViolation, ProtocolViolation, RemoteError
from secagg.messages import AdvertiseKeys, Index, Member, ParticipantId, Roster
from secagg.roster import COORDINATOR
from secagg.rounds.graph import Neighbourhoods, neighbourhoods
from secagg.rounds.membership import Membership
from secagg.rounds.releases import Release, named


@dataclass(frozen=True, slots=True)
class CheckedRoster:
    """The members of our round. It is made by `check`, so what it holds has been checked.

    Attributes:
        membership: ours; its round knows the digest of the roster.
        members: those whose entries we have: all, or with a sparse graph those of our closed neighbourhood and the
            committee.
        identities: their verified certificates; empty where keys are not signed.
    """

    membership: Membership
    roster: Roster
    members: Mapping[Index, Member]
    own_index: Index
    identities: Mapping[Index, VerifiedIdentity]

    @property
    def names(self) -> Sequence[ParticipantId]:
        """The ids of all members of the round, in the order of their indices."""
        return rosters.names_of(self.roster)

    @property
    def graph(self) -> Neighbourhoods:
        """Who are neighbours, and who signs."""
        return graph_on(self.membership, self.roster)

    @property
    def neighbours(self) -> tuple[Index, ...]:
        """Ours, ascending."""
        return self.graph.of(self.own_index)

    @property
    def digest(self) -> bytes:
        """32 bytes over the roster."""
        return self.membership.round.roster_digest

    @property
    def signed(self) -> bool:
        """Whether members sign in this round."""
        return bool(self.identities)

    @classmethod
    def check(
        cls, membership: Membership, roster: Roster, own_keys: AdvertiseKeys, now: float, *, signed: bool
    ) -> "CheckedRoster":
        """Check a roster that the coordinator sent; where keys are signed, its certificates and signatures, too.

        Raises:
            ProtocolViolation: see `roster.check`; or entries of others than the round's graph says.
            AuthenticationError: a foreign, expired or mismatched certificate, or a signature that does not verify.
            PolicyViolation: too few organisations.
        """
        mine = rosters.check(roster, membership.round, membership.participant_id, own_keys)
        within = replace(membership, round=membership.round.of_members(rosters.roster_digest(roster)))
        _check_entries(graph_on(within, roster), mine.index, roster)
        identities = verify_members(membership, roster, now) if signed else {}
        checked = cls(within, roster, {m.index: m for m in roster.members}, mine.index, identities)
        checked.check_organisations(checked.members)
        return checked

    def about(self, model_digest: bytes) -> "CheckedRoster":
        """The same members of our round, about this model; errors as of `Round.about`."""
        return replace(self, membership=self.membership.about(model_digest))

    def check_organisations(self, cohort: Mapping[Index, object] | set[Index]) -> None:
        """Refuse a cohort of too few organisations, where certificates tell them. Only certificates that we have
        verified count.

        Raises:
            PolicyViolation: too few.
        """
        if self.identities:
            known = {self.identities[i].organisation for i in cohort if i in self.identities}
            self.membership.policy.check_organisations(known)

    def claim_sum(self, alive: set[Index]) -> None:
        """Ask our memory whether the sum of `alive` may be opened, and record that it may be.

        It may not if it would show the updates of few participants together with other sums of the same model that may
        hold our update. Once recorded, the sum counts as opened, whatever becomes of the round. So this is the last
        check before anything is signed, reported or revealed.

        Raises:
            PolicyViolation: too few whose updates could be told from those sums. Nothing was recorded.
            LocalError: our memory cannot be read or written.
        """
        round_, config = self.membership.round, self.membership.round.config
        ids = self.names
        names = frozenset(ids[i - 1] for i in alive)
        if exposed := self.membership.claim(
            Release(round_.model_digest, names, config.threshold, config.purpose)
        ):  # check: C86
            raise PolicyViolation(
                f"with the sums of the same model that may hold our update, this one would show the updates of "
                f"{len(exposed)} participants alone ({named(exposed)}); the coordinator must ask exactly those again "
                "who were in the earlier one, or ask about another model",
                culprit=COORDINATOR,
            )

    def check_signatures(self, signatures: Mapping[Index, bytes], signers: set[Index], message: bytes) -> None:
        """Demand that at least t of `signers` (of a committee, t_c), and nobody else, signed `message`.

        Certificates were checked with the roster; expiry within a round is not checked again.

        Raises:
            ProtocolViolation: a stranger signed, or too few.
            AuthenticationError: a signature does not verify, so its signer saw something else, or it was made up.
        """
        if strangers := set(signatures) - signers:  # check: C26, C51, C63, C67
            raise ProtocolViolation(f"{sorted(strangers)} signed, who are no survivors", culprit=COORDINATOR)
        needed = self.membership.round.config.signatures_needed
        if len(signatures) < needed:  # check: C27, C108-needed
            raise ProtocolViolation(f"{len(signatures)} signatures are below threshold {needed}", culprit=COORDINATOR)
        for i, signature in signatures.items():
            signing.verify(self.identities[i].public_key, message, signature, culprit=COORDINATOR)  # check: C28, C52


def graph_on(membership: Membership, roster: Roster) -> Neighbourhoods:
    """The graph of our round on the members of `roster`, whose digest the round knows."""
    return neighbourhoods(membership.round, len(rosters.names_of(roster)))


def _check_entries(graph: Neighbourhoods, own: Index, roster: Roster) -> None:
    """Refuse entries of others than our neighbours and the committee, before anything is verified of them."""
    wanted = {own, *graph.of(own), *graph.committee}
    if {m.index for m in roster.members} != wanted:  # check: C103
        raise ProtocolViolation(
            "the roster's entries are not those of our neighbours and of the committee", culprit=COORDINATOR
        )


def verify_members(membership: Membership, roster: Roster, now: float) -> dict[Index, VerifiedIdentity]:
    """Check every certificate against the pinned CA, and every signature of keys.

    Raises:
        AuthenticationError: a foreign, expired or mismatched certificate, or a signature that does not verify.
        ProtocolViolation: a certificate of another participant.
    """
    at, trust = datetime.fromtimestamp(now, UTC), membership.required_credentials.trust
    try:
        return {m.index: rosters.verify_member(membership.round, trust, m, at) for m in roster.members}
    except RemoteError as error:
        # Whoever's name the entry bears: an honest coordinator turns it away at the door and changes none.
        raise type(error)(str(error), culprit=COORDINATOR) from error
