"""What a participant knows of a round before it knows the others, and keeps until the end."""

from dataclasses import dataclass, replace

from secagg import roster as rosters
from secagg.config import ThreatModel
from secagg.context import Round
from secagg.crypto import xwing
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.crypto.rng import Rng
from secagg.crypto.xwing import Encapsulate
from secagg.errors import ConfigError
from secagg.messages import AdvertiseKeys, ParticipantId
from secagg.policy import Policy
from secagg.rounds.releases import Claim, nothing_before


@dataclass(frozen=True, slots=True)
class Credentials:
    """Our certificate and key, and the CA that we trust. They are needed wherever messages are signed."""

    identity: Identity
    trust: TrustAnchors


@dataclass(frozen=True, slots=True)
class Membership:
    """One participant in one round.

    Attributes:
        round: id, configuration and context.
        participant_id: our name.
        policy: our own terms.
        rng: where our randomness comes from.
        credentials: None where nothing is signed.
        claim: our memory of the sums that may hold an update of ours. It is asked before anything leaves us that helps
            to open the sum of this round.
        durable_claim: whether that memory outlives this process. A state that does must not go without.
        encapsulate: draws what the hybrid suite encapsulates.
    """

    round: Round
    participant_id: ParticipantId
    policy: Policy
    rng: Rng
    credentials: Credentials | None
    claim: Claim = nothing_before
    durable_claim: bool = False
    encapsulate: Encapsulate = xwing.encapsulate

    @property
    def threshold(self) -> int:
        """How many participants a sum needs at least (t)."""
        return self.round.config.threshold

    @property
    def active(self) -> bool:
        """Whether the round is to stand against a coordinator that lies."""
        return self.round.config.threat_model is ThreatModel.ACTIVE

    def about(self, model_digest: bytes) -> "Membership":
        """Ours in the same round, about this model; errors as of `Round.about`."""
        return replace(self, round=self.round.about(model_digest))

    def sign(self, message: bytes) -> bytes:
        """Sign `message` with our key."""
        return self.required_credentials.identity.sign(message)

    @property
    def required_credentials(self) -> Credentials:
        """Our credentials, where the round needs them.

        Raises:
            ConfigError: there are none.
        """
        if self.credentials is None:
            raise ConfigError("this round's messages are signed: pass an identity and the CA's certificate")
        return self.credentials

    def signed_keys(self, keys: AdvertiseKeys) -> AdvertiseKeys:
        """`keys` with our signature of them and our certificates."""
        signature = self.sign(rosters.advertisement_to_sign(self.round.context, self.participant_id, keys))
        chain = self.required_credentials.identity.chain
        return AdvertiseKeys(keys.channel_public_key, keys.mask_public_key, signature, chain, keys.key_share_commitment)
