"""Writes a history down while it is played."""

from hashlib import sha256
from itertools import count
from typing import Any

import grpc

from secagg.errors import SecAggError
from secagg.tools.faults.history import (
    FL_SERVER,
    Answered,
    Asked,
    Closed,
    Crashed,
    Fact,
    Fault,
    History,
    Injected,
    Sent,
    Told,
)
from secagg.tools.faults.loop import VirtualLoop
from secagg.tools.faults.network import Metadata
from secagg.tools.faults.processes import Process, current
from secagg.tools.faults.substitutes import Online
from secagg.wire.calls import ROUND_METADATA
from secagg.wire.failures import TRAILER


class Recorder:
    """A `network.Witness` that also hears of everything else.

    Attributes:
        history: so far.
    """

    def __init__(self, loop: VirtualLoop, history: History) -> None:
        self.history = history
        self._loop = loop
        self._calls = count(1)

    def note(self, fact: Fact) -> None:
        """Write a fact down."""
        self.history.facts.append(fact)

    def injected(self, fault: Fault, detail: str = "") -> None:
        """Something was done to the deployment."""
        self.note(Injected(self.now, fault, detail))

    @property
    def now(self) -> float:
        """Seconds since the beginning of the history."""
        return self._loop.time()

    def told(self, who: str, error: Exception | None = None) -> None:
        """A client told its caller how it ended."""
        current()
        if error is None:
            self.note(Told(self.now, who))
            return
        named = isinstance(error, SecAggError)
        self.note(Told(self.now, who, type(error).__name__, named, str(error)))

    def crashed(self, who: str, detail: str) -> None:
        """An error without a name came out of a program."""
        self.note(Crashed(self.now, who, detail))

    # --- of the network -----------------------------------------------------------------------------------------------

    def asked(self, process: Process, path: str, metadata: Metadata) -> int:
        """A call left its caller; the number of the call."""
        call = next(self._calls)
        caller = process.caller if isinstance(process, Online) else FL_SERVER
        named: Any = next((value for key, value in metadata if key == ROUND_METADATA), b"")
        self.note(Asked(self.now, call, caller, process.number, path.rpartition("/")[2], named))
        return call

    def sent(self, call: int, message: bytes) -> None:
        """A message of a call left its caller."""
        self.note(Sent(self.now, call, message))

    def answered(self, call: int, message: bytes, arrival: int) -> None:
        """A message that answers a call left the coordinator."""
        self.note(Answered(self.now, call, message, arrival))

    def closed(self, call: int, code: grpc.StatusCode, trailer: Metadata, arrival: int) -> None:
        """The coordinator ended a call."""
        detail: Any = next((value for key, value in trailer if key == TRAILER), None)
        self.note(Closed(self.now, call, code.name, detail, arrival))


def digest(history: History) -> str:
    """SHA-256 over all facts, in hex. Two runs of one seed have the same."""
    found = sha256()
    for fact in history.facts:
        found.update(repr(fact).encode())
    return found.hexdigest()
