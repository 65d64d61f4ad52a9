"""A protobuf message from the bytes of a peer: its fields are counted before any becomes an object."""

from google.protobuf.message import DecodeError as ProtobufError

from secagg.errors import DecodeError
from secagg.wire.counting import Budget
from secagg.wire.fields import MessageT


def parse(kind: type[MessageT], data: bytes, budget: Budget | None = None) -> MessageT:
    """A protobuf message from bytes. Its fields are counted before any becomes an object.

    Args:
        kind: of the message.
        data: what a peer sent.
        budget: for all parts of one message; its own if None.

    Raises:
        DecodeError: `data` is none, or has too many fields.
    """
    message = kind()
    try:
        (budget or Budget()).spend(data, kind)
        message.ParseFromString(data)
    except DecodeError as error:
        raise DecodeError(f"not a {kind.__name__}: {error}") from None
    except ProtobufError:
        raise DecodeError(f"not a {kind.__name__}") from None
    return message
