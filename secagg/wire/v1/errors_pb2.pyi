from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_KIND_UNSPECIFIED: _ClassVar[ErrorKind]
    ERROR_KIND_CONFIG: _ClassVar[ErrorKind]
    ERROR_KIND_DECODE: _ClassVar[ErrorKind]
    ERROR_KIND_AUTHENTICATION: _ClassVar[ErrorKind]
    ERROR_KIND_PROTOCOL: _ClassVar[ErrorKind]
    ERROR_KIND_NOT_IN_ROUND: _ClassVar[ErrorKind]
    ERROR_KIND_ABORTED: _ClassVar[ErrorKind]
    ERROR_KIND_UNKNOWN_ROUND: _ClassVar[ErrorKind]
    ERROR_KIND_LIMIT: _ClassVar[ErrorKind]
    ERROR_KIND_BUDGET: _ClassVar[ErrorKind]
    ERROR_KIND_LEDGER: _ClassVar[ErrorKind]
    ERROR_KIND_STORE: _ClassVar[ErrorKind]

class AbortReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ABORT_REASON_UNSPECIFIED: _ClassVar[AbortReason]
    ABORT_REASON_BELOW_THRESHOLD: _ClassVar[AbortReason]
    ABORT_REASON_WRONG_SHARES: _ClassVar[AbortReason]
    ABORT_REASON_CANCELLED: _ClassVar[AbortReason]
    ABORT_REASON_COORDINATOR_SHUTDOWN: _ClassVar[AbortReason]
    ABORT_REASON_INTERNAL: _ClassVar[AbortReason]
    ABORT_REASON_DISAGREEMENT: _ClassVar[AbortReason]
    ABORT_REASON_MALFORMED_SUM: _ClassVar[AbortReason]
    ABORT_REASON_DIFFERENCING: _ClassVar[AbortReason]
ERROR_KIND_UNSPECIFIED: ErrorKind
ERROR_KIND_CONFIG: ErrorKind
ERROR_KIND_DECODE: ErrorKind
ERROR_KIND_AUTHENTICATION: ErrorKind
ERROR_KIND_PROTOCOL: ErrorKind
ERROR_KIND_NOT_IN_ROUND: ErrorKind
ERROR_KIND_ABORTED: ErrorKind
ERROR_KIND_UNKNOWN_ROUND: ErrorKind
ERROR_KIND_LIMIT: ErrorKind
ERROR_KIND_BUDGET: ErrorKind
ERROR_KIND_LEDGER: ErrorKind
ERROR_KIND_STORE: ErrorKind
ABORT_REASON_UNSPECIFIED: AbortReason
ABORT_REASON_BELOW_THRESHOLD: AbortReason
ABORT_REASON_WRONG_SHARES: AbortReason
ABORT_REASON_CANCELLED: AbortReason
ABORT_REASON_COORDINATOR_SHUTDOWN: AbortReason
ABORT_REASON_INTERNAL: AbortReason
ABORT_REASON_DISAGREEMENT: AbortReason
ABORT_REASON_MALFORMED_SUM: AbortReason
ABORT_REASON_DIFFERENCING: AbortReason

class ErrorDetail(_message.Message):
    __slots__ = ("kind", "message", "abort_reason", "culprits", "accused")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ABORT_REASON_FIELD_NUMBER: _ClassVar[int]
    CULPRITS_FIELD_NUMBER: _ClassVar[int]
    ACCUSED_FIELD_NUMBER: _ClassVar[int]
    kind: ErrorKind
    message: str
    abort_reason: AbortReason
    culprits: _containers.RepeatedScalarFieldContainer[str]
    accused: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kind: _Optional[_Union[ErrorKind, str]] = ..., message: _Optional[str] = ..., abort_reason: _Optional[_Union[AbortReason, str]] = ..., culprits: _Optional[_Iterable[str]] = ..., accused: _Optional[_Iterable[str]] = ...) -> None: ...
