"""The process that logs what a coordinator wrote just before it died. It needs the standard library alone.

Started as `python last_words.py PIPE SOCKET`, with the numbers of two files: the pipe that the coordinator writes to as
its standard error, and a socket to which it writes the traceback of a fatal signal. It sleeps until something comes
from the socket. When that is its end and the pipe is empty, the coordinator has ended in order, and nothing is logged.
It is born with the signals blocked that ask a coordinator to stop or to read its files again.
"""

import json
import os
import socket
import sys
import time
from datetime import UTC, datetime
from typing import Final

EVENT: Final = "last_words"
LINE_BYTES: Final = 2000

MOST_LINES: Final = 50
"""The last ones are kept: a handshake alone has ten lines."""

_READER_S: Final = 0.5
"""How long the coordinator's own reader has for what it took out of the pipe before us."""


def main(pipe: int, words: socket.socket) -> None:
    """Wait for the coordinator's death, and log what it left."""
    traceback = words.recv(4096)
    if traceback:
        time.sleep(_READER_S)
    _tell(_left(pipe)[-MOST_LINES:])
    while more := words.recv(4096):
        *lines, traceback = (traceback + more).split(b"\n")
        _tell(lines)
    _tell(traceback.split(b"\n"))


def _left(pipe: int) -> list[bytes]:
    """The lines in the pipe, whose other reader is dead or has taken its time."""
    found = b""
    try:
        while data := os.read(pipe, 1 << 16):
            found += data
    except BlockingIOError:
        pass
    return found.strip(b"\n").split(b"\n")


def _tell(lines: list[bytes]) -> None:
    for line in filter(None, lines):
        text = line[:LINE_BYTES].decode(errors="replace")
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        told = json.dumps({"detail": text, "event": EVENT, "level": "error", "timestamp": at})
        os.write(1, told.encode() + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
