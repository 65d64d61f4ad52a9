"""The phase PARTIAL_DECRYPTION, only in custody `threshold`: every survivor takes its part of the key out of the sum.

Participant: checks that t survivors signed the very sets and ciphertext that it saw. Then it decrypts its part, adds
noise that hides its key (smudging), and sends the result in chunks. It does so once.

Coordinator: checks length and order of chunks, and adds whole vectors up. Whoever shared keys and delivered nothing is
called fallen. If nobody is, the sum can be opened and the round ends here. Else it answers everyone with the fallen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from secagg.aggregates import Aggregate
from secagg.crypto.secret import Secret
from secagg.events import Event
from secagg.homomorphic.joint_key.opening import open_sum
from secagg.homomorphic.joint_key.state import JointKeyState
from secagg.homomorphic.profile import profile_of
from secagg.homomorphic.vectors import OnceVector
from secagg.lattice.keyshares import partial_decryption
from secagg.lattice.layout import layout_of
from secagg.lattice.residues import Accumulator, pack_residues, unpack_chunk
from secagg.lattice.rlwe import SecretKey
from secagg.messages import ConsistencyProof, FallenSet, Index, PartialChunk, Phase, SurvivorSet
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import UploadPhase
from secagg.rounds.session import Turn, Waiting
from secagg.rounds.uploads import Spool, Uploads


@dataclass(frozen=True, slots=True)
class AwaitingProof:
    """We signed; next come the others' signatures. Holds our key and pieces of the others' seeds."""

    awaits: ClassVar = Phase.CONSISTENCY_CHECK
    takes: ClassVar = ConsistencyProof
    checked: CheckedRoster
    seed: Secret
    held: Mapping[Index, Secret]
    sets: SurvivorSet
    c1: tuple[bytes, ...]
    message: bytes

    def receive(self, proof: ConsistencyProof, turn: Turn) -> tuple[Waiting, OnceVector[PartialChunk]]:
        """t survivors must have signed our view; then decrypt our part, smudged, once."""
        checked, membership = self.checked, self.checked.membership
        checked.check_signatures(proof.signatures, set(self.sets.survivors), self.message)  # check: C63
        config = membership.round.config
        profile = profile_of(config)
        layout = layout_of(profile, config.vector_len, 1)
        key = SecretKey(profile, self.seed, membership.round.context)

        def make(number: int) -> PartialChunk:
            c1 = unpack_chunk(layout, number, self.c1[number])[:, 0]
            partial = partial_decryption(profile, key, c1, membership.rng)
            return PartialChunk(number, pack_residues(partial[:, None], profile.prime_bits))

        following = turn.after(self, checked, self.held, frozenset(proof.signatures))
        return following, OnceVector(Phase.PARTIAL_DECRYPTION, layout.chunks, make)


class PartialDecryptionPhase(UploadPhase[PartialChunk]):
    """PARTIAL_DECRYPTION at the coordinator."""

    state: JointKeyState
    phase = Phase.PARTIAL_DECRYPTION

    def __init__(self, state: JointKeyState, partials: Accumulator, spool: Spool) -> None:
        """Args:
        state: of the round.
        partials: the sum of the partial decryptions.
        spool: where incomplete vectors wait.
        """
        layout = partials.layout
        uploads = Uploads(
            self.phase,
            layout.chunks,
            spool,
            check=lambda number, payload: unpack_chunk(layout, number, payload),
            fold=partials.add,
        )
        super().__init__(state, uploads)
        self._partials = partials

    def rebuilt(self, index: Index, number: int, payload: bytes, seed: bytes) -> PartialChunk:
        """Number and payload are all of it."""
        return PartialChunk(number, payload)

    @property
    def ends_the_round(self) -> bool:
        """Whether every member that has a part of the key has taken it out."""
        return not self.state.fallen

    def close(self, alive: set[Index]) -> list[Event]:
        """Who fell; their vectors that arrived in part are forgotten."""
        self.state.fallen = tuple(sorted(set(self.state.shared) - alive))
        self.discard(set(self.state.fallen))
        return []

    def answer(self, index: Index) -> FallenSet:
        """The same list for everyone."""
        return FallenSet(self.state.fallen)

    def finish(self) -> tuple[list[Event], Aggregate]:
        """Nobody fell: open the sum."""
        return open_sum(self.state, self._partials, {})

    def forget(self) -> None:
        """Drop the sum of the partial decryptions, too."""
        super().forget()
        self._partials.forget()
