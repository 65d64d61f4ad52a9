"""One side of `secagg bench size` in a process of its own: `python -m secagg.tools.bench.size_worker`.

A participant reads the id of a round a line, takes part with the update in its file, and answers with one JSON object a
line. The FL server reads the name of a file with a configuration, opens the round, and fetches its sum.
"""

import argparse
import os
import sys
from pathlib import Path
from time import time
from typing import Any, Final

import numpy as np
from secagg_client import Client, ControlClient

from secagg.config import ThreatModel
from secagg.errors import SecAggError
from secagg.policy import Policy
from secagg.tools.bench.measure import cpu_clock, wall_clock
from secagg.tools.bench.memory import forget_peak, memory_of
from secagg.tools.bench.round_participant import MODEL
from secagg.tools.deployment.crew import tell
from secagg.wire.configuration import decode_config
from secagg.wire.progress import ResultReady

_BLOCK: Final = 1 << 20


class Growth:
    """What this process takes from now on: seconds on processors, and resident memory beyond what it has now."""

    def __init__(self) -> None:
        """Begin."""
        forget_peak(os.getpid())
        self._start, self._cpu_s = memory_of().now_bytes, cpu_clock()

    def described(self) -> dict[str, Any]:
        """For the owner of the crew."""
        return {"grown_bytes": memory_of().peak_bytes - self._start, "cpu_s": cpu_clock() - self._cpu_s}


def participate(arguments: argparse.Namespace) -> None:
    """Take part in rounds until standard input ends."""
    identity: Path = arguments.identity
    update = np.load(arguments.update, mmap_mode="r")
    for start in range(0, len(update), _BLOCK):
        update[start : start + _BLOCK].sum()  # its pages are resident from here on, and counted as the caller's
    with Client.from_files(
        arguments.target,
        certificate=identity / "cert.pem",
        key=identity / "key.pem",
        ca=identity / "ca.pem",
        policy=Policy(threat_models=frozenset({ThreatModel.ACTIVE}), min_colluding_share=0.0),
    ) as client:
        tell("ready")
        for line in sys.stdin:
            grown = Growth()
            result = client.participate(
                update,
                round_id=bytes.fromhex(line),
                model_digest=MODEL,
                out=arguments.update.with_suffix(".mean.npy"),
                timeout_s=arguments.timeout_s,
            )
            tell(
                "finished",
                time_s=time(),
                bytes_up=result.bytes_sent,
                bytes_down=result.bytes_received,
                survivors=result.receipt.survivors,
                sums_sha256=result.receipt.sums_digest.hex(),
                **grown.described(),
            )


def fetch(arguments: argparse.Namespace) -> None:
    """Open rounds and fetch their sums until standard input ends."""
    with ControlClient(arguments.target) as control:
        tell("ready")
        for line in sys.stdin:
            config = decode_config(Path(line.strip()).read_bytes())
            round_id = control.open_round(config, timeout_s=arguments.timeout_s)
            tell("opened", round_id=round_id.hex())
            *_, (_, ended) = control.watch(round_id, timeout_s=arguments.timeout_s)
            grown, start = Growth(), wall_clock()
            fetched = control.fetch_into(arguments.out, round_id, timeout_s=arguments.timeout_s)
            tell(
                "finished",
                seconds=wall_clock() - start,
                survivors=len(fetched.survivors),
                sums_sha256=ended.sums_digest.hex() if isinstance(ended, ResultReady) else "",
                **grown.described(),
            )


def main() -> None:
    """Run until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["participate", "fetch"])
    parser.add_argument("--target", required=True)
    parser.add_argument("--timeout-s", type=float, required=True)
    parser.add_argument("--identity", type=Path)
    parser.add_argument("--update", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    try:
        (participate if arguments.role == "participate" else fetch)(arguments)
    except SecAggError as error:
        tell("failed", message=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
