"""iDLG: the label from the last layer's bias, then the record by gradient matching with squared distance."""

from typing import Any, Final

import numpy as np

from secagg.tools.redteam.attacks.inversion.base import Attack, Generator, Reconstruction, clipped, nothing
from secagg.tools.redteam.attacks.inversion.matching import Observed, Tensor, label_from_last_layer, uniform
from secagg.tools.redteam.extra import torch
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.records import Features
from secagg.tools.redteam.target import Target, tensors

_RESTARTS: Final = 1
_ITERATIONS: Final = 80
_GOOD: Final = 1e-5  # of the observed square; another start finds nothing better


def _run(target: Target, observation: Observation, rng: Generator) -> Reconstruction:
    label = label_from_last_layer(target, observation)
    if label is None:
        return Reconstruction(nothing(target))
    best = _search(target, observation, label, uniform(target, 1, rng))
    for _ in range(_RESTARTS):
        if best[0] > _GOOD:
            best = min(best, _search(target, observation, label, uniform(target, 1, rng)), key=lambda found: found[0])
    return Reconstruction(clipped(target, best[1]), label)


def _search(target: Target, observation: Observation, label: Any, start: Tensor) -> tuple[float, Features]:
    """Distance and record that L-BFGS ends with."""
    observed, parameters = Observed(target, observation), tensors(observation.parameters or target.parameters)
    record, assumed = start.clone().requires_grad_(), torch.from_numpy(label)
    descent = torch.optim.LBFGS([record], lr=1.0, max_iter=_ITERATIONS, history_size=30, line_search_fn="strong_wolfe")

    def distance() -> Tensor:
        gradient = target.gradient(parameters, record.reshape(1, *target.records.shape), assumed)
        return observed.distance(gradient, cosine=False)

    def closure() -> Tensor:
        loss = distance()
        (record.grad,) = torch.autograd.grad(loss, record)
        return loss

    descent.step(closure)
    final = float(distance().detach())
    return (final if np.isfinite(final) else np.inf), record.detach().numpy()


IDLG: Final = Attack(
    "idlg",
    "labels from the last layer, records by gradient matching",
    "Zhao, Mopuri & Bilen 2020, arXiv 2001.02610; Zhu, Liu & Han 2019, arXiv 1906.08935",
    "conv-digits",
    _run,
    trials=3,
)
