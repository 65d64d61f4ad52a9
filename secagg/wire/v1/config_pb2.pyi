from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ThreatModel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    THREAT_MODEL_UNSPECIFIED: _ClassVar[ThreatModel]
    THREAT_MODEL_SEMI_HONEST: _ClassVar[ThreatModel]
    THREAT_MODEL_ACTIVE: _ClassVar[ThreatModel]

class Suite(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SUITE_UNSPECIFIED: _ClassVar[Suite]
    SUITE_X25519_SHA256_AES128: _ClassVar[Suite]

class Graph(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRAPH_UNSPECIFIED: _ClassVar[Graph]
    GRAPH_COMPLETE: _ClassVar[Graph]

class Dtype(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[Dtype]
    DTYPE_FLOAT32: _ClassVar[Dtype]
    DTYPE_FLOAT64: _ClassVar[Dtype]
THREAT_MODEL_UNSPECIFIED: ThreatModel
THREAT_MODEL_SEMI_HONEST: ThreatModel
THREAT_MODEL_ACTIVE: ThreatModel
SUITE_UNSPECIFIED: Suite
SUITE_X25519_SHA256_AES128: Suite
GRAPH_UNSPECIFIED: Graph
GRAPH_COMPLETE: Graph
DTYPE_UNSPECIFIED: Dtype
DTYPE_FLOAT32: Dtype
DTYPE_FLOAT64: Dtype

class ArraySpec(_message.Message):
    __slots__ = ("name", "shape", "dtype")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtype: Dtype
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., dtype: _Optional[_Union[Dtype, str]] = ...) -> None: ...

class FixedPoint(_message.Message):
    __slots__ = ("clip", "value_bits", "max_weight")
    CLIP_FIELD_NUMBER: _ClassVar[int]
    VALUE_BITS_FIELD_NUMBER: _ClassVar[int]
    MAX_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    clip: float
    value_bits: int
    max_weight: int
    def __init__(self, clip: _Optional[float] = ..., value_bits: _Optional[int] = ..., max_weight: _Optional[int] = ...) -> None: ...

class Deadlines(_message.Message):
    __slots__ = ("advertise_keys_ms", "share_keys_ms", "masked_input_ms", "consistency_check_ms", "unmask_ms")
    ADVERTISE_KEYS_MS_FIELD_NUMBER: _ClassVar[int]
    SHARE_KEYS_MS_FIELD_NUMBER: _ClassVar[int]
    MASKED_INPUT_MS_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_CHECK_MS_FIELD_NUMBER: _ClassVar[int]
    UNMASK_MS_FIELD_NUMBER: _ClassVar[int]
    advertise_keys_ms: int
    share_keys_ms: int
    masked_input_ms: int
    consistency_check_ms: int
    unmask_ms: int
    def __init__(self, advertise_keys_ms: _Optional[int] = ..., share_keys_ms: _Optional[int] = ..., masked_input_ms: _Optional[int] = ..., consistency_check_ms: _Optional[int] = ..., unmask_ms: _Optional[int] = ...) -> None: ...

class RoundConfig(_message.Message):
    __slots__ = ("task", "arrays", "encoding", "max_participants", "threshold", "max_colluding", "threat_model", "suite", "graph", "model_digest", "release_to_participants", "deadlines")
    TASK_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    MAX_PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MAX_COLLUDING_FIELD_NUMBER: _ClassVar[int]
    THREAT_MODEL_FIELD_NUMBER: _ClassVar[int]
    SUITE_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RELEASE_TO_PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    DEADLINES_FIELD_NUMBER: _ClassVar[int]
    task: str
    arrays: _containers.RepeatedCompositeFieldContainer[ArraySpec]
    encoding: FixedPoint
    max_participants: int
    threshold: int
    max_colluding: int
    threat_model: ThreatModel
    suite: Suite
    graph: Graph
    model_digest: bytes
    release_to_participants: bool
    deadlines: Deadlines
    def __init__(self, task: _Optional[str] = ..., arrays: _Optional[_Iterable[_Union[ArraySpec, _Mapping]]] = ..., encoding: _Optional[_Union[FixedPoint, _Mapping]] = ..., max_participants: _Optional[int] = ..., threshold: _Optional[int] = ..., max_colluding: _Optional[int] = ..., threat_model: _Optional[_Union[ThreatModel, str]] = ..., suite: _Optional[_Union[Suite, str]] = ..., graph: _Optional[_Union[Graph, str]] = ..., model_digest: _Optional[bytes] = ..., release_to_participants: _Optional[bool] = ..., deadlines: _Optional[_Union[Deadlines, _Mapping]] = ...) -> None: ...
