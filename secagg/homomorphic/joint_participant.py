"""Custody `threshold`: everyone holds a part of the key; the sum is opened by smudged partial decryptions
(experimental).

Mouchet et al. (2021), ePrint 2020/304, with key seeds shared by Shamir so that decryptors may fall away. One frozen
class per state. Stands against a coordinator that follows the protocol: partial decryptions are not proven correct,
and ciphertexts are malleable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from secagg.crypto import labels, shamir
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest
from secagg.encoding.vector import IntegerVector
from secagg.errors import DecodeError, ProtocolViolation, RemoteError
from secagg.homomorphic import transcripts
from secagg.homomorphic.dealt_participant import check_ciphertext, check_sets, profile_of
from secagg.homomorphic.transcripts import seed_share_digest
from secagg.homomorphic.vectors import Backend, OnceVector, encrypted_input
from secagg.lattice.jobs import OpenPublicKey
from secagg.lattice.keyshares import (
    check_commitment,
    commitment,
    joint_key,
    key_share,
    pack_key_share,
    partial_decryption,
    unpack_key_share,
)
from secagg.lattice.layout import layout_of
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Profile
from secagg.lattice.residues import chunks_digest, pack_residues, unpack_chunk
from secagg.lattice.rlwe import KEY_SEED_SIZE, SecretKey
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyProof,
    EncryptedInputChunk,
    EncryptedSum,
    FallenSet,
    Index,
    PartialChunk,
    RecoverSeeds,
    RecoveryCheck,
    Roster,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
)
from secagg.phases import Phase
from secagg.roster import COORDINATOR
from secagg.rounds import dealing
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.membership import Membership


def join(membership: Membership) -> tuple["AwaitingRoster", AdvertiseKeys]:
    """Round 0: a fresh channel key and a commitment to our key share, signed.

    Raises:
        PolicyViolation: the round is below our policy.
    """
    membership.policy.check(membership.round.config)  # check: C3
    channel = KeyPair.generate(membership.rng)
    seed = Secret(membership.rng.token(KEY_SEED_SIZE))
    profile, context = profile_of(membership.round.config), membership.round.context
    share = pack_key_share(profile, key_share(profile, seed, context))
    committed = commitment(context, membership.participant_id, share)
    keys = membership.signed_keys(AdvertiseKeys(channel.public, b"", key_share_commitment=committed))
    return AwaitingRoster(membership, channel, seed, share, keys), keys


@dataclass(frozen=True, slots=True)
class AwaitingRoster:
    """We committed to a key share; next comes the roster. Holds secrets."""

    membership: Membership
    channel: KeyPair
    seed: Secret
    key_share: bytes
    keys: AdvertiseKeys

    def on_roster(self, roster: Roster, now: float) -> tuple["AwaitingShares", ShareKeys]:
        """Check the roster; show our key share, and split its seed among everyone."""
        membership = self.membership
        checked = CheckedRoster.check(membership, roster, self.keys, now, signed=True)
        pieces = shamir.share(self.seed, membership.threshold, list(checked.members), membership.rng)
        sealed = {
            i: dealing.seal(
                membership.round,
                dealing.SEED_SHARE,
                self.channel,
                sender=membership.participant_id,
                receiver=member,
                content=pieces[i].expose(),
                digests=seed_share_digest(membership.round.context, membership.participant_id, member, pieces[i]),
            )
            for i, member in checked.members.items()
            if i != checked.own_index
        }
        state = AwaitingShares(checked, self.channel, self.seed, self.key_share, pieces[checked.own_index])
        return state, ShareKeys(b"", dealing.sign(checked, sealed), self.key_share)


@dataclass(frozen=True, slots=True)
class AwaitingShares:
    """Our key share is out; next come the others'. Holds secrets."""

    checked: CheckedRoster
    channel: KeyPair
    seed: Secret
    key_share: bytes
    own_piece: Secret

    def on_delivery(
        self, delivery: ShareDelivery, vector: IntegerVector, backend: Backend
    ) -> tuple["AwaitingSum", OnceVector[EncryptedInputChunk]]:
        """Open and validate every piece and key share now; then encrypt under the sum of the key shares."""
        checked, membership = self.checked, self.checked.membership
        profile, context, own = profile_of(membership.round.config), membership.round.context, checked.own_index
        shared = set(delivery.key_shares)
        if set(delivery.sealed) | {own} != shared or shared - set(checked.members):  # check: C59-members
            raise ProtocolViolation("seed pieces and key shares are not of the same members", culprit=COORDINATOR)
        if len(delivery.key_shares) < membership.threshold:  # check: C59-threshold
            raise ProtocolViolation(
                f"key shares of {len(delivery.key_shares)} participants are below threshold {membership.threshold}",
                culprit=COORDINATOR,
            )
        if delivery.key_shares[own] != self.key_share:  # check: C59-our-own
            raise ProtocolViolation("our own key share was changed", culprit=COORDINATOR)
        held = {own: self.own_piece}
        for i, sealed in delivery.sealed.items():
            held[i] = self._open(i, sealed)
        joint = joint_key(profile, [self._checked(profile, i, delivery.key_shares[i]) for i in sorted(held)])
        backend.do(OpenPublicKey(profile, joint, context))
        key_digest = digest(labels.RESIDUES_DIGEST, pack_residues(joint, profile.prime_bits))
        binding = transcripts.input_binding(context, membership.participant_id, profile, key_digest, b"")
        upload = encrypted_input(profile, vector, backend, seed=b"", binding=binding)
        return AwaitingSum(checked, self.seed, held), upload

    def _open(self, sender: Index, sealed: bytes) -> Secret:
        checked = self.checked
        context, owner = checked.membership.round.context, checked.members[sender].participant_id

        def read(content: bytes) -> tuple[Secret, bytes]:
            try:
                shamir.decode_share(content)
            except DecodeError as error:
                raise DecodeError(f"{owner} dealt no valid share: {error}", culprit=owner) from None
            piece = Secret(content)
            return piece, seed_share_digest(context, owner, checked.members[checked.own_index], piece)

        opened = partial(
            dealing.unseal,
            checked.membership.round,
            dealing.SEED_SHARE,
            self.channel,
            sender=checked.members[sender],
            receiver=checked.membership.participant_id,
            entry=sealed,
            read=read,
        )
        return dealing.received(checked, dealing.SEED_SHARE, sender, sealed, opened)

    def _checked(self, profile: Profile, owner: Index, share: bytes) -> U64:
        member = self.checked.members[owner]
        name, context = member.participant_id, self.checked.membership.round.context
        try:
            check_commitment(member.keys.key_share_commitment, context, name, share)  # check: C61
            return unpack_key_share(profile, share)
        except RemoteError as error:
            # Whosever it is: an honest coordinator turns it away at the door and changes none.
            raise type(error)(f"the key share of {name}: {error}", culprit=COORDINATOR) from None


