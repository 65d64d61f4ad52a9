"""The machine's own end of connections: who calls from where, and the file of the control socket."""

import errno
import ipaddress
import socket
import stat
from pathlib import Path

from secagg.errors import ConfigError


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
