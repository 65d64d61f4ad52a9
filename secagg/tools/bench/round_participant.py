"""One participant of the benchmarked rounds, in a process of its own: `python -m secagg.tools.bench.round_participant`.

It reads the id of a round a line, takes part, and answers with one JSON object a line.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any, ClassVar, Final

import grpc
from secagg_client import Client, RoundResult

from secagg.config import ThreatModel
from secagg.crypto.prg import Words
from secagg.errors import LocalError, ParticipationCancelled, SecAggError
from secagg.policy import Policy
from secagg.sandbox.worker import Worker
from secagg.tools.bench.memory import memory_of
from secagg.tools.deployment.crew import tell
from secagg.tools.deployment.gateway_channel import GatewayChannel, over_gateway
from secagg.tools.simulation.grid import update_of
from secagg.wire.calls import INPUT_CALLS

MODEL: Final = bytes(32)
"""Digest of the model, which the benchmark does without."""


class LeaveHalfway(grpc.StreamStreamClientInterceptor):  # type: ignore[misc, unused-ignore]
    """Leaves in the middle of the upload: half of the chunks have gone up, the rest never will."""

    def __init__(self, chunks: int) -> None:
        """Args: chunks: of the update on its way up."""
        self.leave: Callable[[], None] | None = None
        self._sent = chunks // 2

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Count what goes up on the stream of an upload, as gRPC hands it over."""
        upload = client_call_details.method.rpartition("/")[2] in INPUT_CALLS
        return continuation(client_call_details, self._halved(request_iterator) if upload else request_iterator)

    def _halved(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        for number, request in enumerate(requests):
            if number == self._sent and self.leave is not None:
                self.leave()
                return
            yield request


class WatchedWorker(Worker):
    """A worker whose peak memory is known when it has ended."""

    peak_bytes: ClassVar[int] = 0
    """Of the last one."""

    def close(self) -> None:
        """End the worker, whether it still runs or not."""
        with suppress(LocalError):  # closed before, or it ended by itself
            WatchedWorker.peak_bytes = memory_of(self.pid).peak_bytes
        super().close()


def main() -> None:
    """Run until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--identity", type=Path, required=True)
    parser.add_argument("--values", type=int, required=True)
    parser.add_argument("--threat-model", choices=[model.name for model in ThreatModel], required=True)
    parser.add_argument("--timeout-s", type=float, required=True)
    parser.add_argument("--allow-experimental", action="store_true")
    parser.add_argument("--leave-after-half-of", type=int, metavar="CHUNKS")
    parser.add_argument(
        "--token-keys", type=Path, help="call over the gateway at the target, with these keys of tokens"
    )
    arguments = parser.parse_args()
    interceptors = [] if arguments.leave_after_half_of is None else [LeaveHalfway(arguments.leave_after_half_of)]
    client = Client.from_files(
        arguments.target,
        certificate=arguments.identity / "cert.pem",
        key=arguments.identity / "key.pem",
        ca=arguments.identity / "ca.pem",
        policy=Policy(
            threat_models=frozenset({ThreatModel[arguments.threat_model]}),
            allow_experimental=arguments.allow_experimental,
            min_colluding_share=0.0,
        ),
        backend=WatchedWorker,
        interceptors=interceptors,
    )
    for interceptor in interceptors:
        interceptor.leave = client.cancel
    if arguments.token_keys is not None:
        over_gateway(client, GatewayChannel.from_files(arguments.target, arguments.identity, arguments.token_keys))
    update = update_of(arguments.identity.name, arguments.values)
    with client:
        tell("ready", peak_memory_bytes=memory_of().peak_bytes)
        for line in sys.stdin:
            try:
                result = client.participate(
                    update, round_id=bytes.fromhex(line), model_digest=MODEL, timeout_s=arguments.timeout_s
                )
                tell("finished", **described(result))
            except ParticipationCancelled:
                tell("left")
            except SecAggError as error:
                tell("failed", message=f"{type(error).__name__}: {error}")


def described(result: RoundResult) -> dict[str, object]:
    """What the benchmark wants to know."""
    if result.aggregate is None:
        raise LocalError("the round gave no aggregate to its participants")
    return {
        "time_s": time(),
        "bytes_up": result.bytes_sent,
        "bytes_down": result.bytes_received,
        "sums_sha256": digest_of_sums(result.aggregate.sums),
        "peak_memory_bytes": memory_of().peak_bytes,
        "worker_peak_memory_bytes": WatchedWorker.peak_bytes,
    }


def digest_of_sums(sums: Words) -> str:
    """SHA-256 of the sum in hex, to compare what different processes hold."""
    return sha256(sums.data).hexdigest()


if __name__ == "__main__":
    main()
