"""The process of a program: it is started, asked one line at a time, and ended."""

import json
import os
import select
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Final

from secagg.errors import ConfigError, LocalError, RemoteError
from secagg.tools.conformance.document import Document
from secagg.tools.runner.lines import MAX_LINE, VERSION, Answer, Description, read, read_answer, read_description

LIMIT_S: Final = 30.0
"""How long a program may take for one answer."""

START_S: Final = 120.0
"""How long it may take to start and to describe itself."""

_PIECE: Final = 1 << 16
_END_S: Final = 2.0


class Program:
    """A program that plays one participant at a time. Use as a context manager: its process ends with it."""

    def __init__(self, command: Sequence[str], limit_s: float = LIMIT_S) -> None:
        """Args:
        command: the program and its arguments. No shell reads it.
        limit_s: how long one answer may take.

        Raises:
            ConfigError: it cannot be started.
        """
        self._limit_s = limit_s
        self._described: Description | None = None
        self._read = b""
        there, self._to = os.pipe()
        self._from, back = os.pipe()
        try:
            self._process = subprocess.Popen(command, stdin=there, stdout=back, bufsize=0)  # noqa: S603 the caller's own
        except OSError as error:
            os.close(self._to)
            os.close(self._from)
            raise ConfigError(f"the program {command[0]} cannot be started: {error.strerror}") from error
        finally:
            os.close(there)
            os.close(back)
        os.set_blocking(self._to, False)

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.close()

    def describe(self) -> Description:
        """Ask what the program says of itself; errors as of `ask`."""
        until = monotonic() + START_S
        self._described = read_description(self._exchange({"do": "describe", "version": VERSION}, until))
        return self._described

    @property
    def described(self) -> Description:
        """What it said when it was asked.

        Raises:
            LocalError: it was not.
        """
        if self._described is None:
            raise LocalError("the program was not asked to describe itself")
        return self._described

    def ask(self, request: Document) -> Answer:
        """The program's answer to one request.

        Raises:
            RemoteError: it gave none: the process ended, took too long, or wrote something else. It is of no use then.
        """
        return read_answer(self._exchange(request, monotonic() + self._limit_s))

    def close(self) -> None:
        """End the process: by the end of its input, and if that is not enough, by force."""
        os.close(self._to)
        os.close(self._from)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _exchange(self, request: Document, until: float) -> Document:
        if self._read:
            raise RemoteError("the program wrote more than one line for one request", culprit="program")
        self._write(json.dumps(request, separators=(",", ":")).encode() + b"\n", until)
        return read(self._line(until))

    def _write(self, data: bytes, until: float) -> None:
        left = memoryview(data)
        while left:
            _, ready, _ = select.select([], [self._to], [], max(0.0, until - monotonic()))
            if not ready:
                raise RemoteError("the program did not read its input in time", culprit="program")
            try:
                left = left[os.write(self._to, left[:_PIECE]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._ended() from None

    def _line(self, until: float) -> bytes:
        pieces, size = [self._read], len(self._read)
        while b"\n" not in pieces[-1]:
            ready, _, _ = select.select([self._from], [], [], max(0.0, until - monotonic()))
            if not ready:
                raise RemoteError("the program gave no answer in time", culprit="program")
            piece = os.read(self._from, _PIECE)
            if not piece:
                raise self._ended()
            pieces.append(piece)
            size += len(piece)
            if size > MAX_LINE:
                raise RemoteError(f"the program's answer has more than {MAX_LINE} bytes", culprit="program")
        line, _, self._read = b"".join(pieces).partition(b"\n")
        return line

    def _ended(self) -> RemoteError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        return RemoteError(f"the program ended with exit code {self._process.poll()}", culprit="program")
