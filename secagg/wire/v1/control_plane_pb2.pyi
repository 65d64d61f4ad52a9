from secagg.wire.v1 import errors_pb2 as _errors_pb2
from secagg.wire.v1 import data_plane_pb2 as _data_plane_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DropReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DROP_REASON_UNSPECIFIED: _ClassVar[DropReason]
    DROP_REASON_DEADLINE: _ClassVar[DropReason]
    DROP_REASON_CANCELLED: _ClassVar[DropReason]
    DROP_REASON_REFUSED: _ClassVar[DropReason]
    DROP_REASON_FAILED: _ClassVar[DropReason]
    DROP_REASON_EXCLUDED: _ClassVar[DropReason]
    DROP_REASON_EXPIRED: _ClassVar[DropReason]
    DROP_REASON_ISOLATED: _ClassVar[DropReason]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_HEARSAY: _ClassVar[Verdict]
    VERDICT_PROVEN: _ClassVar[Verdict]
    VERDICT_UNFOUNDED: _ClassVar[Verdict]

class RoundState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUND_STATE_UNSPECIFIED: _ClassVar[RoundState]
    ROUND_STATE_RUNNING: _ClassVar[RoundState]
    ROUND_STATE_DONE: _ClassVar[RoundState]
    ROUND_STATE_FAILED: _ClassVar[RoundState]
DROP_REASON_UNSPECIFIED: DropReason
DROP_REASON_DEADLINE: DropReason
DROP_REASON_CANCELLED: DropReason
DROP_REASON_REFUSED: DropReason
DROP_REASON_FAILED: DropReason
DROP_REASON_EXCLUDED: DropReason
DROP_REASON_EXPIRED: DropReason
DROP_REASON_ISOLATED: DropReason
VERDICT_UNSPECIFIED: Verdict
VERDICT_HEARSAY: Verdict
VERDICT_PROVEN: Verdict
VERDICT_UNFOUNDED: Verdict
ROUND_STATE_UNSPECIFIED: RoundState
ROUND_STATE_RUNNING: RoundState
ROUND_STATE_DONE: RoundState
ROUND_STATE_FAILED: RoundState

class OpenRoundPart(_message.Message):
    __slots__ = ("config", "round_id")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    config: bytes
    round_id: bytes
    def __init__(self, config: _Optional[bytes] = ..., round_id: _Optional[bytes] = ...) -> None: ...

class OpenRoundReply(_message.Message):
    __slots__ = ("round_id",)
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    def __init__(self, round_id: _Optional[bytes] = ...) -> None: ...

class WatchRoundRequest(_message.Message):
    __slots__ = ("round_id",)
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    def __init__(self, round_id: _Optional[bytes] = ...) -> None: ...

class PhaseStarted(_message.Message):
    __slots__ = ("phase", "deadline_ms", "expected")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    phase: _data_plane_pb2.Phase
    deadline_ms: int
    expected: int
    def __init__(self, phase: _Optional[_Union[_data_plane_pb2.Phase, str]] = ..., deadline_ms: _Optional[int] = ..., expected: _Optional[int] = ...) -> None: ...

class MessageAccepted(_message.Message):
    __slots__ = ("phase", "participant_id")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_ID_FIELD_NUMBER: _ClassVar[int]
    phase: _data_plane_pb2.Phase
    participant_id: str
    def __init__(self, phase: _Optional[_Union[_data_plane_pb2.Phase, str]] = ..., participant_id: _Optional[str] = ...) -> None: ...

class ParticipantDropped(_message.Message):
    __slots__ = ("phase", "participant_id", "reason")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    phase: _data_plane_pb2.Phase
    participant_id: str
    reason: DropReason
    def __init__(self, phase: _Optional[_Union[_data_plane_pb2.Phase, str]] = ..., participant_id: _Optional[str] = ..., reason: _Optional[_Union[DropReason, str]] = ...) -> None: ...

class WrongShares(_message.Message):
    __slots__ = ("culprit", "conflicts")
    CULPRIT_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    culprit: str
    conflicts: _containers.RepeatedCompositeFieldContainer[ShareConflict]
    def __init__(self, culprit: _Optional[str] = ..., conflicts: _Optional[_Iterable[_Union[ShareConflict, _Mapping]]] = ...) -> None: ...

class ShareConflict(_message.Message):
    __slots__ = ("owner", "holder")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    owner: str
    holder: str
    def __init__(self, owner: _Optional[str] = ..., holder: _Optional[str] = ...) -> None: ...

class SumReady(_message.Message):
    __slots__ = ("survivors", "sums_digest")
    SURVIVORS_FIELD_NUMBER: _ClassVar[int]
    SUMS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    survivors: int
    sums_digest: bytes
    def __init__(self, survivors: _Optional[int] = ..., sums_digest: _Optional[bytes] = ...) -> None: ...

class RoundFailed(_message.Message):
    __slots__ = ("error",)
    ERROR_FIELD_NUMBER: _ClassVar[int]
    error: _errors_pb2.ErrorDetail
    def __init__(self, error: _Optional[_Union[_errors_pb2.ErrorDetail, _Mapping]] = ...) -> None: ...

class GroupAnomaly(_message.Message):
    __slots__ = ("group", "norm", "typical")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    TYPICAL_FIELD_NUMBER: _ClassVar[int]
    group: int
    norm: float
    typical: float
    def __init__(self, group: _Optional[int] = ..., norm: _Optional[float] = ..., typical: _Optional[float] = ...) -> None: ...

class Accused(_message.Message):
    __slots__ = ("accused", "accuser", "verdict")
    ACCUSED_FIELD_NUMBER: _ClassVar[int]
    ACCUSER_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    accused: str
    accuser: str
    verdict: Verdict
    def __init__(self, accused: _Optional[str] = ..., accuser: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ...) -> None: ...

