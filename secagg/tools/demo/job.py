"""The training job: a small neural network on scikit-learn's digits, shared out unevenly.

1,797 images of handwritten digits, 8 × 8 pixels (E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, 1998).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from secagg import MissingExtraError

Array = np.ndarray[Any, np.dtype[np.float32]]
Labels = np.ndarray[Any, np.dtype[np.int64]]
Model = dict[str, Array]
"""hidden.weight [64, 32], hidden.bias [32], output.weight [32, 10], output.bias [10]."""

PIXELS: Final = 64
HIDDEN: Final = 32
CLASSES: Final = 10
MAX_EXAMPLES: Final = 400
"""No participant has more; the largest weight in the fixed-point code."""

_TEST_EXAMPLES: Final = 360
_LABEL_SKEW: Final = 0.5  # concentration of the Dirichlet distributions: small is uneven
_SIZE_SKEW: Final = 3.0
_MIN_EXAMPLES: Final = 24
_EPOCHS: Final = 3
_BATCH: Final = 16
_LEARNING_RATE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Examples:
    """Images float32[k, 64] with pixels in [0, 1], and their labels int64[k]."""

    images: Array
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


def load_digits(seed: int) -> tuple[Examples, Examples]:
    """Training and test examples, shuffled.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load  # noqa: PLC0415, an extra
    except ImportError:
        raise MissingExtraError("the demo's data set", "demo") from None
    bunch = load()
    order = np.random.default_rng(seed).permutation(len(bunch.target))
    everything = Examples((bunch.data[order] / 16).astype(np.float32), bunch.target[order].astype(np.int64))
    return _take(everything, slice(_TEST_EXAMPLES, None)), _take(everything, slice(_TEST_EXAMPLES))


def share_out(examples: Examples, participants: int, seed: int) -> list[Examples]:
    """A different part for everyone: sizes and label mixtures are drawn from Dirichlet distributions."""
    rng = np.random.default_rng([seed, 1])
    appetite = rng.dirichlet(np.full(participants, _SIZE_SKEW))
    taste = rng.dirichlet(np.full(CLASSES, _LABEL_SKEW), participants) * appetite[:, None]
    parts: list[list[int]] = [[] for _ in range(participants)]
    for label in range(CLASSES):
        members = rng.permutation(np.flatnonzero(examples.labels == label))
        cuts = np.cumsum(taste[:, label] / taste[:, label].sum())[:-1] * len(members)
        for part, piece in zip(parts, np.split(members, cuts.astype(int)), strict=True):
            part.extend(piece.tolist())
    _feed_the_smallest(parts)
    return [_take(examples, rng.permutation(part)[:MAX_EXAMPLES]) for part in parts]


def _feed_the_smallest(parts: list[list[int]]) -> None:
    """Nobody has next to nothing: the largest parts give."""
    while len(smallest := min(parts, key=len)) < _MIN_EXAMPLES:
        smallest.append(max(parts, key=len).pop())


def new_model(seed: int) -> Model:
    """A network that has learned nothing: random weights after He et al. (2015)."""
    rng = np.random.default_rng([seed, 2])
    return {
        "hidden.weight": (rng.normal(0, np.sqrt(2 / PIXELS), (PIXELS, HIDDEN))).astype(np.float32),
        "hidden.bias": np.zeros(HIDDEN, np.float32),
        "output.weight": (rng.normal(0, np.sqrt(2 / HIDDEN), (HIDDEN, CLASSES))).astype(np.float32),
        "output.bias": np.zeros(CLASSES, np.float32),
    }


def local_update(model: Model, examples: Examples, seed: Sequence[int]) -> Model:
    """How a few epochs of stochastic gradient descent change the model. The same for the same arguments."""
    rng = np.random.default_rng(list(seed))
    trained = {name: array.copy() for name, array in model.items()}
    for _ in range(_EPOCHS):
        order = rng.permutation(len(examples))
        for start in range(0, len(order), _BATCH):
            for name, gradient in _gradients(trained, _take(examples, order[start : start + _BATCH])).items():
                trained[name] -= np.float32(_LEARNING_RATE) * gradient
    return {name: trained[name] - model[name] for name in model}


def improved(model: Model, update: Mapping[str, np.ndarray[Any, Any]]) -> Model:
    """The model plus the update."""
    return {name: (array + update[name]).astype(np.float32) for name, array in model.items()}


def accuracy(model: Model, examples: Examples) -> float:
    """Share of the images that get their own label, 0 to 1."""
    _, scores = _forward(model, examples.images)
    return float(np.mean(np.argmax(scores, axis=1) == examples.labels))


def _take(examples: Examples, which: Any) -> Examples:
    return Examples(examples.images[which], examples.labels[which])


def _forward(model: Model, images: Array) -> tuple[Array, Array]:
    """Activations of the hidden layer (ReLU) and scores of the classes."""
    hidden = np.maximum(images @ model["hidden.weight"] + model["hidden.bias"], 0)
    return hidden, hidden @ model["output.weight"] + model["output.bias"]


def _gradients(model: Model, batch: Examples) -> Model:
    """The gradients of the mean cross-entropy over some examples."""
    hidden, scores = _forward(model, batch.images)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    error = exponentials / exponentials.sum(axis=1, keepdims=True)
    error[np.arange(len(batch)), batch.labels] -= 1
    error /= len(batch)
    hidden_error = (error @ model["output.weight"].T) * (hidden > 0)
    return {
        "hidden.weight": batch.images.T @ hidden_error,
        "hidden.bias": hidden_error.sum(axis=0),
        "output.weight": hidden.T @ error,
        "output.bias": error.sum(axis=0),
    }
