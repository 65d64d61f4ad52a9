"""From exceptions to gRPC statuses: what a peer is told of an error, and what the log says of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
from secagg_server.network.peers import network_of
from secagg_server.observability.logs import ThrottledLog, plain_traceback

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

MAX_DETAIL_CHARS: Final = 200  # the trailer has the whole message


@dataclass(slots=True)
class Told:
    """What is known of a call so far, for the log. `caller` is empty until the caller is known."""

    caller: str = ""


@asynccontextmanager
async def reported(context: Context, method: str, throttled: ThrottledLog, address: str) -> AsyncIterator[Told]:
    """End the call with the status and the trailer of whatever is raised inside."""
    told = Told()
    try:
        yield told
    except SecAggError as error:
        kind = type(error).__name__
        throttled.info(
            "call_refused",
            (told.caller or network_of(address), method, kind),
            method=method,
            participant=told.caller,
            address=address,
            error=kind,
            detail=str(error),
        )
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
