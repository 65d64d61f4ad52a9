"""A gRPC service that swallows bytes, in a process of its own: what plain Python gRPC over TLS can do on this machine.

`python -m secagg.tools.bench.sink` serves on asyncio, as the coordinator does, until its standard input ends. The
environment limits TLS to 1.3: whoever imports the client package sets it so.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import grpc

SERVICE: Final = "secagg.tools.bench.Sink"
METHOD: Final = "Take"


async def take(requests: AsyncIterator[bytes], _context: Any) -> bytes:
    """The number of bytes that came."""
    return str(sum([len(request) async for request in requests])).encode()


async def serve(identity: Path) -> None:
    """Say the port, then serve."""
    read = {name: (identity / name).read_bytes() for name in ("cert.pem", "key.pem", "ca.pem")}
    credentials = grpc.ssl_server_credentials(
        [(read["key.pem"], read["cert.pem"])], root_certificates=read["ca.pem"], require_client_auth=True
    )
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {METHOD: grpc.stream_unary_rpc_method_handler(take)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


def main() -> None:
    """Run until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identity", type=Path, required=True)
    asyncio.run(serve(parser.parse_args().identity))


if __name__ == "__main__":
    main()
