"""What was seen of a deployment from outside, as plain facts in the order in which they happened.

Whoever runs a deployment writes the facts down, and the checker judges them. A fact says what went over the network as
bytes, what a participant put in and was told, and what was done to the deployment. None says what a program thinks: a
history can be taken of the simulator, or of real processes behind a proxy.

Times are true seconds from the beginning of the history. They never go back, whatever clocks of machines do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

FL_SERVER = ""
"""The caller of a call of the control plane."""


class Fault(Enum):
    """What was done to a deployment. The value says it to people."""

    MESSAGE_DELAYED = "a message was late"
    """Messages of other calls that were sent behind it came before it."""
    REQUEST_LOST = "a request was lost with its connection"
    REPLY_LOST = "an answer was lost with its connection"
    CONNECTION_CUT = "a connection was cut"
    BREAK_UNNOTICED = "an end did not notice for long that its connection was cut"
    MACHINE_CUT_OFF = "a machine was cut off from the network"
    CALL_REPEATED = "a call arrived twice"
    CLOCK_JUMPED = "a clock jumped"
    PROGRAM_PAUSED = "a program got no time for a while"
    PARTICIPANT_KILLED = "a participant was killed"
    FL_SERVER_KILLED = "the FL server was killed"
    COORDINATOR_KILLED = "the coordinator was killed"
    """Its machine goes on: what was written to files is there, flushed or not."""
    COORDINATOR_STOPPED = "the coordinator was stopped in order"
    POWER_CUT = "the power of the coordinator's machine was cut"
    """What was not flushed is lost, in part or whole."""
    DISK_FULL = "the disk was full"
    """Writes that need room fail by name."""
    DISK_ERROR = "the disk refused a write or a flush"
    """The call fails by name. What was written since the last flush may be lost, even if a later flush succeeds."""
    FLUSH_LIED = "the disk said that data was safe, and lost it when the power was cut"
    BIT_ROT = "the disk gave other bytes than were written"


@dataclass(frozen=True, slots=True)
class Asked:
    """A call left its caller.

    Attributes:
        at: seconds.
        call: its number; no other call of the history has it.
        caller: id of the participant whose certificate it has, or `FL_SERVER`.
        process: of the caller; another number after each restart.
        name: of the RPC, as PROTOCOL.md has it.
        named: the round that the metadata names; empty where the messages do.
    """

    at: float
    call: int
    caller: str
    process: int
    name: str
    named: bytes = b""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message of a call left its caller. It may have been lost on its way."""

    at: float
    call: int
    message: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """A message that answers a call left the coordinator. It may have been lost on its way.

    Attributes:
        at: seconds.
        call: which.
        message: as it is on the wire.
        arrival: 0; if the network brings a call a second time, the second one's answers have 1.
    """

    at: float
    call: int
    message: bytes
    arrival: int = 0


@dataclass(frozen=True, slots=True)
class Closed:
    """The coordinator ended a call. A call that was cut, or whose coordinator died, has no such fact.

    Attributes:
        at: seconds.
        call: which.
        status: name of the gRPC status: `OK`, `ABORTED`, …
        error: the trailer `secagg-error-bin`; None where there is none.
        arrival: as of `Answered`.
    """

    at: float
    call: int
    status: str
    error: bytes | None = None
    arrival: int = 0


@dataclass(frozen=True, slots=True)
class Contributed:
    """A participant was told by its caller to put an update into a round. Written down before or after it does so.

    Attributes:
        at: seconds.
        participant: its id.
        round_id: 16 bytes; in groups that of its group.
        arrays: the update by the names of its arrays.
        weight: of the update.
    """

    at: float
    participant: str
    round_id: bytes
    arrays: Mapping[str, NDArray[np.number]]
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Told:
    """A client told its caller how it ended.

    Attributes:
        at: seconds.
        participant: its id, or `FL_SERVER`.
        error: name of the class of the error; None where there is a result.
        named: whether it is an error of secagg, which says what happened; True where there is a result.
        detail: for people.
    """

    at: float
    participant: str
    error: str | None = None
    named: bool = True
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Began:
    """A process of the coordinator answers calls from now on."""

    at: float


@dataclass(frozen=True, slots=True)
class Died:
    """The process of the coordinator is gone. No answer leaves it any more."""

    at: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A process of the coordinator did not start, and said why.

    Attributes:
        at: seconds.
        error: name of the class.
        named: whether it is an error of secagg.
        detail: for people.
    """

    at: float
    error: str
    named: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Injected:
    """Something was done to the deployment."""

    at: float
    fault: Fault
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Crashed:
    """An error that nobody named came out of a program of ours, or into its log. There is never a good reason."""

    at: float
    who: str
    detail: str


Fact = Asked | Sent | Answered | Closed | Contributed | Told | Began | Died | Refused | Injected | Crashed


@dataclass(slots=True)
class History:
    """The facts of one run.

    Attributes:
        keep_finished_s: how long the coordinator keeps the end of a round, in seconds by its own clock.
        keep_finished_rounds: how many ends it keeps; it forgets no sum that nobody fetched for being one too many.
        durable: whether the coordinator has a disk that outlives its process.
        audit: the coordinator's audit log at the end, its files one behind the other; None if it keeps none.
        facts: in order.
    """

    keep_finished_s: float = float("inf")
    keep_finished_rounds: int = 1 << 30
    durable: bool = True
    audit: bytes | None = None
    facts: list[Fact] = field(default_factory=list)
