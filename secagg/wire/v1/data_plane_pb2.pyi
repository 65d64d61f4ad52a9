from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    PHASE_ADVERTISE_KEYS: _ClassVar[Phase]
    PHASE_SHARE_KEYS: _ClassVar[Phase]
    PHASE_MASKED_INPUT: _ClassVar[Phase]
    PHASE_CONSISTENCY_CHECK: _ClassVar[Phase]
    PHASE_UNMASK: _ClassVar[Phase]
    PHASE_CONFIRM_KEY: _ClassVar[Phase]
    PHASE_ENCRYPTED_INPUT: _ClassVar[Phase]
    PHASE_REPORT_SUM: _ClassVar[Phase]
    PHASE_RELEASE_SUM: _ClassVar[Phase]
    PHASE_PARTIAL_DECRYPTION: _ClassVar[Phase]
    PHASE_RECOVERY_CHECK: _ClassVar[Phase]
    PHASE_RECOVER_SEEDS: _ClassVar[Phase]

class LeaveReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEAVE_REASON_UNSPECIFIED: _ClassVar[LeaveReason]
    LEAVE_REASON_CANCELLED: _ClassVar[LeaveReason]
    LEAVE_REASON_REFUSED: _ClassVar[LeaveReason]
    LEAVE_REASON_FAILED: _ClassVar[LeaveReason]
PHASE_UNSPECIFIED: Phase
PHASE_ADVERTISE_KEYS: Phase
PHASE_SHARE_KEYS: Phase
PHASE_MASKED_INPUT: Phase
PHASE_CONSISTENCY_CHECK: Phase
PHASE_UNMASK: Phase
PHASE_CONFIRM_KEY: Phase
PHASE_ENCRYPTED_INPUT: Phase
PHASE_REPORT_SUM: Phase
PHASE_RELEASE_SUM: Phase
PHASE_PARTIAL_DECRYPTION: Phase
PHASE_RECOVERY_CHECK: Phase
PHASE_RECOVER_SEEDS: Phase
LEAVE_REASON_UNSPECIFIED: LeaveReason
LEAVE_REASON_CANCELLED: LeaveReason
LEAVE_REASON_REFUSED: LeaveReason
LEAVE_REASON_FAILED: LeaveReason

class FindRoundRequest(_message.Message):
    __slots__ = ("task", "round_id", "seen", "purpose")
    TASK_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    task: str
    round_id: bytes
    seen: _containers.RepeatedScalarFieldContainer[bytes]
    purpose: str
    def __init__(self, task: _Optional[str] = ..., round_id: _Optional[bytes] = ..., seen: _Optional[_Iterable[bytes]] = ..., purpose: _Optional[str] = ...) -> None: ...

class RoundOfferPart(_message.Message):
    __slots__ = ("round_id", "config")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    config: bytes
    def __init__(self, round_id: _Optional[bytes] = ..., config: _Optional[bytes] = ...) -> None: ...

class AdvertiseRequest(_message.Message):
    __slots__ = ("round_id", "keys")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    keys: AdvertiseKeys
    def __init__(self, round_id: _Optional[bytes] = ..., keys: _Optional[_Union[AdvertiseKeys, _Mapping]] = ...) -> None: ...

class InputProgressRequest(_message.Message):
    __slots__ = ("round_id",)
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    def __init__(self, round_id: _Optional[bytes] = ...) -> None: ...

class InputProgressReply(_message.Message):
    __slots__ = ("next_chunk",)
    NEXT_CHUNK_FIELD_NUMBER: _ClassVar[int]
    next_chunk: int
    def __init__(self, next_chunk: _Optional[int] = ...) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ("round_id", "check")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    check: ConsistencyCheck
    def __init__(self, round_id: _Optional[bytes] = ..., check: _Optional[_Union[ConsistencyCheck, _Mapping]] = ...) -> None: ...

class ConfirmKeyRequest(_message.Message):
    __slots__ = ("round_id", "confirmation")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    confirmation: KeyConfirmation
    def __init__(self, round_id: _Optional[bytes] = ..., confirmation: _Optional[_Union[KeyConfirmation, _Mapping]] = ...) -> None: ...

class ReportSumRequest(_message.Message):
    __slots__ = ("round_id", "report")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    report: SumReport
    def __init__(self, round_id: _Optional[bytes] = ..., report: _Optional[_Union[SumReport, _Mapping]] = ...) -> None: ...

class CheckRecoveryRequest(_message.Message):
    __slots__ = ("round_id", "check")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    check: RecoveryCheck
    def __init__(self, round_id: _Optional[bytes] = ..., check: _Optional[_Union[RecoveryCheck, _Mapping]] = ...) -> None: ...

