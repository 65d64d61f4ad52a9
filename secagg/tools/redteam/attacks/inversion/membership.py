"""Membership inference: whose gradient points where the aggregate points?"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from secagg.errors import LocalError
from secagg.tools.redteam.attacks.inversion.base import Attack, Generator, Need, Reconstruction
from secagg.tools.redteam.extra import torch
from secagg.tools.redteam.metrics import MEMBER
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.records import Features, Labels
from secagg.tools.redteam.target import Target, tensors

Exact = np.ndarray[Any, np.dtype[np.float64]]

_TOGETHER: Final = 50
_RIDGE: Final = 0.1  # of the mean square of a candidate's gradient


def candidates_of(observation: Observation) -> tuple[Features, Labels]:
    """Features and labels.

    Raises:
        LocalError: there are none.
    """
    if observation.candidates is None:
        raise LocalError("membership inference needs candidates")
    return observation.candidates


@dataclass(frozen=True, slots=True)
class Suspects:
    """Candidates and their gradients, made once for any number of observations of the same coordinates.

    Attributes:
        features: of the candidates, with their `labels`.
        centred: float64[candidates, known coordinates], gradients less their `centre`.
        products: float64[candidates, candidates] of the centred gradients.
    """

    features: Features
    labels: Labels
    centred: Exact
    centre: Exact
    products: Exact

    @classmethod
    def of(cls, target: Target, observation: Observation) -> "Suspects":
        """Those of an observation.

        Raises:
            LocalError: there are no candidates, or they are no values.
        """
        if target.records.vocabulary:
            raise LocalError("membership inference takes records that are values, not tokens")
        features, labels = candidates_of(observation)
        gradients = np.concatenate(list(_gradients(target, observation, features, labels))).astype(np.float64)
        centre = gradients.mean(axis=0)
        gradients -= centre
        return cls(features, labels, gradients, centre, gradients @ gradients.T)

    def scores(self, target: Target, observation: Observation) -> Exact:
        """float64[candidates]: how much each candidate's gradient explains of the observed one, the others considered.

        Ridge regression of the observed gradient on all candidates', both less the candidates' mean; the coefficients
        are taken times the gradients' lengths. Members have the largest.
        """
        observed = _flat(target, target.as_gradient(observation.arrays), observation) - self.centre
        ridge = _RIDGE * float(np.trace(self.products)) / len(self.products) or 1.0
        explained = np.linalg.solve(self.products + ridge * np.eye(len(self.products)), self.centred @ observed)
        weighted: Exact = (explained * np.sqrt(np.diag(self.products))).astype(np.float64)
        return weighted

    def named(self, target: Target, observation: Observation) -> Reconstruction:
        """Which of the candidates explains most of what was seen, and so is taken for the member."""
        best = int(np.argmax(self.scores(target, observation)))
        return Reconstruction(self.features[best : best + 1].reshape(1, -1), self.labels[best : best + 1])


def _flat(target: Target, arrays: Any, observation: Observation) -> Exact:
    mask = observation.mask()
    flat = np.concatenate([np.asarray(arrays[name])[mask[name]] for name in target.parameters]).astype(np.float64)
    return flat if np.isfinite(flat).all() else np.zeros_like(flat)


def _gradients(target: Target, observation: Observation, features: Features, labels: Labels) -> Any:
    """float32[≤ 50, known coordinates] at a time."""
    parameters = tensors(observation.parameters or target.parameters)
    mask = observation.mask()
    known = torch.from_numpy(np.flatnonzero(np.concatenate([mask[name].ravel() for name in target.parameters])))

    def one(record: Any, label: Any) -> Any:
        gradient = target.gradient(parameters, record[None], label[None])
        return torch.cat([part.reshape(-1) for part in gradient.values()])[known]

    several = torch.func.vmap(one)
    for start in range(0, len(labels), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        yield several(torch.from_numpy(features[part]), torch.from_numpy(labels[part])).detach().numpy()


def _run(target: Target, observation: Observation, rng: Generator) -> Reconstruction:
    return Suspects.of(target, observation).named(target, observation)


MEMBERSHIP: Final = Attack(
    "membership",
    "membership inference against a released aggregate",
    "Melis et al. 2019, arXiv 1805.04049; Nasr, Shokri & Houmansadr 2019, arXiv 1812.00910",
    "mlp-genotypes",
    _run,
    needs=frozenset({Need.CANDIDATES}),
    bar=MEMBER,
    trials=6,
)
