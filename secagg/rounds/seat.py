"""A participant's place in a round: what stays the same from its first message to its last."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from secagg import roster as rosters
from secagg.config import ThreatModel
from secagg.context import Round
from secagg.crypto import signing
from secagg.crypto.identity import Identity, TrustAnchors, VerifiedIdentity
from secagg.crypto.rng import Rng
from secagg.errors import ConfigError, PolicyViolation, ProtocolViolation, RemoteError
from secagg.messages import AdvertiseKeys, Index, Member, ParticipantId, Roster
from secagg.policy import Policy
from secagg.roster import COORDINATOR
from secagg.rounds.releases import Claim, Release, named, nothing_before


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are and whom we believe; needed wherever messages are signed."""

    identity: Identity
    trust: TrustAnchors


@dataclass(frozen=True, slots=True)
class Seat:
    """One participant in one round, before it knows the others.

    Attributes:
        claim: our memory of sums that may hold an update of ours; asked before anything leaves that opens this one.
    """

    round: Round
    participant_id: ParticipantId
    policy: Policy
    rng: Rng
    credentials: Credentials | None
    claim: Claim = nothing_before

    @property
    def threshold(self) -> int:
        """t."""
        return self.round.config.threshold

    @property
    def active(self) -> bool:
        """Whether the coordinator may lie."""
        return self.round.config.threat_model is ThreatModel.ACTIVE

    def sign(self, message: bytes) -> bytes:
        """Our signature."""
        return self.required_credentials.identity.sign(message)

    @property
    def required_credentials(self) -> Credentials:
        """Our credentials.

        Raises:
            ConfigError: there are none.
        """
        if self.credentials is None:
            raise ConfigError("this round's messages are signed: pass an identity and the CA's certificate")
        return self.credentials

    def signed_keys(self, keys: AdvertiseKeys) -> AdvertiseKeys:
        """Our keys with signature and certificates."""
        signature = self.sign(rosters.advertisement_to_sign(self.round.context, self.participant_id, keys))
        chain = self.required_credentials.identity.chain
        return AdvertiseKeys(keys.channel_public_key, keys.mask_public_key, signature, chain, keys.key_share_commitment)


@dataclass(frozen=True, slots=True)
class Table:
    """The seat and everyone around it, once the roster is known and checked.

    Attributes:
        identities: verified certificates; empty where keys are not signed.
    """

    seat: Seat
    roster: Roster
    members: Mapping[Index, Member]
    own_index: Index
    identities: Mapping[Index, VerifiedIdentity]

    @property
    def signed(self) -> bool:
        """Whether members sign in this round."""
        return bool(self.identities)

    @classmethod
    def check(cls, seat: Seat, roster: Roster, own_keys: AdvertiseKeys, now: float, *, signed: bool) -> "Table":
        """Check the roster, and certificates and signatures where keys are signed.

        Raises:
            ProtocolViolation: see `roster.check`.
            AuthenticationError: a foreign, expired or mismatched certificate, or a signature that does not verify.
            PolicyViolation: too few organisations.
        """
        mine = rosters.check(roster, seat.round, seat.participant_id, own_keys)
        identities = verify_members(seat, roster, now) if signed else {}
        table = cls(seat, roster, {m.index: m for m in roster.members}, mine.index, identities)
        table.check_organisations(table.members)
        return table

    def check_organisations(self, cohort: Mapping[Index, object] | set[Index]) -> None:
        """Refuse a cohort of too few organisations, where certificates tell them.

        Raises:
            PolicyViolation: too few.
        """
        if self.identities:
            self.seat.policy.check_organisations({self.identities[i].organisation for i in cohort})

    def claim_sum(self, alive: set[Index]) -> None:
        """Refuse to open a sum that would show few with the sums of the same model that may hold our update; else it
        counts as opened from now on, whatever becomes of the round. The last check before anything is signed, reported
        or revealed.

        Raises:
            PolicyViolation: too few whose updates could be told from those sums. Nothing was recorded.
            LocalError: our memory cannot be read or written.
        """
        config = self.seat.round.config
        names = frozenset(self.members[i].participant_id for i in alive)
        if exposed := self.seat.claim(Release(config.model_digest, names, config.threshold, config.purpose)):
            raise PolicyViolation(
                f"with the sums of the same model that may hold our update, this one would show the updates of "
                f"{len(exposed)} participants alone ({named(exposed)}); the coordinator must ask exactly those again "
                "who were in the earlier one, or ask about another model",
                culprit=COORDINATOR,
            )

    def check_signatures(self, signatures: Mapping[Index, bytes], signers: set[Index], message: bytes) -> None:
        """Demand that at least t of `signers`, and nobody else, signed `message`.

        Certificates were checked with the roster; expiry within a round is not checked again.

        Raises:
            ProtocolViolation: a stranger signed, or too few.
            AuthenticationError: a signature does not verify, so its signer saw something else, or it was made up.
        """
        if strangers := set(signatures) - signers:
            raise ProtocolViolation(f"{sorted(strangers)} signed, who are no survivors", culprit=COORDINATOR)
        if len(signatures) < self.seat.threshold:
            raise ProtocolViolation(
                f"{len(signatures)} signatures are below threshold {self.seat.threshold}", culprit=COORDINATOR
            )
        for i, signature in signatures.items():
            signing.verify(self.identities[i].public_key, message, signature, culprit=COORDINATOR)


def verify_members(seat: Seat, roster: Roster, now: float) -> dict[Index, VerifiedIdentity]:
    """Check every certificate against the pinned CA, and every signature of keys.

    Raises:
        AuthenticationError: a foreign, expired or mismatched certificate, or a signature that does not verify.
        ProtocolViolation: a certificate of another participant.
    """
    at, trust = datetime.fromtimestamp(now, UTC), seat.required_credentials.trust
    try:
        return {m.index: rosters.verify_member(seat.round, trust, m, at) for m in roster.members}
    except RemoteError as error:
        # Whoever's name the entry bears: an honest coordinator turns it away at the door and changes none.
        raise type(error)(str(error), culprit=COORDINATOR) from error
