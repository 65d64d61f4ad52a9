"""Where the two planes are, as people write it: one reading for who listens and for who connects."""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.errors import ConfigError

_HOST_PORT: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]+):(?P<port>\d{1,5})")
_MAX_PORT: Final = 65_535
_MAX_SOCKET_PATH_BYTES: Final = 107  # sun_path of Linux, less its end
_GRPC_SCHEMES: Final = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """`host` is a name or an address, IPv6 in brackets; port 0 asks for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket file, by its absolute path."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


def parse_tcp(text: str) -> TcpAddress:
    """Read an address of the form HOST:PORT.

    Raises:
        ConfigError: `text` is something else.
    """
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise _no_address(text)
    return TcpAddress(match["host"], int(match["port"]))


def parse_control(text: str) -> TcpAddress | UnixAddress:
    """Read unix:PATH or a loopback HOST:PORT, at which a control plane may listen.

    Raises:
        ConfigError: `text` is something else. The control plane has neither TLS nor passwords, so it never leaves the
            machine.
    """
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:").removeprefix("//")).absolute()
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
            raise ConfigError(f"control socket path {path} is longer than {_MAX_SOCKET_PATH_BYTES} bytes; shorten it")
        return UnixAddress(path)
    address = _on_loopback(text)
    return TcpAddress("127.0.0.1", address.port) if address.host == "localhost" else address


def checked_target(target: str) -> str:
    """`target`, if gRPC can connect to it. gRPC itself would look for a host of any name until the time is over.

    Raises:
        ConfigError: it is neither HOST:PORT nor one of gRPC's names with a scheme.
    """
    if not target.startswith(_GRPC_SCHEMES):
        _check_port(parse_tcp(target))
    return target


def checked_local_target(target: str) -> str:
    """`target`, if it is an address that never leaves this machine: the control plane has no TLS.

    Raises:
        ConfigError: it is neither unix:PATH nor a loopback HOST:PORT.
    """
    if not target.startswith(("unix:", "unix-abstract:")):
        _check_port(_on_loopback(target))
    return target


def _on_loopback(text: str) -> TcpAddress:
    address = parse_tcp(text)
    if address.host != "localhost" and not _is_loopback(address.host.strip("[]")):  # check: control-on-loopback
        raise ConfigError(
            f"the control plane is on a unix socket or on loopback only, not on {text!r}, because it has no TLS; "
            "write unix:PATH or 127.0.0.1:PORT"
        )
    return address


def _check_port(address: TcpAddress) -> None:
    """Nobody can connect to port 0."""
    if address.port == 0:
        raise _no_address(str(address))


def _no_address(text: str) -> ConfigError:
    return ConfigError(f"{text!r} is no address; write HOST:PORT, IPv6 as [::1]:PORT")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
