"""A round with a dealt key made of its phases: states of the participant and units of the coordinator, in order."""

from typing import Final

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
from secagg.messages import CoordinatorMessage
from secagg.rounds.engine import Engine
from secagg.rounds.members import Members
from secagg.rounds.membership import Membership
from secagg.rounds.releases import Claim
from secagg.rounds.session import Restored
from secagg.rounds.uploads import Spool

# --- participant ------------------------------------------------------------------------------------------------------

STATES: Final = (AwaitingRoster, AwaitingKey, AwaitingConfirmations, AwaitingSum, AwaitingOrder)
"""The participant's states, in order. Each sends what its phase asks for, once the phase before is closed."""


class DealtKeyParticipant(HomomorphicParticipant):
    """One participant in custody `participants`, where everyone decrypts the sum."""

    def __init__(
        self, membership: Membership, vector: IntegerVector | None, backend: Backend, restored: Restored | None = None
    ) -> None:
        """Args:
        membership: ours in the round.
        vector: the encoded update; None if it comes later, by `provide`.
        backend: does the encryption.
        restored: what was saved of us; None to join the round.

        Raises:
            PolicyViolation: the round is below our policy.
        """
        state, keys = restored or join(membership)
        super().__init__(membership, state, keys, vector, order=STATES, backend=backend)
        self._keep_sum()

    def receive(self, message: CoordinatorMessage, now: float) -> Reply | None:
        """Keeps the sum, once it is decrypted."""
        reply = super().receive(message, now)
        self._keep_sum()
        return reply

    def _keep_sum(self) -> None:
        if isinstance(self._state, AwaitingOrder):
            self.aggregate = self._state.aggregate


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
