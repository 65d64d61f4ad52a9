"""What a participant on a framework's channel brings to every round."""

from collections.abc import Callable
from dataclasses import dataclass, field

from secagg.config import RoundConfig
from secagg.context import Round
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.crypto.rng import Rng, SystemRng
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.rounds.membership import Credentials, Membership
from secagg.rounds.releases import Release
from secagg.rounds.saved_state import StateKeys
from secagg.sandbox.worker import Worker
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.terms import Clock, ClosableBackend, SeenRounds
from secagg_client.released_sums.memory import Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedTerms:
    """What stays the same for a participant over all rounds.

    Attributes:
        name: what the framework calls us, and so the coordinator where nothing is signed.
        clock: seconds since 1970; certificates are checked by it.
        policy: our own terms.
        identity: our certificate and key; needed where messages are signed, and gives our name there.
        trust: the deployment's CA; needed with `identity`.
        rng: where our randomness comes from.
        memory: sums that may hold an update of ours. Keep it in a file where each message may be answered in another
            process.
        keys: of states that outlive a process. None for a process that answers all messages of a round, or for keys
            that are kept beside the states: enough against a coordinator that follows the protocol, and refused where
            it may lie.
        feedback: what rounds lost of our updates, in a process that stays. States that outlive it hold their own.
        seen: rounds that we took part in, in a process that stays.
        backend: encrypts and decrypts, in homomorphic rounds.
    """

    name: str
    clock: Clock
    policy: Policy = field(default_factory=Policy)
    identity: Identity | None = None
    trust: TrustAnchors | None = None
    rng: Rng = field(default_factory=SystemRng)
    memory: Memory = field(default_factory=Memory)
    keys: StateKeys | None = None
    feedback: Feedback = field(default_factory=Feedback)
    seen: SeenRounds = field(default_factory=SeenRounds)
    backend: Callable[[], ClosableBackend] = Worker

    def name_in(self, config: RoundConfig) -> ParticipantId:
        """Our participant id in a round."""
        return self.known_as(signed=config.signed)

    def known_as(self, *, signed: bool) -> ParticipantId:
        """Our participant id: of our certificate where messages are signed, else what the framework calls us."""
        return ParticipantId(self.identity.participant_id if signed and self.identity is not None else self.name)

    def membership(self, round_: Round) -> Membership:
        """Our place in a round."""
        credentials = None
        if round_.config.signed and self.identity is not None and self.trust is not None:
            credentials = Credentials(self.identity, self.trust)

        def claim(release: Release) -> frozenset[ParticipantId]:
            return self.memory.claim(round_.round_id, release, self.policy)

        name = self.name_in(round_.config)
        return Membership(round_, name, self.policy, self.rng, credentials, claim, durable_claim=self.memory.durable)
