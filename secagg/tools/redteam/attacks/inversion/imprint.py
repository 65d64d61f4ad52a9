"""Robbing the Fed: a first layer that sorts records into bins, so that neighbouring units differ by one bin's records.

Every unit measures the same random direction of the record and fires above its own quantile of public records. All
units reach the scores by the same weights, so a record gives each unit that it fires the same gradient.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from secagg.tools.redteam.attacks.inversion.base import Attack, Generator, Need, Reconstruction, clipped, nothing
from secagg.tools.redteam.attacks.inversion.first_layer import Exact, layer_of, names_of, quotients
from secagg.tools.redteam.metrics import COHORT
from secagg.tools.redteam.observation import Bits, Observation, Parameters
from secagg.tools.redteam.records import Indices
from secagg.tools.redteam.target import Target

_DEVIATIONS: Final = 3.0
_QUIET: Final = 1e-2
_LOUD: Final = 1.0
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
    # Quiet units and loud scores: nearly all of the gradient's energy, and of what clipping leaves, is the imprint.
    made[weight][:] = (_QUIET * direction).astype(np.float32)
    made[bias][:] = (-_QUIET * levels).astype(np.float32)
    for name, array in made.items():
        if name != weight and array.ndim == 2 and array.shape[1] == units:
            array[:] = _LOUD * array[:, :1] / np.linalg.norm(array[:, :1])
    return [made] * participants


def _order(target: Target, observation: Observation) -> Indices:
    """Units by the level above which they fire, the lowest first; the model is the attacker's own."""
    _, bias = names_of(target)
    given = observation.parameters or target.parameters
    order: Indices = np.argsort(-given[bias], kind="stable")
    return order


def _steps(values: Exact, known: Bits) -> Exact:
    """float64[units, …]: what lies between each unit and the next, or between the nearest ones that were sent.

    Args:
        values: float64[units, …], the lowest unit first.
        known: which of them were sent.
    """
    units = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    at_or_below = np.maximum.accumulate(np.where(known, units, -1), axis=0)
    above = np.minimum.accumulate(np.where(known, units, len(values))[::-1], axis=0)[::-1]
    above = np.concatenate([above[1:], np.full_like(above[:1], len(values))])
    # Below the lowest unit that was sent nothing is known; above the highest one nothing fires.
    padded = np.concatenate([values, np.zeros_like(values[:1])])
    first = np.where(at_or_below < 0, above, at_or_below)
    steps: Exact = np.take_along_axis(padded, first, axis=0) - np.take_along_axis(padded, above, axis=0)
    return steps


def _run(target: Target, observation: Observation, rng: Generator) -> Reconstruction:
    weights, biases, known, known_biases = layer_of(target, observation)
    order = _order(target, observation)
    differences = _steps(weights.astype(np.float64)[order], known[order])
    heights = _steps(biases.astype(np.float64)[order], known_biases[order])
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
    bar=COHORT,
    trials=3,
)
