"""The phases of a round in their order, and the protocol's messages as values: all that is declared of a phase.

Code, tests and documentation read the tables here. `secagg.phases` says which phases a configuration has, and
`secagg.wire.calls` has the way of each message to bytes and back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NewType

from secagg.config import DIGEST_SIZE, ThreatModel
from secagg.crypto.secret import Secret

ParticipantId = NewType("ParticipantId", str)
"""1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit; the name in the participant's certificate."""

Index = NewType("Index", int)
"""1 to n: position in the roster, which is sorted by participant id. Also the x of the participant's Shamir shares."""


class Phase(Enum):
    """A phase of a round. Participants send what it asks for, and the coordinator answers all of them when it closes.

    The value is the number on the wire less one. 0 to 4 are the rounds of Bonawitz et al. (2017), figure 4.
    """

    ADVERTISE_KEYS = 0
    """Participants join with their public keys, and receive the roster."""
    SHARE_KEYS = 1
    """Each participant deals shares of its secrets to the others."""
    MASKED_INPUT = 2
    """Participants send masked updates, and learn who survived."""
    CONSISTENCY_CHECK = 3
    """Against an active coordinator: survivors sign who survived."""
    UNMASK = 4
    """Survivors reveal the shares that take the masks off the sum."""
    CONFIRM_KEY = 5
    """Homomorphic, custody `participants`: participants confirm that they hold the dealer's key."""
    ENCRYPTED_INPUT = 6
    """Homomorphic: participants send encrypted updates."""
    REPORT_SUM = 7
    """Custody `participants`: each reports the digest of the sum that it decrypted."""
    RELEASE_SUM = 8
    """Custody `participants`, where the FL server gets the sum: one participant hands it in."""
    PARTIAL_DECRYPTION = 9
    """Custody `threshold`: each decrypts the sum with its part of the key."""
    RECOVERY_CHECK = 10
    """Custody `threshold`, when some did not decrypt: the others sign who they are."""
    RECOVER_SEEDS = 11
    """Custody `threshold`: the others reveal their shares of the missing parts of the key."""

    def __str__(self) -> str:
        """The name as the paper spells it, e.g. `MaskedInput`: in every text for people and in all JSON output."""
        return self.name.title().replace("_", "")


