"""Where a coordinator may listen."""

from pathlib import Path

import pytest
from secagg_server.network.peers import network_of

from secagg.errors import ConfigError
from secagg.transport.addresses import TcpAddress, UnixAddress, parse_control, parse_tcp


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:0", TcpAddress("127.0.0.1", 0)),
        ("localhost:7", TcpAddress("127.0.0.1", 7)),
        ("[::1]:65535", TcpAddress("[::1]", 65535)),
        ("127.8.9.1:1", TcpAddress("127.8.9.1", 1)),
        ("unix:/run/x.sock", UnixAddress(Path("/run/x.sock"))),
        ("unix:///run/x.sock", UnixAddress(Path("/run/x.sock"))),
        ("unix:x.sock", UnixAddress(Path.cwd() / "x.sock")),
    ],
)
def test_control_addresses(text: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_control(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:1",
        "[::]:1",
        "10.0.0.1:1",
        "example.org:1",
        "localhost.example.org:1",
        "127.0.0.1",
        "127.0.0.1:65536",
        "",
    ],
)
def test_the_control_plane_stays_on_the_machine(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_control(text)


@pytest.mark.parametrize("text", ["0.0.0.0:7443", "[::]:7443", "coordinator.example.org:7443"])
def test_the_data_plane_goes_anywhere(text: str) -> None:
    assert str(parse_tcp(text)) == text


@pytest.mark.parametrize("text", ["::1:80", "host", "host:", ":80", "host:-1", "host:99999", "a b:1", "unix:/x:1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_tcp(text)


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("10.1.2.3:4711", "10.1.2.3"),
        ("[2001:db8:1:2:aaaa::1]:4711", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:bbbb::2]:80", "2001:db8:1:2::/64"),  # its owner has all of these
        ("[fe80::1%eth0]:80", "fe80::/64"),
        ("[::ffff:10.1.2.3]:80", "10.1.2.3"),  # IPv4 at a listener for both
        ("unix:", "unix"),
    ],
)
def test_what_peers_have_in_common(peer: str, network: str) -> None:
    assert network_of(peer) == network
