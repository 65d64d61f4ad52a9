"""Gradient matching: look for the record whose gradient is the observed one. Shared by the attacks that optimise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from secagg.tools.redteam.attacks.inversion.base import Generator
from secagg.tools.redteam.extra import torch
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.records import Features, Labels
from secagg.tools.redteam.target import Target, tensors

Tensor = Any
"""torch.Tensor."""

Decode = Callable[[Tensor], Tensor]
"""From what is optimised, float32[tries, k], to flat records float32[tries, d]."""

_TINY: Final = 1e-12
_COOLING: Final = 0.1
_DEVIATIONS: Final = 6.0
_PATIENT: Final = 0.6  # share of the steps at the full rate


@dataclass(frozen=True, slots=True)
class Search:
    """How to look for it.

    Attributes:
        steps: of Adam.
        rate: of the first steps; the last two fifths go at a tenth of it.
        cosine: whether gradients are compared by direction, or by squared distance over the observed square.
        signed: whether only the sign of each slope counts (Geiping et al. 2020).
        penalty: added to the distance: from latents float32[tries, k] and records float32[tries, d] to float32[tries].
    """

    steps: int
    rate: float
    cosine: bool = False
    signed: bool = False
    penalty: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True, slots=True)
class Matches:
    """What came of every try, the best first.

    Attributes:
        records: float32[tries, d].
        labels: int64[tries], the label that each try assumed.
    """

    records: Features
    labels: Labels


class Observed:
    """The coordinates of a gradient that an attacker knows, as tensors, over the largest of them."""

    def __init__(self, target: Target, observation: Observation) -> None:
        gradient, mask = target.as_gradient(observation.arrays), observation.mask()
        flat = np.concatenate([gradient[name].ravel() for name in target.parameters])
        known = np.concatenate([mask[name].ravel() for name in target.parameters])
        known &= np.isfinite(flat)
        peak = float(np.abs(flat[known]).max(initial=0.0)) or 1.0
        self.scale = 1 / peak
        self.where = torch.from_numpy(np.flatnonzero(known))
        self.values = torch.from_numpy((flat[known] / peak).astype(np.float32))

    def distance(self, gradient: dict[str, Tensor], *, cosine: bool) -> Tensor:
        """Of one gradient to the observed one."""
        flat = torch.cat([part.reshape(-1) for part in gradient.values()])[self.where] * self.scale
        if cosine:
            lengths = torch.sqrt((flat**2).sum() + _TINY) * torch.sqrt((self.values**2).sum() + _TINY)
            return 1 - (flat * self.values).sum() / lengths
        return ((flat - self.values) ** 2).sum() / ((self.values**2).sum() + _TINY)


def match(
    target: Target, observation: Observation, *, starts: Tensor, labels: Labels, decode: Decode, search: Search
) -> Matches:
    """Optimise all tries side by side.

    Args:
        target: whose model computes gradients.
        observation: what to match.
        starts: float32[tries, k].
        labels: int64[tries], which label each try assumes.
        decode: from latents to records.
        search: how.
    """
    observed = Observed(target, observation)
    parameters = tensors(observation.parameters or target.parameters)
    assumed = torch.from_numpy(labels)

    def distance(record: Tensor, label: Tensor) -> Tensor:
        gradient = target.gradient(parameters, record.reshape(1, *target.records.shape), label[None])
        return observed.distance(gradient, cosine=search.cosine)

    distances = torch.func.vmap(distance)

    def loss(latent: Tensor) -> tuple[Tensor, Tensor]:
        records = decode(latent)
        pure = distances(records, assumed)
        return pure, pure if search.penalty is None else pure + search.penalty(latent, records)

    latent = _descend(loss, starts, search)
    with torch.no_grad():
        records, final = decode(latent), loss(latent)[1]
    found = np.nan_to_num(final.numpy().astype(np.float64), nan=np.inf)
    order = np.argsort(found, kind="stable")
    return Matches(records.numpy()[order], labels[order])


def _descend(loss: Callable[[Tensor], tuple[Tensor, Tensor]], starts: Tensor, search: Search) -> Tensor:
    latent = starts.clone().requires_grad_()
    adam = torch.optim.Adam([latent], lr=search.rate)
    for step in range(search.steps):
        if step == int(search.steps * _PATIENT):
            adam.param_groups[0]["lr"] = search.rate * _COOLING
        (slope,) = torch.autograd.grad(loss(latent)[1].sum(), latent)
        latent.grad = slope.sign() if search.signed else slope
        adam.step()
    return latent.detach()


def label_from_last_layer(target: Target, observation: Observation) -> Labels | None:
    """The label whose bias has the only negative slope (Zhao et al. 2020, section 3.3); None if that is not to be seen.

    Told labels win.
    """
    if observation.labels is not None:
        return observation.labels
    slopes = label_slopes(target, observation)
    if slopes is None or not np.isfinite(slopes).any():
        return None
    return np.array([int(np.nanargmin(slopes))], np.int64)


def label_slopes(target: Target, observation: Observation) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Gradient of each score's bias, NaN where it was not sent: p_c − 1 for the label, p_c for the others."""
    names = target.last_layer
    if names is None:
        return None
    _, bias = names
    gradient = target.as_gradient(observation.arrays)[bias].astype(np.float64)
    return np.where(observation.mask()[bias], gradient, np.nan)


def tries(target: Target, observation: Observation, restarts: int) -> Labels:
    """Labels to assume: one that is certain `restarts` times; else every one in turn, an eighth as often each."""
    label = label_from_last_layer(target, observation)
    if label is None or not (observation.labels is not None or _certain(target, observation)):
        return np.tile(np.arange(target.records.classes), -(-restarts // 8))
    return np.repeat(label, restarts)


def _certain(target: Target, observation: Observation) -> bool:
    """Whether one slope alone is negative, beyond what rounding and noise can do: of a single record, the label's."""
    slopes = label_slopes(target, observation)
    if slopes is None or not np.isfinite(slopes).all():
        return False
    floor = _DEVIATIONS * target.scaled(observation.deviation)
    return int(np.sum(slopes < floor)) == 1 and float(slopes.min()) < -floor


def uniform(target: Target, count: int, rng: Generator) -> Tensor:
    """float32[count, d], uniform within the bounds of features."""
    low, high = target.records.bounds
    return torch.from_numpy(rng.uniform(low, high, (count, target.records.size)).astype(np.float32))
