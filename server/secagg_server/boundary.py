"""Where exceptions become gRPC statuses."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, Final

import grpc
import structlog

from secagg.errors import (
    AuthenticationError,
    BudgetExceeded,
    ConfigError,
    DecodeError,
    LedgerError,
    LimitError,
    NotInRoundError,
    ProtocolViolation,
    RoundAborted,
    SecAggError,
    UnknownRoundError,
)
from secagg.wire.failures import TRAILER, encode_failure
from secagg_server.logs import plain_traceback

Context = grpc.aio.ServicerContext[Any, Any]

STATUS: Final[dict[type[SecAggError], grpc.StatusCode]] = {
    ConfigError: grpc.StatusCode.INVALID_ARGUMENT,
    DecodeError: grpc.StatusCode.INVALID_ARGUMENT,
    AuthenticationError: grpc.StatusCode.UNAUTHENTICATED,
    ProtocolViolation: grpc.StatusCode.FAILED_PRECONDITION,
    NotInRoundError: grpc.StatusCode.PERMISSION_DENIED,
    RoundAborted: grpc.StatusCode.ABORTED,
    UnknownRoundError: grpc.StatusCode.NOT_FOUND,
    LimitError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    BudgetExceeded: grpc.StatusCode.FAILED_PRECONDITION,
    LedgerError: grpc.StatusCode.DATA_LOSS,
}
"""The status of each error, for proxies and metrics; clients read the trailer."""

_REMEMBERED = 4096  # callers, calls and errors whose lines are held back
MAX_DETAIL_CHARS: Final = 200  # the trailer has the whole message


@dataclass(slots=True)
class Told:
    """What a line of the log says of a call, as far as it is known."""

    caller: str = ""


class Refusals:
    """Log lines of refused calls: of one caller, call and error at most one in `pause_s`, with how many there were.

    How often a peer is refused is its own choice, and must not fill a disk.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, pause_s: float = 1.0) -> None:
        self._clock = clock
        self._pause_s = pause_s
        self._logged: dict[tuple[str, str, str], tuple[float, int]] = {}  # when, and how many since

    def log(self, caller: str, method: str, error: SecAggError, address: str) -> None:
        """Log it, or count it."""
        key, now = (caller, method, type(error).__name__), self._clock()
        before, silent = self._logged.pop(key, (-inf, 0))
        if len(self._logged) >= _REMEMBERED:
            del self._logged[next(iter(self._logged))]
        if now - before < self._pause_s:
            self._logged[key] = (before, silent + 1)
            return
        self._logged[key] = (now, 0)
        more = {"unlogged": silent} if silent else {}
        _log().info(
            "call_refused",
            method=method,
            participant=caller,
            address=address,
            error=type(error).__name__,
            detail=str(error),
            **more,
        )


@asynccontextmanager
async def reported(context: Context, method: str, refusals: Refusals, address: str) -> AsyncIterator[Told]:
    """End the call with the status and the trailer of whatever is raised inside."""
    told = Told()
    try:
        yield told
    except SecAggError as error:
        refusals.log(told.caller, method, error, address)
        trailer = ((TRAILER, encode_failure(error).SerializeToString()),)
        await context.abort(_status(error), str(error)[:MAX_DETAIL_CHARS], trailer)
    except Exception:  # the outermost frame: nothing of an unknown error may reach a peer
        _log().error("internal_error", method=method, exception=plain_traceback())
        await context.abort(grpc.StatusCode.INTERNAL, "internal error of the coordinator; its log says more")


def _status(error: SecAggError) -> grpc.StatusCode:
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def _log() -> structlog.typing.FilteringBoundLogger:
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log
