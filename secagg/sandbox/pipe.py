"""Framed bytes between two of our own processes: a length as eight little-endian bytes, then that many bytes.

With a limit, an end that makes no progress for that long is given up: a stopped process cannot block the other by not
reading.
"""

import os
import select

from secagg.errors import LocalError

MAX_MESSAGE_BYTES = 1 << 26
_LENGTH_SIZE = 8


class PipeClosed(LocalError):
    """The other end is gone."""


class PipeStalled(LocalError):
    """The other end made no progress within the limit."""


def send(fd: int, data: bytes, limit_s: float | None = None) -> None:
    """Write one message.

    Raises:
        PipeClosed: nobody reads any more.
        PipeStalled: nothing could be written for `limit_s` seconds.
    """
    rest = memoryview(len(data).to_bytes(_LENGTH_SIZE, "little") + data)
    os.set_blocking(fd, limit_s is None)
    while rest:
        if limit_s is not None and not _ready(fd, select.POLLOUT, limit_s):
            raise PipeStalled(f"no progress for {limit_s} s")
        try:
            rest = rest[os.write(fd, rest) :]
        except (BrokenPipeError, ConnectionResetError) as gone:
            raise PipeClosed("the other end is gone") from gone


def receive(fd: int, limit_s: float | None = None) -> bytes:
    """Read one message of at most `MAX_MESSAGE_BYTES`.

    Raises:
        PipeClosed: the other end is gone, or announces a longer message.
        PipeStalled: nothing arrived for `limit_s` seconds.
    """
    os.set_blocking(fd, limit_s is None)
    size = int.from_bytes(_read(fd, _LENGTH_SIZE, limit_s), "little")
    if size > MAX_MESSAGE_BYTES:
        raise PipeClosed(f"a message of {size} bytes is announced")
    return _read(fd, size, limit_s)


def _ready(fd: int, event: int, limit_s: float) -> bool:
    """Whether reading or writing makes progress within the limit."""
    poll = select.poll()  # `select` itself takes no descriptor beyond 1023
    poll.register(fd, event)
    return bool(poll.poll(limit_s * 1000))


def _read(fd: int, size: int, limit_s: float | None) -> bytes:
    out = bytearray()
    while len(out) < size:
        if limit_s is not None and not _ready(fd, select.POLLIN, limit_s):
            raise PipeStalled(f"no progress for {limit_s} s")
        try:
            piece = os.read(fd, size - len(out))
        except ConnectionResetError as gone:
            raise PipeClosed("the other end is gone") from gone
        if not piece:
            raise PipeClosed("the other end is gone")
        out += piece
    return bytes(out)
