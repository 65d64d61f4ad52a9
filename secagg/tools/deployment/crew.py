"""Participants as processes: a `Crew` starts them, gives them orders and waits for their events."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from secagg.tools.deployment.sidecar import ProcessError

# One numerical thread each: the processes are many, the processors few.
_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(slots=True)
class Crew:
    """Participants, each a process of its own, which may die and be started again.

    A participant reads an order a line from its standard input, and `tell`s events.

    Attributes:
        commands: what each participant is started with, behind `python -m`.
        log: file for what they write to standard error.
    """

    commands: Mapping[str, Sequence[str]]
    log: Path
    _processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    _events: "queue.Queue[tuple[str, dict[str, Any]]]" = field(default_factory=queue.Queue)
    _listeners: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.start(self.commands)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill(self._processes)
        for listener in self._listeners:
            listener.join()
        for process in self._processes.values():
            _close(process)

    def start(self, names: Iterable[str]) -> None:
        """Start processes that are not there, or no longer."""
        for name in names:
            with self.log.open("ab") as log:
                process = subprocess.Popen(  # noqa: S603, our own interpreter
                    [sys.executable, "-P", "-m", *self.commands[name]],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**os.environ, **_ENVIRONMENT},
                )
            if name in self._processes:
                _close(self._processes[name])
            self._processes[name] = process
            self._listeners.append(threading.Thread(target=self._listen, args=(name, process), daemon=True))
            self._listeners[-1].start()

    def order(self, name: str, line: str) -> None:
        """Write one line to the standard input of a participant."""
        stdin = self._processes[name].stdin
        if stdin is None:
            raise ProcessError(f"{name} has no standard input")
        stdin.write(line + "\n")
        stdin.flush()

    def pid(self, name: str) -> int:
        """The process of a participant."""
        return self._processes[name].pid

    def kill(self, names: Iterable[str]) -> None:
        """End processes, if they are there."""
        for name in names:
            self._processes[name].kill()

    def wait(self, wanted: Mapping[str, Collection[str]], timeout_s: float) -> dict[str, dict[str, Any]]:
        """The first event of each participant that is among those wanted of it; what comes before is skipped.

        The end of a process is the event "exited", with its last words.

        Raises:
            ProcessError: one of them ends and "exited" is not wanted of it, or says nothing in time.
        """
        missing = dict(wanted)
        found: dict[str, dict[str, Any]] = {}
        end = monotonic() + timeout_s
        while missing:
            try:
                name, event = self._events.get(timeout=max(0.0, end - monotonic()))
            except queue.Empty:
                raise ProcessError(f"{', '.join(sorted(missing))}: nothing heard for {timeout_s:.0f} s") from None
            if event["event"] in missing.get(name, ()):
                found[name] = event
                del missing[name]
            elif name in missing and event["event"] == "exited":
                raise ProcessError(f"{name} ended with code {event['code']}: {self._tail()}")
        return found

    def _listen(self, name: str, process: "subprocess.Popen[str]") -> None:
        last_words: dict[str, Any] = {}
        for line in process.stdout or ():
            event = json.loads(line)
            if event["event"] == "dying":
                last_words = event
            else:
                self._events.put((name, event))
        self._events.put((name, {"bytes_sent": 0, **last_words, "event": "exited", "code": process.wait()}))

    def _tail(self) -> str:
        return self.log.read_text(encoding="utf-8")[-500:].strip() or "nothing in its log"


def _close(process: "subprocess.Popen[str]") -> None:
    """Give back the pipes of a process that has ended."""
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def tell(event: str, **details: object) -> None:
    """Tell the crew's owner of an event, from within a participant: one JSON object on a line of standard output."""
    sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
    sys.stdout.flush()
