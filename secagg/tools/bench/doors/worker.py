"""An ingress worker in a process of its own: `python -m secagg.tools.bench.doors.worker`. It ends with its input."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from secagg_server.app import capacity_of
from secagg_server.ingress.worker import running_worker
from secagg_server.limits.memory import settle_allocator, settle_collector
from secagg_server.observability.logs import configure_logs
from secagg_server.settings import load_settings

from secagg.tools.deployment.crew import tell


async def _run(head: str, identity: Path) -> None:
    files = {"certificate": "cert.pem", "key": "key.pem", "participant_ca": "ca.pem"}
    settings = load_settings(None, {name: identity / file for name, file in files.items()})
    configure_logs(settings, sys.stderr)  # standard output is for what the benchmark is told
    async with running_worker(settings, head, capacity=capacity_of(None)) as running:
        while running.worker.life is None:
            await asyncio.sleep(0.05)
        tell("serving", address=running.data_address, pid=os.getpid())
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Serve participants for the coordinator whose link is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--head", required=True)
    parser.add_argument("--identity", type=Path, required=True)
    given = parser.parse_args()
    settle_allocator()
    settle_collector()
    asyncio.run(_run(given.head, given.identity))


if __name__ == "__main__":
    main()
