"""A round with a joint key made of its phases: states of the participant and units of the coordinator, in order."""

from typing import Final

from secagg.context import Round
from secagg.crypto.identity import TrustAnchors
from secagg.encoding.vector import IntegerVector
from secagg.homomorphic.joint_key.advertise_keys import join
from secagg.homomorphic.joint_key.consistency_check import AwaitingSum, ConsistencyCheckPhase
from secagg.homomorphic.joint_key.encrypted_input import AwaitingShares, EncryptedInputPhase
from secagg.homomorphic.joint_key.partial_decryption import AwaitingProof, PartialDecryptionPhase
from secagg.homomorphic.joint_key.recover_seeds import AwaitingRecoveryProof, RecoverSeedsPhase
from secagg.homomorphic.joint_key.recovery_check import AwaitingFallen, RecoveryCheckPhase
from secagg.homomorphic.joint_key.share_keys import AwaitingRoster, ShareKeysPhase
from secagg.homomorphic.joint_key.state import JointKeyState
from secagg.homomorphic.profile import profile_of
from secagg.homomorphic.session import HomomorphicParticipant
from secagg.homomorphic.vectors import Backend
from secagg.lattice.layout import layout_of
from secagg.lattice.residues import Accumulator
from secagg.lattice.summation import PublicKeySum
from secagg.rounds.engine import Engine
from secagg.rounds.members import Members
from secagg.rounds.membership import Membership
from secagg.rounds.releases import Claim
from secagg.rounds.session import Restored
from secagg.rounds.uploads import Spool

# --- participant ------------------------------------------------------------------------------------------------------

STATES: Final = (AwaitingRoster, AwaitingShares, AwaitingSum, AwaitingProof, AwaitingFallen, AwaitingRecoveryProof)
"""The participant's states, in order. Each sends what its phase asks for, once the phase before is closed."""


class JointKeyParticipant(HomomorphicParticipant):
    """One participant in custody `threshold`, where the coordinator gets the sum."""

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


# --- coordinator ------------------------------------------------------------------------------------------------------


def coordinator(round_: Round, *, now: float, trust: TrustAnchors, spool: Spool, claim: Claim) -> Engine:
    """A round in custody `threshold`, in its first phase; arguments as of `schemes.coordinate`."""
    state = JointKeyState(round_, Members())
    profile, values = profile_of(round_.config), round_.config.vector_len
    partials = Accumulator(layout_of(profile, values, 1))
    units = (
        EncryptedInputPhase(state, PublicKeySum(profile, values), spool),
        ConsistencyCheckPhase(state),
        PartialDecryptionPhase(state, partials, spool),
        RecoveryCheckPhase(state),
        RecoverSeedsPhase(state, partials),
    )
    return Engine(state, ShareKeysPhase(state), units, now=now, trust=trust, claim=claim)
