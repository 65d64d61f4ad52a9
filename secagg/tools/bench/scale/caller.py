"""Callers of bare gRPC in one process, each with a connection of its own: `python -m secagg.tools.bench.scale.caller`.

They call the sink as participants call the coordinator in a round, and do nothing with what they send and get. The
process begins when it reads a line, and says when all calls are over.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import grpc
from secagg_client.participation.terms import load

from secagg.tools.bench.sink import MEET, SERVICE, SIZE_BYTES
from secagg.tools.deployment.crew import tell
from secagg.transport.tls import client_credentials


async def _call(channel: grpc.aio.Channel, given: argparse.Namespace) -> None:
    meet: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"/{SERVICE}/{MEET}")
    request = given.bytes_down.to_bytes(SIZE_BYTES, "big") + bytes(max(0, given.bytes_up - SIZE_BYTES))
    for _ in range(given.calls):
        async for _answer in meet(iter([request])):
            pass


async def _run(given: argparse.Namespace) -> None:
    channels = []
    for each in given.identities:
        own, trust = load(each / "cert.pem", each / "key.pem", each / "ca.pem")
        channels.append(grpc.aio.secure_channel(given.target, client_credentials(own, trust)))
    for channel in channels:
        await channel.channel_ready()
    tell("connected")
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*(_call(channel, given) for channel in channels))
    for channel in channels:
        await channel.close()
    tell("finished")


def main() -> None:
    """Run until all calls are over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--bytes-up", type=int, required=True)
    parser.add_argument("--bytes-down", type=int, required=True)
    parser.add_argument("identities", type=Path, nargs="+")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
