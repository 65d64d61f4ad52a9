"""The targets that come with the product: every kind of data with a model of its kind."""

from collections.abc import Callable
from functools import cache
from typing import Final

from secagg.errors import LocalError
from secagg.redteam import models
from secagg.redteam.records import BUNDLED, Records
from secagg.redteam.target import Target


def _perceptron(data: str, hidden: int) -> Callable[[int], Target]:
    def make(seed: int) -> Target:
        records = _records(data)
        build = models.mlp(records.size, records.classes, hidden)
        return Target(f"mlp-{data}", records, build, seed=seed)

    return make


def _convolutions(data: str) -> Callable[[int], Target]:
    def make(seed: int) -> Target:
        records = _records(data)
        channels, side, _ = records.shape
        return Target(f"conv-{data}", records, models.convolutions(channels, side, records.classes), seed=seed)

    return make


def _smooth_table(seed: int) -> Target:
    records = _records("breast-cancer")
    return Target("smooth-breast-cancer", records, models.smooth(records.size, records.classes), seed=seed)


def _text(seed: int) -> Target:
    records = _records("sentences")
    return Target("text-sentences", records, models.text(records.vocabulary, records.classes), seed=seed)


def _patients(seed: int) -> Target:
    records = _records("patients")
    side = 8
    build = models.two_branches(side, records.size - side**2, records.classes)
    return Target("multimodal-patients", records, build, seed=seed)


TARGETS: Final[dict[str, Callable[[int], Target]]] = {
    "mlp-digits": _perceptron("digits", 256),
    "mlp-breast-cancer": _perceptron("breast-cancer", 256),
    "mlp-faces": _perceptron("faces", 256),
    "mlp-crops": _perceptron("crops", 256),
    "mlp-genotypes": _perceptron("genotypes", 256),
    "imprint-digits": _perceptron("digits", 128),
    "conv-digits": _convolutions("digits"),
    "conv-faces": _convolutions("faces"),
    "smooth-breast-cancer": _smooth_table,
    "text-sentences": _text,
    "multimodal-patients": _patients,
}
"""Each takes the seed of its initialisation."""


def target_named(name: str, seed: int = 0) -> Target:
    """A bundled target.

    Raises:
        LocalError: there is none of that name.
    """
    if name not in TARGETS:
        raise LocalError(f"no target {name!r}; one of: {', '.join(TARGETS)}")
    return TARGETS[name](seed)


@cache
def _records(name: str) -> Records:
    return BUNDLED[name]()
