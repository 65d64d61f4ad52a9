"""The protocol's messages as values. `secagg.wire.calls` has the way to bytes and back of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

from secagg.crypto.secret import Secret

ParticipantId = NewType("ParticipantId", str)
"""1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit; the name in the participant's certificate."""

Index = NewType("Index", int)
"""1 to n: position in the roster, which is sorted by participant id. Also the x of the participant's Shamir shares."""


@dataclass(frozen=True, slots=True)
class AdvertiseKeys:
    """Round 0, participant: fresh public keys.

    Attributes:
        channel_public_key: 32 bytes, X25519; peers seal shares to it (c_pk).
        mask_public_key: 32 bytes, X25519; pairwise masks come from it (s_pk). Empty where nothing is masked.
        signature: ECDSA P-256 in DER over label, context, id and both keys; empty if semi-honest.
        certificates: DER, leaf first; empty if semi-honest.
        key_share_commitment: 32 bytes that fix our share of a joint encryption key; empty where there is none.
    """

    channel_public_key: bytes
    mask_public_key: bytes
    signature: bytes = b""
    certificates: tuple[bytes, ...] = ()
    key_share_commitment: bytes = b""


@dataclass(frozen=True, slots=True)
class Member:
    """One participant on the roster, with its index and public keys."""

    index: Index
    participant_id: ParticipantId
    keys: AdvertiseKeys


@dataclass(frozen=True, slots=True)
class Roster:
    """Round 0, coordinator: all members of the round (U1), sorted by participant id, with indices 1 to n."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class ShareKeys:
    """Round 1, participant.

    Attributes:
        commitment: 32 bytes, SHA-256 commitment to the self-mask seed b_u, or digest of the key seed. Empty in custody
            `threshold`, whose commitment came in round 0.
        sealed: for each neighbour's index an entry: share(s_sk) ‖ share(b_u), sealed to it (66 + 16 bytes), then a
            digest of each share (2 · 32 bytes), then our signature where messages are signed. Homomorphic rounds seal
            a key seed (32 + 16 bytes) or a share of one (33 + 16 bytes), with one digest. See `rounds.dealing`.
        key_share: our packed share of the joint encryption key; empty where there is none.
    """

    commitment: bytes
    sealed: Mapping[Index, bytes]
    key_share: bytes = b""


@dataclass(frozen=True, slots=True)
class ShareDelivery:
    """Round 1, coordinator: what neighbours in U2 sealed to the addressee, by sender.

    Attributes:
        sealed: by sender. Where one key is dealt: the dealer's alone; empty for the dealer.
        key_shares: all packed shares of the joint encryption key, by owner; empty where there is none.
    """

    sealed: Mapping[Index, bytes]
    key_shares: Mapping[Index, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MaskedInputChunk:
    """Round 2, participant: one chunk of the masked vector.

    Attributes:
        number: 0, 1, …; all chunks but the last hold `packing.chunk_values(ring_bits)` values.
        payload: values packed to ring_bits each.
    """

    number: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class SurvivorSet:
    """Round 2, coordinator: whose input is in the sum, and who shared keys but is not. Both sorted.

    Attributes:
        survivors: U3.
        dropped: U2 minus U3.
    """

    survivors: tuple[Index, ...]
    dropped: tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class ConsistencyCheck:
    """Round 3, participant (active): signature over label, context, roster digest, survivors and dropped."""

    signature: bytes


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """Round 3, coordinator (active): the survivors' signatures, by signer (U4).

    Homomorphic rounds also show by it that the signers hold the same key, and that they saw the same fallen decryptors.
    """

    signatures: Mapping[Index, bytes]


@dataclass(frozen=True, slots=True)
class KeyConfirmation:
    """Custody `participants`, participant: the key that the dealer gave us.

    Attributes:
        digest: 32 bytes over the key's seed.
        signature: over label, context, roster digest, dealer and digest.
    """

    digest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class EncryptedInputChunk:
    """Homomorphic, participant: one chunk of the encrypted vector.

    Attributes:
        number: 0, 1, …
        payload: packed residues of whole blocks.
        binding: 32 bytes: digest over context, sender, profile, key, seed, number and payload.
        seed: 16 bytes that c1 follows from; in chunk 0 of a seeded ciphertext, else empty.
    """

    number: int
    payload: bytes
    binding: bytes
    seed: bytes = b""


@dataclass(frozen=True, slots=True)
class EncryptedSum:
    """Homomorphic, coordinator: who is in the sum, and what is to be decrypted.

    Attributes:
        sets: survivors (U3) and those who shared keys but are not in the sum.
        c0: packed chunks of the sum's c0; empty where participants decrypt in parts.
        c1: packed chunks of the sum's c1.
    """

    sets: SurvivorSet
    c0: tuple[bytes, ...]
    c1: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SumReport:
    """Custody `participants`, participant: the sum that we decrypted.

    Attributes:
        digest: SHA-256 over the packed sum.
        signature: over label, context, roster digest, survivors and digest.
    """

    digest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class ReleaseOrder:
    """Custody `participants`, coordinator: whether the receiver is to hand in the sum."""

    upload: bool


@dataclass(frozen=True, slots=True)
class SumChunk:
    """Custody `participants`, participant: one chunk of the packed sum."""

    number: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class PartialChunk:
    """Custody `threshold`, participant: one chunk of a partial decryption."""

    number: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class FallenSet:
    """Custody `threshold`, coordinator: decryptors whose key seeds are to be recovered; ascending, may be empty."""

    fallen: tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class RecoveryCheck:
    """Custody `threshold`, participant: signature over label, context, roster digest and the fallen."""

    signature: bytes


@dataclass(frozen=True, slots=True)
class RecoverSeeds:
    """Custody `threshold`, participant: our share of each fallen decryptor's key seed, by owner."""

    shares: Mapping[Index, Secret]


@dataclass(frozen=True, slots=True)
class MaskKeyShare:
    """A share of a dropped participant's mask secret key."""

    share: Secret


@dataclass(frozen=True, slots=True)
class SelfMaskShare:
    """A share of a survivor's self-mask seed."""

    share: Secret


RevealedShare = MaskKeyShare | SelfMaskShare
"""One or the other: a reply that reveals both for one owner cannot be written."""


@dataclass(frozen=True, slots=True)
class Unmask:
    """Round 4, participant: exactly one share for each owner."""

    shares: Mapping[Index, RevealedShare]


class LeaveReason(Enum):
    """The reason that a participant gives when it leaves. The value is the number on the wire."""

    CANCELLED = 1
    REFUSED = 2
    """A check failed or policy forbids the round."""
    FAILED = 3


@dataclass(frozen=True, slots=True)
class Leave:
    """Any round, participant: counts as a dropout at once, without waiting for the deadline.

    Attributes:
        reason: why.
        accused: the participant whose message we refused. Our word only: it proves nothing.
        refused_entry: 32 bytes: which entry of ShareDelivery we refused, see `dealing.entry_digest`; empty where it
            was something else.
    """

    reason: LeaveReason
    accused: ParticipantId | None = None
    refused_entry: bytes = b""


ParticipantMessage = (
    AdvertiseKeys
    | ShareKeys
    | MaskedInputChunk
    | ConsistencyCheck
    | Unmask
    | KeyConfirmation
    | EncryptedInputChunk
    | SumReport
    | SumChunk
    | PartialChunk
    | RecoveryCheck
    | RecoverSeeds
    | Leave
)
CoordinatorMessage = Roster | ShareDelivery | SurvivorSet | ConsistencyProof | EncryptedSum | ReleaseOrder | FallenSet
