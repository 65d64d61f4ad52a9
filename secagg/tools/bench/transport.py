"""The limits of the transport: 1 MiB messages through plain Python gRPC over the same TLS, and a bare socket."""

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import grpc
from secagg_client.participation.terms import load

from secagg.crypto.identity import Identity, TrustAnchors
from secagg.errors import LocalError, TransportError
from secagg.tools.bench.measure import cpu_clock, wall_clock
from secagg.tools.bench.processor import cpu_seconds
from secagg.tools.bench.report import Figure
from secagg.tools.bench.sink import METHOD, SERVICE, SOCKET
from secagg.tools.deployment.identities import HOST, Identities
from secagg.transport.tls import client_credentials

MESSAGE_BYTES: Final = 1 << 20
SMALL_BYTES: Final = 1 << 10
AT_ONCE: Final = 20
"""Small calls that are under way together."""


def measure(identities: Identities, total_bytes: int, repeats: int) -> Figure:
    """The rate of one stream from this process to one in another. The first turn, which connects, is not counted."""
    sender = next(iter(identities.participants.values()))
    with sink_of(identities.server) as sink, _channel(sender, sink.target) as channel:
        rates = [_rate(channel, total_bytes) for _ in range(repeats + 1)][1:]
    return Figure(
        "plain_grpc_gb_per_s", median(rates), note="limit: one stream of 1 MiB messages, TLS 1.3, sync to asyncio"
    )


def limits(identities: Identities, total_bytes: int, repeats: int) -> tuple[Figure, ...]:
    """CPU seconds of both ends for 10^9 bytes, from this process to another: by plain gRPC, and by a TLS socket.

    The turn of each that connects is not counted.
    """
    sender = next(iter(identities.participants.values()))
    with sink_of(identities.server) as sink, _channel(sender, sink.target) as channel:
        plain = [_spent(lambda: _rate(channel, total_bytes), sink.pid) for _ in range(repeats + 1)][1:]
    with sink_of(identities.server, SOCKET) as sink, _tls(sender, sink.target) as stream:
        bare = [_spent(lambda: _through(stream, total_bytes), sink.pid) for _ in range(repeats + 1)][1:]
    found = []
    for name, turns, note in (
        ("plain_grpc", plain, "limit: one stream of 1 MiB messages, TLS 1.3, sync to asyncio"),
        ("tls_socket", bare, "limit: 1 MiB writes to a TLS 1.3 socket of Python"),
    ):
        for end, index in (("receiver", 1), ("sender", 0)):
            seconds = median(turn[index] for turn in turns) / (total_bytes / 1e9)
            found.append(Figure(f"{name}_{end}_cpu_s", seconds, note=f"{note}; CPU seconds for 10^9 bytes"))
    return tuple(found)


def call_cpu_seconds(identities: Identities, calls: int, repeats: int) -> float:
    """CPU seconds of both ends for one call of plain gRPC with 1 KiB up and a few bytes down, from this process to
    another, over one connection with TLS 1.3, asyncio at both ends. The turn that connects is not counted.
    """
    own, trust = _identity(next(iter(identities.participants.values())))

    async def turns(target: str, pid: int) -> list[float]:
        async with grpc.aio.secure_channel(target, client_credentials(own, trust)) as channel:
            found = []
            for _ in range(repeats + 1):
                before = cpu_clock() + cpu_seconds(pid)
                await asyncio.gather(*(_small_calls(channel, calls // AT_ONCE) for _ in range(AT_ONCE)))
                found.append(cpu_clock() + cpu_seconds(pid) - before)
        return found[1:]

    with sink_of(identities.server) as sink:
        return median(asyncio.run(turns(sink.target, sink.pid))) / (calls // AT_ONCE * AT_ONCE)


async def _small_calls(channel: grpc.aio.Channel, count: int) -> None:
    """So many calls one after the other."""
    take: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"/{SERVICE}/{METHOD}")
    message = bytes(SMALL_BYTES)
    for _ in range(count):
        if [int(part) async for part in take(iter([message]))] != [SMALL_BYTES]:
            raise LocalError("the sink did not get every byte")


@dataclass(frozen=True, slots=True)
class Sink:
    """A running sink: HOST:PORT, and its process."""

    target: str
    pid: int


@contextmanager
def sink_of(identity: Path, *arguments: str) -> Iterator[Sink]:
    """A sink with the certificate of this folder, until the `with` block ends. Args: arguments: of its command."""
    command = [sys.executable, "-P", "-m", "secagg.tools.bench.sink", "--identity", str(identity), *arguments]
    with subprocess.Popen(  # noqa: S603, our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise TransportError("the sink of the transport benchmark did not start")
        yield Sink(f"{HOST}:{int(line)}", process.pid)


def _identity(folder: Path) -> tuple[Identity, TrustAnchors]:
    return load(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")


@contextmanager
def _channel(identity: Path, target: str) -> Iterator[grpc.Channel]:
    own, trust = _identity(identity)
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


@contextmanager
def _tls(identity: Path, target: str) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=identity / "ca.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(identity / "cert.pem", identity / "key.pem")
    host, _, port = target.partition(":")
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=host) as own:
        yield own


def _through(stream: ssl.SSLSocket, total_bytes: int) -> None:
    """Send the bytes, then wait for the one byte that says that all of them came."""
    message = bytes(MESSAGE_BYTES)
    stream.sendall(total_bytes.to_bytes(8, "big"))
    for _ in range(total_bytes // MESSAGE_BYTES):
        stream.sendall(message)
    if stream.recv(1) != b"1":
        raise LocalError("the sink did not get every byte")


def _spent(work: Callable[[], object], pid: int) -> tuple[float, float]:
    """CPU seconds of this process, and of the other."""
    own, other = cpu_clock(), cpu_seconds(pid)
    work()
    return cpu_clock() - own, cpu_seconds(pid) - other
