"""Who is at the other end of a connection, by what grpc calls it."""

import ipaddress
from typing import Protocol


class Peers(Protocol):
    """What is known of connections, and can be done to them, by the name that grpc has for each."""

    def spoke(self, peer: str, caller: str) -> None:
        """Note that a call of `caller` arrived on the connection."""
        ...

    def drop(self, peer: str) -> None:
        """Close the connection: its calls hold what nobody takes."""
        ...

    def address(self, peer: str) -> str:
        """HOST:PORT of the other end, which grpc does not know where a proxy stands between."""
        ...


class LocalPeers:
    """Connections of the machine itself: no proxy stands between, so nothing is noted or closed."""

    def spoke(self, peer: str, caller: str) -> None:
        """Do nothing: the one caller of this machine has as many connections as it likes."""

    def drop(self, peer: str) -> None:
        """Do nothing: the one caller of this machine is trusted to take its answers."""

    def address(self, peer: str) -> str:
        """The name that grpc has, which is the address."""
        return peer


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
