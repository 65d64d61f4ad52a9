"""Settings of gRPC channels, and what a failed call means, for both kinds of clients. TLS is in `secagg.transport`."""

from collections.abc import Iterable
from typing import Final, Protocol

import grpc

from secagg.errors import (
    AuthenticationError,
    DecodeError,
    ProtocolViolation,
    RoundTimeoutError,
    SecAggError,
    TransportError,
)
from secagg.roster import COORDINATOR
from secagg.wire.failures import TRAILER, decode_failure
from secagg.wire.parsing import parse
from secagg.wire.v1 import errors_pb2
from secagg_client.retry import ConnectionBroken, RetryPolicy

Options = tuple[tuple[str, str | int], ...]
Metadata = tuple[tuple[str, str | bytes], ...]

KEEPALIVE_S: Final = 60
"""A call may wait for hours; this is how long a dead connection goes unnoticed."""

KEEPALIVE_TIMEOUT_S: Final = 20

CLOSE_PATIENCE_S: Final = 0.5
"""Longest wait for an interrupted channel to close. Its calls are cancelled at once, and what is left may never end."""

_RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,  # not by us: a server that shuts down, or a proxy
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
_HANDSHAKE: Final = {
    "CERTIFICATE_VERIFY_FAILED": "is not of the trusted CA, or has expired",
    "Hostname Verification Check failed": "is for another host; if that is meant, pass server_name",
}
_BROKEN: Final = ("RST_STREAM", "Internal error from Core")  # grpc.aio's words for a call it could not go on with
_WAITED_FOR: Final = {
    "FindRound": ": it opened no round that we could join",
    "Advertise": ": it waited for more participants",
}
_NEVER_CONNECTED: Final = "failed to connect to all addresses"


class Failure(Protocol):
    """What gRPC says of a call that failed, in both of its interfaces."""

    def code(self) -> grpc.StatusCode:
        """Which kind of failure it is, as gRPC names them."""
        ...

    def details(self) -> str | None:
        """A text for people; None if there is none."""
        ...

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """Key and value pairs."""
        ...


class CallFailed(Exception):
    """A call failed; `failure` is what gRPC says of it. Never leaves this package: `named_error` says what it means."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def options(retry: RetryPolicy, server_name: str | None = None) -> Options:
    """Settings of a channel.

    Args:
        retry: also sets how fast gRPC connects again.
        server_name: the name in the server's certificate, if it is not the one in the target.
    """
    first, most = round(retry.first_delay_s * 1000), round(retry.max_delay_s * 1000)
    settings: Options = (
        ("grpc.enable_retries", 0),  # `RetryPolicy` alone decides
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.initial_reconnect_backoff_ms", max(first // 2, 1)),
        ("grpc.min_reconnect_backoff_ms", max(most, 1000)),
        ("grpc.max_reconnect_backoff_ms", max(most // 2, 1)),
        ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_S * 1000),
        ("grpc.http2.max_pings_without_data", 0),
    )
    return (*settings, ("grpc.ssl_target_name_override", server_name)) if server_name else settings


def local_options(retry: RetryPolicy) -> Options:
    """Settings of a channel that never leaves the machine: no proxy."""
    return (*options(retry), ("grpc.enable_http_proxy", 0))


def named_error(failure: Failure, target: str, method: str) -> SecAggError:
    """The error to raise for a failed call: what the server says by name, or what became of the connection."""
    detail = next((value for key, value in failure.trailing_metadata() or () if key == TRAILER), None)
    if isinstance(detail, bytes):
        return _told(detail)
    code, details = failure.code(), failure.details() or ""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return RoundTimeoutError(f"{target} did not answer {method} in the time allowed{_WAITED_FOR.get(method, '')}")
    for sign, meaning in _HANDSHAKE.items():
        if sign in details:
            return AuthenticationError(f"the certificate that {target} shows {meaning}", culprit=COORDINATOR)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return ProtocolViolation(f"{target} does not know {method}: is it a secagg server?", culprit=COORDINATOR)
    if code in _RETRYABLE or any(sign in details for sign in _BROKEN):
        unsent = code is grpc.StatusCode.UNAVAILABLE and _NEVER_CONNECTED in details
        return ConnectionBroken(f"{_summary(target, details, unsent)} during {method}", unsent=unsent)
    return TransportError(f"{target} failed {method}: {code.name} {details}".rstrip())


def _told(detail: bytes) -> SecAggError:
    try:
        return decode_failure(parse(errors_pb2.ErrorDetail, detail))
    except DecodeError as error:
        return error


def _summary(target: str, details: str, unsent: bool) -> str:
    reason = details.rsplit("last error: ", 1)[-1] if details else "no details"
    return f"cannot reach {target}: {reason}," if unsent else f"the connection to {target} broke: {reason},"
