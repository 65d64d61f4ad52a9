"""What is trained to see what privacy costs: softmax regression on two public data sets, shared out among clients.

Everyone's local training is one computation on arrays with a row for each client.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np

from secagg.errors import ConfigError, MissingExtraError

Floats = np.ndarray[Any, np.dtype[np.float64]]
Labels = np.ndarray[Any, np.dtype[np.int64]]

_STEPS: Final = 5
_LEARNING_RATE: Final = 0.5
_TEST_SHARE: Final = 5  # one in so many records


class DataSet(Enum):
    """The data sets, of the UCI Machine Learning Repository, as scikit-learn ships them."""

    DIGITS = "digits"
    """1,797 handwritten digits of 8 × 8 pixels (E. Alpaydin, C. Kaynak, 1998)."""
    CANCER = "cancer"
    """569 biopsies of breast tumours, 30 measurements each (W. Wolberg, W. Street, O. Mangasarian, 1995)."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Everyone's records, and those that nobody has, for the test.

    Attributes:
        inputs: float64[clients, records, d]; the last of d is 1, for the bias. Zeros where a client has fewer records.
        targets: float64[clients, records, classes]: 1 for a record's class.
        shares: float64[clients, records]: what a record counts in its client's loss; a client's add up to 1.
        test_inputs: float64[k, d].
        test_labels: int64[k].
    """

    inputs: Floats
    targets: Floats
    shares: Floats
    test_inputs: Floats
    test_labels: Labels

    @property
    def model_shape(self) -> tuple[int, int]:
        """Rows and columns of a softmax regression for this data: features and classes."""
        return self.inputs.shape[2], self.targets.shape[2]

    def updates(self, model: Floats) -> Floats:
        """float64[clients, d·classes]: what five steps of gradient descent on everyone's own records change."""
        local = np.repeat(model[None], len(self.inputs), axis=0)
        turned = self.inputs.transpose(0, 2, 1)
        for _ in range(_STEPS):
            error = (_softmax(self.inputs @ local) - self.targets) * self.shares[:, :, None]
            local -= _LEARNING_RATE * (turned @ error)
        return (local - model).reshape(len(local), -1)

    def accuracy(self, model: Floats) -> float:
        """Share of the test records that get their own label, 0 to 1."""
        return float(np.mean(np.argmax(self.test_inputs @ model, axis=1) == self.test_labels))


def share_out(data_set: DataSet, clients: int, seed: int) -> Clients:
    """A fifth of the records for the test, the others to clients in turn, nothing twice: everyone is someone else.

    Raises:
        ConfigError: there are more clients than records.
        MissingExtraError: scikit-learn is not installed.
    """
    inputs, labels = _load(data_set)
    order = np.random.default_rng([seed, 1]).permutation(len(labels))
    inputs, labels = inputs[order], labels[order]
    cut = len(labels) // _TEST_SHARE
    if data_set is DataSet.CANCER:  # its measurements have different units
        inputs = (inputs - inputs[cut:].mean(axis=0)) / inputs[cut:].std(axis=0)
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    records = len(labels) - cut
    if clients > records:
        raise ConfigError(f"{records} records cannot be shared out among {clients} clients")
    each = -(-records // clients)
    targets = np.eye(labels.max() + 1)[labels[cut:]]
    counted = (np.arange(each * clients) < records).reshape(each, clients).T
    return Clients(
        _dealt(inputs[cut:], each, clients),
        _dealt(targets, each, clients),
        counted / counted.sum(axis=1, keepdims=True),
        inputs[:cut],
        labels[:cut],
    )


def _dealt(rows: Floats, each: int, clients: int) -> Floats:
    """Like cards: [each·clients rows] as [clients, each], zeros behind the end."""
    padded = np.zeros((each * clients, rows.shape[1]))
    padded[: len(rows)] = rows
    return np.ascontiguousarray(padded.reshape(each, clients, -1).transpose(1, 0, 2))


def _load(data_set: DataSet) -> tuple[Floats, Labels]:
    try:
        from sklearn import datasets  # noqa: PLC0415, an extra
    except ImportError:
        raise MissingExtraError("the data sets of this benchmark", "demo") from None
    if data_set is DataSet.DIGITS:
        bunch = datasets.load_digits()
        return bunch.data / 16, bunch.target.astype(np.int64)
    bunch = datasets.load_breast_cancer()
    return bunch.data, bunch.target.astype(np.int64)


def _softmax(scores: Floats) -> Floats:
    exponentials: Floats = np.exp(scores - scores.max(axis=-1, keepdims=True))
    exponentials /= exponentials.sum(axis=-1, keepdims=True)
    return exponentials
