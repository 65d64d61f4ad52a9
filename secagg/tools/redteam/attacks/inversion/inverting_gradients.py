"""Inverting Gradients: direction instead of length, total variation, signed Adam, the best of restarts."""

from typing import Final

from secagg.tools.redteam.attacks.inversion.base import Attack, Generator, Reconstruction, clipped
from secagg.tools.redteam.attacks.inversion.matching import Search, Tensor, label_from_last_layer, match, tries, uniform
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.target import Target

_RESTARTS: Final = 16
_STEPS: Final = 260
_RATE: Final = 0.05
_VARIATION: Final = 2e-3


def total_variation(target: Target, records: Tensor) -> Tensor:
    """Mean step between neighbouring pixels, float32[tries]; 0 where records hold no picture."""
    picture = target.records.picture
    if picture is None:
        return records.sum(dim=1) * 0
    height, width, *channels = picture
    count = height * width * (channels[0] if channels else 1)
    pixels = records[:, :count].reshape(len(records), -1, height, width)
    down = (pixels[:, :, 1:] - pixels[:, :, :-1]).abs().mean(dim=(1, 2, 3))
    right = (pixels[:, :, :, 1:] - pixels[:, :, :, :-1]).abs().mean(dim=(1, 2, 3))
    return down + right


def _run(target: Target, observation: Observation, rng: Generator) -> Reconstruction:
    labels = tries(target, observation, _RESTARTS)
    low, high = target.records.bounds

    def penalty(latent: Tensor, records: Tensor) -> Tensor:
        return _VARIATION * total_variation(target, records)

    search = Search(_STEPS, _RATE * (high - low), cosine=True, signed=True, penalty=penalty)
    found = match(
        target,
        observation,
        starts=uniform(target, len(labels), rng),
        labels=labels,
        decode=lambda pixels: pixels.clamp(low, high),
        search=search,
    )
    return Reconstruction(clipped(target, found.records[:1]), label_from_last_layer(target, observation))


INVERTING_GRADIENTS: Final = Attack(
    "inverting-gradients",
    "gradient matching by cosine with total variation",
    "Geiping, Bauermeister, Dröge & Moeller 2020, arXiv 2003.14053",
    "conv-digits",
    _run,
    trials=3,
    slow=True,
)