# --- messages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AdvertiseKeys:
    """Round 0, participant: fresh public keys.

    Attributes:
        channel_public_key: 32 bytes, X25519, or in the hybrid suite 1216, X-Wing; peers seal shares to it (c_pk).
        mask_public_key: as long; pairwise masks come from it (s_pk). Empty where nothing is masked.
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
class Listing:
    """All members of a round with a sparse graph in short, in the order of their indices.

    Attributes:
        ids: their ids, ascending.
        entry_digests: the digests of their entries, 32 bytes each, joined.
    """

    ids: tuple[ParticipantId, ...]
    entry_digests: bytes


@dataclass(frozen=True, slots=True)
class Roster:
    """Round 0, coordinator: the members of the round (U1), sorted by participant id, with indices 1 to n.

    Attributes:
        members: with a complete graph, all of them. With a sparse graph, those of the addressee's closed neighbourhood
            and of the committee.
        listing: with a sparse graph, all of them in short; else None.
    """

    members: tuple[Member, ...]
    listing: Listing | None = None


@dataclass(frozen=True, slots=True)
class ShareKeys:
    """Round 1, participant.

    Attributes:
        commitment: 32 bytes, SHA-256 commitment to the self-mask seed b_u, or digest of the key seed. Empty in custody
            `threshold`, whose commitment came in round 0.
        sealed: for each neighbour's index an entry: share(s_sk) ‖ share(b_u), sealed to it (66 + 16 bytes), then a
            digest of each share (2 · 32 bytes). Homomorphic rounds seal a key seed (32 + 16 bytes) or a share of one
            (33 + 16 bytes), with one digest. See `rounds.dealing`.
        key_share: our packed share of the joint encryption key; empty where there is none.
        signature: over the digests of all entries (`Dealt`); empty where nothing is signed.
    """

    commitment: bytes
    sealed: Mapping[Index, bytes]
    key_share: bytes = b""
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Dealt:
    """What a member signed of all that it dealt in ShareKeys. Only who refused one of the entries is shown it.

    Attributes:
        digests: the digest of each entry (`dealing.entry_digest`), 32 bytes each, in the order of their receivers.
        signature: that of its ShareKeys.
    """

    digests: bytes
    signature: bytes

    @property
    def each(self) -> frozenset[bytes]:
        """The digests, without their order."""
        return frozenset(self.digests[i : i + DIGEST_SIZE] for i in range(0, len(self.digests), DIGEST_SIZE))


@dataclass(frozen=True, slots=True)
class ShareDelivery:
    """Round 1, coordinator: what neighbours in U2 sealed to the addressee, by sender.

    Attributes:
        sealed: by sender. Where one key is dealt: the dealer's alone; empty for the dealer.
        key_shares: all packed shares of the joint encryption key, by owner; empty where there is none.
        model_digest: 32 bytes: of the model that the round is about, where it is named now; else empty.
    """

    sealed: Mapping[Index, bytes]
    key_shares: Mapping[Index, bytes] = field(default_factory=dict)
    model_digest: bytes = b""


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

# --- phases and their order -------------------------------------------------------------------------------------------

MASKED_PHASES: Final = {
    ThreatModel.SEMI_HONEST: (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK),
    ThreatModel.ACTIVE: (
        Phase.ADVERTISE_KEYS,
        Phase.SHARE_KEYS,
        Phase.MASKED_INPUT,
        Phase.CONSISTENCY_CHECK,
        Phase.UNMASK,
    ),
}
"""The phases of a masked round, in order."""

DEALT_KEY_PHASES: Final = (
    Phase.ADVERTISE_KEYS,
    Phase.SHARE_KEYS,
    Phase.CONFIRM_KEY,
    Phase.ENCRYPTED_INPUT,
    Phase.REPORT_SUM,
    Phase.RELEASE_SUM,
)
"""The phases of a homomorphic round whose key one participant deals; the last only where the FL server gets the sum."""

JOINT_KEY_PHASES: Final = (
    Phase.ADVERTISE_KEYS,
    Phase.SHARE_KEYS,
    Phase.ENCRYPTED_INPUT,
    Phase.CONSISTENCY_CHECK,
    Phase.PARTIAL_DECRYPTION,
    Phase.RECOVERY_CHECK,
    Phase.RECOVER_SEEDS,
)
"""The phases of a homomorphic round with a joint key; the last two only when decryptors fell."""

INPUT_PHASES: Final = frozenset({Phase.MASKED_INPUT, Phase.ENCRYPTED_INPUT})
"""Where updates go up: who delivers there is in the sum."""


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """What is fixed for a phase in every round.

    Attributes:
        message: what a participant sends in it: one message, or the chunks of one vector.
        time_limit: the field of `Deadlines` that says how long it may stay open. Phases that move a whole vector have
            the time of an input.
        opens: whether somebody may know the sum as soon as the phase is open, whatever becomes of the round.
            Participants are then asked for what opens it or, where they hold the key, were given the encrypted sum
            itself. What they answer may reach somebody who colludes with n_C of them, although the coordinator sees too
            little of it. Before such a phase, nobody who follows the protocol gives away anything that opens a sum.
    """

    message: type[ParticipantMessage]
    time_limit: str
    opens: bool = False


PHASES: Final = {
    Phase.ADVERTISE_KEYS: PhaseRow(AdvertiseKeys, "advertise_keys_s"),
    Phase.SHARE_KEYS: PhaseRow(ShareKeys, "share_keys_s"),
    Phase.MASKED_INPUT: PhaseRow(MaskedInputChunk, "masked_input_s"),
    Phase.CONSISTENCY_CHECK: PhaseRow(ConsistencyCheck, "consistency_check_s"),
    Phase.UNMASK: PhaseRow(Unmask, "unmask_s", opens=True),
    Phase.CONFIRM_KEY: PhaseRow(KeyConfirmation, "share_keys_s"),
    Phase.ENCRYPTED_INPUT: PhaseRow(EncryptedInputChunk, "masked_input_s"),
    Phase.REPORT_SUM: PhaseRow(SumReport, "masked_input_s", opens=True),
    Phase.RELEASE_SUM: PhaseRow(SumChunk, "masked_input_s", opens=True),
    Phase.PARTIAL_DECRYPTION: PhaseRow(PartialChunk, "masked_input_s", opens=True),
    Phase.RECOVERY_CHECK: PhaseRow(RecoveryCheck, "consistency_check_s", opens=True),
    Phase.RECOVER_SEEDS: PhaseRow(RecoverSeeds, "unmask_s", opens=True),
}
"""Every phase, with its message and its time limit."""

SENT_IN: Final[dict[type[ParticipantMessage], Phase]] = {row.message: phase for phase, row in PHASES.items()}
"""The phase in which a participant sends each message."""
