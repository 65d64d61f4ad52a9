"""The phase CONSISTENCY_CHECK in custody `threshold`: nobody decrypts before t survivors agree on what is decrypted.

Participant: checks who is in the sum and that the ciphertext is well-formed; records the sum as opened; signs the sets
and the ciphertext.

Coordinator: takes one signature of each survivor, which must cover what it told. It answers everyone with all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from secagg.crypto.secret import Secret
from secagg.homomorphic import encrypted_sum, transcripts
from secagg.homomorphic.joint_key.state import JointKeyState
from secagg.homomorphic.profile import profile_of
from secagg.lattice.layout import layout_of
from secagg.lattice.residues import chunks_digest
from secagg.messages import ConsistencyCheck, EncryptedSum, Index, Phase
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import SignaturePhase
from secagg.rounds.session import Turn, Waiting


@dataclass(frozen=True, slots=True)
class AwaitingSum:
    """Our input is out; next comes the sum's c1. Holds our key and pieces of the others' seeds."""

    awaits: ClassVar = Phase.ENCRYPTED_INPUT
    takes: ClassVar = EncryptedSum
    checked: CheckedRoster
    seed: Secret
    held: Mapping[Index, Secret]  # pieces of key seeds, by owner; its keys are U2

    def receive(self, encrypted: EncryptedSum, turn: Turn) -> tuple[Waiting, ConsistencyCheck]:
        """Sign who is in the sum and what is to be decrypted."""
        checked, membership = self.checked, self.checked.membership
        encrypted_sum.check_sets(checked, encrypted.sets, frozenset(self.held))
        config = membership.round.config
        layout = layout_of(profile_of(config), config.vector_len, 1)
        encrypted_sum.check_ciphertext(layout, encrypted.c1)
        checked.claim_sum(set(encrypted.sets.survivors))  # check: C86
        message = transcripts.decryption(
            membership.round.context, checked.roster, encrypted.sets, chunks_digest(layout, encrypted.c1)
        )
        following = turn.after(self, checked, self.seed, self.held, encrypted.sets, encrypted.c1, message)
        return following, ConsistencyCheck(membership.sign(message))


class ConsistencyCheckPhase(SignaturePhase[ConsistencyCheck]):
    """CONSISTENCY_CHECK at the coordinator."""

    state: JointKeyState
    phase = Phase.CONSISTENCY_CHECK

    def to_sign(self, message: ConsistencyCheck) -> bytes:
        """Our sets and our c1."""
        return self.state.to_sign
