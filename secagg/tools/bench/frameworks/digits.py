"""The app that every way of aggregation trains: a net of one hidden layer on scikit-learn's digits, in numpy alone."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from secagg.tools.bench.learning import DataSet, Floats, Labels, share_out

Arrays = dict[str, np.ndarray[Any, np.dtype[np.float32]]]
"""The model: float32 arrays by name."""

HIDDEN: Final = {"digits": 32, "million": 13_333}
"""Hidden units of each model: 2,410 and 999,985 parameters."""

_PIXELS: Final = 64
_CLASSES: Final = 10
_STEPS: Final = 5
_LEARNING_RATE: Final = 0.3


@dataclass(frozen=True, slots=True)
class Records:
    """One client's share of the data.

    Attributes:
        inputs: float32[records, 64].
        targets: float32[records, 10]: 1 for a record's class.
    """

    inputs: np.ndarray[Any, np.dtype[np.float32]]
    targets: np.ndarray[Any, np.dtype[np.float32]]


def initial(hidden: int, seed: int = 1) -> Arrays:
    """A model that knows nothing yet."""
    rng = np.random.default_rng(seed)
    shapes = {"first": (_PIXELS, hidden), "first-bias": (hidden,), "last": (hidden, _CLASSES), "last-bias": (_CLASSES,)}
    return {
        name: (
            rng.normal(0, 1 / np.sqrt(shape[0]), shape).astype(np.float32)
            if len(shape) > 1
            else np.zeros(shape, np.float32)
        )
        for name, shape in shapes.items()
    }


def flat(model: Arrays) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The model as one vector, float32[parameters]."""
    return np.concatenate([array.reshape(-1) for array in model.values()])


def shaped(values: np.ndarray[Any, np.dtype[np.float32]], hidden: int) -> Arrays:
    """The model that `flat` made such a vector of."""
    model, start = initial(hidden), 0
    for name, array in model.items():
        model[name] = values[start : start + array.size].reshape(array.shape)
        start += array.size
    return model


def records_of(client: int, clients: int) -> Records:
    """The records of client number `client`, nobody else's."""
    everyone = _shared_out(clients)
    there = everyone.shares[client] > 0
    inputs, targets = everyone.inputs[client][there, :-1], everyone.targets[client][there]
    return Records(inputs.astype(np.float32), targets.astype(np.float32))


def train(model: Arrays, records: Records) -> tuple[Arrays, float]:
    """The model after five steps of gradient descent on these records, and the loss before the last of them."""
    arrays = {name: array.copy() for name, array in model.items()}
    loss = 0.0
    for _ in range(_STEPS):
        hidden = np.maximum(records.inputs @ arrays["first"] + arrays["first-bias"], 0)
        shares = _softmax(hidden @ arrays["last"] + arrays["last-bias"])
        loss = float(-np.log((shares * records.targets).sum(axis=1) + 1e-12).mean())
        error = (shares - records.targets) / len(shares)
        back = (error @ arrays["last"].T) * (hidden > 0)
        arrays["last"] -= _LEARNING_RATE * (hidden.T @ error)
        arrays["last-bias"] -= _LEARNING_RATE * error.sum(axis=0)
        arrays["first"] -= _LEARNING_RATE * (records.inputs.T @ back)
        arrays["first-bias"] -= _LEARNING_RATE * back.sum(axis=0)
    return arrays, loss


def accuracy(model: Arrays, clients: int) -> float:
    """Share of the test records, which no client has, that get their own label."""
    everyone = _shared_out(clients)
    inputs, labels = _test_records(everyone.test_inputs, everyone.test_labels)
    hidden = np.maximum(inputs @ model["first"] + model["first-bias"], 0)
    guesses = np.argmax(hidden @ model["last"] + model["last-bias"], axis=1)
    return float(np.mean(guesses == labels))


def _test_records(inputs: Floats, labels: Labels) -> tuple[np.ndarray[Any, np.dtype[np.float32]], Labels]:
    return inputs[:, :-1].astype(np.float32), labels


@lru_cache(maxsize=1)
def _shared_out(clients: int) -> Any:
    return share_out(DataSet.DIGITS, clients, seed=0)


def _softmax(scores: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), dtype=np.float32)
