"""Structured logs: one event a line. Bytes and secrets never get in, whoever logs them."""

import select
import sys
import traceback
from collections.abc import Callable, Hashable, MutableMapping
from contextlib import suppress
from math import inf, isfinite
from threading import Lock
from time import monotonic
from typing import Any, Final, TextIO, assert_never, cast

import structlog

from secagg.errors import printable
from secagg.events import (
    Accused,
    Event,
    MasksRemoved,
    MessageAccepted,
    ParticipantDropped,
    PhaseStarted,
    RoundFailed,
    SumDelivered,
    SumReady,
    WrongShares,
)
from secagg_server.network.peers import network_of
from secagg_server.observability.facts import (
    CallEnded,
    CallOutcome,
    ConnectionCause,
    ConnectionClosed,
    Fact,
    GroupAnomaly,
    GroupsCombined,
    GroupsOpened,
    GroupsResumed,
    RoundBroken,
    RoundEvent,
    RoundFact,
    RoundLost,
    RoundOpened,
    RoundResumed,
)
from secagg_server.observability.log_events import LOST
from secagg_server.settings import Settings

MOST_OF_EVENT: Final = 10
"""Lines of one throttled event in a pause, of whatever kinds: many strangers must not fill a disk together."""

STALLED_S: Final = 0.5
"""Who reads the log may be so slow once; after that, lines are lost until it reads again."""

_KINDS = 4096  # of lines that are held back
_DETAIL_CHARS = 500
_TRACEBACK_CHARS = 8000
_PLAIN = (str, int, float, bool, type(None))


def configure_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Log to `stream` (standard output if None) from now on, in this process."""
    out = stream or sys.stdout
    sink = cast("TextIO", _Sink(out))
    made_for: tuple[structlog.typing.Processor, ...] = ()
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer(allow_nan=False)
    if settings.log_format == "console":
        made_for = (only_printable_text,)
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty())
    structlog.configure(
        processors=[
            _Room(out),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # without the values of local variables
            only_plain_values,
            *made_for,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.PrintLoggerFactory(sink),
        cache_logger_on_first_use=False,
    )


class _Room:
    """Drops lines while the stream takes none: whoever reads the log may stall, and must not stall rounds with it. The
    next line that is written says how many were lost.
    """

    def __init__(self, stream: TextIO) -> None:
        self._lost = 0
        self._poll = None
        with suppress(OSError):  # no file: it takes everything
            number = stream.fileno()
            self._poll = select.poll()
            self._poll.register(number, select.POLLOUT)

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Pass on what can be written.

        Raises:
            DropEvent: it cannot.
        """
        patience = 0.0 if self._lost else STALLED_S
        if self._poll is not None and not self._poll.poll(patience * 1000):
            self._lost += 1
            raise structlog.DropEvent
        lost, self._lost = self._lost, 0
        return {**event, LOST: lost} if lost else event


