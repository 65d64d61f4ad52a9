"""What a line of grpc's own log says. grpc's C core writes it to standard error, and Python gets no other word of a
connection before its first call: neither why a handshake failed, nor whose it was.
"""

import re
from typing import Final, Protocol

from secagg_server.observability.grpc_verbosity import CHOSEN
from secagg_server.observability.logs import ThrottledLog, shortened

_SEVERITIES: Final = {"I": "info", "W": "warning", "E": "error", "F": "fatal"}
_LINE: Final = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ([\w./+-]+:\d+)\] ")
_FAILED: Final = re.compile(r"CallNextHandshakerLocked: error=(?!OK )(.+)\n(?s:.*?)endpoint_peer_address=([^\s,}]+)")
_ADDRESS: Final = re.compile(r"\b(ipv4:[\d.]+:\d+|ipv6:(?:\[|%5B)[0-9A-Fa-f:.]+(?:\]|%5D):\d+)")

_OF_VERBOSITY: Final = "Log level INFO is not suitable for production"  # but we read its lines

REASONS: Final = (
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "no certificate"),
    ("certificate has expired", "certificate expired"),
    ("certificate is not yet valid", "certificate not yet valid"),
    ("unsupported certificate purpose", "no participant's certificate"),
    ("CERTIFICATE_VERIFY_FAILED", "unknown CA"),
    ("NO_SHARED_CIPHER", "TLS older than 1.3"),
    ("UNSUPPORTED_PROTOCOL", "TLS older than 1.3"),
    ("Endpoint closing", "not finished"),
    ("Handshake read failed", "hung up"),
    ("ALPN", "no HTTP/2"),
    ("HTTP_REQUEST", "not TLS"),
    ("WRONG_VERSION_NUMBER", "not TLS"),
)
"""What grpc's words of a handshake that failed mean; the first row that is in them holds."""

OTHER_REASON: Final = "other"
"""The reason of a handshake that failed for none of `REASONS`; the detail says which."""


class Connections(Protocol):
    """The connections of participants, by the name that grpc has for each."""

    def address(self, peer: str) -> str:
        """HOST:PORT of the participant."""
        ...

    def refused(self, peer: str, reason: str, detail: str) -> None:
        """Note that grpc refused the connection in its TLS handshake, for this reason and with these words."""
        ...


class GrpcLog:
    """Takes what the C core writes, message by message.

    Attributes:
        connections: told of those that were refused; None until the data plane listens.
    """

    def __init__(self) -> None:
        self.connections: Connections | None = None
        self._log = ThrottledLog()

    def take(self, message: str) -> None:
        """Log a message that came on standard error."""
        known = _LINE.match(message)
        if known is None:
            self._log.warning("stderr_line", message[:60], detail=shortened(message))
            return
        severity, source = _SEVERITIES[known[1]], known[2]
        failed = _FAILED.search(message)
        if failed is not None:
            if self.connections is not None:
                self.connections.refused(failed[2], reason_of(failed[1]), shortened(failed[1]))
        elif CHOSEN or not (severity == "info" or _OF_VERBOSITY in message):
            self._log.warning(
                "grpc_message",
                (severity, source),
                severity=severity,
                source=source,
                address=self._address(message),
                detail=shortened(message[known.end() :]),
            )

    def _address(self, message: str) -> str:
        """The address of the peer that the message is about; empty if it names none."""
        named = _ADDRESS.search(message)
        if named is None:
            return ""
        return named[1] if self.connections is None else self.connections.address(named[1])


def reason_of(words: str) -> str:
    """Why a handshake failed, as one of a few texts, from grpc's own words."""
    return next((reason for known, reason in REASONS if known in words), OTHER_REASON)
