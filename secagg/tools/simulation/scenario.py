"""A simulated round from parameters to findings: what `secagg simulate` plays."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

import numpy as np

from secagg.aggregates import Aggregate
from secagg.config import Graph, RoundConfig, ThreatModel
from secagg.crypto.prg import Words
from secagg.crypto.rng import Rng, SeededRng
from secagg.encoding.arrays import FloatArray
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.packing import chunk_values
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError, RoundAborted
from secagg.events import ParticipantDropped, WrongShares
from secagg.messages import ParticipantId, Phase
from secagg.phases import phases
from secagg.schemes import coordinate
from secagg.sparse.ring import Ring
from secagg.tools.simulation import faults
from secagg.tools.simulation.cohort import START, Contribution, Deployment, new_round, participant_names, set_up
from secagg.tools.simulation.hosts import Entering, Spread
from secagg.tools.simulation.network import Hook, Run, pass_on
from secagg.tools.simulation.stopwatch import Clock, Side, Stopwatch, standing_still
from secagg.tools.simulation.traffic import Traffic

PLAIN_BYTES = 4
"""Bytes of a value in a plain float32 update, which traffic is compared with."""

SEED_SIZE: Final = 32
"""Of what a participant's randomness comes from."""

_CLIP = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is played.

    Attributes:
        participants: n ≥ 3.
        values: length of each update ≥ 1.
        threshold: t; 0 stands for the threat model's default.
        threat_model: what the coordinator may do.
        graph: who is whose neighbour; "auto" takes a ring where it is worth it.
        max_colluding: n_C; −1 stands for the default.
        value_bits: q.
        dropouts: participants that drop out, by phase.
        wrong_shares: holders that lie when shares are revealed.
    """

    participants: int
    values: int
    threshold: int = 0
    threat_model: ThreatModel = ThreatModel.ACTIVE
    graph: Graph | Ring | Literal["auto"] = Graph.COMPLETE
    max_colluding: int = -1
    value_bits: int = 16
    dropouts: Mapping[Phase, int] = field(default_factory=dict)
    wrong_shares: int = 0

    def config(self) -> RoundConfig:
        """The round's configuration.

        Raises:
            ConfigError: unsafe parameters, or a dropout in a phase that the round does not have.
        """
        config = RoundConfig(
            task="simulation",
            schema=Schema((ArraySpec("values", (self.values,), "float64"),)),
            encoding=FixedPoint(_CLIP, self.value_bits),
            max_participants=self.participants,
            threshold=self.threshold,
            max_colluding=self.max_colluding,
            threat_model=self.threat_model,
            graph=self.graph,
            model_digest=bytes(32),
        )
        if stray := set(self.dropouts) - set(phases(config)):
            names = ", ".join(sorted(map(str, stray)))
            raise ConfigError(f"a {self.threat_model.name} round has no phase {names}; drop in another")
        return config


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """What came out of one round.

    Attributes:
        survivors: participants in the sum; 0 if the round was aborted.
        dropped: participants that dropped out, by phase.
        aborted: why there is no sum.
        exact: whether the sum is the sum of the survivors' encoded vectors, integer for integer; None without a sum.
        digest: SHA-256 of the sum's words, little-endian; None without a sum. Two runs with one digest have one sum.
        largest_error: largest distance of the mean from the plain one; None without a sum.
        error_bound: what the fixed-point code promises.
        liars: who revealed wrong shares.
        named: whom the coordinator named for it.
        seconds: by side and phase, summed over everyone on that side.
        bytes_up: mean over the participants that stayed to the end.
        bytes_down: the same, for what they received.
    """

    survivors: int
    dropped: Mapping[Phase, int]
    aborted: RoundAborted | None
    exact: bool | None
    digest: bytes | None
    largest_error: float | None
    error_bound: float | None
    liars: frozenset[ParticipantId]
    named: frozenset[ParticipantId]
    seconds: Mapping[tuple[Side, Phase], float]
    bytes_up: float
    bytes_down: float


def play(
    scenario: Scenario,
    *,
    rng: Rng,
    deployment: Deployment | None = None,
    clock: Clock = standing_still,
    observe: Hook = pass_on,
    spread: Spread | None = None,
) -> ScenarioResult:
    """One round with fresh updates, dropouts and liars.

    Args:
        scenario: what is played.
        rng: everything random comes from it, but for the certificates of `deployment`.
        deployment: identities; made here if None and the threat model is active.
        clock: seconds; what phases cost is measured on it.
        observe: sees every message before anything happens to it.
        spread: where the participants are; in this process if None. The sum is the same.
    """
    config = scenario.config()
    names = participant_names(scenario.participants)
    drops = faults.draw_dropouts(names, scenario.dropouts, rng)
    honest = [name for name in names if name not in drops]
    liars = frozenset(faults.draw(honest, scenario.wrong_shares, rng))
    traffic = Traffic()
    chunks = -(-config.vector_len // chunk_values(config.ring_bits))
    hooks = (
        observe,
        faults.Dropouts(drops, phases(config), chunks),
        faults.WrongShares(liars, rng),
        traffic,
    )
    base, seeds = make_base(scenario, rng), {name: rng.token(SEED_SIZE) for name in names}
    updates = {name: base[i : i + scenario.values] for i, name in enumerate(names)}
    stopwatch, hook = Stopwatch(clock), faults.chain(*hooks)
    if spread is None:
        run = set_up(
            config,
            {name: Contribution(update) for name, update in updates.items()},
            rng=rng,
            deployment=deployment,
            hook=hook,
            stopwatch=stopwatch,
            rngs={name: SeededRng(seed) for name, seed in seeds.items()},
        )
        expected: Callable[[Sequence[ParticipantId]], Words] = partial(_expected, run)
    else:
        round_ = new_round(config, rng)
        entering = {name: Entering(seed, start) for start, (name, seed) in enumerate(seeds.items())}
        crowd = spread.enter(round_, entering, base, stopwatch)
        coordinator = coordinate(round_, now=START, trust=spread.trust)
        run = Run(coordinator, {}, hook, START, stopwatch=stopwatch, crowd=crowd)
        expected = crowd.expected
    run.prompt = True
    run.play()
    return _findings(run, updates, expected, drops=drops, liars=liars, traffic=traffic)


def make_base(scenario: Scenario, rng: Rng) -> FloatArray:
    """float64[values + participants] at random: all updates are windows on it, so memory does not grow with n · m."""
    source = np.random.default_rng(int.from_bytes(rng.token(16), "big"))
    base: FloatArray = source.normal(0, _CLIP / 3, scenario.values + scenario.participants)
    return base


def _findings(
    run: Run,
    updates: Mapping[ParticipantId, FloatArray],
    expected: Callable[[Sequence[ParticipantId]], Words],
    *,
    drops: Mapping[ParticipantId, Phase],
    liars: frozenset[ParticipantId],
    traffic: Traffic,
) -> ScenarioResult:
    aggregate = run.coordinator.aggregate
    mean = aggregate.mean(run.coordinator.round.config) if aggregate else None
    survivors = [ParticipantId(name) for name in aggregate.survivors] if aggregate else []
    stayed = [name for name in updates if name not in drops]
    return ScenarioResult(
        survivors=len(survivors),
        dropped=_dropped(run, drops),
        aborted=run.coordinator.failure,
        exact=_is_exact(aggregate, expected(survivors)) if aggregate else None,
        digest=hashlib.sha256(_little_endian(aggregate.sums)).digest() if aggregate else None,
        largest_error=_largest_error(mean.arrays["values"], aggregate, updates) if mean and aggregate else None,
        error_bound=mean.error_bound if mean else None,
        liars=liars,
        named=frozenset(event.culprit for event in run.events if isinstance(event, WrongShares)),
        seconds=dict(run.stopwatch.seconds),
        bytes_up=sum(traffic.up[name] for name in stayed) / max(1, len(stayed)),
        bytes_down=sum(traffic.down[name] for name in stayed) / max(1, len(stayed)),
    )


def _dropped(run: Run, drops: Mapping[ParticipantId, Phase]) -> dict[Phase, int]:
    """Who dropped out, as the coordinator told it; those who never came are added, for it cannot know of them."""
    told = Counter(event.phase for event in run.events if isinstance(event, ParticipantDropped))
    told[Phase.ADVERTISE_KEYS] += sum(phase is Phase.ADVERTISE_KEYS for phase in drops.values())
    return {phase: told[phase] for phase in phases(run.coordinator.round.config) if told[phase]}


def _is_exact(aggregate: Aggregate, expected: Words) -> bool:
    return bool(np.array_equal(expected, aggregate.sums))


def _expected(run: Run, survivors: Sequence[ParticipantId]) -> Words:
    config = run.coordinator.round.config
    total: Words = np.zeros(config.vector_len, config.ring_dtype)
    for name in survivors:
        total += run.vectors[name].read(0, config.vector_len, config.ring_dtype)
    return total


def _little_endian(sums: Words) -> bytes:
    return sums.astype(sums.dtype.newbyteorder("<"), copy=False).tobytes()


def _largest_error(mean: FloatArray, aggregate: Aggregate, updates: Mapping[ParticipantId, FloatArray]) -> float:
    plain = np.zeros(len(mean))
    for name in aggregate.survivors:
        plain += np.clip(updates[ParticipantId(name)], -_CLIP, _CLIP)
    return float(np.max(np.abs(mean - plain / len(aggregate.survivors))))
