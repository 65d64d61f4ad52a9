"""The protocol's messages as values. `secagg.wire.codec` turns them into bytes and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NewType

from secagg.crypto.secret import Secret

ParticipantId = NewType("ParticipantId", str)
"""1 to 128 printable ASCII characters; the name in the participant's certificate."""

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
    """One line of the roster."""

    index: Index
    participant_id: ParticipantId
    keys: AdvertiseKeys


@dataclass(frozen=True, slots=True)
class Roster:
    """Round 0, coordinator: U1, sorted by participant id, indices 1 to n."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class ShareKeys:
    """Round 1, participant.

    Attributes:
        commitment: 32 bytes, SHA-256 commitment to the self-mask seed b_u.
        sealed: for each neighbour's index share(s_sk) ‖ share(b_u), sealed to it: 66 + 16 bytes.
    """

    commitment: bytes
    sealed: Mapping[Index, bytes]


@dataclass(frozen=True, slots=True)
class ShareDelivery:
    """Round 1, coordinator: what neighbours in U2 sealed to the addressee, by sender."""

    sealed: Mapping[Index, bytes]


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
    """Round 3, coordinator (active): the survivors' signatures, by signer (U4)."""

    signatures: Mapping[Index, bytes]


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
    """Why a participant says that it leaves. Never carries data. The value is the number on the wire."""

    CANCELLED = 1
    REFUSED = 2
    """A check failed or policy forbids the round."""
    FAILED = 3


@dataclass(frozen=True, slots=True)
class Leave:
    """Any round, participant: counts as a dropout at once, without waiting for the deadline."""

    reason: LeaveReason


ParticipantMessage = AdvertiseKeys | ShareKeys | MaskedInputChunk | ConsistencyCheck | Unmask | Leave
CoordinatorMessage = Roster | ShareDelivery | SurvivorSet | ConsistencyProof
