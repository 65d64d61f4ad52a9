"""A round with a dealt key put together from its phases: which state of the participant takes which message, and which
units the coordinator's engine drives.
"""

from secagg.context import Round
from secagg.crypto.identity import TrustAnchors
from secagg.encoding.vector import IntegerVector
from secagg.homomorphic.dealt_key.advertise_keys import join
from secagg.homomorphic.dealt_key.confirm_key import AwaitingKey, ConfirmKeyPhase
from secagg.homomorphic.dealt_key.encrypted_input import AwaitingConfirmations, EncryptedInputPhase
from secagg.homomorphic.dealt_key.release_sum import AwaitingOrder, ReleaseSumPhase
from secagg.homomorphic.dealt_key.report_sum import AwaitingSum, ReportSumPhase
from secagg.homomorphic.dealt_key.share_keys import AwaitingRoster, ShareKeysPhase
from secagg.homomorphic.dealt_key.state import DealtKeyState
from secagg.homomorphic.profile import profile_of
from secagg.homomorphic.session import HomomorphicParticipant, Reply
from secagg.homomorphic.vectors import Backend
from secagg.lattice.summation import SeededSum
from secagg.messages import (
    ConsistencyProof,
    CoordinatorMessage,
    EncryptedSum,
    ReleaseOrder,
    Roster,
    ShareDelivery,
)
from secagg.rounds.engine import Engine
from secagg.rounds.members import Members
from secagg.rounds.membership import Membership
from secagg.rounds.releases import Claim
from secagg.rounds.session import Ended, unexpected
from secagg.rounds.uploads import Spool

# --- participant ------------------------------------------------------------------------------------------------------

State = AwaitingRoster | AwaitingKey | AwaitingConfirmations | AwaitingSum | AwaitingOrder


class DealtKeyParticipant(HomomorphicParticipant[State]):
    """One participant in custody `participants`, where everyone decrypts the sum."""

    def __init__(self, membership: Membership, vector: IntegerVector, backend: Backend) -> None:
        """Raises:
        PolicyViolation: the round is below our policy.
        """
        super().__init__(membership, *join(membership), vector, backend)

    def _advance(self, state: State, message: CoordinatorMessage, now: float) -> tuple[State | Ended, Reply | None]:
        match state, message:
            case AwaitingRoster(), Roster():
                return state.on_roster(message, now)
            case AwaitingKey(), ShareDelivery():
                return state.on_delivery(message)
            case AwaitingConfirmations(), ConsistencyProof():
                return state.on_proof(message, self._vector, self._backend)
            case AwaitingSum(), EncryptedSum():
                following, report = state.on_sum(message, self._backend)
                self.aggregate = following.aggregate
                return following, report
            case AwaitingOrder(), ReleaseOrder():
                return Ended.DONE, state.on_order(message)
            case _:
                raise unexpected(message)


# --- coordinator ------------------------------------------------------------------------------------------------------


def coordinator(round_: Round, *, now: float, trust: TrustAnchors, spool: Spool, claim: Claim) -> Engine:
    """A round in custody `participants`, in its first phase; arguments as of `schemes.coordinate`."""
    state = DealtKeyState(round_, Members())
    total = SeededSum(profile_of(round_.config), round_.config.vector_len)
    units = (
        ConfirmKeyPhase(state),
        EncryptedInputPhase(state, total, spool),
        ReportSumPhase(state),
        ReleaseSumPhase(state, spool),
    )
    return Engine(state, ShareKeysPhase(state), units, now=now, trust=trust, claim=claim)
