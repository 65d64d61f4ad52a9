"""The limit of the transport: 1 MiB messages through plain Python gRPC over the same TLS."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import grpc
from secagg_client.participation.terms import load

from secagg.errors import LocalError, TransportError
from secagg.tools.bench.measure import wall_clock
from secagg.tools.bench.report import Figure
from secagg.tools.bench.sink import METHOD, SERVICE
from secagg.tools.deployment.identities import HOST, Identities
from secagg.transport.tls import client_credentials

MESSAGE_BYTES: Final = 1 << 20


def measure(identities: Identities, total_bytes: int, repeats: int) -> Figure:
    """The rate of one stream from this process to one in another. The first turn, which connects, is not counted."""
    sender = next(iter(identities.participants.values()))
    with _sink(identities.server) as target, _channel(sender, target) as channel:
        rates = [_rate(channel, total_bytes) for _ in range(repeats + 1)][1:]
    return Figure(
        "plain_grpc_gb_per_s", median(rates), note="limit: one stream of 1 MiB messages, TLS 1.3, sync to asyncio"
    )


@contextmanager
def _sink(identity: Path) -> Iterator[str]:
    """HOST:PORT of a running sink."""
    command = [sys.executable, "-P", "-m", "secagg.tools.bench.sink", "--identity", str(identity)]
    with subprocess.Popen(  # noqa: S603, our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise TransportError("the sink of the transport benchmark did not start")
        yield f"{HOST}:{int(line)}"


@contextmanager
def _channel(identity: Path, target: str) -> Iterator[grpc.Channel]:
    own, trust = load(identity / "cert.pem", identity / "key.pem", identity / "ca.pem")
    with grpc.secure_channel(target, client_credentials(own, trust)) as channel:
        yield channel


def _rate(channel: grpc.Channel, total_bytes: int) -> float:
    """How fast a stream carries the bytes, in 10^9 bytes a second."""
    message, count = bytes(MESSAGE_BYTES), max(1, total_bytes // MESSAGE_BYTES)
    take: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(f"/{SERVICE}/{METHOD}")
    start = wall_clock()
    taken = int(take(iter([message] * count)))
    seconds = wall_clock() - start
    if taken != count * MESSAGE_BYTES:
        raise LocalError("the sink did not get every byte")
    return taken / 1e9 / seconds
