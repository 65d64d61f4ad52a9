"""Where exceptions become gRPC statuses, and streams of parts become messages of bounded size."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import grpc
import structlog
from google.protobuf.message import Message

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

MAX_PARTS: Final = 1000
MAX_DETAIL_CHARS: Final = 200  # the trailer has the whole message

PartT = TypeVar("PartT", bound=Message)


@asynccontextmanager
async def reported(context: Context, method: str) -> AsyncIterator[None]:
    """End the call with the status and the trailer of whatever is raised inside."""
    try:
        yield
    except SecAggError as error:
        _log().info("call_refused", method=method, error=type(error).__name__, detail=str(error))
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


async def collected(parts: AsyncIterator[PartT], max_bytes: int, timeout_s: float) -> list[PartT]:
    """All parts of a message that fits into memory.

    Raises:
        DecodeError: too long, in too many parts, or too slow.
    """
    found: list[PartT] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for part in parts:
                size += part.ByteSize()
                if size > max_bytes or len(found) >= MAX_PARTS:
                    raise DecodeError(f"a message of more than {max_bytes} bytes or {MAX_PARTS} parts")
                found.append(part)
    except TimeoutError:
        raise DecodeError(f"the message did not arrive within {timeout_s:g} seconds") from None
    return found
