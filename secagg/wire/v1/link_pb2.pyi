from secagg.wire.v1 import data_plane_pb2 as _data_plane_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttendRequest(_message.Message):
    __slots__ = ("door", "listens")
    DOOR_FIELD_NUMBER: _ClassVar[int]
    LISTENS_FIELD_NUMBER: _ClassVar[int]
    door: bytes
    listens: str
    def __init__(self, door: _Optional[bytes] = ..., listens: _Optional[str] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("number", "give", "piece", "forget")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    GIVE_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    FORGET_FIELD_NUMBER: _ClassVar[int]
    number: int
    give: GiveSum
    piece: bytes
    forget: bytes
    def __init__(self, number: _Optional[int] = ..., give: _Optional[_Union[GiveSum, _Mapping]] = ..., piece: _Optional[bytes] = ..., forget: _Optional[bytes] = ...) -> None: ...

class GiveSum(_message.Message):
    __slots__ = ("round_id", "members")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    members: bytes
    def __init__(self, round_id: _Optional[bytes] = ..., members: _Optional[bytes] = ...) -> None: ...

class HandPart(_message.Message):
    __slots__ = ("door", "number", "members", "words", "failure")
    DOOR_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    door: bytes
    number: int
    members: bytes
    words: bytes
    failure: str
    def __init__(self, door: _Optional[bytes] = ..., number: _Optional[int] = ..., members: _Optional[bytes] = ..., words: _Optional[bytes] = ..., failure: _Optional[str] = ...) -> None: ...

class HandReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OfferRequest(_message.Message):
    __slots__ = ("round_id",)
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    def __init__(self, round_id: _Optional[bytes] = ...) -> None: ...

class BeginRequest(_message.Message):
    __slots__ = ("round_id",)
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    def __init__(self, round_id: _Optional[bytes] = ...) -> None: ...

class BeginReply(_message.Message):
    __slots__ = ("terms", "answer")
    TERMS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    terms: UploadTerms
    answer: bytes
    def __init__(self, terms: _Optional[_Union[UploadTerms, _Mapping]] = ..., answer: _Optional[bytes] = ...) -> None: ...

class UploadTerms(_message.Message):
    __slots__ = ("index", "claim", "whole")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    index: int
    claim: int
    whole: bool
    def __init__(self, index: _Optional[int] = ..., claim: _Optional[int] = ..., whole: bool = ...) -> None: ...

class HoldRequest(_message.Message):
    __slots__ = ("round_id", "door", "claim")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    DOOR_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    round_id: bytes
    door: bytes
    claim: int
    def __init__(self, round_id: _Optional[bytes] = ..., door: _Optional[bytes] = ..., claim: _Optional[int] = ...) -> None: ...

class HoldReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