@dataclass(frozen=True, slots=True)
class AwaitingSum:
    """Our input is out; next comes the sum's c1. Holds our key and pieces of the others' seeds."""

    checked: CheckedRoster
    seed: Secret
    held: Mapping[Index, Secret]  # pieces of key seeds, by owner; its keys are U2

    def on_sum(self, encrypted: EncryptedSum) -> tuple["AwaitingProof", ConsistencyCheck]:
        """Sign who is in the sum and what is to be decrypted."""
        checked, membership = self.checked, self.checked.membership
        check_sets(checked, encrypted.sets, frozenset(self.held))
        config = membership.round.config
        layout = layout_of(profile_of(config), config.vector_len, 1)
        check_ciphertext(layout, encrypted.c1)
        checked.claim_sum(set(encrypted.sets.survivors))
        message = transcripts.decryption(
            membership.round.context, checked.roster, encrypted.sets, chunks_digest(layout, encrypted.c1)
        )
        state = AwaitingProof(checked, self.seed, self.held, encrypted.sets, encrypted.c1, message)
        return state, ConsistencyCheck(membership.sign(message))


@dataclass(frozen=True, slots=True)
class AwaitingProof:
    """We signed; next come the others' signatures. Holds our key and pieces of the others' seeds."""

    checked: CheckedRoster
    seed: Secret
    held: Mapping[Index, Secret]
    sets: SurvivorSet
    c1: tuple[bytes, ...]
    message: bytes

    def on_proof(self, proof: ConsistencyProof) -> tuple["AwaitingFallen", OnceVector[PartialChunk]]:
        """t survivors must have signed our view; then decrypt our part, smudged, once."""
        checked, membership = self.checked, self.checked.membership
        checked.check_signatures(proof.signatures, set(self.sets.survivors), self.message)
        config = membership.round.config
        profile = profile_of(config)
        layout = layout_of(profile, config.vector_len, 1)
        key = SecretKey(profile, self.seed, membership.round.context)

        def make(number: int) -> PartialChunk:
            c1 = unpack_chunk(layout, number, self.c1[number])[:, 0]
            partial = partial_decryption(profile, key, c1, membership.rng)
            return PartialChunk(number, pack_residues(partial[:, None], profile.prime_bits))

        return AwaitingFallen(checked, self.held, frozenset(proof.signatures)), OnceVector(
            Phase.PARTIAL_DECRYPTION, layout.chunks, make
        )


@dataclass(frozen=True, slots=True)
class AwaitingFallen:
    """Our partial decryption is out; next comes who fell away. Holds pieces of the others' seeds."""

    checked: CheckedRoster
    held: Mapping[Index, Secret]
    signers: frozenset[Index]

    def on_fallen(self, message: FallenSet) -> tuple["AwaitingRecoveryProof", RecoveryCheck] | None:
        """Sign who fell; nothing if nobody did."""
        if not message.fallen:
            return None
        checked, fallen = self.checked, set(message.fallen)
        if not fallen <= set(self.held):  # check: C65-shared
            raise ProtocolViolation("fallen decryptors who never shared keys", culprit=COORDINATOR)
        if checked.own_index in fallen:  # check: C65-ourselves
            raise ProtocolViolation("we are called fallen", culprit=COORDINATOR)
        if not set(self.held) - self.signers <= fallen:  # check: C66-unsigned
            raise ProtocolViolation("a decryptor that did not sign is not called fallen", culprit=COORDINATOR)
        if len(self.held) - len(fallen) < checked.membership.threshold:  # check: C66-threshold
            raise ProtocolViolation(
                f"{len(fallen)} fallen leave fewer decryptors than threshold {checked.membership.threshold}",
                culprit=COORDINATOR,
            )
        signed = transcripts.recovery(checked.membership.round.context, checked.roster, message.fallen)
        return AwaitingRecoveryProof(checked, self.held, message.fallen, signed), RecoveryCheck(
            checked.membership.sign(signed)
        )


@dataclass(frozen=True, slots=True)
class AwaitingRecoveryProof:
    """We signed who fell; next come the others' signatures. Holds pieces of the others' seeds."""

    checked: CheckedRoster
    held: Mapping[Index, Secret]
    fallen: tuple[Index, ...]
    message: bytes

    def on_proof(self, proof: ConsistencyProof) -> RecoverSeeds:
        """t decryptors must have signed our list; then reveal our pieces of those seeds, and of no other."""
        self.checked.check_signatures(proof.signatures, set(self.held) - set(self.fallen), self.message)  # check: C67
        return RecoverSeeds({i: self.held[i] for i in self.fallen})
