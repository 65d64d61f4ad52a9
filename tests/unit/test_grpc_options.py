"""What we ask of gRPC has the names that it knows: it says nothing of a name that it does not."""

from importlib import import_module
from pathlib import Path

import pytest
from secagg_client.retry import RetryPolicy
from secagg_client.transport.channels import options as options_of
from secagg_server.ingress import link_server
from secagg_server.ingress.credentials import LINK_OPTIONS
from secagg_server.network.options import OPTIONS

CLIENT = options_of(RetryPolicy(), "server")
AGAIN_MS = "grpc.http2.min_ping_interval_without_data_ms"


@pytest.fixture(scope="module")
def library() -> bytes:
    return Path(str(import_module("grpc._cython.cygrpc").__file__)).read_bytes()


@pytest.mark.parametrize("name", sorted({name for name, _ in (*OPTIONS, *LINK_OPTIONS, *CLIENT)}))
def test_grpc_knows_every_option(name: str, library: bytes) -> None:
    assert name.encode() in library


def test_the_head_lets_workers_ask_as_often_as_they_do() -> None:
    given = link_server.options()
    assert len(given) == len(dict(given))  # of two with one name gRPC takes one
    assert dict(given)[AGAIN_MS] == 1000
    assert dict(given)["grpc.keepalive_time_ms"] == 5000


def test_a_participant_may_ask_as_often_as_it_does() -> None:
    assert dict(OPTIONS)[AGAIN_MS] < int(dict(CLIENT)["grpc.keepalive_time_ms"])
