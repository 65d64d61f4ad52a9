"""What every call of a client is: the bytes that go up, and what its answer means."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from math import inf
from typing import Any, ClassVar, Generic, TypeVar, cast

from google.protobuf.message import Message

from secagg.errors import DecodeError
from secagg.roster import COORDINATOR
from secagg.wire import calls
from secagg.wire.codecs import Codec
from secagg.wire.counting import Budget
from secagg.wire.limits import MAX_ANSWER_FIELDS, PART_COST
from secagg.wire.parsing import parse

Parts = deque[bytes]
"""The messages of an answer, in order."""

ResponseT_co = TypeVar("ResponseT_co", covariant=True)
MessageT = TypeVar("MessageT", bound=Message)


class PreparedCall(Generic[ResponseT_co]):
    """A call that is ready to be made. It does nothing itself: a connection carries the bytes. Unless a subclass says
    otherwise it is what its row in the table says: it brings its own fields, and the row has the codec of its answer.

    On the wire a single message is a stream of one, so every call is a stream of requests and a stream of answers.

    Attributes:
        row: the call in the table of all calls, which has its name and its limits.
        insists: whether the call is made again while nobody listens at the other end.
        waits_for_room: whether the call is made again while the other end has no room for it.
    """

    row: calls.Call[Any]
    insists: ClassVar[bool] = True
    waits_for_room: ClassVar[bool] = True

    @property
    def method(self) -> str:
        """The name of the RPC."""
        return self.row.name

    @property
    def path(self) -> str:
        """What gRPC calls the method."""
        return self.row.path

    @property
    def lasts_s(self) -> float:
        """How long what the call belongs to could last, in seconds."""
        return inf

    @property
    def metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Key and value pairs that go up before the requests."""
        return ()

    @property
    def limit(self) -> int:
        """Longest answer in bytes, each part counting `PART_COST` more."""
        return self.row.longest_answer()

    def requests(self) -> Iterator[bytes]:
        """What goes up; the same bytes on every call. By default one message, of our fields that have its names."""
        kind = self.row.request
        return in_bytes([kind(**{field.name: getattr(self, field.name) for field in kind.DESCRIPTOR.fields})])

    def begin(self) -> None:
        """The call is made, perhaps again: what came of its answer before is forgotten."""

    def take(self, part: bytes) -> bool:
        """The next part of the answer: whether it was used up, or is to be kept for `read`."""
        del part
        return False

    def decode(self, parts: Parts) -> ResponseT_co:
        """What came down; None where the table has no codec, for then the answer says only that the call was heard.
        Raise `RemoteError` for anything malformed.
        """
        codec: Codec[ResponseT_co] | None = self.row.answers
        if codec is None:
            only(self.row.reply, parts)
            return cast("ResponseT_co", None)
        return decoded(self.row, codec, parts)

    def read(self, parts: Parts) -> ResponseT_co:
        """As `decode`, within the limit. `parts` is emptied on the way, so that it is not held twice."""
        size = sum(len(part) + PART_COST for part in parts)
        if size > self.limit:  # check: longer-than-any-answer
            raise DecodeError(f"the answer to {self.method} is longer than {self.limit} bytes", culprit=COORDINATOR)
        return self.decode(parts)


Flow = Generator[PreparedCall[Any], Parts, ResponseT_co]
"""Yields calls, receives the parts of their answers, returns a result."""


def ask(call: PreparedCall[ResponseT_co]) -> Flow[ResponseT_co]:
    """Make a call: to be used with `yield from`. Gives the call's answer, or raises the error in it."""
    return call.read((yield call))


def decoded(row: calls.Call[Any], codec: Codec[ResponseT_co], parts: Parts) -> ResponseT_co:
    """What these parts of an answer to a call say. `parts` is emptied."""
    return codec.decode(every(row.reply, parts) if codec.in_parts else only(row.reply, parts))


def in_bytes(messages: Iterable[Message]) -> Iterator[bytes]:
    """Requests, each serialised when it is asked for."""
    return (message.SerializeToString() for message in messages)


def every(kind: type[MessageT], parts: Parts, fields: int = MAX_ANSWER_FIELDS) -> Iterator[MessageT]:
    """The messages in `parts`, which is emptied. They have at most `fields` fields, all together."""
    budget = Budget(fields)
    while parts:
        yield parse(kind, parts.popleft(), budget)


def only(kind: type[MessageT], parts: Parts) -> MessageT:
    """The one message in `parts`."""
    if len(parts) != 1:  # check: one-answer
        raise DecodeError(f"{len(parts)} answers where one {kind.__name__} belongs", culprit=COORDINATOR)
    return parse(kind, parts.popleft())