class MasksRemoved(_message.Message):
    __slots__ = ("done", "total")
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    done: int
    total: int
    def __init__(self, done: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class RoundEvent(_message.Message):
    __slots__ = ("time_ms", "phase_started", "message_accepted", "participant_dropped", "wrong_shares", "sum_ready", "round_failed", "group_anomaly", "accused", "masks_removed", "group")
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    PHASE_STARTED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_DROPPED_FIELD_NUMBER: _ClassVar[int]
    WRONG_SHARES_FIELD_NUMBER: _ClassVar[int]
    SUM_READY_FIELD_NUMBER: _ClassVar[int]
    ROUND_FAILED_FIELD_NUMBER: _ClassVar[int]
    GROUP_ANOMALY_FIELD_NUMBER: _ClassVar[int]
    ACCUSED_FIELD_NUMBER: _ClassVar[int]
    MASKS_REMOVED_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    time_ms: int
    phase_started: PhaseStarted
    message_accepted: MessageAccepted
    participant_dropped: ParticipantDropped
    wrong_shares: WrongShares
    sum_ready: SumReady
    round_failed: RoundFailed
    group_anomaly: GroupAnomaly
    accused: Accused
    masks_removed: MasksRemoved
    group: int
    def __init__(self, time_ms: _Optional[int] = ..., phase_started: _Optional[_Union[PhaseStarted, _Mapping]] = ..., message_accepted: _Optional[_Union[MessageAccepted, _Mapping]] = ..., participant_dropped: _Optional[_Union[ParticipantDropped, _Mapping]] = ..., wrong_shares: _Optional[_Union[WrongShares, _Mapping]] = ..., sum_ready: _Optional[_Union[SumReady, _Mapping]] = ..., round_failed: _Optional[_Union[RoundFailed, _Mapping]] = ..., group_anomaly: _Optional[_Union[GroupAnomaly, _Mapping]] = ..., accused: _Optional[_Union[Accused, _Mapping]] = ..., masks_removed: _Optional[_Union[MasksRemoved, _Mapping]] = ..., group: _Optional[int] = ...) -> None: ...

class RoundEvents(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[RoundEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[RoundEvent, _Mapping]]] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("round_id",)
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    def __init__(self, round_id: _Optional[bytes] = ...) -> None: ...

class AbortRoundRequest(_message.Message):
    __slots__ = ("round_id", "reason")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    reason: str
    def __init__(self, round_id: _Optional[bytes] = ..., reason: _Optional[str] = ...) -> None: ...

class AbortRoundReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListStrikesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Strikes(_message.Message):
    __slots__ = ("participant_id", "quarantined", "strikes")
    PARTICIPANT_ID_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    STRIKES_FIELD_NUMBER: _ClassVar[int]
    participant_id: str
    quarantined: bool
    strikes: _containers.RepeatedCompositeFieldContainer[Strike]
    def __init__(self, participant_id: _Optional[str] = ..., quarantined: bool = ..., strikes: _Optional[_Iterable[_Union[Strike, _Mapping]]] = ...) -> None: ...

class Strike(_message.Message):
    __slots__ = ("round_id", "time_ms", "why")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    time_ms: int
    why: str
    def __init__(self, round_id: _Optional[bytes] = ..., time_ms: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class ForgiveStrikesRequest(_message.Message):
    __slots__ = ("participant_id",)
    PARTICIPANT_ID_FIELD_NUMBER: _ClassVar[int]
    participant_id: str
    def __init__(self, participant_id: _Optional[str] = ...) -> None: ...

class ForgiveStrikesReply(_message.Message):
    __slots__ = ("forgiven",)
    FORGIVEN_FIELD_NUMBER: _ClassVar[int]
    forgiven: int
    def __init__(self, forgiven: _Optional[int] = ...) -> None: ...

class ParticipantsPart(_message.Message):
    __slots__ = ("round_id", "participant_ids")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_IDS_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    participant_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, round_id: _Optional[bytes] = ..., participant_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ParticipantsReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRoundsRequest(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: str
    def __init__(self, task: _Optional[str] = ...) -> None: ...

class RoundSummary(_message.Message):
    __slots__ = ("round_id", "task", "state", "phase", "opened_ms")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    OPENED_MS_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    task: str
    state: RoundState
    phase: _data_plane_pb2.Phase
    opened_ms: int
    def __init__(self, round_id: _Optional[bytes] = ..., task: _Optional[str] = ..., state: _Optional[_Union[RoundState, str]] = ..., phase: _Optional[_Union[_data_plane_pb2.Phase, str]] = ..., opened_ms: _Optional[int] = ...) -> None: ...

class GetLedgerRequest(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: str
    def __init__(self, task: _Optional[str] = ...) -> None: ...

class LedgerHead(_message.Message):
    __slots__ = ("budget_epsilon", "budget_delta", "spent_epsilon", "entries", "digest")
    BUDGET_EPSILON_FIELD_NUMBER: _ClassVar[int]
    BUDGET_DELTA_FIELD_NUMBER: _ClassVar[int]
    SPENT_EPSILON_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    budget_epsilon: float
    budget_delta: float
    spent_epsilon: float
    entries: int
    digest: bytes
    def __init__(self, budget_epsilon: _Optional[float] = ..., budget_delta: _Optional[float] = ..., spent_epsilon: _Optional[float] = ..., entries: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class LedgerPart(_message.Message):
    __slots__ = ("head", "entries")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    head: LedgerHead
    entries: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, head: _Optional[_Union[LedgerHead, _Mapping]] = ..., entries: _Optional[_Iterable[bytes]] = ...) -> None: ...
