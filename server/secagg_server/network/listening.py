"""The addresses at which the coordinator listens, who is accepted there, and the file of the control socket."""

import asyncio
import errno
import math
import os
import shlex
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Final

import grpc

from secagg.errors import ConfigError
from secagg.transport.addresses import TcpAddress, UnixAddress, parse_control
from secagg_server.observability.facts import ConnectionCause, ConnectionClosed
from secagg_server.observability.observer import Observer
from secagg_server.settings import ControlAccess, Settings

_RETRY_S: Final = 0.1


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


class PacedListener:
    """A port whose connections are accepted on an event loop, from `start` to `stop`.

    Who comes sooner than is allowed waits in the kernel's queue.

    Attributes:
        listens: the address, with the port that it got.
    """

    def __init__(
        self,
        address: TcpAddress,
        setting: str,
        accepted: Callable[[socket.socket, str], None],
        *,
        backlog: int = 1024,
        at_once: int = 1,
        most_a_second: float = math.inf,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the port. Raises as `tcp_listener`.

        Args:
            address: where to listen.
            setting: that has the address.
            accepted: gets each connection, which waits for nothing, and HOST:PORT of its other end.
            backlog: connections that may wait to be accepted.
            at_once: connections before whatever else has something to do on the loop gets its turn.
            most_a_second: connections.
            observer: hears that none can be accepted because this process may open no more files.
            clock: seconds.
        """
        self._socket = tcp_listener(address, setting, backlog)
        self.listens = TcpAddress(address.host, self._socket.getsockname()[1])
        self._on_accepted = accepted
        self._at_once = at_once
        self._most_a_second = most_a_second
        self._observer = observer
        self._clock = clock
        self._second, self._accepted = 0, 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Accept from now on. Called on the loop."""
        self._loop = loop
        self._watch(loop)

    def stop(self) -> None:
        """Close the port. Called on the loop, if there was a `start`."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
        self._socket.close()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._socket.fileno() >= 0:
            loop.add_reader(self._socket, self._accept, loop)

    def _pause(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._socket)
        loop.call_later(_RETRY_S, self._watch, loop)

    def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(self._at_once):
            second = int(self._clock())
            if second != self._second:
                self._second, self._accepted = second, 0
            if self._accepted >= self._most_a_second:  # check: connections-a-second
                self._pause(loop)
                return
            try:
                peer, address = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # gone already
            except OSError as error:  # no descriptors: something else in this process has them
                if self._observer is not None:
                    self._observer.tell(ConnectionClosed(ConnectionCause.NOT_ACCEPTED, detail=str(error)))
                self._pause(loop)
                return
            self._accepted += 1
            peer.setblocking(False)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._on_accepted(peer, _written(address))


def _written(address: tuple[str, int]) -> str:
    """A socket's address as HOST:PORT, IPv6 in brackets."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
