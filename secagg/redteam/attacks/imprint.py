"""Robbing the Fed: a first layer that sorts records into bins, so that neighbouring units differ by one bin's records.

Every unit measures the same random direction of the record and fires above its own quantile of public records. All
units reach the scores by the same weights, so a record gives each unit that it fires the same gradient.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from secagg.redteam.attacks.base import Attack, Generator, Need, Reconstruction, clipped, nothing
from secagg.redteam.attacks.first_layer import layer_of, names_of, quotients
from secagg.redteam.observation import Observation, Parameters
from secagg.redteam.target import Target

_DEVIATIONS: Final = 3.0
_WEAK: Final = 1e-3
_FIRST_OF: Final = 1e-5  # relative to the largest bias: below it no record lies between two units


def _models(target: Target, participants: int, victim: int, rng: Generator) -> Sequence[Parameters]:
    """One malicious model, the same for everyone."""
    public = target.records.vectors()
    made = {name: array.copy() for name, array in target.parameters.items()}
    weight, bias = names_of(target)
    units = len(made[bias])
    direction = rng.normal(0, 1, public.shape[1])
    direction /= np.linalg.norm(direction)
    levels = np.quantile(public @ direction, (np.arange(units) + 0.5) / units)
    made[weight][:] = direction.astype(np.float32)
    made[bias][:] = -levels.astype(np.float32)
    for name, array in made.items():
        if name != weight and array.ndim == 2 and array.shape[1] == units:
            array[:] = _WEAK * array[:, :1]
    return [made] * participants


def _run(target: Target, observation: Observation, rng: Generator) -> Reconstruction:
    weights, biases, known, known_biases = layer_of(target, observation)
    del known  # rows of which values are missing still show the others
    steps = weights.astype(np.float64)
    offsets = np.where(known_biases, biases, 0).astype(np.float64)
    differences = np.concatenate([steps[:-1] - steps[1:], steps[-1:]])
    heights = np.concatenate([offsets[:-1] - offsets[1:], offsets[-1:]])
    floor = max(_DEVIATIONS * observation.deviation, _FIRST_OF * float(np.abs(heights).max(initial=0.0)))
    rows = quotients(differences, heights, floor)
    return Reconstruction(clipped(target, rows) if len(rows) else nothing(target))


IMPRINT: Final = Attack(
    "imprint",
    "a malicious layer that sorts records into bins",
    "Fowl, Geiping, Czaja, Goldblum & Goldstein 2021, arXiv 2110.13057",
    "imprint-digits",
    _run,
    needs=frozenset({Need.MODEL, Need.PUBLIC}),
    models=_models,
    participants=64,
    trials=10,
)
