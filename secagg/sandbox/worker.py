"""Encryption and decryption in a process of their own, with limits on memory and time.

TenSEAL is C++ that holds the interpreter's lock: in its own process it can be timed out, killed or crash, and the
participant lives. The process is a fresh interpreter, so it shares no memory and no open file with its parent but one
socket, and the caller's main module need not be importable.
"""

import importlib.util
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final

from secagg.errors import (
    ConfigError,
    DecodeError,
    LocalError,
    MissingExtraError,
    ProtocolViolation,
    SecAggError,
    WorkerError,
)
from secagg.lattice.jobs import Desk, Job
from secagg.lattice.tenseal_backend import preload
from secagg.sandbox.pipe import PipeClosed, PipeStalled, receive, send

_DONE: Final = b"\0"
_REFUSED: Final = b"\1"
_OUT_OF_MEMORY: Final = 3  # exit code

_REFUSALS: Final[Mapping[str, type[SecAggError]]] = {
    error.__name__: error for error in (ConfigError, DecodeError, LocalError, ProtocolViolation)
}
"""The errors that a worker reports by name. Whatever else happens in it ends it, and is a `WorkerError` here."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much memory and time the process that encrypts may use.

    Attributes:
        memory_bytes: address space beyond that of the libraries. Enforced on Linux alone.
        seconds: longest time without progress, at the start and in each job.
    """

    memory_bytes: int = 1 << 30
    seconds: float = 60.0


class Worker:
    """The process in which TenSEAL encrypts and decrypts, with limits on memory and time. It does one job at a time,
    whatever thread asks. Close it, or use it as a context manager.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        """Start the process.

        Args:
            limits: how much it may use; the usual limits, if None.

        Raises:
            MissingExtraError: TenSEAL is not installed.
            WorkerError: this platform is not like Unix.
        """
        if os.name != "posix":
            raise WorkerError("homomorphic rounds need a system like Unix: the process that encrypts is confined there")
        if any(importlib.util.find_spec(name) is None for name in ("tenseal", "zstandard")):
            raise MissingExtraError("homomorphic encryption", "ckks")
        self._limits: Final = limits or Limits()
        self._turn: Final = Lock()  # who holds it may use the socket
        self._socket, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            # -P: with -m alone, whatever lies in the working directory under the name of a module would be run.
            command = [sys.executable, "-P", "-m", "secagg.sandbox.worker", str(fd), str(self._limits.memory_bytes)]
            self._process = subprocess.Popen(command, pass_fds=[fd], stdin=subprocess.DEVNULL)  # noqa: S603 - our own

    @property
    def pid(self) -> int:
        """Process id, for whoever watches it."""
        return self._process.pid

    def do(self, job: Job) -> bytes:
        """The worker's answer to a job (see `jobs.Desk`).

        Raises:
            WorkerError: it crashed, was killed, ran out of memory or out of time. The worker is over; nothing else is.
            DecodeError: a chunk of the aggregate is malformed.
            ProtocolViolation: the aggregate does not decrypt to a possible sum.
        """
        with self._turn:
            if self._closed:
                raise WorkerError("the worker is closed; start another")
            try:
                send(self._socket.fileno(), pickle.dumps(job), self._limits.seconds)
                answer = receive(self._socket.fileno(), self._limits.seconds)
            except PipeStalled as stalled:
                self._end()
                raise WorkerError(f"the worker exceeded its limit of {self._limits.seconds} s") from stalled
            except PipeClosed as gone:
                raise WorkerError(f"the worker ended without an answer: {self._end()}") from gone
            except BaseException:  # interrupted: the next job would get this one's answer
                self._end()
                raise
        return _opened(answer)

    def close(self) -> None:
        """End the process, even in the middle of a job."""
        # First the process, and with it the job of another thread: a socket that is closed under a thread that uses it
        # gives its number, and the rest of a message, to whatever is opened next.
        self._process.kill()
        with self._turn:
            if not self._closed:
                self._end()

    @property
    def _closed(self) -> bool:
        return self._socket.fileno() < 0

    def _end(self) -> str:
        """Make sure that the process is gone, and say how it went."""
        self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        self._process.kill()
        code = self._process.wait()
        if code == _OUT_OF_MEMORY:
            return f"it exceeded its limit of {self._limits.memory_bytes} bytes of memory"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_GRACE_SECONDS: Final = 0.5
"""For a process whose socket was closed to end by itself."""


def _opened(answer: bytes) -> bytes:
    """The body of an answer, or the error that it names."""
    kind, body = answer[:1], answer[1:]
    if kind == _DONE:
        return body
    name, _, message = body.decode(errors="replace").partition(":")
    raise _REFUSALS.get(name, WorkerError)(message)


def _serve(fd: int, memory_bytes: int) -> None:
    """The worker's whole life: jobs until the parent closes its end."""
    preload()
    _limit_memory(memory_bytes)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when we end
    desk = Desk()
    try:
        while True:
            job: Job = pickle.loads(receive(fd))  # noqa: S301  (from our own parent)
            send(fd, _answer(desk, job))
    except PipeClosed:
        return
    except MemoryError:
        sys.exit(_OUT_OF_MEMORY)


def _limit_memory(memory_bytes: int) -> None:
    """Let this process take only so much more memory than now, and write no core file, which would hold keys."""
    import resource  # noqa: PLC0415, not on every platform, and this process is on one that has it

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    in_use = Path("/proc/self/statm")
    if in_use.exists():  # Linux; elsewhere the address space has no limit that holds
        limit = int(in_use.read_text().split()[0]) * resource.getpagesize() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _answer(desk: Desk, job: Job) -> bytes:
    try:
        return _DONE + desk.do(job)
    except tuple(_REFUSALS.values()) as refusal:
        return _REFUSED + f"{type(refusal).__name__}:{refusal}".encode()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
