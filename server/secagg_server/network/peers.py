"""Who is at the other end of a connection, by what grpc calls it."""

import ipaddress
from typing import Protocol


class Peers(Protocol):
    """The connections that calls arrive on, by what grpc calls them."""

    def spoke(self, peer: str, caller: str) -> None:
        """A call of `caller` arrived on it."""
        ...

    def drop(self, peer: str) -> None:
        """Close it: its calls hold what nobody takes."""
        ...

    def address(self, peer: str) -> str:
        """Where it really comes from."""
        ...


class LocalPeers:
    """Connections of the machine itself: nobody stands between, and nothing is closed."""

    def spoke(self, peer: str, caller: str) -> None:
        """See `Peers`."""

    def drop(self, peer: str) -> None:
        """See `Peers`."""

    def address(self, peer: str) -> str:
        """See `Peers`."""
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
