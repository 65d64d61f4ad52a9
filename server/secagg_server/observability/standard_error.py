"""Standard error while the coordinator serves: a pipe, whose lines become events of the log.

grpc's C core, abseil and the interpreter write to file descriptor 2, and know nothing of our log. A thread reads the
pipe. Nobody waits for it: what is written while the pipe is full is lost, because a peer can cause lines faster than
anyone can log them.

What is written just before a crash must not be lost with the process. So a second process (`last_words.py`) sleeps
until this one dies, and then logs what the pipe still holds. A signal that kills us goes through Python's faulthandler,
which writes to that process; it answers by reading, so it has read the pipe before we are gone. This matters in a
container, where the end of the first process ends all others at once.
"""

import faulthandler
import fcntl
import io
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Final

from secagg_server.observability import last_words

LINE_BYTES: Final = 8192
"""What is longer is cut: grpc's own lines have at most 2,000."""

LINES: Final = 50
"""Lines of one message."""

ROOM_BYTES: Final = 1 << 20
"""Of the pipe, for a hundred handshakes at once; less where the system does not allow it."""

_PATIENCE_S: Final = 2
_NOT_FOR_IT: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # it ends when we do
_CONTINUED: Final = (b" ", b"\t", b"=", b"@", b"src/")
_WORD_BYTES: Final = 4096  # the least that the system allows, so that who writes a traceback waits for its reader


@contextmanager
def standard_error_to(take: Callable[[str], None]) -> Iterator[None]:
    """Inside, everything that is written to standard error goes to `take`, message by message, in a thread of its own.

    Afterwards file descriptor 2 is what it was.
    """
    sys.stderr.flush()
    real, python = os.dup(2), sys.stderr
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    with suppress(OSError):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, ROOM_BYTES)
    reader = Thread(target=_read, args=(reading, take), name="stderr", daemon=True)
    try:
        with _logged_when_dead(reading, real):
            os.dup2(writing, 2)
            os.close(writing)
            sys.stderr = io.TextIOWrapper(_Unhindered(), errors="backslashreplace", write_through=True)
            reader.start()
            try:
                yield
            finally:
                sys.stderr = python
                os.dup2(real, 2)  # the last writer is gone, so the reader comes to the end
                reader.join(_PATIENCE_S)
    finally:
        os.close(real)
        if not reader.is_alive():
            os.close(reading)


@contextmanager
def _logged_when_dead(pipe: int, real: int) -> Iterator[None]:
    """Inside, another process waits for our death: to log what `pipe` holds then, and a fatal signal's traceback."""
    enabled = faulthandler.is_enabled()
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WORD_BYTES)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _PATIENCE_S, 0))
    command = [sys.executable, "-I", "-S", str(Path(last_words.__file__)), str(pipe), str(theirs.fileno())]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_IT)  # which it inherits
    try:
        logger = subprocess.Popen(command, pass_fds=(pipe, theirs.fileno()), stdin=subprocess.DEVNULL, stderr=real)  # noqa: S603
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    with ours, logger:
        faulthandler.enable(ours.fileno())
        try:
            yield
        finally:
            faulthandler.disable()
            ours.close()  # so that the other one ends, which is waited for
    if enabled:
        faulthandler.enable()


class _Unhindered(io.RawIOBase):
    """File descriptor 2 for Python: what finds no room in the pipe is lost."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def write(self, data: bytes) -> int:  # type: ignore[override]
        with suppress(BlockingIOError):
            os.write(2, data)
        return len(data)


def _read(pipe: int, take: Callable[[str], None]) -> None:
    messages = Messages()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while True:
        if not poll.poll(0):
            for message in messages.rest():
                _pass_on(take, message)
            poll.poll()
        data = os.read(pipe, 1 << 16)
        for message in messages.feed(data) if data else messages.end():
            _pass_on(take, message)
        if not data:
            return


def _pass_on(take: Callable[[str], None], message: str) -> None:
    try:
        take(message)
    except Exception:  # the outermost frame: told as of a thread that dies, but the next message is read
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


class Messages:
    """Puts together the lines that belong to one message. grpc writes a message of several lines at once."""

    def __init__(self) -> None:
        self._line = b""
        self._lines: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[str]:
        """The messages that are known to be whole, now that `data` has come."""
        *lines, begun = data.split(b"\n")
        for piece in lines:
            line = self._with(piece)
            self._line = b""
            yield from self._taken(line)
        self._line = self._with(begun)

    def rest(self) -> Iterator[str]:
        """The message whose lines are there, as nothing more has come."""
        if self._lines and not self._line:
            yield self._message()

    def end(self) -> Iterator[str]:
        """What is left at the end."""
        if self._line:
            yield from self._taken(self._line)
        if self._lines:
            yield self._message()

    def _with(self, piece: bytes) -> bytes:
        """The begun line with what came of it, as far as it is kept."""
        return (self._line + piece[:LINE_BYTES])[:LINE_BYTES]

    def _taken(self, line: bytes) -> Iterator[str]:
        if self._lines and (not line or line.startswith(_CONTINUED)):
            self._lines.append(line)
            if len(self._lines) < LINES:
                return
            line = b""
        if self._lines:
            yield self._message()
        if line:
            self._lines = [line]

    def _message(self) -> str:
        text = b"\n".join(self._lines).decode(errors="replace")
        self._lines = []
        return text
