"""Attribute inference: what is unknown of a record whose other attributes and label the attacker knows."""

from typing import Final

import numpy as np

from secagg.errors import LocalError
from secagg.tools.redteam.attacks.inversion.base import Attack, Generator, Need, Reconstruction, clipped
from secagg.tools.redteam.attacks.inversion.matching import Search, match, tries
from secagg.tools.redteam.extra import torch
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.target import Target

_RESTARTS: Final = 4
_STEPS: Final = 400
_RATE: Final = 0.1


def _run(target: Target, observation: Observation, rng: Generator) -> Reconstruction:
    if observation.partial is None:
        raise LocalError("attribute inference needs the attributes that are known")
    unknown = np.isnan(observation.partial)
    known = torch.from_numpy(np.nan_to_num(observation.partial))
    where = torch.from_numpy(np.flatnonzero(unknown))
    public = target.records.vectors()[:, unknown]
    labels = tries(target, observation, _RESTARTS)
    draws = public[rng.integers(0, len(public), len(labels))] * 0.5 + public.mean(axis=0) * 0.5
    place = torch.nn.functional.one_hot(where, len(known)).float()

    found = match(
        target,
        observation,
        starts=torch.from_numpy(draws),
        labels=labels,
        decode=lambda latent: known + latent @ place,
        search=Search(_STEPS, _RATE, cosine=True),
    )
    return Reconstruction(clipped(target, found.records[:1]), judged=unknown)


ATTRIBUTE: Final = Attack(
    "attribute",
    "inference of unknown attributes from a tabular update",
    "Lyu & Chen 2021, arXiv 2108.06910",
    "smooth-breast-cancer",
    _run,
    needs=frozenset({Need.PARTIAL, Need.LABELS}),
    trials=3,
    slow=True,
)
