"""A participant's place in a round: what stays the same from its first message to its last."""

from dataclasses import dataclass

from secagg import roster as rosters
from secagg.config import ThreatModel
from secagg.context import Round
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.crypto.rng import Rng
from secagg.errors import ConfigError
from secagg.messages import AdvertiseKeys, ParticipantId
from secagg.policy import Policy
from secagg.rounds.releases import Claim, nothing_before


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are and whom we believe; needed wherever messages are signed."""

    identity: Identity
    trust: TrustAnchors


@dataclass(frozen=True, slots=True)
class Membership:
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
