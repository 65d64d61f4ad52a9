"""Tokens from the gradient of an embedding: only rows of tokens that occur have one.

Where embeddings are averaged, all tokens of one sentence have the same gradient but for their number, so in a sum of
several sentences equal directions tell which tokens stood together.
"""

from typing import Any, Final

import numpy as np

from secagg.errors import LocalError
from secagg.tools.redteam.attacks.inversion.base import Attack, Generator, Reconstruction, nothing
from secagg.tools.redteam.attacks.inversion.matching import label_from_last_layer
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.records import Features
from secagg.tools.redteam.target import Target

_LOUD: Final = 1.7  # times the length of a row of noise; of hundreds of such rows none is so long
_TINY: Final = 1e-6  # relative to the longest row
_SAME: Final = 0.999
_GROUPS: Final = 64


def embedding_of(target: Target) -> str:
    """Name of the array with one row a token.

    Raises:
        LocalError: the model has none.
    """
    for name, array in target.parameters.items():
        if target.records.vocabulary and array.ndim == 2 and len(array) == target.records.vocabulary:
            return name
    raise LocalError(f"target {target.name!r} has no embedding of tokens")


def _run(target: Target, observation: Observation, rng: Generator) -> Reconstruction:
    name = embedding_of(target)
    mask = observation.mask()[name]
    rows = np.nan_to_num(target.as_gradient(observation.arrays)[name].astype(np.float64)) * mask
    lengths = np.linalg.norm(rows, axis=1)
    floor = max(_TINY * float(lengths.max(initial=0.0)), _LOUD * observation.deviation * np.sqrt(rows.shape[1]))
    present = np.flatnonzero(lengths > floor)
    if not len(present):
        return Reconstruction(nothing(target), label_from_last_layer(target, observation))
    guesses = [_counts(target, present, lengths)]
    guesses += [_counts(target, group, lengths) for group in _together(rows, present)]
    return Reconstruction(np.stack(guesses), label_from_last_layer(target, observation))


def _counts(target: Target, tokens: Any, lengths: Any) -> Features:
    """How often each token occurs: lengths over that of a token that occurs once, of as many words as a record has."""
    counts = np.zeros(target.records.vocabulary, np.float32)
    once = float(lengths[tokens].min())
    counts[tokens] = np.minimum(np.rint(lengths[tokens] / once), target.records.size)
    return counts


def _together(rows: Any, present: Any) -> list[Any]:
    """Groups of tokens whose gradients point the same way, the first of a group being its longest row."""
    directions = rows[present] / np.linalg.norm(rows[present], axis=1, keepdims=True)
    left = np.ones(len(present), np.bool_)
    groups: list[Any] = []
    for first in np.argsort(-np.linalg.norm(rows[present], axis=1)):
        if left[first] and len(groups) < _GROUPS:
            same = left & (directions @ directions[first] > _SAME)
            left &= ~same
            if same.sum() > 1:
                groups.append(present[same])
    return groups


TEXT: Final = Attack(
    "text",
    "tokens from the rows of the embedding's gradient",
    "Melis et al. 2019, arXiv 1805.04049; Gupta et al. 2022, arXiv 2205.08514; Balunović et al. 2022, arXiv 2202.08827",
    "text-sentences",
    _run,
    trials=20,
)
