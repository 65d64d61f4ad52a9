"""Coordinators with a gateway, and clients whose calls go over it."""

import ssl
import time
from pathlib import Path
from typing import Any, Final

from secagg_client import Client
from secagg_server.gateway.tokens import issue

from secagg.crypto.secret import Secret
from secagg.messages import ParticipantId
from secagg.tools.deployment.gateway_channel import GatewayChannel, over_gateway
from tests.serving import Stage, site

KEY: Final = Secret(bytes(range(32)))
"""Of the tokens of tests."""


def token_of(name: str, life_s: float = 600.0, key: Secret = KEY) -> str:
    return issue(key, ParticipantId(name), time.time() + life_s)


def with_gateway(folder: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a coordinator with a gateway."""
    keys = folder / "token.keys"
    keys.touch(mode=0o600)
    keys.write_text(KEY.expose().hex() + "\n")
    return {"gateway": "127.0.0.1:0", "gateway_token_key": keys, **changes}


def address_of(s: Stage) -> str:
    """HOST:PORT of the gateway of a coordinator that has one."""
    assert s.server.gateway is not None
    return str(s.server.gateway.listens)


def believing() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=site().ca_pem.decode())


def client_over(address: str, name: ParticipantId, **options: Any) -> tuple[Client, GatewayChannel]:
    """A client whose calls go over the gateway, and its channel."""
    channel = GatewayChannel(address, token_of(name), site().identity(name).chain, believing())
    client = Client(address, identity=site().identity(name), trust=site().trust, **options)
    return over_gateway(client, channel, options.get("retry")), channel