class AwaitReceiptRequest(_message.Message):
    __slots__ = ("round_id",)
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    def __init__(self, round_id: _Optional[bytes] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("survivors", "sums_digest", "signature", "certificates", "signed_ms")
    SURVIVORS_FIELD_NUMBER: _ClassVar[int]
    SUMS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    SIGNED_MS_FIELD_NUMBER: _ClassVar[int]
    survivors: int
    sums_digest: bytes
    signature: bytes
    certificates: _containers.RepeatedScalarFieldContainer[bytes]
    signed_ms: int
    def __init__(self, survivors: _Optional[int] = ..., sums_digest: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., certificates: _Optional[_Iterable[bytes]] = ..., signed_ms: _Optional[int] = ...) -> None: ...

class CertifyRequest(_message.Message):
    __slots__ = ("round_id", "signature")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    signature: bytes
    def __init__(self, round_id: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class FetchAggregateRequest(_message.Message):
    __slots__ = ("round_id",)
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    def __init__(self, round_id: _Optional[bytes] = ...) -> None: ...

class LeaveRequest(_message.Message):
    __slots__ = ("round_id", "leave")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    leave: Leave
    def __init__(self, round_id: _Optional[bytes] = ..., leave: _Optional[_Union[Leave, _Mapping]] = ...) -> None: ...

class LeaveReply(_message.Message):
    __slots__ = ("dealt",)
    DEALT_FIELD_NUMBER: _ClassVar[int]
    dealt: Dealt
    def __init__(self, dealt: _Optional[_Union[Dealt, _Mapping]] = ...) -> None: ...

class Dealt(_message.Message):
    __slots__ = ("digests", "signature")
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    digests: bytes
    signature: bytes
    def __init__(self, digests: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Description(_message.Message):
    __slots__ = ("version", "protocols", "time_ms")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOLS_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    version: str
    protocols: _containers.RepeatedScalarFieldContainer[int]
    time_ms: int
    def __init__(self, version: _Optional[str] = ..., protocols: _Optional[_Iterable[int]] = ..., time_ms: _Optional[int] = ...) -> None: ...

class AdvertiseKeys(_message.Message):
    __slots__ = ("channel_public_key", "mask_public_key", "signature", "certificates", "key_share_commitment")
    CHANNEL_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    MASK_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    KEY_SHARE_COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    channel_public_key: bytes
    mask_public_key: bytes
    signature: bytes
    certificates: _containers.RepeatedScalarFieldContainer[bytes]
    key_share_commitment: bytes
    def __init__(self, channel_public_key: _Optional[bytes] = ..., mask_public_key: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., certificates: _Optional[_Iterable[bytes]] = ..., key_share_commitment: _Optional[bytes] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("index", "participant_id", "keys")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_ID_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    index: int
    participant_id: str
    keys: AdvertiseKeys
    def __init__(self, index: _Optional[int] = ..., participant_id: _Optional[str] = ..., keys: _Optional[_Union[AdvertiseKeys, _Mapping]] = ...) -> None: ...

class RosterPart(_message.Message):
    __slots__ = ("members", "listed", "entry_digests")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    LISTED_FIELD_NUMBER: _ClassVar[int]
    ENTRY_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[Member]
    listed: _containers.RepeatedScalarFieldContainer[str]
    entry_digests: bytes
    def __init__(self, members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., listed: _Optional[_Iterable[str]] = ..., entry_digests: _Optional[bytes] = ...) -> None: ...

class ShareKeysPart(_message.Message):
    __slots__ = ("commitment", "key_share", "peers", "entries", "signature")
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    KEY_SHARE_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    commitment: bytes
    key_share: bytes
    peers: _containers.RepeatedScalarFieldContainer[int]
    entries: bytes
    signature: bytes
    def __init__(self, commitment: _Optional[bytes] = ..., key_share: _Optional[bytes] = ..., peers: _Optional[_Iterable[int]] = ..., entries: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class KeySharePiece(_message.Message):
    __slots__ = ("owner", "piece")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    owner: int
    piece: bytes
    def __init__(self, owner: _Optional[int] = ..., piece: _Optional[bytes] = ...) -> None: ...

class ShareDeliveryPart(_message.Message):
    __slots__ = ("key_shares", "model_digest", "peers", "entries")
    KEY_SHARES_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    key_shares: _containers.RepeatedCompositeFieldContainer[KeySharePiece]
    model_digest: bytes
    peers: _containers.RepeatedScalarFieldContainer[int]
    entries: bytes
    def __init__(self, key_shares: _Optional[_Iterable[_Union[KeySharePiece, _Mapping]]] = ..., model_digest: _Optional[bytes] = ..., peers: _Optional[_Iterable[int]] = ..., entries: _Optional[bytes] = ...) -> None: ...

class MaskedInputChunk(_message.Message):
    __slots__ = ("number", "payload")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    number: int
    payload: bytes
    def __init__(self, number: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class SurvivorSet(_message.Message):
    __slots__ = ("survivors", "dropped")
    SURVIVORS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    survivors: _containers.RepeatedScalarFieldContainer[int]
    dropped: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, survivors: _Optional[_Iterable[int]] = ..., dropped: _Optional[_Iterable[int]] = ...) -> None: ...

class ConsistencyCheck(_message.Message):
    __slots__ = ("signature",)
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    signature: bytes
    def __init__(self, signature: _Optional[bytes] = ...) -> None: ...

class SignedBy(_message.Message):
    __slots__ = ("signer", "signature")
    SIGNER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    signer: int
    signature: bytes
    def __init__(self, signer: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class ConsistencyProofPart(_message.Message):
    __slots__ = ("signatures",)
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    signatures: _containers.RepeatedCompositeFieldContainer[SignedBy]
    def __init__(self, signatures: _Optional[_Iterable[_Union[SignedBy, _Mapping]]] = ...) -> None: ...

class RevealedShare(_message.Message):
    __slots__ = ("owner", "mask_key_share", "self_mask_share")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    MASK_KEY_SHARE_FIELD_NUMBER: _ClassVar[int]
    SELF_MASK_SHARE_FIELD_NUMBER: _ClassVar[int]
    owner: int
    mask_key_share: bytes
    self_mask_share: bytes
    def __init__(self, owner: _Optional[int] = ..., mask_key_share: _Optional[bytes] = ..., self_mask_share: _Optional[bytes] = ...) -> None: ...

class UnmaskPart(_message.Message):
    __slots__ = ("shares",)
    SHARES_FIELD_NUMBER: _ClassVar[int]
    shares: _containers.RepeatedCompositeFieldContainer[RevealedShare]
    def __init__(self, shares: _Optional[_Iterable[_Union[RevealedShare, _Mapping]]] = ...) -> None: ...

class KeyConfirmation(_message.Message):
    __slots__ = ("digest", "signature")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    signature: bytes
    def __init__(self, digest: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class EncryptedInputChunk(_message.Message):
    __slots__ = ("number", "payload", "seed", "binding")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    number: int
    payload: bytes
    seed: bytes
    binding: bytes
    def __init__(self, number: _Optional[int] = ..., payload: _Optional[bytes] = ..., seed: _Optional[bytes] = ..., binding: _Optional[bytes] = ...) -> None: ...

class EncryptedSumPart(_message.Message):
    __slots__ = ("sets", "c0", "c1")
    SETS_FIELD_NUMBER: _ClassVar[int]
    C0_FIELD_NUMBER: _ClassVar[int]
    C1_FIELD_NUMBER: _ClassVar[int]
    sets: SurvivorSet
    c0: bytes
    c1: bytes
    def __init__(self, sets: _Optional[_Union[SurvivorSet, _Mapping]] = ..., c0: _Optional[bytes] = ..., c1: _Optional[bytes] = ...) -> None: ...

class SumReport(_message.Message):
    __slots__ = ("digest", "signature")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    signature: bytes
    def __init__(self, digest: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class ReleaseOrder(_message.Message):
    __slots__ = ("upload",)
    UPLOAD_FIELD_NUMBER: _ClassVar[int]
    upload: bool
    def __init__(self, upload: bool = ...) -> None: ...

class SumChunk(_message.Message):
    __slots__ = ("number", "payload")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    number: int
    payload: bytes
    def __init__(self, number: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class PartialChunk(_message.Message):
    __slots__ = ("number", "payload")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    number: int
    payload: bytes
    def __init__(self, number: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class FallenSet(_message.Message):
    __slots__ = ("fallen",)
    FALLEN_FIELD_NUMBER: _ClassVar[int]
    fallen: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, fallen: _Optional[_Iterable[int]] = ...) -> None: ...

class RecoveryCheck(_message.Message):
    __slots__ = ("signature",)
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    signature: bytes
    def __init__(self, signature: _Optional[bytes] = ...) -> None: ...

class SeedShare(_message.Message):
    __slots__ = ("owner", "share")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    owner: int
    share: bytes
    def __init__(self, owner: _Optional[int] = ..., share: _Optional[bytes] = ...) -> None: ...

class RecoverSeedsPart(_message.Message):
    __slots__ = ("shares",)
    SHARES_FIELD_NUMBER: _ClassVar[int]
    shares: _containers.RepeatedCompositeFieldContainer[SeedShare]
    def __init__(self, shares: _Optional[_Iterable[_Union[SeedShare, _Mapping]]] = ...) -> None: ...

class Leave(_message.Message):
    __slots__ = ("reason", "accused", "refused_entry")
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACCUSED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_ENTRY_FIELD_NUMBER: _ClassVar[int]
    reason: LeaveReason
    accused: str
    refused_entry: bytes
    def __init__(self, reason: _Optional[_Union[LeaveReason, str]] = ..., accused: _Optional[str] = ..., refused_entry: _Optional[bytes] = ...) -> None: ...

class AggregatePart(_message.Message):
    __slots__ = ("survivors", "sums_digest", "number", "payload", "group")
    SURVIVORS_FIELD_NUMBER: _ClassVar[int]
    SUMS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    survivors: _containers.RepeatedScalarFieldContainer[str]
    sums_digest: bytes
    number: int
    payload: bytes
    group: int
    def __init__(self, survivors: _Optional[_Iterable[str]] = ..., sums_digest: _Optional[bytes] = ..., number: _Optional[int] = ..., payload: _Optional[bytes] = ..., group: _Optional[int] = ...) -> None: ...
