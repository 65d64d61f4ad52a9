"""Many participants in one process: `python -m secagg.tools.bench.load_worker`.

Each has a connection and keys of its own, and takes part in the rounds of every task that it is told, one after the
other. The process reads one line: how many rounds each task has. It answers with one JSON object when all are over.
"""

import argparse
import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from secagg_client import AsyncClient

from secagg.config import ThreatModel
from secagg.errors import SecAggError
from secagg.policy import Policy
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


async def _take_part(client: AsyncClient, task: int, rounds: int, values: int, timeout_s: float) -> Counter[str]:
    errors: Counter[str] = Counter()
    given: dict[str, Any] = {"update": {"values": np.full(values, 0.5, np.float32)}, "task": task_of(task)}
    given |= {"timeout_s": timeout_s, "fetch_aggregate": False}
    for number in range(rounds):
        try:
            await client.participate(**given, model_digest=model_of(task, number))
        except SecAggError as error:
            errors[name_of(error)] += 1
    return errors


async def _run(given: argparse.Namespace) -> Counter[str]:
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
    found = await asyncio.gather(
        *(
            _take_part(client, task, given.rounds, given.values, given.timeout_s)
            for client in clients
            for task in range(given.tasks)
        )
    )
    for client in clients:
        await client.close()
    return sum(found, Counter())


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
    tell("finished", errors=asyncio.run(_run(given)))


if __name__ == "__main__":
    main()
