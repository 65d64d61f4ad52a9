from secagg.wire.v1 import data_plane_pb2 as _data_plane_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SavedState(_message.Message):
    __slots__ = ("state", "round_id", "config", "context", "named_model", "participant_id", "keys", "trust_digest", "roster", "channel_private_key", "mask_private_key", "seed", "key_share", "own_share", "held", "sets", "dealer", "message", "signers", "fallen", "c1", "summed", "sums")
    STATE_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    NAMED_MODEL_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_ID_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    TRUST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_PRIVATE_KEY_FIELD_NUMBER: _ClassVar[int]
    MASK_PRIVATE_KEY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    KEY_SHARE_FIELD_NUMBER: _ClassVar[int]
    OWN_SHARE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    SETS_FIELD_NUMBER: _ClassVar[int]
    DEALER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SIGNERS_FIELD_NUMBER: _ClassVar[int]
    FALLEN_FIELD_NUMBER: _ClassVar[int]
    C1_FIELD_NUMBER: _ClassVar[int]
    SUMMED_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    state: str
    round_id: bytes
    config: bytes
    context: bytes
    named_model: bytes
    participant_id: str
    keys: _data_plane_pb2.AdvertiseKeys
    trust_digest: bytes
    roster: _containers.RepeatedCompositeFieldContainer[_data_plane_pb2.RosterPart]
    channel_private_key: bytes
    mask_private_key: bytes
    seed: bytes
    key_share: bytes
    own_share: bytes
    held: _containers.RepeatedCompositeFieldContainer[HeldShare]
    sets: _data_plane_pb2.SurvivorSet
    dealer: int
    message: bytes
    signers: _containers.RepeatedScalarFieldContainer[int]
    fallen: _containers.RepeatedScalarFieldContainer[int]
    c1: _containers.RepeatedScalarFieldContainer[bytes]
    summed: _containers.RepeatedScalarFieldContainer[str]
    sums: bytes
    def __init__(self, state: _Optional[str] = ..., round_id: _Optional[bytes] = ..., config: _Optional[bytes] = ..., context: _Optional[bytes] = ..., named_model: _Optional[bytes] = ..., participant_id: _Optional[str] = ..., keys: _Optional[_Union[_data_plane_pb2.AdvertiseKeys, _Mapping]] = ..., trust_digest: _Optional[bytes] = ..., roster: _Optional[_Iterable[_Union[_data_plane_pb2.RosterPart, _Mapping]]] = ..., channel_private_key: _Optional[bytes] = ..., mask_private_key: _Optional[bytes] = ..., seed: _Optional[bytes] = ..., key_share: _Optional[bytes] = ..., own_share: _Optional[bytes] = ..., held: _Optional[_Iterable[_Union[HeldShare, _Mapping]]] = ..., sets: _Optional[_Union[_data_plane_pb2.SurvivorSet, _Mapping]] = ..., dealer: _Optional[int] = ..., message: _Optional[bytes] = ..., signers: _Optional[_Iterable[int]] = ..., fallen: _Optional[_Iterable[int]] = ..., c1: _Optional[_Iterable[bytes]] = ..., summed: _Optional[_Iterable[str]] = ..., sums: _Optional[bytes] = ...) -> None: ...

class HeldShare(_message.Message):
    __slots__ = ("owner", "share")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    owner: int
    share: bytes
    def __init__(self, owner: _Optional[int] = ..., share: _Optional[bytes] = ...) -> None: ...

class KeptState(_message.Message):
    __slots__ = ("participant_id", "joined", "carried", "under_way")
    PARTICIPANT_ID_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    CARRIED_FIELD_NUMBER: _ClassVar[int]
    UNDER_WAY_FIELD_NUMBER: _ClassVar[int]
    participant_id: str
    joined: _containers.RepeatedScalarFieldContainer[bytes]
    carried: _containers.RepeatedCompositeFieldContainer[CarriedFile]
    under_way: UnderWay
    def __init__(self, participant_id: _Optional[str] = ..., joined: _Optional[_Iterable[bytes]] = ..., carried: _Optional[_Iterable[_Union[CarriedFile, _Mapping]]] = ..., under_way: _Optional[_Union[UnderWay, _Mapping]] = ...) -> None: ...

class CarriedFile(_message.Message):
    __slots__ = ("task", "number", "key")
    TASK_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    task: str
    number: int
    key: bytes
    def __init__(self, task: _Optional[str] = ..., number: _Optional[int] = ..., key: _Optional[bytes] = ...) -> None: ...

class UnderWay(_message.Message):
    __slots__ = ("config", "step", "state", "answer", "step_seed", "input_seed", "input_digest", "roster", "sets", "sums_digest")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    STEP_SEED_FIELD_NUMBER: _ClassVar[int]
    INPUT_SEED_FIELD_NUMBER: _ClassVar[int]
    INPUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    SETS_FIELD_NUMBER: _ClassVar[int]
    SUMS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    config: bytes
    step: int
    state: SavedState
    answer: _containers.RepeatedScalarFieldContainer[bytes]
    step_seed: bytes
    input_seed: bytes
    input_digest: bytes
    roster: _containers.RepeatedCompositeFieldContainer[_data_plane_pb2.RosterPart]
    sets: _data_plane_pb2.SurvivorSet
    sums_digest: bytes
    def __init__(self, config: _Optional[bytes] = ..., step: _Optional[int] = ..., state: _Optional[_Union[SavedState, _Mapping]] = ..., answer: _Optional[_Iterable[bytes]] = ..., step_seed: _Optional[bytes] = ..., input_seed: _Optional[bytes] = ..., input_digest: _Optional[bytes] = ..., roster: _Optional[_Iterable[_Union[_data_plane_pb2.RosterPart, _Mapping]]] = ..., sets: _Optional[_Union[_data_plane_pb2.SurvivorSet, _Mapping]] = ..., sums_digest: _Optional[bytes] = ...) -> None: ...
