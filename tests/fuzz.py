"""Fuzz for as long as you like: `python -m tests.fuzz --seconds 600 --seed 1`.

Every decoder of the wire and the parser of residues get mutated messages, and whole rounds, masked and homomorphic, get
disorder and lies. Anything but a value or a named
error, and any sum that is not exact, ends the run with the seed that shows it again. At the end: inputs tried.
"""

import argparse
import itertools
import sys
import time
from collections import Counter

import numpy as np

from secagg.config import ThreatModel
from secagg.errors import NotInRoundError, RemoteError, RoundAborted, SecAggError
from secagg.messages import ParticipantId
from tests.chaos import Chaos
from tests.chaos_encrypted import check_disorder, disorderly_round, hostile_residues
from tests.properties.decoders import all_decoders
from tests.properties.mutation import mutate
from tests.rounds import flat_schema, make_config, start, true_sum

DECODINGS = 200
"""Inputs to each decoder for one round played."""


def fuzz_decoders(rng: np.random.Generator, tried: Counter[str]) -> None:
    for decoder in all_decoders():
        for _ in range(DECODINGS):
            try:
                decoder.decode(mutate(rng, decoder.valid))
                tried["decoded"] += 1
            except RemoteError:
                tried["refused by a decoder"] += 1


def fuzz_round(rng: np.random.Generator, tried: Counter[str]) -> None:
    """One round under disorder; half of them with lying participants, a quarter with a lying coordinator."""
    n = int(rng.integers(3, 10))
    threat_model = ThreatModel.ACTIVE if rng.integers(2) else ThreatModel.SEMI_HONEST
    coordinator_lies = bool(rng.integers(4) == 0)
    chaos = Chaos(rng, float(rng.choice([0.02, 0.1, 0.3])), bool(rng.integers(2)), coordinator_lies)
    config = make_config(n, threat_model, schema=flat_schema(16), threshold=max(3, 2 * n // 3 + 1), max_colluding=0)
    run = start(config, seed=int(rng.integers(2**32)), hook=chaos)
    coordinator = run.play()
    tried["messages disturbed"] += chaos.disturbed
    unnamed = [e for e in run.errors.values() if not isinstance(e, SecAggError)]
    unnamed += [e for _, e in run.refused if not isinstance(e, RemoteError | NotInRoundError | RoundAborted)]
    if unnamed:
        raise AssertionError(f"an error without a name: {unnamed[0]!r}")
    if coordinator.aggregate is None:
        tried["rounds ended by name"] += 1
    elif not coordinator_lies:
        survivors = [ParticipantId(name) for name in coordinator.aggregate.survivors]
        if not np.array_equal(coordinator.aggregate.sums, true_sum(run, survivors)):
            raise AssertionError("a wrong sum")
        tried["rounds with an exact sum"] += 1
    else:
        tried["rounds of a lying coordinator"] += 1


def fuzz_residues(rng: np.random.Generator, tried: Counter[str]) -> None:
    for _ in range(10 * DECODINGS):
        tried["chunks of residues taken" if hostile_residues(rng) else "chunks of residues refused"] += 1


def fuzz_encrypted_round(rng: np.random.Generator, tried: Counter[str]) -> None:
    """One homomorphic round of any scheme and custody under disorder, with liars as above."""
    lies, coordinator_lies = bool(rng.integers(2)), bool(rng.integers(4) == 0)
    run, chaos = disorderly_round(rng, lies=lies, coordinator_lies=coordinator_lies)
    tried["messages of homomorphic rounds disturbed"] += chaos.disturbed
    tried[f"homomorphic rounds {check_disorder(run, chaos)}"] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="first seed; each pass has the next (default: 0)")
    options = parser.parse_args()
    tried: Counter[str] = Counter()
    end = time.monotonic() + options.seconds
    for seed in itertools.count(options.seed):
        rng = np.random.default_rng(seed)
        try:
            fuzz_decoders(rng, tried)
            fuzz_round(rng, tried)
            fuzz_residues(rng, tried)
            fuzz_encrypted_round(rng, tried)
        except BaseException:
            print(f"seed {seed} ends in:", file=sys.stderr)  # noqa: T201
            raise
        if time.monotonic() > end:
            break
    for what, count in sorted(tried.items()):
        print(f"{count:>12,} {what}")  # noqa: T201


if __name__ == "__main__":
    main()
