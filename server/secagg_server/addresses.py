"""Where the two planes listen, as an operator writes it."""

import errno
import ipaddress
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.errors import ConfigError

_HOST_PORT: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]+):(?P<port>\d{1,5})")
_MAX_SOCKET_PATH_BYTES: Final = 107  # sun_path of Linux, less its end


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """`host` is a name or an address, IPv6 in brackets; port 0 asks for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """An absolute path."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


def parse_tcp(text: str) -> TcpAddress:
    """HOST:PORT.

    Raises:
        ConfigError: something else.
    """
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:
        raise ConfigError(f"{text!r} is no address; write HOST:PORT, IPv6 as [::1]:PORT")
    return TcpAddress(match["host"], int(match["port"]))


def parse_control(text: str) -> TcpAddress | UnixAddress:
    """unix:PATH or a loopback HOST:PORT.

    Raises:
        ConfigError: something else: the control plane knows no passwords, so it never leaves the machine.
    """
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:").removeprefix("//")).absolute()
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
            raise ConfigError(f"control socket path {path} is longer than {_MAX_SOCKET_PATH_BYTES} bytes; shorten it")
        return UnixAddress(path)
    address = parse_tcp(text)
    if address.host == "localhost":
        return TcpAddress("127.0.0.1", address.port)
    if not _is_loopback(address.host.strip("[]")):
        raise ConfigError(
            f"the control plane listens on a unix socket or on loopback only, not on {text!r}; "
            "write unix:PATH or 127.0.0.1:PORT"
        )
    return address


def network_of(peer: str) -> str:
    """What peers at this HOST:PORT have in common: the host, or of IPv6 the 64 bits that its owner cannot choose."""
    host = peer.rpartition(":")[0].strip("[]")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    mapped = address.ipv4_mapped
    return str(mapped or ipaddress.ip_network((address, 64), strict=False))


def make_way(path: Path) -> None:
    """Remove the socket that a coordinator left behind when it died; its folder must exist.

    grpc itself would take the path from a coordinator that is alive.

    Raises:
        ConfigError: a coordinator listens there, or `path` is something else than a socket.
    """
    if not path.parent.is_dir():
        raise ConfigError(f"control socket {path}: its folder does not exist")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"control socket {path}: the path exists and is no socket; move it away")
    if _somebody_listens(path):
        raise ConfigError(f"control socket {path}: another coordinator is listening there")
    path.unlink(missing_ok=True)


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(str(path)) not in {errno.ECONNREFUSED, errno.ENOENT}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
