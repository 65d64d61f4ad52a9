"""Distributed noise of real rounds: as much as was promised whoever drops out, and never the same twice."""

import math
from typing import Final

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.encoding.pipeline import Pipeline
from secagg.messages import MaskedInputChunk
from secagg.tools.redteam.adversary import Integers, truth
from secagg.tools.redteam.arena import layers, rng_of, zero_updates
from secagg.tools.redteam.modes import MASKED_SEMI_HONEST
from secagg.tools.redteam.statistics import Battery, pair_tests
from secagg.tools.redteam.views import record
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.tools.simulation.network import Envelope

_NOISY: Final = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=22) | noise(law=skellam, z=1.0)")
NOISY_VALUES: Final = 2048
SIGMAS: Final = 6


def released_noise(seed: int = 0) -> list[str]:
    """With as many dropouts as the threshold allows, the noise of the certainly honest still has its full size."""
    config = MASKED_SEMI_HONEST.config(layers(NOISY_VALUES), 6, encoding=_NOISY, threshold=4, max_colluding=1)
    names = participant_names(6)
    zeros = zero_updates(config, names)

    def two_drop(envelope: Envelope) -> tuple[Envelope, ...]:
        return (
            () if envelope.participant in names[4:] and isinstance(envelope.message, MaskedInputChunk) else (envelope,)
        )

    recording = record(config, zeros, rng=rng_of(seed, "noise"), hook=two_drop)
    mean = np.concatenate([a.reshape(-1) for a in recording.released().values()]).astype(np.float64)
    survivors, honest = 4, config.threshold - config.max_colluding
    noise = mean * survivors * math.sqrt(honest / survivors)
    if not too_small(noise):
        return []
    deviation = math.sqrt(float((noise**2).mean()))
    return [f"the noise of {honest} honest survivors has deviation {deviation:.3f}, below the promised 1.000"]


def too_small(noise: FloatArray) -> bool:
    """Whether values are no noise of deviation 1: their mean square is `SIGMAS` of its own deviations too small."""
    return float((noise**2).mean()) < 1 - SIGMAS * math.sqrt(2 / len(noise))


def fresh_noise(seed: int = 0) -> list[str]:
    """The noise of two participants, and of two rounds, has nothing in common."""
    config = MASKED_SEMI_HONEST.config(layers(NOISY_VALUES), 4, encoding=_NOISY)
    names, ring = participant_names(4), np.uint64((1 << config.ring_bits) - 1)
    middle = np.uint64(1 << (config.ring_bits - 1))
    drawn: dict[str, Integers] = {}
    for number in (1, 2):
        brought = {name: Contribution(update) for name, update in zero_updates(config, names).items()}
        run = set_up(config, brought, rng=rng_of(2 * seed + number, "fresh"))
        drawn |= {f"{name} in round {number}": (truth(run, name) + middle) & ring for name in names[:2]}
    battery = Battery()
    samples = list(drawn.items())
    for at, (one, noise) in enumerate(samples):
        for other, earlier in samples[:at]:
            battery.add(f"noise of {other} and of {one}", pair_tests(earlier, noise))
    return battery.said()
