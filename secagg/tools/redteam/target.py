"""What is attacked: a model, public records, and what one participant computes from its own.

A user's own model is a function without arguments that returns a `Target`, named on the command line as
`--model module:function`:

    def clinic() -> Target:
        records = Records("clinic", features, labels, bounds=(-5.0, 5.0))   # float32[n, d], int64[n]
        return Target("clinic", records, lambda: MyModule(), local_steps=5, learning_rate=0.05, batch=8)

The module takes features and returns one score for each class; the loss is cross-entropy. Its parameters must be
float32, and it must compute the same from the same input (no dropout, no running statistics).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, Final

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.encoding.schema import Schema
from secagg.errors import LocalError
from secagg.tools.redteam import models
from secagg.tools.redteam.extra import torch
from secagg.tools.redteam.observation import Parameters
from secagg.tools.redteam.records import Features, Indices, Labels, Records

_MATRIX: Final = 2
_SIZED: Final = 24


@dataclass(frozen=True)
class Target:
    """One model with its data.

    Attributes:
        name: for reports.
        records: public data; victims and non-participants are drawn from it.
        build: makes the torch module.
        seed: of its initialisation.
        batch: records of one participant.
        local_steps: 0: a participant hands in one gradient. More: FedAvg, it hands in by how much that many steps of
            gradient descent over all its records changed the model.
        learning_rate: of local steps.
    """

    name: str
    records: Records
    build: models.Build
    seed: int = 0
    batch: int = 1
    local_steps: int = 0
    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        if self.batch < 1 or self.local_steps < 0 or self.learning_rate <= 0:
            raise LocalError("a target has batch ≥ 1, local_steps ≥ 0 and a learning rate above 0")
        wrong = [name for name, array in self.parameters.items() if array.dtype != np.float32]
        if wrong:
            raise LocalError(f"target {self.name!r}: parameters must be float32, {wrong[0]!r} is not")

    @cached_property
    def module(self) -> models.Module:
        """The torch module; its own parameters are never used but to start from."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = self.build()
        if not isinstance(made, torch.nn.Module):
            raise LocalError(f"target {self.name!r}: `build` returned {type(made).__name__}, not a torch.nn.Module")
        return made

    @cached_property
    def parameters(self) -> dict[str, FloatArray]:
        """The parameters of the model before training, as named arrays."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self.module.named_parameters()}

    @property
    def schema(self) -> Schema:
        """Names, shapes and dtypes of an update of this target."""
        return Schema.of(self.parameters)

    @cached_property
    def sizes(self) -> tuple[float, float]:
        """Of updates that public records give: medians of the L2 norm and of the largest magnitude of a value."""
        rng = np.random.default_rng(0)
        batches = [rng.integers(0, len(self.records), self.batch) for _ in range(_SIZED)]
        flat = [np.concatenate([a.ravel() for a in self.update(self.parameters, b).values()]) for b in batches]
        return float(np.median([np.linalg.norm(v) for v in flat])), float(np.median([np.abs(v).max() for v in flat]))

    @property
    def first_layer(self) -> tuple[str, str] | None:
        """Names of weight float32[units, values] and bias of a fully connected layer that sees the record itself."""
        for name, array in self.parameters.items():
            bias = name.removesuffix("weight") + "bias"
            if array.ndim == _MATRIX and array.shape[1] == self.records.size and bias in self.parameters:
                return name, bias
        return None

    @property
    def last_layer(self) -> tuple[str, str] | None:
        """Names of weight and bias of the layer that gives the scores."""
        for name, array in reversed(self.parameters.items()):
            bias = name.removesuffix("weight") + "bias"
            if array.ndim == _MATRIX and array.shape[0] == self.records.classes and bias in self.parameters:
                return name, bias
        return None

    def update(self, parameters: Parameters, which: Indices) -> dict[str, FloatArray]:
        """What a participant with the records `which` computes from the model it was given: float32 arrays by name."""
        return self.update_from(parameters, self.records.features[which], self.records.labels[which])

    def update_from(self, parameters: Parameters, features: Features, labels: Labels) -> dict[str, FloatArray]:
        """The update that training on these records gives, whoever has them."""
        start = tensors(parameters)
        if not self.local_steps:
            return arrays(self.gradient(start, torch.from_numpy(features), torch.from_numpy(labels)))
        trained = dict(start)
        for _ in range(self.local_steps):
            slope = self.gradient(trained, torch.from_numpy(features), torch.from_numpy(labels))
            trained = {name: value - self.learning_rate * slope[name] for name, value in trained.items()}
        return arrays({name: value - start[name] for name, value in trained.items()})

    def gradient(self, parameters: Mapping[str, Any], features: Any, labels: Any) -> dict[str, Any]:
        """Tensors: the gradient of the mean cross-entropy; differentiable and vectorisable itself."""

        def loss(at: Mapping[str, Any]) -> Any:
            return torch.nn.functional.cross_entropy(torch.func.functional_call(self.module, at, (features,)), labels)

        slopes: dict[str, Any] = torch.func.grad(loss)(dict(parameters))
        return slopes

    def as_gradient(self, update: Parameters) -> dict[str, FloatArray]:
        """An update read as a gradient: of FedAvg, the mean over its local steps."""
        if not self.local_steps:
            return dict(update)
        scale = np.float32(-1 / (self.learning_rate * self.local_steps))
        return {name: array * scale for name, array in update.items()}

    def scaled(self, deviation: float) -> float:
        """The standard deviation of a gradient's value, from that of an update's."""
        return deviation / (self.learning_rate * self.local_steps) if self.local_steps else deviation


def tensors(parameters: Parameters) -> dict[str, Any]:
    """As torch tensors that share no memory with the arrays."""
    return {name: torch.tensor(array) for name, array in parameters.items()}


def arrays(parameters: Mapping[str, Any]) -> dict[str, FloatArray]:
    """The parameters of a torch model as numpy arrays, by their names."""
    return {name: tensor.detach().numpy() for name, tensor in parameters.items()}


def load_target(name: str) -> Target:
    """The target that `module:function` returns.

    Raises:
        LocalError: there is no such function, it returns something else, or the model cannot be trained on its records.
    """
    made = load(name)()
    if not isinstance(made, Target):
        raise LocalError(f"{name} returned {type(made).__name__}; it must return a secagg.tools.redteam.target.Target")
    which = np.unique(made.records.labels, return_index=True)[1]  # one record of each class
    try:
        one, same = (made.update(made.parameters, which) for _ in range(2))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:  # what torch says of shapes and classes
        raise LocalError(f"the model of {name} cannot be trained on its records: {error}") from error
    if any(not np.array_equal(one[key], same[key]) for key in one):
        raise LocalError(f"the model of {name} computes no two updates alike; leave out dropout and running statistics")
    return made


def load(name: str) -> Callable[..., Any]:
    """The function that `module:function` names.

    Raises:
        LocalError: there is none.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise LocalError(f"name it as module:function, not {name!r}")
    try:
        found = getattr(import_module(module), function, None)
    except (ImportError, SyntaxError) as error:
        raise LocalError(f"cannot import {module!r} of {name!r}: {error}") from error
    if not callable(found):
        raise LocalError(f"module {module!r} has no function {function!r}")
    loaded: Callable[..., Any] = found
    return loaded
