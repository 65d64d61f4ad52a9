"""Analytic inversion of a fully connected first layer.

The gradient of unit j's weights is δ_j·x, that of its bias δ_j: their quotient is the record. In a sum every unit
shows a mixture of the records that it fires for, and one that fires for a single record shows that record.
"""

from typing import Any, Final
from warnings import catch_warnings, simplefilter

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.errors import LocalError
from secagg.tools.redteam.attacks.inversion.base import Attack, Generator, Reconstruction, clipped, nothing
from secagg.tools.redteam.observation import Bits, Observation
from secagg.tools.redteam.target import Target

Exact = np.ndarray[Any, np.dtype[np.float64]]

_DEVIATIONS: Final = 3.0  # a bias within this of zero divides noise by noise
_TINY: Final = 1e-7  # relative to the largest bias
_FEW: Final = 8  # units that are tried where none stands out
_SWEEPS: Final = 40
_RIDGE: Final = 1e-3
_CLEAR: Final = 0.05  # of the largest bias: units that are clear enough to divide by


def names_of(target: Target) -> tuple[str, str]:
    """Weight and bias of the first layer.

    Raises:
        LocalError: the model has no fully connected first layer with biases.
    """
    names = target.first_layer
    if names is None:
        raise LocalError(f"target {target.name!r} has no fully connected first layer with biases")
    return names


def layer_of(target: Target, observation: Observation) -> tuple[FloatArray, FloatArray, Bits, Bits]:
    """Gradients of the first layer's weights and biases, and which of their values are known.

    Raises:
        LocalError: the model has no fully connected first layer with biases.
    """
    names = names_of(target)
    gradient, mask = target.as_gradient(observation.arrays), observation.mask()
    return gradient[names[0]], gradient[names[1]], mask[names[0]], mask[names[1]]


def quotients(weights: FloatArray, biases: FloatArray, floor: float) -> Exact:
    """float64[k, d]: rows over biases, of the units whose bias stands out from `floor`, or of the clearest few."""
    weights, biases = weights.astype(np.float64), biases.astype(np.float64)
    size = np.abs(biases)
    clear = size > max(floor, _TINY * float(size.max(initial=0.0)))
    if not clear.any():
        clear = (size > 0) & (size >= np.sort(size)[-_FEW:].min(initial=np.inf))
    rows: Exact = weights[clear] / biases[clear, None]
    return rows


def _divide(target: Target, observation: Observation, rng: Generator) -> Reconstruction:
    weights, biases, _, known = layer_of(target, observation)
    floor = _DEVIATIONS * target.scaled(observation.deviation)
    rows = quotients(weights[known], biases[known], floor)
    return Reconstruction(clipped(target, rows) if len(rows) else nothing(target))


def _factor(target: Target, observation: Observation, rng: Generator) -> Reconstruction:
    """Alternating least squares for [W | b] ≈ u·(x, 1): every known coordinate helps, none needs to be clear alone."""
    weights, biases, known, known_biases = layer_of(target, observation)
    matrix = np.concatenate([weights, biases[:, None]], axis=1).astype(np.float64)
    mask = np.concatenate([known, known_biases[:, None]], axis=1).astype(np.float64)
    matrix *= mask
    peak = float(np.abs(matrix).max(initial=0.0))
    if not peak or not np.isfinite(peak):
        return Reconstruction(nothing(target))
    right = rank_one(matrix / peak, mask, _start(target))
    return Reconstruction(clipped(target, right[None, :-1] / (right[-1] or 1.0)))


def _start(target: Target) -> Exact:
    """The blind guess and the bias's one."""
    return np.append(target.records.vectors().mean(axis=0), 1.0)


def rank_one(matrix: Exact, mask: Exact, start: Exact) -> Exact:
    """float64[columns], the right factor of the best rank-one fit to the known entries of `matrix`."""
    right = start.astype(np.float64)
    for _ in range(_SWEEPS):
        left = (matrix @ right) / (mask @ right**2 + _RIDGE)
        right = (matrix.T @ left + _RIDGE * start * np.mean(left**2)) / (mask.T @ left**2 + _RIDGE * np.mean(left**2))
    return right


def _unmix(target: Target, observation: Observation, rng: Generator) -> Reconstruction:
    """Independent components of many sums of overlapping cohorts: each is one person's update, up to sign and scale,
    and a first layer's quotients do not see those. Nobody has to know who was in which cohort.

    Raises:
        LocalError: there are no sums of several rounds.
    """
    from sklearn.decomposition import FastICA  # noqa: PLC0415, an extra

    names = names_of(target)
    sums = observation.sums
    if sums is None:
        raise LocalError("unmixing takes many sums of overlapping cohorts")
    size = float(np.abs(sums).max(initial=0.0))
    if not size or not np.isfinite(size):
        return Reconstruction(nothing(target))
    seed = int(rng.integers(2**31))
    ica = FastICA(
        min(observation.summands, len(sums)), whiten="unit-variance", random_state=seed, tol=1e-3, max_iter=_SWEEPS
    )
    with catch_warnings():
        simplefilter("ignore")  # of sums that hold nothing, no components are found: their guesses count all the same
        ica.fit(sums.T / size)
    guesses = []
    for component in ica.components_ @ sums:
        arrays = target.as_gradient(target.schema.split(component))
        rows = quotients(arrays[names[0]], arrays[names[1]], _CLEAR * float(np.abs(arrays[names[1]]).max(initial=0.0)))
        guesses += [rows, np.median(rows, axis=0, keepdims=True)] if len(rows) else []
    return Reconstruction(clipped(target, np.concatenate(guesses)) if guesses else nothing(target))


FIRST_LAYER: Final = Attack(
    "first-layer",
    "analytic inversion of the first layer",
    "Phong, Aono, Hayashi, Wang & Moriai 2017, IEEE TIFS 13(5); Geiping et al. 2020, arXiv 2003.14053",
    "mlp-digits",
    _divide,
    trials=10,
)
LOW_RANK: Final = Attack(
    "low-rank",
    "rank-one completion of the first layer under noise, quantisation and sampling",
    "Zhu & Blaschko 2021, arXiv 2010.07733; Dimitrov et al. 2024, arXiv 2403.03945",
    "mlp-digits",
    _factor,
    trials=20,
)
UNMIX: Final = Attack(
    "unmix",
    "disaggregation of many sums by independent components",
    "Lam et al. 2021, arXiv 2106.06089; Kariyappa et al. 2023, arXiv 2209.05578",
    "mlp-digits",
    _unmix,
    participants=6,
    rounds=12,
    trials=3,
    slow=True,
)
"""Six people, cohorts of four, a model that stands still."""
