"""Image, measurements and label of one record out of one update.

The label comes from the last layer, the measurements by division from their own branch's layer, and the picture by
gradient matching in which both are held: each modality makes the next one easier.
"""

from typing import Final

import numpy as np

from secagg.tools.redteam.attacks.inversion.base import Attack, Generator, Reconstruction, clipped
from secagg.tools.redteam.attacks.inversion.inverting_gradients import total_variation
from secagg.tools.redteam.attacks.inversion.matching import Search, Tensor, label_from_last_layer, match, tries
from secagg.tools.redteam.extra import torch
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.records import Features
from secagg.tools.redteam.target import Target

_RESTARTS: Final = 3
_STEPS: Final = 300
_RATE: Final = 0.05
_VARIATION: Final = 1e-4


def _measurements(target: Target, observation: Observation) -> Features:
    """Right side of every record: by least squares over the units of a layer that sees it alone, else public means."""
    pixels = int(np.prod(target.records.picture or (0,)))
    rest = target.records.size - pixels
    mask, gradient = observation.mask(), target.as_gradient(observation.arrays)
    for name, array in target.parameters.items():
        bias = name.removesuffix("weight") + "bias"
        if array.ndim == 2 and array.shape[1] == rest and bias in target.parameters:
            known = mask[name] & mask[bias][:, None]
            slopes = np.where(known, gradient[bias][:, None], 0.0).astype(np.float64)
            square = (slopes**2).sum(axis=0)
            dotted = (slopes * np.where(known, gradient[name], 0.0)).sum(axis=0)
            if np.isfinite(square).all() and (square > 0).all():
                found: Features = np.clip(dotted / square, *target.records.bounds).astype(np.float32)
                return found
    means: Features = target.records.vectors()[:, pixels:].mean(axis=0)
    return means


def _run(target: Target, observation: Observation, rng: Generator) -> Reconstruction:
    measurements = torch.from_numpy(_measurements(target, observation))
    pixels = target.records.size - len(measurements)
    labels = tries(target, observation, _RESTARTS)
    starts = torch.from_numpy(rng.uniform(0, 1, (len(labels), pixels)).astype(np.float32))

    def penalty(latent: Tensor, records: Tensor) -> Tensor:
        return _VARIATION * total_variation(target, records)

    found = match(
        target,
        observation,
        starts=starts,
        labels=labels,
        decode=lambda pixels: torch.cat([pixels.clamp(0, 1), measurements.expand(len(pixels), -1)], dim=1),
        search=Search(_STEPS, _RATE, penalty=penalty),
    )
    return Reconstruction(clipped(target, found.records[:1]), label_from_last_layer(target, observation))


MULTIMODAL: Final = Attack(
    "multimodal",
    "image, measurements and label from one update",
    "the attacks of Zhao et al. 2020 (arXiv 2001.02610), Phong et al. 2017 (IEEE TIFS 13(5)) and Geiping et al. 2020 "
    "(arXiv 2003.14053), one after the other",
    "multimodal-patients",
    _run,
    trials=3,
    slow=True,
)
