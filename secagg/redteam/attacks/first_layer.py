"""Analytic inversion of a fully connected first layer.

The gradient of unit j's weights is δ_j·x, that of its bias δ_j: their quotient is the record. In a sum every unit
shows a mixture of the records that it fires for, and one that fires for a single record shows that record.
"""

from typing import Any, Final

import numpy as np

from secagg.encoding.schema import FloatArray
from secagg.errors import LocalError
from secagg.redteam.attacks.base import Attack, Generator, Reconstruction, clipped, nothing
from secagg.redteam.observation import Bits, Observation
from secagg.redteam.target import Target

Exact = np.ndarray[Any, np.dtype[np.float64]]

_DEVIATIONS: Final = 3.0  # a bias within this of zero divides noise by noise
_TINY: Final = 1e-7  # relative to the largest bias
_FEW: Final = 8  # units that are tried where none stands out
_SWEEPS: Final = 40
_RIDGE: Final = 1e-3
_COMPONENTS: Final = 32


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
    """Independent components of the units' mixtures: each should be one record, up to sign and scale."""
    from sklearn.decomposition import FastICA  # noqa: PLC0415, an extra

    weights, biases, _, known = layer_of(target, observation)
    rows = quotients(weights[known], biases[known], _DEVIATIONS * target.scaled(observation.deviation))
    count = min(observation.summands, _COMPONENTS, *weights.shape)
    guesses = [rows]
    if count > 1 and np.isfinite(weights).all() and np.any(weights):
        ica = FastICA(count, whiten="unit-variance", random_state=int(rng.integers(2**31)), tol=0.1, max_iter=300)
        parts = ica.fit_transform(weights.T.astype(np.float64)).T
        guesses += [_fitted(target, sign * parts) for sign in (1.0, -1.0)]
    everything = np.concatenate(guesses)
    return Reconstruction(clipped(target, everything) if len(everything) else nothing(target))


def _fitted(target: Target, parts: Exact) -> Exact:
    """Components in the mean and spread of public records."""
    public = target.records.vectors()
    spread = parts.std(axis=1, keepdims=True)
    fitted: Exact = (parts - parts.mean(axis=1, keepdims=True)) / np.where(spread == 0, 1, spread) * public.std()
    fitted += float(public.mean())
    return fitted


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
    "disaggregation of a sum by independent components",
    "Kariyappa et al. 2023, arXiv 2209.05578; Lam et al. 2021, arXiv 2106.06089",
    "mlp-digits",
    _unmix,
    trials=20,
)
