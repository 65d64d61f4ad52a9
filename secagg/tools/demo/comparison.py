"""The aggregate beside the plain weighted mean of the very same updates."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from secagg import Aggregate, RoundConfig, Schema
from secagg.encoding.fixedpoint import decode_mean
from secagg.tools.demo.job import Model

Mean = dict[str, np.ndarray[Any, np.dtype[np.float64]]]


@dataclass(frozen=True, slots=True)
class Compared:
    """How far the aggregate of a round is from the plain mean of the same updates."""

    largest_difference: float
    error_bound: float


def weighted_mean(updates: Mapping[str, Model], weights: Mapping[str, int], clip: float) -> Mean:
    """What a server that sees every update would compute, in float64."""
    total = sum(weights[name] for name in updates)
    arrays = next(iter(updates.values()))
    return {
        array: sum(
            (
                weights[name] * np.clip(update[array].astype(np.float64), -clip, clip)
                for name, update in updates.items()
            ),
            np.zeros(arrays[array].shape),
        )
        / total
        for array in arrays
    }


def compare(
    aggregate: Aggregate, config: RoundConfig, updates: Mapping[str, Model], weights: Mapping[str, int]
) -> Compared:
    """Args: updates: of the survivors, as they were before they were encoded."""
    plain = weighted_mean(updates, weights, config.fixed_point.clip)
    # In float64: the bound speaks of the mean before it is cast to the update's own dtype.
    wide = Schema(tuple(replace(spec, dtype="float64") for spec in config.schema.arrays))
    mean = decode_mean(config.fixed_point, wide, aggregate.sums, len(aggregate.survivors))
    difference = max(float(np.max(np.abs(mean.arrays[array] - plain[array]))) for array in plain)
    return Compared(difference, mean.error_bound)
