"""The addresses at which the coordinator listens, and the file of the control socket."""

import errno
import os
import shlex
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
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


def tcp_listener(address: TcpAddress, setting: str, backlog: int = 1024) -> socket.socket:
    """Take a port; what accepts there waits for nothing.

    Args:
        address: where to listen; `::` stands for every address of the machine, those of IPv4 included.
        setting: that has the address, for the error.
        backlog: connections that may wait to be accepted.

    Raises:
        ConfigError: it cannot be taken, and why.
    """
    host = address.host.strip("[]")
    try:
        family, _, _, _, place = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0]
        dual = family is socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server((host, place[1]), family=family, backlog=backlog, dualstack_ipv6=dual)
    except OSError as error:
        raise _not_taken(address, setting, error) from error
    listener.setblocking(False)
    return listener


def _not_taken(address: TcpAddress, setting: str, error: OSError) -> ConfigError:
    wrong = f"cannot listen on {address} (setting {setting})"
    if isinstance(error, socket.gaierror):
        return ConfigError(f"{wrong}: no machine has the name {address.host}; write an address of this one")
    match error.errno:
        case errno.EADDRINUSE:
            named = ConfigError(f"{wrong}: another program listens there; stop it, or choose another port")
            return named.mended_by(f"ss -ltnp 'sport = :{address.port}'")
        case errno.EADDRNOTAVAIL:
            named = ConfigError(f"{wrong}: it is not an address of this machine; 0.0.0.0 stands for all of them")
            return named.mended_by("ip -brief address")
        case errno.EACCES | errno.EPERM:
            return ConfigError(f"{wrong}: this user may not take ports below 1024; choose a higher one, as 7443")
    return ConfigError(f"{wrong}: {error.strerror}")


def listen_tcp(address: TcpAddress, add_port: Callable[[str], int], setting: str) -> TcpAddress:
    """Let gRPC take the port; the address with the port that it got. Errors are those of `tcp_listener`."""
    tcp_listener(address, setting).close()  # gRPC would not say why it cannot
    try:
        return TcpAddress(address.host, add_port(str(address)))
    except RuntimeError as error:
        raise ConfigError(f"cannot listen on {address} (setting {setting})") from error


def listen_control(
    address: TcpAddress | UnixAddress, control: grpc.aio.Server, access: ControlAccess
) -> TcpAddress | UnixAddress:
    """Take the socket or the port; the address with the port that it got."""
    if isinstance(address, TcpAddress):
        return listen_tcp(address, control.add_insecure_port, "control")
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


class Occupied(Enum):
    """What is at the path of a control socket."""

    FREE = "nothing"
    STALE = "the socket of a coordinator that died"
    TAKEN = "the socket of a coordinator that runs"


def make_way(path: Path) -> None:
    """Remove the socket that a coordinator left behind when it died.

    grpc itself would take the path from a coordinator that is alive.

    Raises:
        ConfigError: a coordinator listens there, or as of `look_at` and `check_socket`.
    """
    found = look_at(path)
    if found is Occupied.TAKEN:
        raise ConfigError(f"control socket {path}: another coordinator is listening there")
    if found is Occupied.STALE:
        path.unlink(missing_ok=True)
    check_socket(path)


def look_at(path: Path) -> Occupied:
    """What is at the path of a control socket. Changes nothing.

    Raises:
        ConfigError: something that is no socket; or a socket cannot be made there.
    """
    folder = path.parent
    wrong, quoted = f"control socket {path}", shlex.quote(str(folder))
    try:
        kind = folder.stat().st_mode
    except FileNotFoundError:
        raise ConfigError(f"{wrong}: its folder does not exist").mended_by(f"install -d -m 700 {quoted}") from None
    except OSError as error:
        raise ConfigError(f"{wrong}: its folder: {error.strerror}; choose another with the setting control") from error
    if not stat.S_ISDIR(kind):
        raise ConfigError(f"{wrong}: {folder} is no folder; choose another with the setting control")
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise ConfigError(
            f"{wrong}: its folder can only be read, by everybody; choose another with the setting control"
        )
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise ConfigError(f"{wrong}: this user may not make files in its folder").mended_by(
            f"sudo chown $(id -u) {quoted}"
        )
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return Occupied.FREE
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{wrong}: the path exists and is no socket; move it away").mended_by(
            f"mv {shlex.quote(str(path))} {shlex.quote(str(path))}.old"
        )
    return Occupied.TAKEN if _somebody_listens(path) else Occupied.STALE


def check_socket(path: Path) -> None:
    """Make a socket at a path where nothing is, and remove it again: gRPC would not say why it cannot.

    Raises:
        ConfigError: the file system is full, or has no sockets, and the like.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.bind(str(path))
        path.unlink()
    except OSError as error:
        raise ConfigError(
            f"control socket {path} cannot be made: {error.strerror or error}; choose another folder with the setting "
            "control"
        ) from error


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(str(path)) not in {errno.ECONNREFUSED, errno.ENOENT}
