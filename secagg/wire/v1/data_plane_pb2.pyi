from secagg.wire.v1 import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

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
    keys: _messages_pb2.AdvertiseKeys
    def __init__(self, round_id: _Optional[bytes] = ..., keys: _Optional[_Union[_messages_pb2.AdvertiseKeys, _Mapping]] = ...) -> None: ...

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
    check: _messages_pb2.ConsistencyCheck
    def __init__(self, round_id: _Optional[bytes] = ..., check: _Optional[_Union[_messages_pb2.ConsistencyCheck, _Mapping]] = ...) -> None: ...

class ConfirmKeyRequest(_message.Message):
    __slots__ = ("round_id", "confirmation")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    confirmation: _messages_pb2.KeyConfirmation
    def __init__(self, round_id: _Optional[bytes] = ..., confirmation: _Optional[_Union[_messages_pb2.KeyConfirmation, _Mapping]] = ...) -> None: ...

class ReportSumRequest(_message.Message):
    __slots__ = ("round_id", "report")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    report: _messages_pb2.SumReport
    def __init__(self, round_id: _Optional[bytes] = ..., report: _Optional[_Union[_messages_pb2.SumReport, _Mapping]] = ...) -> None: ...

class CheckRecoveryRequest(_message.Message):
    __slots__ = ("round_id", "check")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    check: _messages_pb2.RecoveryCheck
    def __init__(self, round_id: _Optional[bytes] = ..., check: _Optional[_Union[_messages_pb2.RecoveryCheck, _Mapping]] = ...) -> None: ...

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
    leave: _messages_pb2.Leave
    def __init__(self, round_id: _Optional[bytes] = ..., leave: _Optional[_Union[_messages_pb2.Leave, _Mapping]] = ...) -> None: ...

class LeaveReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
