"""From exceptions to gRPC statuses: what a peer is told of an error, and what the observer hears of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc

from secagg.errors import (
    AuditError,
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
    StoreError,
    UnknownRoundError,
)
from secagg.wire.failures import TRAILER, encode_failure
from secagg_server.observability.facts import CallEnded, CallOutcome
from secagg_server.observability.logs import plain_traceback
from secagg_server.observability.observer import Observer
from secagg_server.rounds.suspension import Suspended

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
    AuditError: grpc.StatusCode.DATA_LOSS,
    StoreError: grpc.StatusCode.DATA_LOSS,
}
"""The status of each error, for proxies and metrics; clients read the trailer."""

MAX_DETAIL_CHARS: Final = 200  # the trailer has the whole message


@dataclass(slots=True)
class CallProgress:
    """What is known of a call so far.

    Attributes:
        plane: `data` or `control`.
        method: name of the RPC.
        address: HOST:PORT of the caller.
        caller: whose call it is; empty until that is known.
        bytes_in: of the messages that it brought so far.
        bytes_out: of the messages that were sent so far.
        round_id: of the round that it is counted in, once it is.
        traceparent: which trace its caller says that it belongs to.
    """

    plane: str
    method: str
    address: str
    caller: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    round_id: bytes = b""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller is told of a call that failed: a status for proxies, and a message.

    Attributes:
        status: of gRPC.
        message: for people.
        failure: the `ErrorDetail` that clients read, serialized; None where the error has no name.
    """

    status: grpc.StatusCode
    message: str
    failure: bytes | None = None


def told_of(error: BaseException) -> Told:
    """What may be told of an error. Of one that is not ours nothing but that there was one."""
    if isinstance(error, SecAggError):
        return Told(_status(error), str(error)[:MAX_DETAIL_CHARS], encode_failure(error).SerializeToString())
    if isinstance(error, Suspended):
        return Told(grpc.StatusCode.UNAVAILABLE, str(error))
    return Told(grpc.StatusCode.INTERNAL, "internal error of the coordinator; its log says more")


@asynccontextmanager
async def observed(call: CallProgress, observer: Observer) -> AsyncIterator[None]:
    """Tell the observer how the call ended. What is raised inside goes on."""
    began_s, begun = time.time(), time.monotonic()

    def tell(outcome: CallOutcome, error: SecAggError | None = None, traceback: str = "") -> None:
        observer.tell(
            CallEnded(
                call.plane,
                call.method,
                call.caller,
                call.address,
                began_s,
                time.monotonic() - begun,
                call.bytes_in,
                call.bytes_out,
                outcome,
                error,
                traceback,
                call.round_id,
                call.traceparent,
            )
        )

    try:
        yield
    except SecAggError as error:
        tell(CallOutcome.REFUSED, error)
        raise
    except Suspended:
        tell(CallOutcome.SUSPENDED)
        raise
    except asyncio.CancelledError:
        tell(CallOutcome.HUNG_UP)
        raise
    except Exception:  # the outermost frame: nothing of an unknown error may reach a peer
        tell(CallOutcome.BROKEN, traceback=plain_traceback())
        raise
    else:
        tell(CallOutcome.ANSWERED)


@asynccontextmanager
async def reported(context: Context, call: CallProgress, observer: Observer) -> AsyncIterator[None]:
    """End the call with the status and the trailer of whatever is raised inside, and tell the observer how it ended."""
    try:
        async with observed(call, observer):
            yield
    except asyncio.CancelledError:
        raise
    except Exception as error:  # the outermost frame: nothing of an unknown error may reach a peer
        told = told_of(error)
        trailer = () if told.failure is None else ((TRAILER, told.failure),)
        await context.abort(told.status, told.message, trailer)


def _status(error: SecAggError) -> grpc.StatusCode:
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
