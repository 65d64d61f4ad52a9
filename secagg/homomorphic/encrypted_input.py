"""The phase ENCRYPTED_INPUT at the coordinator: what both custodies have in common.

The coordinator adds up ciphertexts that it cannot open. Each chunk carries a digest that binds it to the round, its
sender, the parameters, the key and its place, so nobody's chunk can be put in place of another one.
"""

from secagg.errors import AuthenticationError
from secagg.homomorphic import transcripts
from secagg.homomorphic.profile import profile_of
from secagg.lattice.residues import unpack_chunk
from secagg.lattice.summation import PublicKeySum, SeededSum
from secagg.messages import EncryptedInputChunk, EncryptedSum, Index, ParticipantId, Phase, SurvivorSet
from secagg.rounds.coordinator_phase import UploadPhase
from secagg.rounds.shared_state import SharedState
from secagg.rounds.uploads import Spool, Uploads


class EncryptedInputPhase(UploadPhase[EncryptedInputChunk]):
    """Takes and adds up encrypted vectors; a custody says under which key they are, and what the sum is.

    Attributes:
        profile: the encryption parameters.
        encrypted: what everyone is told when the phase is closed.
    """

    phase = Phase.ENCRYPTED_INPUT
    answer_is_large = True

    def __init__(self, state: SharedState, total: SeededSum | PublicKeySum, spool: Spool) -> None:
        """Args:
        state: of the round.
        total: adds whole vectors up.
        spool: where incomplete vectors wait.
        """
        layout = total.upload
        uploads = Uploads(
            self.phase,
            layout.chunks,
            spool,
            check=lambda number, payload: unpack_chunk(layout, number, payload),
            fold=total.add,
        )
        super().__init__(state, uploads)
        self.profile = profile_of(state.round.config)
        self.encrypted = EncryptedSum(SurvivorSet((), ()), (), ())
        self._total = total

    def answer(self, index: Index) -> EncryptedSum:
        """The same sum for everyone."""
        return self.encrypted

    def bound(
        self, index: Index, number: int, payload: bytes, key_digest: bytes, seed: bytes, *, carried: bytes
    ) -> EncryptedInputChunk:
        """The member's chunk with this payload, bound to key and seed; `carried` is the seed that is in it."""
        name = self.state.members.name(index)
        binding = transcripts.input_binding(self.state.round.context, name, self.profile, key_digest, seed)
        return EncryptedInputChunk(number, payload, transcripts.chunk_binding(binding, number, payload), carried)

    def check_binding(self, message: EncryptedInputChunk, name: ParticipantId, key_digest: bytes, seed: bytes) -> None:
        """Refuse a chunk that is not of the encrypted input of `name` under this key and seed."""
        binding = transcripts.input_binding(self.state.round.context, name, self.profile, key_digest, seed)
        check_chunk(binding, message, name)

    def forget(self) -> None:
        """Drop the ciphertexts, added up or not."""
        super().forget()
        self._total.forget()
        self.encrypted = EncryptedSum(self.encrypted.sets, (), ())


def check_chunk(binding: bytes, message: EncryptedInputChunk, name: ParticipantId) -> None:
    """Refuse a chunk that is not of this encrypted input.

    Raises:
        AuthenticationError: of another round, sender, profile, key or place, or altered.
    """
    if message.binding != transcripts.chunk_binding(binding, message.number, message.payload):  # check: C76
        raise AuthenticationError(
            f"chunk {message.number} of {name} was altered, or is of another round, sender, profile or key",
            culprit=name,
        )