class _Sink:
    """A stream whose loss is no reason to stop: a full disk or a closed pipe must not end a round."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def log_event(log: structlog.typing.FilteringBoundLogger, event: Event) -> None:
    """Log what happened in a round, in numbers and names alone: no sum, no share."""
    match event:
        case PhaseStarted(phase, _, expected):
            log.info("phase_started", phase=str(phase), expected=expected)
        case MessageAccepted(phase, participant):
            log.debug("message_accepted", phase=str(phase), participant=participant)
        case ParticipantDropped(phase, participant, reason):
            log.info("participant_dropped", phase=str(phase), participant=participant, reason=reason.name)
        case WrongShares(culprit, conflicts):
            log.warning("wrong_shares", culprit=culprit, conflicts=list(conflicts), proven=True)
        case Accused(accused, accuser, verdict):
            log.warning("accused", accused=accused, accuser=accuser, verdict=verdict.name, proven=event.proven)
        case MasksRemoved(done, total):
            log.info("masks_removed", done=done, total=total)
        case SumReady(survivors):
            log.info("sum_ready", survivors=len(survivors))
        case SumDelivered():
            log.info("sum_delivered", survivors=len(event.survivors))
        case RoundFailed(error):
            log.warning(
                "round_failed",
                reason=error.reason.name,
                detail=str(error),
                culprits=error.culprits,
                accused=error.accused,
            )
        case _:
            assert_never(event)


class Throttle:
    """Lets pass of each kind at most one in `pause_s`, and counts how many there were between; of one event at most
    `most`. Several threads may use it.

    How often a peer is refused is its own choice, and must not fill a disk.
    """

    def __init__(self, clock: Callable[[], float], pause_s: float, most: int) -> None:
        """Args:
        clock: seconds.
        pause_s: between two of one kind.
        most: of one event, of whatever kinds, in `pause_s`.
        """
        self._clock = clock
        self._pause_s = pause_s
        self._most = most
        self._logged: dict[tuple[str, Hashable], tuple[float, int]] = {}  # when, and how many since
        self._of_event: dict[str, tuple[float, int]] = {}  # since when, and how many
        self._lock = Lock()

    def pass_over(self, event: str, key: Hashable) -> int | None:
        """How many of its kind were left out before this one; None if this one is left out. Those of one event and key
        are of one kind.
        """
        with self._lock:
            return self._unlogged(event, key)

    def _unlogged(self, event: str, key: Hashable) -> int | None:
        now = self._clock()
        before, unlogged = self._logged.pop((event, key), (-inf, 0))
        since, count = self._of_event.get(event, (-inf, 0))
        if now - since >= self._pause_s:
            since, count = now, 0
        if len(self._logged) >= _KINDS:
            del self._logged[next(iter(self._logged))]
        if now - before < self._pause_s or count >= self._most:  # check: log-lines-of-strangers
            self._logged[event, key] = (before, unlogged + 1)
            return None
        self._of_event[event] = (since, count + 1)
        self._logged[event, key] = (now, 0)
        return unlogged


class ThrottledLog:
    """Log lines about what peers choose to do: of each kind at most one in `pause_s`, with how many there were between,
    and of one event at most `MOST_OF_EVENT`. Several threads may use it.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, pause_s: float = 1.0) -> None:
        """Args:
        clock: seconds.
        pause_s: between two lines of one kind.
        """
        self._throttle = Throttle(clock, pause_s, MOST_OF_EVENT)

    def info(self, event: str, key: Hashable, **values: object) -> None:
        """Log it, or count it. Those of one event and key are of one kind."""
        self._log("info", event, key, values)

    def warning(self, event: str, key: Hashable, **values: object) -> None:
        """Log it as a warning, or count it. Those of one event and key are of one kind."""
        self._log("warning", event, key, values)

    def error(self, event: str, key: Hashable, **values: object) -> None:
        """Log it as an error, or count it. Those of one event and key are of one kind."""
        self._log("error", event, key, values)

    def _log(self, level: str, event: str, key: Hashable, values: dict[str, object]) -> None:
        unlogged = self._throttle.pass_over(event, key)
        if unlogged is not None:
            more = {"unlogged": unlogged} if unlogged else {}
            getattr(structlog.get_logger(), level)(event, **values, **more)


def shortened(text: str, most: int = _DETAIL_CHARS) -> str:
    """Somebody else's words as they may stand in a log: one line of at most `most` characters."""
    return printable(" ".join(text[: 4 * most].split()), most)


