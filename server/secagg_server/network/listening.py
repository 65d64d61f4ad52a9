"""The addresses at which the coordinator listens, and the file of the control socket."""

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from secagg.errors import ConfigError
from secagg.transport.addresses import TcpAddress, UnixAddress, parse_control
from secagg_server.settings import ControlAccess, Settings


@contextmanager
def control_place(settings: Settings) -> Iterator[TcpAddress | UnixAddress]:
    """Where the control plane listens; a socket file is made by nobody else, and gone afterwards."""
    address = parse_control(settings.control)
    if isinstance(address, TcpAddress):
        yield address
        return
    make_way(address.path)
    try:
        yield address
    finally:
        address.path.unlink(missing_ok=True)


def listen_tcp(address: TcpAddress, add_port: Callable[[str], int]) -> TcpAddress:
    """Take the port; the address with the port that it got."""
    try:
        return TcpAddress(address.host, add_port(str(address)))
    except RuntimeError as error:
        raise ConfigError(f"cannot listen on {address}: taken, or not an address of this machine") from error


def tcp_listener(address: TcpAddress, backlog: int) -> socket.socket:
    """A socket that listens, for whoever accepts connections without grpc.

    Args:
        address: port 0 asks for a free one.
        backlog: connections that may wait until they are accepted.

    Raises:
        ConfigError: the address is taken, or not one of this machine.
    """
    host = address.host.strip("[]")
    try:
        family, _, _, _, place = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0]
        dual = family is socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server((host, place[1]), family=family, backlog=backlog, dualstack_ipv6=dual)
    except OSError as error:
        raise ConfigError(f"cannot listen on {address}: taken, or not an address of this machine") from error
    listener.setblocking(False)
    return listener


def listen_control(
    address: TcpAddress | UnixAddress, control: grpc.aio.Server, access: ControlAccess
) -> TcpAddress | UnixAddress:
    """Take the socket or the port; the address with the port that it got."""
    if isinstance(address, TcpAddress):
        return listen_tcp(address, control.add_insecure_port)
    # Private from the first moment: the mode is the only key to the control plane. A file in a setgid folder belongs to
    # the folder's group.
    before = os.umask(0o177 if access == "owner" else 0o117)
    try:
        control.add_insecure_port(str(address))
    except RuntimeError as error:
        raise ConfigError(f"cannot listen on {address}") from error
    finally:
        os.umask(before)
    return address


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
