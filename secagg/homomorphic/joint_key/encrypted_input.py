"""The phase ENCRYPTED_INPUT in custody `threshold`.

Participant: opens and checks every share of a seed that was sealed to it, and every key share, before any input leaves.
Then it adds the key shares up to the joint key, encrypts its input under it and sends the ciphertext in chunks that are
bound to round, sender, parameters and key.

Coordinator: checks binding, length and order of chunks, and adds whole ciphertexts up. Whoever delivered is a survivor.
It answers everyone with who is in the sum, and with the half of the encrypted sum (c1) that partial decryptions need.
"""

from dataclasses import dataclass
from typing import ClassVar

from secagg.crypto import labels, shamir
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest
from secagg.errors import DecodeError, ProtocolViolation, RemoteError
from secagg.events import Event
from secagg.homomorphic import encrypted_input, transcripts
from secagg.homomorphic.encrypted_sum import refuse_transparent
from secagg.homomorphic.joint_key.state import JointKeyState
from secagg.homomorphic.profile import profile_of
from secagg.homomorphic.session import HomomorphicTurn
from secagg.homomorphic.transcripts import seed_share_digest
from secagg.homomorphic.vectors import OnceVector, encrypted_vector
from secagg.lattice.jobs import OpenPublicKey
from secagg.lattice.keyshares import check_commitment, joint_key, unpack_key_share
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Profile
from secagg.lattice.residues import pack_residues
from secagg.lattice.summation import PublicKeySum
from secagg.messages import EncryptedInputChunk, EncryptedSum, Index, ParticipantId, Phase, ShareDelivery
from secagg.roster import COORDINATOR
from secagg.rounds import dealing
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.naming import check_naming
from secagg.rounds.session import Waiting
from secagg.rounds.uploads import Spool


@dataclass(frozen=True, slots=True)
class AwaitingShares:
    """Our key share is out; next come the others'. Holds secrets."""

    awaits: ClassVar = Phase.SHARE_KEYS
    takes: ClassVar = ShareDelivery
    checked: CheckedRoster
    channel: KeyPair
    seed: Secret
    key_share: bytes
    own_piece: Secret

    def receive(
        self, delivery: ShareDelivery, turn: HomomorphicTurn
    ) -> tuple[Waiting, OnceVector[EncryptedInputChunk]]:
        """Open and validate every piece and key share now; then encrypt under the sum of the key shares."""
        checked, membership, shown = self.checked, self.checked.membership, delivery.key_shares
        check_naming(membership.round.config, delivery)  # check: C99
        profile, context, own = profile_of(membership.round.config), membership.round.context, checked.own_index
        if set(delivery.sealed) | {own} != set(shown) or set(shown) - set(checked.members):  # check: C59-members
            raise ProtocolViolation("seed pieces and key shares are not of the same members", culprit=COORDINATOR)
        if len(shown) < membership.threshold:  # check: C59-threshold
            raise ProtocolViolation(
                f"key shares of {len(shown)} participants are below threshold {membership.threshold}",
                culprit=COORDINATOR,
            )
        if shown[own] != self.key_share:  # check: C59-our-own
            raise ProtocolViolation("our own key share was changed", culprit=COORDINATOR)
        held = {own: self.own_piece}
        for i, sealed in delivery.sealed.items():
            held[i] = self._open(i, sealed)
        joint = joint_key(profile, [self._checked(profile, i, shown[i]) for i in sorted(held)])
        turn.backend.do(OpenPublicKey(profile, joint, context))
        key_digest = digest(labels.RESIDUES_DIGEST, pack_residues(joint, profile.prime_bits))
        binding = transcripts.input_binding(context, membership.participant_id, profile, key_digest, b"")
        upload = encrypted_vector(profile, turn.vector, turn.backend, seed=b"", binding=binding)
        return turn.after(self, checked, self.seed, held), upload

    def _open(self, sender: Index, sealed: bytes) -> Secret:
        checked = self.checked
        context, owner = checked.membership.round.context, checked.members[sender].participant_id

        def read(content: bytes) -> tuple[Secret, bytes]:
            try:
                shamir.decode_share(content)  # check: C60
            except DecodeError as error:
                raise DecodeError(f"{owner} dealt no valid share: {error}", culprit=owner) from None
            piece = Secret(content)
            return piece, seed_share_digest(context, owner, checked.members[checked.own_index], piece)

        def opened() -> Secret:
            return dealing.unseal(
                checked.membership.round,
                dealing.SEED_SHARE,
                self.channel,
                sender=checked.members[sender],
                receiver=checked.membership.participant_id,
                entry=sealed,
                read=read,
            )

        return dealing.received(checked, sender, sealed, opened)

    def _checked(self, profile: Profile, owner: Index, share: bytes) -> U64:
        member = self.checked.members[owner]
        name, context = member.participant_id, self.checked.membership.round.context
        try:
            check_commitment(member.keys.key_share_commitment, context, name, share)  # check: C61
            return unpack_key_share(profile, share)
        except RemoteError as error:
            # Whosever it is: an honest coordinator turns it away at the door and changes none.
            raise type(error)(f"the key share of {name}: {error}", culprit=COORDINATOR) from None


class EncryptedInputPhase(encrypted_input.EncryptedInputPhase):
    """ENCRYPTED_INPUT at the coordinator, under a joint key."""

    state: JointKeyState

    def __init__(self, state: JointKeyState, total: PublicKeySum, spool: Spool) -> None:
        """Args:
        state: of the round.
        total: adds whole vectors up.
        spool: where incomplete vectors wait.
        """
        super().__init__(state, total, spool)
        self._sum = total

    def rebuilt(self, index: Index, number: int, payload: bytes, seed: bytes) -> EncryptedInputChunk:
        """Bound to the joint key; there are no seeds."""
        return self.bound(index, number, payload, self.state.key_digest, b"", carried=b"")

    def check(self, index: Index, message: EncryptedInputChunk, name: ParticipantId) -> None:
        """There is no seed; each chunk must be bound to the joint key."""
        if message.seed:  # check: C74
            raise DecodeError(f"{name}: there is no seed under a joint key", culprit=name)
        self.check_binding(message, name, self.state.key_digest, b"")

    def close(self, alive: set[Index]) -> list[Event]:
        """Who is in the sum, the sum of their ciphertexts, and what everyone has to sign."""
        state = self.state
        self.fix_survivors(state.shared, alive)
        state.total = self._sum.finish()
        refuse_transparent(state.total)
        c1 = state.total.c1
        self.encrypted = EncryptedSum(state.sets, (), tuple(c1.chunk(i) for i in range(c1.layout.chunks)))
        state.to_sign = transcripts.decryption(state.round.context, state.members.roster, state.sets, c1.digest())
        return []

    def forget(self) -> None:
        """Drop the encrypted sum, too."""
        super().forget()
        self.state.total = None
