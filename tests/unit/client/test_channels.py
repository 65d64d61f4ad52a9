"""What becomes of a failed call: the server's own word, or what is known of the connection; and when it is retried."""

import os
import subprocess
import sys
from dataclasses import dataclass

import grpc
import pytest
from secagg_client import RetryPolicy
from secagg_client.retry import RETRYABLE, ConnectionBroken
from secagg_client.transport import channels

from secagg.errors import (
    AbortReason,
    AuthenticationError,
    DecodeError,
    LimitError,
    NotInRoundError,
    ProtocolViolation,
    RoundAborted,
    RoundTimeoutError,
    SecAggError,
    TransportError,
    UnknownRoundError,
)
from secagg.wire.failures import TRAILER, encode_failure

CODE = grpc.StatusCode


@dataclass
class Failed:
    status: grpc.StatusCode
    text: str | None = ""
    trailers: tuple[tuple[str, str | bytes], ...] | None = ()

    def code(self) -> grpc.StatusCode:
        return self.status

    def details(self) -> str | None:
        return self.text

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...] | None:
        return self.trailers


def named(failed: Failed) -> SecAggError:
    return channels.named_error(failed, "host:1", "Share")


@pytest.mark.parametrize(
    "error",
    [
        RoundAborted(AbortReason.WRONG_SHARES, "liars", culprits=("a", "b")),
        NotInRoundError("too late"),
        UnknownRoundError("never heard of it"),
        AuthenticationError("who?", culprit="a"),
        ProtocolViolation("not now", culprit="a"),
        LimitError("full"),
    ],
)
def test_what_the_server_raised_is_raised_here(error: SecAggError) -> None:
    trailer = (("other", "x"), (TRAILER, encode_failure(error).SerializeToString()))
    told = named(Failed(CODE.UNAVAILABLE, "whatever the status", trailer))
    assert type(told) is type(error)
    assert str(told) == str(error)
    assert getattr(told, "culprits", None) == getattr(error, "culprits", None)


def test_a_trailer_that_cannot_be_read_is_an_error_of_the_server() -> None:
    assert isinstance(named(Failed(CODE.INTERNAL, "", ((TRAILER, b"\xff"),))), DecodeError)


@pytest.mark.parametrize(
    ("status", "details", "error", "says", "retried"),
    [
        (CODE.UNAVAILABLE, "Socket closed", ConnectionBroken, "the connection to host:1 broke: Socket closed", True),
        (CODE.CANCELLED, "", ConnectionBroken, "broke", True),
        (CODE.INTERNAL, "Received RST_STREAM with error code 2", ConnectionBroken, "RST_STREAM", True),
        (CODE.RESOURCE_EXHAUSTED, "too many calls", ConnectionBroken, "too many calls", True),
        (CODE.INTERNAL, "a bug", TransportError, "host:1 failed Share: INTERNAL a bug", False),
        (CODE.UNKNOWN, None, TransportError, "host:1 failed Share: UNKNOWN", False),
        (CODE.DEADLINE_EXCEEDED, "", RoundTimeoutError, "did not answer Share", False),
        (CODE.UNIMPLEMENTED, "", ProtocolViolation, "is it a secagg server", False),
        (CODE.UNAVAILABLE, "… CERTIFICATE_VERIFY_FAILED …", AuthenticationError, "not of the trusted CA", False),
        (CODE.UNAVAILABLE, "Hostname Verification Check failed.", AuthenticationError, "another host", False),
    ],
)
def test_what_is_known_of_a_connection(
    status: grpc.StatusCode, details: str | None, error: type[SecAggError], says: str, *, retried: bool
) -> None:
    found = named(Failed(status, details, None))
    assert type(found) is error
    assert says in str(found)
    assert isinstance(found, RETRYABLE) == retried


def test_a_connection_that_never_was_has_sent_nothing() -> None:
    details = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Connection refused"
    found = named(Failed(CODE.UNAVAILABLE, details))
    assert isinstance(found, ConnectionBroken)
    assert found.unsent
    assert str(found).startswith("cannot reach host:1: UNKNOWN: ipv4:127.0.0.1:9: Connection refused")
    broken = named(Failed(CODE.UNAVAILABLE, "Socket closed"))
    assert isinstance(broken, ConnectionBroken)
    assert not broken.unsent


def test_only_our_policy_retries_and_a_name_is_overridden_only_when_asked() -> None:
    settings = dict(channels.options(RetryPolicy()))
    assert settings["grpc.enable_retries"] == 0
    assert "grpc.ssl_target_name_override" not in settings
    assert dict(channels.options(RetryPolicy(), "name"))["grpc.ssl_target_name_override"] == "name"
    assert not any("max_receive_message" in key or "max_send_message" in key for key in settings)


def variable_after(program: str, **environment: str) -> str:
    """GRPC_SSL_CIPHER_SUITES in a fresh process after `program`."""
    clean = {key: value for key, value in os.environ.items() if key != "GRPC_SSL_CIPHER_SUITES"}
    code = f"{program}\nimport os\nprint(os.environ.get('GRPC_SSL_CIPHER_SUITES'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_tls_1_3_is_chosen_before_grpc_is_loaded_or_not_at_all() -> None:
    assert variable_after("import secagg_client") == "ECDHE-RSA-AES128-GCM-SHA256"
    assert variable_after("import grpc, secagg_client") == "None"  # too late: nothing is pretended
    assert variable_after("import secagg_client", GRPC_SSL_CIPHER_SUITES="HIGH") == "HIGH"
