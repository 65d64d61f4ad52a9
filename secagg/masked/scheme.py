"""A masked round made of its phases: states of the participant and units of the coordinator, in order."""

from typing import Final

from secagg.config import ThreatModel
from secagg.context import Round
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.secret import Secret
from secagg.encoding.vector import IntegerVector
from secagg.errors import ConfigError, ProtocolViolation
from secagg.masked.accumulator import Accumulator
from secagg.masked.advertise_keys import join
from secagg.masked.consistency_check import AwaitingSurvivorsToSign, ConsistencyCheckPhase
from secagg.masked.masked_input import AwaitingShares, MaskedInputPhase
from secagg.masked.ranges import Workers, one_after_the_other
from secagg.masked.share_keys import AwaitingRoster, ShareKeysPhase
from secagg.masked.unmask import AwaitingProof, AwaitingSurvivorsToReveal, UnmaskPhase
from secagg.masked.vector import MaskedVector
from secagg.messages import ConsistencyCheck, CoordinatorMessage, ShareKeys, Unmask
from secagg.rounds.doors import HandOver, no_doors
from secagg.rounds.engine import Engine
from secagg.rounds.members import Members
from secagg.rounds.membership import Membership
from secagg.rounds.releases import Claim, nothing_before
from secagg.rounds.session import Ended, Restored, Session, unexpected
from secagg.rounds.shared_state import SharedState
from secagg.rounds.uploads import MemorySpool, Spool

# --- participant ------------------------------------------------------------------------------------------------------

STATES: Final = {
    ThreatModel.SEMI_HONEST: (AwaitingRoster, AwaitingShares, AwaitingSurvivorsToReveal),
    ThreatModel.ACTIVE: (AwaitingRoster, AwaitingShares, AwaitingSurvivorsToSign, AwaitingProof),
}
"""The participant's states, in order. Each sends what its phase asks for, once the phase before is closed."""

Reply = ShareKeys | MaskedVector | ConsistencyCheck | Unmask


class Participant(Session[Reply]):
    """One participant through one masked round. Shares are revealed once."""

    again = "a second unmask request: shares are revealed once per round"

    def __init__(self, membership: Membership, vector: IntegerVector | None, restored: Restored | None = None) -> None:
        """Args:
        membership: ours in the round.
        vector: the encoded update; `membership.round.config.vector_len` coordinates. None if it comes later, by
            `provide`.
        restored: what was saved of us; None to join the round.

        Raises:
            PolicyViolation: the round is below our policy.
            MissingExtraError: what makes the masks of the round's suite is not installed.
        """
        order = STATES[membership.round.config.threat_model]
        state, keys = restored or join(membership)
        super().__init__(membership, state, keys, vector, order=order)

    def _refused(self, state: Ended, message: CoordinatorMessage) -> ProtocolViolation:
        """Says whether shares were revealed before."""
        return super()._refused(state, message) if state is Ended.DONE else unexpected(message)


# --- coordinator ------------------------------------------------------------------------------------------------------


def coordinator(
    round_: Round,
    *,
    now: float,
    trust: TrustAnchors | None = None,
    spool: Spool | None = None,
    workers: Workers = one_after_the_other,
    claim: Claim = nothing_before,
    noise_seed: Secret | None = None,
    hand_over: HandOver = no_doors,
) -> Engine:
    """A masked round in its first phase.

    Args:
        round_: id, configuration and context.
        now: seconds since 1970.
        trust: the deployment's CA; needed in the active threat model, to turn away unsigned keys at the door.
        spool: where incomplete vectors wait; in memory if None.
        workers: make the pieces of unmasking.
        claim: the memory of what other rounds released.
        noise_seed: 32 fresh bytes of the operating system's CSPRNG, where the coordinator adds the noise.
        hand_over: asks a door for the sum of vectors that were added up there.

    Raises:
        ConfigError: an active round without `trust`, or noise without its seed.
        MissingExtraError: what makes the masks of the round's suite is not installed.
    """
    round_.config.suite.require()  # check: suite-installed-at-coordinator
    active = round_.config.threat_model is ThreatModel.ACTIVE
    if active and trust is None:
        raise ConfigError("the active threat model needs the CA's certificate at the coordinator")
    if round_.config.central_noise and noise_seed is None:
        raise ConfigError("the coordinator adds this round's noise: give it a seed of the system's CSPRNG")
    state = SharedState(round_, Members())
    accumulator = Accumulator(round_.config, spool or MemorySpool(), workers)
    units = (
        MaskedInputPhase(state, accumulator, hand_over),
        ConsistencyCheckPhase(state),
        UnmaskPhase(state, accumulator, noise_seed),
    )
    return Engine(state, ShareKeysPhase(state), units, now=now, trust=trust if active else None, claim=claim)
