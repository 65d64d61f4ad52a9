"""The phase RECOVER_SEEDS, only in custody `threshold`, when decryptors fell: the end of such a round.

Participant: checks that t decryptors signed the very list of the fallen that it saw. It reveals its shares of their key
seeds, and of no other. It does so once.

Coordinator: takes the shares of each decryptor if they are exactly those of the fallen, and each is the one that its
owner dealt. From t shares it recovers each seed, decrypts in the fallen member's place, and opens the sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from secagg.aggregates import Aggregate
from secagg.crypto import shamir
from secagg.crypto.secret import Secret
from secagg.errors import DecodeError, ProtocolViolation
from secagg.events import Event
from secagg.homomorphic import transcripts
from secagg.homomorphic.joint_key.opening import open_sum
from secagg.homomorphic.joint_key.state import JointKeyState
from secagg.lattice.residues import Accumulator
from secagg.messages import ConsistencyProof, Index, ParticipantId, Phase, RecoverSeeds
from secagg.rounds import dealing
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import OneMessagePhase
from secagg.rounds.session import Ended, Turn


@dataclass(frozen=True, slots=True)
class AwaitingRecoveryProof:
    """We signed who fell; next come the others' signatures. Holds pieces of the others' seeds."""

    awaits: ClassVar = Phase.RECOVERY_CHECK
    takes: ClassVar = ConsistencyProof
    checked: CheckedRoster
    held: Mapping[Index, Secret]
    fallen: tuple[Index, ...]
    message: bytes

    def receive(self, proof: ConsistencyProof, turn: Turn) -> tuple[Ended, RecoverSeeds]:
        """t decryptors must have signed our list; then reveal our pieces of those seeds, and of no other."""
        del turn
        left = set(self.held) - set(self.fallen)
        self.checked.check_signatures(proof.signatures, left, self.message)  # check: C67
        return Ended.DONE, RecoverSeeds({i: self.held[i] for i in self.fallen})


class RecoverSeedsPhase(OneMessagePhase[RecoverSeeds]):
    """RECOVER_SEEDS at the coordinator."""

    state: JointKeyState
    phase = Phase.RECOVER_SEEDS
    another = "revealed other shares"

    def __init__(self, state: JointKeyState, partials: Accumulator) -> None:
        """Args:
        state: of the round.
        partials: the sum of the partial decryptions.
        """
        super().__init__(state)
        self._partials = partials

    def check(self, index: Index, message: RecoverSeeds, name: ParticipantId) -> None:
        """One share of the seed of each fallen decryptor, as it was dealt."""
        state = self.state
        if set(message.shares) != set(state.fallen):  # check: C82
            raise ProtocolViolation(f"{name} must reveal one share for each fallen decryptor", culprit=name)
        for owner, piece in message.shares.items():
            try:
                shamir.decode_share(piece.expose())  # check: C82-share
            except DecodeError as error:
                raise DecodeError(f"{name}: {error}", culprit=name) from None
            dealt_by, holder = state.members.name(owner), state.members.at[index]
            made = transcripts.seed_share_digest(state.round.context, dealt_by, holder, piece)
            if made != dealing.SEED_SHARE.digest_in(state.shared[owner].sealed[index], 0):  # check: C91
                raise state.refuse_wrong_share(dealt_by, name)

    def finish(self) -> tuple[list[Event], Aggregate]:
        """Recover the seeds of the fallen and open the sum."""
        return open_sum(self.state, self._partials, self.accepted)

    def forget(self) -> None:
        """Drop the revealed shares."""
        for index in self.accepted:
            self.accepted[index] = RecoverSeeds({})