class LogListener:
    """Writes facts into the log. What peers choose to do is throttled."""

    def __init__(self) -> None:
        self._calls = ThrottledLog()
        self._connections = ThrottledLog()  # told of in another thread

    def __call__(self, fact: Fact) -> None:
        """Log the fact, if it is one for people."""
        match fact:
            case CallEnded():
                self._log_call(fact)
            case ConnectionClosed():
                self._log_connection(fact)
            case RoundLost(round_id, detail):
                structlog.get_logger().error("round_lost", round_id=round_id.hex(), detail=detail)
            case _:
                _log_round(fact)

    def _log_call(self, call: CallEnded) -> None:
        if call.error is not None:
            kind = type(call.error).__name__
            self._calls.info(
                "call_refused",
                (call.caller or network_of(call.address), call.method, kind),
                method=call.method,
                participant=call.caller,
                address=call.address,
                error=kind,
                detail=str(call.error),
            )
        elif call.outcome is CallOutcome.BROKEN:
            structlog.get_logger().error("internal_error", method=call.method, exception=call.traceback)

    def _log_connection(self, closed: ConnectionClosed) -> None:
        address, participant = closed.address, closed.participant
        throttled, network = self._connections, network_of(address)
        match closed.cause:
            case ConnectionCause.NOT_ACCEPTED:
                throttled.warning("connection_not_accepted", closed.detail, detail=closed.detail)
            case ConnectionCause.SILENT:
                throttled.info("silent_connection_closed", network, address=address)
            case ConnectionCause.FOR_ANOTHER:
                throttled.warning("connection_closed_for_another", participant, participant=participant)
            case ConnectionCause.TOO_MANY:
                throttled.warning("too_many_connections", participant, participant=participant, address=address)
            case ConnectionCause.WITHOUT_CALL:
                throttled.info("connection_without_call", network, address=address)
            case ConnectionCause.TLS_REFUSED:
                reason = closed.reason
                throttled.info("tls_refused", (network, reason), address=address, reason=reason, detail=closed.detail)
            case ConnectionCause.ANSWER_NOT_TAKEN:
                return  # the call's own line says so
            case ConnectionCause.REFUSED:
                throttled.info("refused_connection_closed", participant, participant=participant, address=address)
            case _:
                assert_never(closed.cause)


def _log_round(fact: RoundFact) -> None:
    log = structlog.get_logger().bind(round_id=fact.round.round_id.hex(), task=fact.round.task)
    match fact:
        case RoundOpened():
            return  # its first phase says so
        case RoundResumed():
            log.info("round_resumed")  # its phase follows
        case GroupsResumed():
            log.info("groups_resumed")
        case GroupsOpened(_, _, combine, groups):
            log.info("groups_opened", combine=combine, groups=[group.hex() for group in groups])
        case RoundEvent(_, _, event):
            log_event(log, event)
        case GroupsCombined(_, _, numbers, survivors):
            log.info("groups_combined", groups=numbers, survivors=survivors)
        case GroupAnomaly(_, anomaly):
            log.warning("group_anomaly", group=anomaly.group, norm=anomaly.norm, typical=anomaly.typical)
        case RoundBroken(_, exception):
            log.error("round_broken", exception=exception)
        case _:
            assert_never(fact)


def plain_traceback(error: BaseException | None = None) -> str:
    """The exception being handled, or `error`, without the values of local variables: structlog, where nobody
    configured it, would print them, and shares and vectors are among them. Of a long one the end is kept.
    """
    text = traceback.format_exc() if error is None else "".join(traceback.format_exception(error))
    return text[-_TRACEBACK_CHARS:]


def announce(event: str, **values: object) -> None:
    """Log what other programs wait for, whatever level the operator chose."""
    logger = structlog.get_config()["logger_factory"]()
    structlog.wrap_logger(logger, wrapper_class=structlog.make_filtering_bound_logger("info")).info(event, **values)


def only_plain_values(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace whatever is neither text nor a number by the name of its type: keys and vectors are bytes or arrays."""
    return {name: _plain(value) for name, value in event.items()}


def only_printable_text(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Let no text command a terminal. The FL server names tasks with any characters; a traceback keeps its lines."""
    return {name: _printable(value) for name, value in event.items()}


def _printable(value: object) -> object:
    if isinstance(value, str):
        return "\n".join(printable(line, len(line)) for line in value.split("\n"))
    return [_printable(item) for item in value] if isinstance(value, list) else value


def _plain(value: object) -> object:
    if isinstance(value, float) and not isfinite(value):
        return str(value)  # JSON has no such number
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return f"<{type(value).__name__}>"
