"""Gradient matching in the latent space of a small generative model of public records.

The generator is linear, fitted by principal components to the non-participants' kind of records: record = mean +
latent · components, latents standard normal. What rounding, sampling and noise leave open, the prior fills in.
"""

from typing import Final

import numpy as np

from secagg.tools.redteam.attacks.inversion.base import Attack, Generator, Need, Reconstruction, clipped
from secagg.tools.redteam.attacks.inversion.matching import Search, Tensor, label_from_last_layer, match, tries
from secagg.tools.redteam.extra import torch
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.records import Features
from secagg.tools.redteam.target import Target

_COMPONENTS: Final = 48
_STEPS: Final = 200
_RATE: Final = 0.1
_STRENGTH: Final = 1e-4
_NOISE_STRENGTH: Final = 0.5


def generator(records: Features, components: int) -> tuple[Features, Features]:
    """Mean float32[d] and components float32[k, d], each of the length of one standard deviation."""
    mean = records.mean(axis=0)
    _, spread, axes = np.linalg.svd(records - mean, full_matrices=False)
    scaled = axes[:components] * (spread[:components, None] / np.sqrt(len(records)))
    return mean.astype(np.float32), scaled.astype(np.float32)


def _strength(target: Target, observation: Observation) -> float:
    """Weight of the prior: the share of the observed square that is rounding or noise, and a little."""
    if not observation.deviation:
        return _STRENGTH
    mask = observation.mask()
    flat = np.concatenate([array[mask[name]] for name, array in observation.arrays.items()])
    square = float(np.sum(flat.astype(np.float64) ** 2)) or 1.0
    return max(_STRENGTH, _NOISE_STRENGTH * 2 * observation.deviation**2 / square)


def _run(target: Target, observation: Observation, rng: Generator) -> Reconstruction:
    mean, axes = (torch.from_numpy(part) for part in generator(target.records.vectors(), _COMPONENTS))
    labels = tries(target, observation, 1)
    starts = torch.from_numpy(rng.normal(0, 0.01, (len(labels), len(axes))).astype(np.float32))
    strength = _strength(target, observation)

    def penalty(latent: Tensor, records: Tensor) -> Tensor:
        return strength * (latent**2).sum(dim=1)

    found = match(
        target,
        observation,
        starts=starts,
        labels=labels,
        decode=lambda latent: mean + latent @ axes,
        search=Search(_STEPS, _RATE, penalty=penalty),
    )
    assumed = label_from_last_layer(target, observation) if len(set(labels)) == 1 else found.labels[:1]
    return Reconstruction(clipped(target, found.records[:1]), assumed)


PRIOR: Final = Attack(
    "prior",
    "gradient matching with a generative prior learned from public records",
    "Jeon et al. 2021, arXiv 2110.14962; Li et al. 2022, arXiv 2203.15696",
    "mlp-digits",
    _run,
    needs=frozenset({Need.PUBLIC}),
    slow=True,
)
