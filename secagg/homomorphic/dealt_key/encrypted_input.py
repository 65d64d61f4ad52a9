"""The phase ENCRYPTED_INPUT in custody `participants`.

Participant: checks that at least t signed the digest of the very key that it holds. Then it encrypts its input under
that key. Half of the ciphertext follows from a fresh public seed, which goes with the first chunk, and only the other
half is sent, in chunks that are bound to round, sender, parameters, key and seed.

Coordinator: checks seed, binding, length and order of chunks, and adds whole ciphertexts up. Whoever delivered is a
survivor. It answers everyone with the encrypted sum and with who is in it. It holds no key, so it cannot open the sum.
"""

from dataclasses import dataclass
from typing import ClassVar

from secagg.crypto.secret import Secret
from secagg.errors import DecodeError, ProtocolViolation
from secagg.events import Event
from secagg.homomorphic import encrypted_input, transcripts
from secagg.homomorphic.dealt_key.state import DealtKeyState
from secagg.homomorphic.encrypted_sum import refuse_transparent
from secagg.homomorphic.profile import profile_of
from secagg.homomorphic.session import HomomorphicTurn
from secagg.homomorphic.vectors import OnceVector, encrypted_vector
from secagg.lattice.jobs import OpenSymmetric
from secagg.lattice.keyshares import dealt_key_digest
from secagg.lattice.streams import SEED_SIZE, SeededPolynomials
from secagg.lattice.summation import SeededSum
from secagg.messages import ConsistencyProof, EncryptedInputChunk, EncryptedSum, Index, ParticipantId, Phase
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.session import Waiting
from secagg.rounds.uploads import Spool


@dataclass(frozen=True, slots=True)
class AwaitingConfirmations:
    """We hold a key; next come the others' signatures that they hold the same. Holds secrets."""

    awaits: ClassVar = Phase.CONFIRM_KEY
    takes: ClassVar = ConsistencyProof
    checked: CheckedRoster
    dealer: Index
    seed: Secret
    message: bytes

    def receive(
        self, proof: ConsistencyProof, turn: HomomorphicTurn
    ) -> tuple[Waiting, OnceVector[EncryptedInputChunk]]:
        """All who go on must have signed our key's digest; then encrypt."""
        checked, membership = self.checked, self.checked.membership
        profile = profile_of(membership.round.config)
        checked.check_signatures(proof.signatures, set(checked.members), self.message)  # check: C51-C52
        stream_seed = membership.rng.token(SEED_SIZE)
        context, name = membership.round.context, membership.participant_id
        turn.backend.do(OpenSymmetric(profile, self.seed.expose(), context, stream_seed, name))
        digest = dealt_key_digest(context, self.seed)
        binding = transcripts.input_binding(context, name, profile, digest, stream_seed)
        upload = encrypted_vector(profile, turn.vector, turn.backend, seed=stream_seed, binding=binding)
        return turn.after(self, checked, self.seed, frozenset(proof.signatures)), upload


class EncryptedInputPhase(encrypted_input.EncryptedInputPhase):
    """ENCRYPTED_INPUT at the coordinator, under a dealt key."""

    state: DealtKeyState

    def __init__(self, state: DealtKeyState, total: SeededSum, spool: Spool) -> None:
        """Args:
        state: of the round.
        total: adds whole vectors up.
        spool: where incomplete vectors wait.
        """
        super().__init__(state, total, spool)
        self._sum = total
        self._seeds: dict[Index, bytes] = {}
        self._seed_owners: dict[bytes, Index] = {}

    def rebuilt(self, index: Index, number: int, payload: bytes, seed: bytes) -> EncryptedInputChunk:
        """Bound to the dealt key and to the member's seed, which chunk 0 carries."""
        return self.bound(index, number, payload, self.state.key_digest, seed, carried=b"" if number else seed)

    def take(self, index: Index, message: EncryptedInputChunk) -> bool:
        """Take the member's next chunk; the seed of an accepted chunk is the member's from then on."""
        complete = super().take(index, message)
        if message.number == 0:
            self._seeds[index] = message.seed
            self._seed_owners[message.seed] = index
        return complete

    def check(self, index: Index, message: EncryptedInputChunk, name: ParticipantId) -> None:
        """The seed in chunk 0 must be fresh; each chunk must be bound to it."""
        if message.number == 0:
            self._check_seed(index, message.seed, name)
        elif message.seed:  # check: C74-chunk-0
            raise DecodeError(f"{name}: the seed belongs into chunk 0", culprit=name)
        seed = message.seed or self._seeds.get(index, b"")
        self.check_binding(message, name, self.state.key_digest, seed)

    def _check_seed(self, index: Index, seed: bytes, name: ParticipantId) -> None:
        """Fresh: under one key, equal seeds would show the difference of two updates."""
        if len(seed) != SEED_SIZE:  # check: C74
            raise DecodeError(f"{name}: a seed has {SEED_SIZE} bytes, not {len(seed)}", culprit=name)
        if self._seed_owners.get(seed, index) != index:  # check: C75
            raise ProtocolViolation(f"{name} repeats the seed of another participant", culprit=name)

    def close(self, alive: set[Index]) -> list[Event]:
        """Who is in the sum, and the sum of their ciphertexts."""
        self.fix_survivors(self.state.confirmed, alive)
        total = self._sum.finish([self._stream(i) for i in sorted(alive)])
        refuse_transparent(total)
        chunks = range(self._sum.upload.chunks)
        c0, c1 = (tuple(half.chunk(i) for i in chunks) for half in (total.c0, total.c1))
        self.encrypted = EncryptedSum(self.state.sets, c0, c1)
        self._sum.forget()
        return []

    def _stream(self, owner: Index) -> SeededPolynomials:
        """The c1 of a survivor."""
        name, context = self.state.members.name(owner), self.state.round.context
        return SeededPolynomials(self.profile, self._seeds[owner], context=context, participant=name)
