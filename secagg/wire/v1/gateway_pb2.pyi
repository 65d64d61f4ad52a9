from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class SubmitRequest(_message.Message):
    __slots__ = ("call_id", "method", "round_id", "certificates", "number", "messages", "last")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    call_id: bytes
    method: str
    round_id: bytes
    certificates: _containers.RepeatedScalarFieldContainer[bytes]
    number: int
    messages: _containers.RepeatedScalarFieldContainer[bytes]
    last: bool
    def __init__(self, call_id: _Optional[bytes] = ..., method: _Optional[str] = ..., round_id: _Optional[bytes] = ..., certificates: _Optional[_Iterable[bytes]] = ..., number: _Optional[int] = ..., messages: _Optional[_Iterable[bytes]] = ..., last: bool = ...) -> None: ...

class SubmitReply(_message.Message):
    __slots__ = ("next", "answered")
    NEXT_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    next: int
    answered: bool
    def __init__(self, next: _Optional[int] = ..., answered: bool = ...) -> None: ...

class PollRequest(_message.Message):
    __slots__ = ("call_id", "number", "wait_ms")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    call_id: bytes
    number: int
    wait_ms: int
    def __init__(self, call_id: _Optional[bytes] = ..., number: _Optional[int] = ..., wait_ms: _Optional[int] = ...) -> None: ...

class PollReply(_message.Message):
    __slots__ = ("parts", "end")
    PARTS_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedScalarFieldContainer[bytes]
    end: bool
    def __init__(self, parts: _Optional[_Iterable[bytes]] = ..., end: bool = ...) -> None: ...

class EndRequest(_message.Message):
    __slots__ = ("call_id",)
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    call_id: bytes
    def __init__(self, call_id: _Optional[bytes] = ...) -> None: ...

class EndReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
