"""Addresses are looked at before anybody waits for them, and the control plane never leaves the machine."""

import pytest
from secagg_client import AsyncClient, AsyncControlClient, Client, ControlClient

from secagg.errors import ConfigError
from secagg.transport.addresses import checked_local_target, checked_target
from tests.serving import CROWD, site

RIGHT = ["host:1", "10.0.0.1:65535", "[::1]:7443", "a.example.org:7443", "dns:///a.example.org:1", "unix:/run/x.sock"]
WRONG = ["host", "host:", "host:0", "host:65536", ":7443", "::1:7443", "https://host:1", "host:1/path", "", "a b:1"]


@pytest.mark.parametrize("target", RIGHT)
def test_what_is_an_address(target: str) -> None:
    assert checked_target(target) == target


@pytest.mark.parametrize("target", WRONG)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_is_none(target: str, kind: type[Client | AsyncClient]) -> None:
    with pytest.raises(ConfigError, match="is no address; write HOST:PORT"):
        kind(target, identity=site().identity(CROWD[0]), trust=site().trust)


@pytest.mark.parametrize("target", ["unix:/run/x.sock", "127.0.0.1:1", "localhost:1", "[::1]:1", "unix-abstract:x"])
def test_what_stays_on_this_machine(target: str) -> None:
    assert checked_local_target(target) == target


@pytest.mark.parametrize("target", ["10.0.0.1:1", "host:1", "[::2]:1", "0.0.0.0:1", "dns:///host:1", "localhost"])
@pytest.mark.parametrize("kind", [ControlClient, AsyncControlClient])
def test_what_leaves_it(target: str, kind: type[ControlClient | AsyncControlClient]) -> None:
    with pytest.raises(ConfigError):
        kind(target)
