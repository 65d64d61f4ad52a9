"""Many participants in one process, or one alone: `python -m secagg.tools.bench.scale.worker`.

Each has a connection and keys of its own, and takes part in the rounds of every task, one after the other. The process
begins when it reads a line, and answers with one JSON object when all rounds are over: errors, seconds on processors,
and bytes of all its participants.
"""

import argparse
import asyncio
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from secagg_client import AsyncClient

from secagg.config import ThreatModel
from secagg.errors import SecAggError
from secagg.policy import Policy
from secagg.tools.bench.measure import cpu_clock
from secagg.tools.bench.round_participant import MODEL
from secagg.tools.deployment.crew import tell


def model_of(task: int, number: int) -> bytes:
    """The digest of a round's model: another one for each round, so that no sum stands beside another."""
    return task.to_bytes(8, "big") + number.to_bytes(8, "big") + MODEL[16:]


def task_of(number: int) -> str:
    """Rounds of a task follow one another; rounds of different tasks are in flight at once."""
    return f"load-{number}"


def name_of(error: SecAggError) -> str:
    """What errors are counted by: class and message, at most 200 characters."""
    return f"{type(error).__name__}: {error}"[:200]


@dataclass(slots=True)
class _Done:
    """What came of the rounds: names of errors, and bytes of messages."""

    errors: Counter[str] = field(default_factory=Counter)
    bytes_up: int = 0
    bytes_down: int = 0


async def _take_part(client: AsyncClient, task: int, given: argparse.Namespace, done: _Done) -> None:
    update = {"values": np.full(given.values, 0.5, np.float32)}
    options: dict[str, Any] = {"task": task_of(task), "timeout_s": given.timeout_s, "fetch_aggregate": False}
    for number in range(given.rounds):
        try:
            result = await client.participate(update, **options, model_digest=model_of(task, number))
        except SecAggError as error:
            done.errors[name_of(error)] += 1
        else:
            done.bytes_up += result.bytes_sent
            done.bytes_down += result.bytes_received


async def _run(given: argparse.Namespace) -> None:
    policy = Policy(threat_models=frozenset(ThreatModel), min_colluding_share=0.0)
    clients = [
        AsyncClient.from_files(
            given.target, certificate=each / "cert.pem", key=each / "key.pem", ca=each / "ca.pem", policy=policy
        )
        for each in given.identities
    ]
    for client in clients:
        await client.describe(timeout_s=given.timeout_s)  # so that everybody is connected before a round is opened
    tell("connected")
    await asyncio.to_thread(sys.stdin.readline)
    start, done = cpu_clock(), _Done()
    await asyncio.gather(
        *(_take_part(client, task, given, done) for client in clients for task in range(given.tasks)),
    )
    spent = cpu_clock() - start
    for client in clients:
        await client.close()
    tell("finished", errors=done.errors, cpu_s=spent, bytes_up=done.bytes_up, bytes_down=done.bytes_down)


def main() -> None:
    """Run until all rounds are over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--values", type=int, required=True)
    parser.add_argument("--timeout-s", type=float, required=True)
    parser.add_argument("identities", type=Path, nargs="+")
    given = parser.parse_args()
    asyncio.run(_run(given))


if __name__ == "__main__":
    main()
