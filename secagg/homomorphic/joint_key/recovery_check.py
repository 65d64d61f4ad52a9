"""The phase RECOVERY_CHECK, only in custody `threshold`, when decryptors fell: the others agree on who.

A coordinator that told different lists to different members would collect the seeds of all of them, and could decrypt
every single input.

Participant: checks that the fallen shared keys, that it is not among them, that everyone is among them who did not sign
in CONSISTENCY_CHECK, and that t decryptors are left. It signs the list.

Coordinator: takes one signature of each decryptor that is left. It answers everyone with all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from secagg.crypto.secret import Secret
from secagg.errors import ProtocolViolation
from secagg.homomorphic import transcripts
from secagg.homomorphic.joint_key.state import JointKeyState
from secagg.messages import FallenSet, Index, Phase, RecoveryCheck
from secagg.roster import COORDINATOR
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import SignaturePhase
from secagg.rounds.session import Ended, Turn, Waiting


@dataclass(frozen=True, slots=True)
class AwaitingFallen:
    """Our partial decryption is out; next comes who fell away. Holds pieces of the others' seeds."""

    awaits: ClassVar = Phase.PARTIAL_DECRYPTION
    takes: ClassVar = FallenSet
    checked: CheckedRoster
    held: Mapping[Index, Secret]
    signers: frozenset[Index]

    def receive(self, message: FallenSet, turn: Turn) -> tuple[Waiting | Ended, RecoveryCheck | None]:
        """Sign who fell; nothing if nobody did."""
        if not message.fallen:
            return Ended.DONE, None
        checked, fallen, threshold = self.checked, set(message.fallen), self.checked.membership.threshold
        if not fallen <= set(self.held):  # check: C65-shared
            raise ProtocolViolation("fallen decryptors who never shared keys", culprit=COORDINATOR)
        if checked.own_index in fallen:  # check: C65-ourselves
            raise ProtocolViolation("we are called fallen", culprit=COORDINATOR)
        if not set(self.held) - self.signers <= fallen:  # check: C66-unsigned
            raise ProtocolViolation("a decryptor that did not sign is not called fallen", culprit=COORDINATOR)
        if len(self.held) - len(fallen) < threshold:  # check: C66-threshold
            raise ProtocolViolation(
                f"{len(fallen)} fallen leave fewer decryptors than threshold {threshold}", culprit=COORDINATOR
            )
        signed = transcripts.recovery(checked.membership.round.context, checked.roster, message.fallen)
        following = turn.after(self, checked, self.held, message.fallen, signed)
        return following, RecoveryCheck(checked.membership.sign(signed))


class RecoveryCheckPhase(SignaturePhase[RecoveryCheck]):
    """RECOVERY_CHECK at the coordinator."""

    state: JointKeyState
    phase = Phase.RECOVERY_CHECK

    def to_sign(self, message: RecoveryCheck) -> bytes:
        """Our list of the fallen."""
        state = self.state
        return transcripts.recovery(state.round.context, state.members.roster, state.fallen)
