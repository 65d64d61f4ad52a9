"""What happens in a running coordinator, for whoever observes it: log, metrics, traces, the status page.

No fact holds a key, a share, an update or a sum. Names of participants are for the log and the status page,
where operators see them.
"""

from dataclasses import dataclass
from enum import Enum, auto

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.errors import SecAggError
from secagg.events import Event
from secagg.robust.combining import Anomaly


@dataclass(frozen=True, slots=True)
class RoundName:
    """Which round a fact is about.

    Attributes:
        round_id: of the round, or of the group.
        task: the task that the FL server named.
        scheme: `masked`, `ckks` or `bfv`.
        parent: id of the round in groups that this is a group of; None if it is none.
    """

    round_id: RoundId
    task: str
    scheme: str
    parent: RoundId | None = None


@dataclass(frozen=True, slots=True)
class RoundOpened:
    """A round, or a group of one, is open. `at` is in seconds since 1970."""

    round: RoundName
    at: float
    config: RoundConfig


@dataclass(frozen=True, slots=True)
class RoundResumed:
    """A round, or a group of one, that an earlier process opened goes on.

    Attributes:
        round: which one.
        at: when it went on, in seconds since 1970.
        config: its configuration.
        opened_s: when it was opened, in seconds since 1970.
        events: what had happened by then, with times in seconds since 1970.
    """

    round: RoundName
    at: float
    config: RoundConfig
    opened_s: float
    events: tuple[tuple[float, Event], ...]


@dataclass(frozen=True, slots=True)
class GroupsResumed:
    """A round in groups goes on. Its groups were told of before; `opened_s` is in seconds since 1970."""

    round: RoundName
    opened_s: float
    config: RoundConfig


@dataclass(frozen=True, slots=True)
class RoundLost:
    """What an earlier process kept of a round cannot be used. `detail` is for people."""

    round_id: RoundId
    detail: str


@dataclass(frozen=True, slots=True)
class GroupsOpened:
    """A round in groups is open. Its groups were told of as rounds before.

    Attributes:
        round: the round in groups.
        at: in seconds since 1970.
        combine: how the groups' means become one.
        groups: ids of the groups.
    """

    round: RoundName
    at: float
    combine: str
    groups: tuple[RoundId, ...]


@dataclass(frozen=True, slots=True)
class RoundEvent:
    """An event of a round or of a group; of a round in groups that it failed. `at` is in seconds since 1970."""

    round: RoundName
    at: float
    event: Event


@dataclass(frozen=True, slots=True)
class GroupsCombined:
    """A round in groups ended with the sums of these groups, by number. `survivors` are counted."""

    round: RoundName
    at: float
    groups: tuple[int, ...]
    survivors: int


@dataclass(frozen=True, slots=True)
class GroupAnomaly:
    """A group's mean is far longer than the others'."""

    round: RoundName
    anomaly: Anomaly


@dataclass(frozen=True, slots=True)
class RoundBroken:
    """An error of the coordinator itself ended a round. `traceback` has no values of variables."""

    round: RoundName
    traceback: str


class CallOutcome(Enum):
    """How a call ended."""

    ANSWERED = auto()
    REFUSED = auto()
    BROKEN = auto()
    HUNG_UP = auto()
    SUSPENDED = auto()
    """The coordinator stops, and takes the call's round up again when it starts."""


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call of a participant or of the FL server is over.

    Attributes:
        plane: `data`, `gateway` or `control`.
        method: name of the RPC, one of those that the plane answers. At the gateway it may be `Submit`, `Poll` or
            `End`, of a request that was refused.
        caller: the participant, or the FL server; empty if nobody knew by then.
        address: HOST:PORT of the caller, as far as it is known.
        began_s: when its headers were there, in seconds since 1970.
        seconds: how long it took.
        bytes_in: of the messages that it brought, without what gRPC and TLS add.
        bytes_out: of the messages of its answer.
        outcome: how it ended.
        error: why it was refused; None if it was not.
        traceback: of the error of the coordinator that broke it, without values of variables; else empty.
        round_id: of the round that it is counted in; another text or nothing where there is none.
        traceparent: which trace its caller says that it belongs to; whatever the caller wrote, but not long.
    """

    plane: str
    method: str
    caller: str
    address: str
    began_s: float
    seconds: float
    bytes_in: int
    bytes_out: int
    outcome: CallOutcome
    error: SecAggError | None = None
    traceback: str = ""
    round_id: bytes = b""
    traceparent: str = ""


class ConnectionCause(Enum):
    """Why the coordinator did not keep a participant's connection."""

    NOT_ACCEPTED = auto()
    """The system has no descriptor for it."""
    SILENT = auto()
    """It made no call in time, or made none and was the oldest when places ran out."""
    FOR_ANOTHER = auto()
    """Places ran out, and its participant has most connections."""
    TOO_MANY = auto()
    """Its participant opened more than it may have."""
    WITHOUT_CALL = auto()
    """It ended before the first call, and grpc did not say why."""
    TLS_REFUSED = auto()
    """Its TLS handshake failed."""
    ANSWER_NOT_TAKEN = auto()
    """Its participant did not take a part of an answer in time."""
    REFUSED = auto()
    """Its participant may not take part any more: its certificate was revoked, or the deny list names it."""


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """A connection of the data plane was closed before its participant wanted to.

    Attributes:
        cause: why.
        address: HOST:PORT of the participant; empty if the system did not say.
        participant: whose it is; empty without a call.
        detail: what the system or grpc said.
        reason: why TLS failed, one of the few texts in `observability.grpc_log`; empty for other causes.
    """

    cause: ConnectionCause
    address: str = ""
    participant: str = ""
    detail: str = ""
    reason: str = ""


RoundFact = (
    RoundOpened | RoundResumed | GroupsOpened | GroupsResumed | RoundEvent | GroupsCombined | GroupAnomaly | RoundBroken
)
Fact = RoundFact | RoundLost | CallEnded | ConnectionClosed
