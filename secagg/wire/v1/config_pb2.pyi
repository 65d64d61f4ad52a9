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
    SUITE_X25519_SHA256_AEGIS128X4: _ClassVar[Suite]
    SUITE_XWING_SHA256_AES256: _ClassVar[Suite]

class Graph(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRAPH_UNSPECIFIED: _ClassVar[Graph]
    GRAPH_COMPLETE: _ClassVar[Graph]
    GRAPH_RING: _ClassVar[Graph]

class Dtype(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[Dtype]
    DTYPE_FLOAT32: _ClassVar[Dtype]
    DTYPE_FLOAT64: _ClassVar[Dtype]
    DTYPE_INT8: _ClassVar[Dtype]
    DTYPE_INT16: _ClassVar[Dtype]
    DTYPE_INT32: _ClassVar[Dtype]
    DTYPE_INT64: _ClassVar[Dtype]
    DTYPE_UINT8: _ClassVar[Dtype]
    DTYPE_UINT16: _ClassVar[Dtype]
    DTYPE_UINT32: _ClassVar[Dtype]
    DTYPE_UINT64: _ClassVar[Dtype]

class HomomorphicScheme(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOMOMORPHIC_SCHEME_UNSPECIFIED: _ClassVar[HomomorphicScheme]
    HOMOMORPHIC_SCHEME_CKKS: _ClassVar[HomomorphicScheme]
    HOMOMORPHIC_SCHEME_BFV: _ClassVar[HomomorphicScheme]

class Custody(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CUSTODY_UNSPECIFIED: _ClassVar[Custody]
    CUSTODY_PARTICIPANTS: _ClassVar[Custody]
    CUSTODY_THRESHOLD: _ClassVar[Custody]

class Combine(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMBINE_UNSPECIFIED: _ClassVar[Combine]
    COMBINE_MEDIAN: _ClassVar[Combine]
    COMBINE_TRIMMED: _ClassVar[Combine]
    COMBINE_MEAN: _ClassVar[Combine]
THREAT_MODEL_UNSPECIFIED: ThreatModel
THREAT_MODEL_SEMI_HONEST: ThreatModel
THREAT_MODEL_ACTIVE: ThreatModel
SUITE_UNSPECIFIED: Suite
SUITE_X25519_SHA256_AES128: Suite
SUITE_X25519_SHA256_AEGIS128X4: Suite
SUITE_XWING_SHA256_AES256: Suite
GRAPH_UNSPECIFIED: Graph
GRAPH_COMPLETE: Graph
GRAPH_RING: Graph
DTYPE_UNSPECIFIED: Dtype
DTYPE_FLOAT32: Dtype
DTYPE_FLOAT64: Dtype
DTYPE_INT8: Dtype
DTYPE_INT16: Dtype
DTYPE_INT32: Dtype
DTYPE_INT64: Dtype
DTYPE_UINT8: Dtype
DTYPE_UINT16: Dtype
DTYPE_UINT32: Dtype
DTYPE_UINT64: Dtype
HOMOMORPHIC_SCHEME_UNSPECIFIED: HomomorphicScheme
HOMOMORPHIC_SCHEME_CKKS: HomomorphicScheme
HOMOMORPHIC_SCHEME_BFV: HomomorphicScheme
CUSTODY_UNSPECIFIED: Custody
CUSTODY_PARTICIPANTS: Custody
CUSTODY_THRESHOLD: Custody
COMBINE_UNSPECIFIED: Combine
COMBINE_MEDIAN: Combine
COMBINE_TRIMMED: Combine
COMBINE_MEAN: Combine

class ArraySpec(_message.Message):
    __slots__ = ("name", "shape", "dtype", "range", "min", "max")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtype: Dtype
    range: float
    min: int
    max: int
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., dtype: _Optional[_Union[Dtype, str]] = ..., range: _Optional[float] = ..., min: _Optional[int] = ..., max: _Optional[int] = ...) -> None: ...

class Integers(_message.Message):
    __slots__ = ("min", "max")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    min: int
    max: int
    def __init__(self, min: _Optional[int] = ..., max: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("advertise_keys_ms", "share_keys_ms", "masked_input_ms", "consistency_check_ms", "unmask_ms", "join_ms")
    ADVERTISE_KEYS_MS_FIELD_NUMBER: _ClassVar[int]
    SHARE_KEYS_MS_FIELD_NUMBER: _ClassVar[int]
    MASKED_INPUT_MS_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_CHECK_MS_FIELD_NUMBER: _ClassVar[int]
    UNMASK_MS_FIELD_NUMBER: _ClassVar[int]
    JOIN_MS_FIELD_NUMBER: _ClassVar[int]
    advertise_keys_ms: int
    share_keys_ms: int
    masked_input_ms: int
    consistency_check_ms: int
    unmask_ms: int
    join_ms: int
    def __init__(self, advertise_keys_ms: _Optional[int] = ..., share_keys_ms: _Optional[int] = ..., masked_input_ms: _Optional[int] = ..., consistency_check_ms: _Optional[int] = ..., unmask_ms: _Optional[int] = ..., join_ms: _Optional[int] = ...) -> None: ...

class HomomorphicProfile(_message.Message):
    __slots__ = ("scheme", "custody", "summands", "value_bits", "ring_degree", "primes", "special_prime", "plain_modulus", "scale_bits", "values_per_slot")
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    CUSTODY_FIELD_NUMBER: _ClassVar[int]
    SUMMANDS_FIELD_NUMBER: _ClassVar[int]
    VALUE_BITS_FIELD_NUMBER: _ClassVar[int]
    RING_DEGREE_FIELD_NUMBER: _ClassVar[int]
    PRIMES_FIELD_NUMBER: _ClassVar[int]
    SPECIAL_PRIME_FIELD_NUMBER: _ClassVar[int]
    PLAIN_MODULUS_FIELD_NUMBER: _ClassVar[int]
    SCALE_BITS_FIELD_NUMBER: _ClassVar[int]
    VALUES_PER_SLOT_FIELD_NUMBER: _ClassVar[int]
    scheme: HomomorphicScheme
    custody: Custody
    summands: int
    value_bits: int
    ring_degree: int
    primes: _containers.RepeatedScalarFieldContainer[int]
    special_prime: int
    plain_modulus: int
    scale_bits: int
    values_per_slot: int
    def __init__(self, scheme: _Optional[_Union[HomomorphicScheme, str]] = ..., custody: _Optional[_Union[Custody, str]] = ..., summands: _Optional[int] = ..., value_bits: _Optional[int] = ..., ring_degree: _Optional[int] = ..., primes: _Optional[_Iterable[int]] = ..., special_prime: _Optional[int] = ..., plain_modulus: _Optional[int] = ..., scale_bits: _Optional[int] = ..., values_per_slot: _Optional[int] = ...) -> None: ...

class Groups(_message.Message):
    __slots__ = ("count", "combine", "trim", "parent", "number")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    COMBINE_FIELD_NUMBER: _ClassVar[int]
    TRIM_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    count: int
    combine: Combine
    trim: int
    parent: bytes
    number: int
    def __init__(self, count: _Optional[int] = ..., combine: _Optional[_Union[Combine, str]] = ..., trim: _Optional[int] = ..., parent: _Optional[bytes] = ..., number: _Optional[int] = ...) -> None: ...

class Ring(_message.Message):
    __slots__ = ("degree", "neighbour_threshold", "committee", "committee_threshold", "min_participants")
    DEGREE_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOUR_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    COMMITTEE_FIELD_NUMBER: _ClassVar[int]
    COMMITTEE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MIN_PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    degree: int
    neighbour_threshold: int
    committee: int
    committee_threshold: int
    min_participants: int
    def __init__(self, degree: _Optional[int] = ..., neighbour_threshold: _Optional[int] = ..., committee: _Optional[int] = ..., committee_threshold: _Optional[int] = ..., min_participants: _Optional[int] = ...) -> None: ...

class RoundConfig(_message.Message):
    __slots__ = ("task", "arrays", "encoding", "max_participants", "threshold", "max_colluding", "threat_model", "suite", "graph", "model_digest", "release_to_participants", "deadlines", "release_to_coordinator", "homomorphic", "pipeline", "groups", "purpose", "certify", "integers", "model_later", "ring")
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
    RELEASE_TO_COORDINATOR_FIELD_NUMBER: _ClassVar[int]
    HOMOMORPHIC_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    CERTIFY_FIELD_NUMBER: _ClassVar[int]
    INTEGERS_FIELD_NUMBER: _ClassVar[int]
    MODEL_LATER_FIELD_NUMBER: _ClassVar[int]
    RING_FIELD_NUMBER: _ClassVar[int]
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
    release_to_coordinator: bool
    homomorphic: HomomorphicProfile
    pipeline: str
    groups: Groups
    purpose: str
    certify: bool
    integers: Integers
    model_later: bool
    ring: Ring
    def __init__(self, task: _Optional[str] = ..., arrays: _Optional[_Iterable[_Union[ArraySpec, _Mapping]]] = ..., encoding: _Optional[_Union[FixedPoint, _Mapping]] = ..., max_participants: _Optional[int] = ..., threshold: _Optional[int] = ..., max_colluding: _Optional[int] = ..., threat_model: _Optional[_Union[ThreatModel, str]] = ..., suite: _Optional[_Union[Suite, str]] = ..., graph: _Optional[_Union[Graph, str]] = ..., model_digest: _Optional[bytes] = ..., release_to_participants: bool = ..., deadlines: _Optional[_Union[Deadlines, _Mapping]] = ..., release_to_coordinator: bool = ..., homomorphic: _Optional[_Union[HomomorphicProfile, _Mapping]] = ..., pipeline: _Optional[str] = ..., groups: _Optional[_Union[Groups, _Mapping]] = ..., purpose: _Optional[str] = ..., certify: bool = ..., integers: _Optional[_Union[Integers, _Mapping]] = ..., model_later: bool = ..., ring: _Optional[_Union[Ring, _Mapping]] = ...) -> None: ...
