"""A service that swallows bytes, in a process of its own: what plain Python gRPC or a socket over TLS can do here.

`python -m secagg.tools.bench.sink` serves gRPC on asyncio, as the coordinator does, until its standard input ends. The
environment limits TLS to 1.3: whoever imports the client package sets it so. With `--callers N` a call of `MEET` is
answered when N of them wait, as calls of a phase are. With `--socket` it serves one connection without gRPC.
"""

import argparse
import asyncio
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import grpc

SERVICE: Final = "secagg.tools.bench.Sink"
METHOD: Final = "Take"
MEET: Final = "Meet"
CALLERS: Final = "--callers"
SOCKET: Final = "--socket"
SIZE_BYTES: Final = 8
"""A call of `MEET` begins with the size of its answer, big endian."""

_BLOCK: Final = 1 << 16


async def take(requests: AsyncIterator[bytes], _context: Any) -> bytes:
    """The number of bytes that came."""
    return str(sum([len(request) async for request in requests])).encode()


class Meeting:
    """Calls that wait for each other. Each brings messages, and gets one back of the size that the first one names."""

    def __init__(self, callers: int) -> None:
        """Args: callers: how many calls are answered together."""
        self._together = asyncio.Barrier(callers)

    async def answer(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        """Read everything, wait for the others, and answer."""
        messages = [request async for request in requests]
        await self._together.wait()
        yield bytes(int.from_bytes(messages[0][:SIZE_BYTES], "big"))


async def serve(identity: Path, callers: int) -> None:
    """Say the port, then serve. Args: callers: of `MEET`, that are answered together."""
    read = {name: (identity / name).read_bytes() for name in ("cert.pem", "key.pem", "ca.pem")}
    credentials = grpc.ssl_server_credentials(
        [(read["key.pem"], read["cert.pem"])], root_certificates=read["ca.pem"], require_client_auth=True
    )
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        METHOD: grpc.stream_unary_rpc_method_handler(take),
        MEET: grpc.stream_stream_rpc_method_handler(Meeting(callers).answer),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


def serve_socket(identity: Path) -> None:
    """Say the port, then swallow what one client sends: a length of 8 bytes, then as many bytes; answered by `1`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(identity / "cert.pem", identity / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        plain, _ = listener.accept()
    buffer = memoryview(bytearray(_BLOCK))
    with context.wrap_socket(plain, server_side=True) as stream:
        while head := stream.recv(SIZE_BYTES):
            missing = int.from_bytes(head, "big")
            while missing and (taken := stream.recv_into(buffer[: min(missing, _BLOCK)])):
                missing -= taken
            stream.sendall(b"1")


def main() -> None:
    """Run until standard input or the connection ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identity", type=Path, required=True)
    parser.add_argument(CALLERS, type=int, default=1)
    parser.add_argument(SOCKET, action="store_true")
    given = parser.parse_args()
    if given.socket:
        serve_socket(given.identity)
    else:
        asyncio.run(serve(given.identity, given.callers))


if __name__ == "__main__":
    main()
