"""Signs that a model was made to give records away, for a participant before it trains and for a coordinator.

numpy alone: no model is run here but a first layer. A model without findings is not proven harmless: an attacker that
knows these checks can stay below them (`secagg.tools.redteam.detection_rates` says how often each kind is found), and a
victim of inconsistent models holds an honest one. What a model does to records, whatever it looks like, is
`secagg.tools.redteam.fidelity`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.tools.redteam.observation import Parameters

LARGEST_VALUE: Final = 100.0
"""No weight of a healthy small network is beyond; bias −1000 is how a layer is silenced."""

LARGEST_CHANGE: Final = 0.5
"""Of an array from one round to the next, relative to its norm."""

RANK_ONE_SHARE: Final = 0.6
"""Share of the energy of a layer's unit-length rows that lies in one direction. Random rows have a few hundredths."""

TWIN_COSINE: Final = 0.999
TWIN_SHARE: Final = 0.2
SELECTIVE_SHARE: Final = 0.08
"""Share of the records at hand that a layer's living units fire for. Honest ones: a tenth to three quarters."""

ALIVE_SHARE: Final = 0.05
"""Share of units that fire for any record at hand. Even badly trained honest layers keep a sixth alive."""

_FEWEST_UNITS: Final = 8
_MOST_UNITS: Final = 512  # of a layer are looked at


class Sign(Enum):
    """Kinds of findings. The value is said to people."""

    NOT_FINITE = "values that are not finite"
    EXTREME = "extreme weights"
    ONE_DIRECTION = "units that all measure the same thing"
    TWINS = "duplicated units"
    SILENT = "a layer that does not fire on the records at hand"
    SELECTIVE = "units that fire for very few of the records at hand"
    CHANGED = "a sudden change against the last round's model"
    SCHEMA = "other arrays than the last round's model"


@dataclass(frozen=True, slots=True)
class Finding:
    """One suspicious array.

    Attributes:
        sign: what was found.
        array: its name.
        value: the statistic.
        limit: what it crossed.
    """

    sign: Sign
    array: str
    value: float
    limit: float

    def __str__(self) -> str:
        return f"{self.array}: {self.sign.value} ({self.value:.3g}, limit {self.limit:.3g})"


def inspect_model(
    parameters: Parameters, *, previous: Parameters | None = None, records: FloatArray | None = None
) -> tuple[Finding, ...]:
    """Look at a model before training on it.

    Args:
        parameters: by name, in the model's order.
        previous: the model of the round before, by the signed lineage; None in the first round.
        records: float32[k, …] of one's own, a few dozen; they show which units of a fully connected first layer fire.
            Without them trap weights look like any others: those of honestly trained networks lean further.
    """
    broken = tuple(_not_finite(parameters))
    if broken:
        return broken
    found = [*_extreme(parameters), *_alike(parameters)]
    first = _first_matrix(parameters)
    if first is not None and records is not None:
        found += [*_silent(first, parameters, records.reshape(len(records), -1))]
    if previous is not None:
        found += [*_changed(parameters, previous)]
    return tuple(found)


def _not_finite(parameters: Parameters) -> Iterator[Finding]:
    for name, array in parameters.items():
        share = float(np.mean(~np.isfinite(array)))
        if share:
            yield Finding(Sign.NOT_FINITE, name, share, 0.0)


def _extreme(parameters: Parameters) -> Iterator[Finding]:
    for name, array in parameters.items():
        peak = float(np.abs(array).max(initial=0.0))
        if peak > LARGEST_VALUE:
            yield Finding(Sign.EXTREME, name, peak, LARGEST_VALUE)


def _alike(parameters: Parameters) -> Iterator[Finding]:
    for name, array in parameters.items():
        if array.ndim < 2 or len(array) < _FEWEST_UNITS or array[0].size < 2:
            continue
        rows = directions(array)
        share = one_direction_share(rows)
        if share > RANK_ONE_SHARE:
            yield Finding(Sign.ONE_DIRECTION, name, share, RANK_ONE_SHARE)
        twins = twin_share(rows)
        if twins > TWIN_SHARE:
            yield Finding(Sign.TWINS, name, twins, TWIN_SHARE)


def directions(array: FloatArray) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A layer's units as rows of length 1, at most 512 of them, evenly taken; units of zeros are left out."""
    rows = array.reshape(len(array), -1).astype(np.float64)
    rows = rows[:: -(-len(rows) // _MOST_UNITS)]
    lengths = np.linalg.norm(rows, axis=1)
    unit: np.ndarray[Any, np.dtype[np.float64]] = rows[lengths > 0] / lengths[lengths > 0, None]
    return unit


def one_direction_share(rows: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Largest squared singular value over the sum of all; 0 for fewer than eight rows."""
    if len(rows) < _FEWEST_UNITS:
        return 0.0
    return float(np.linalg.norm(rows, 2) ** 2 / len(rows))


def twin_share(rows: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Share of rows that another row equals but for its length or sign."""
    if len(rows) < 2:
        return 0.0
    alike = np.abs(rows @ rows.T)
    np.fill_diagonal(alike, 0.0)
    return float(np.mean(alike.max(axis=1) > TWIN_COSINE))


def _first_matrix(parameters: Parameters) -> str | None:
    """Name of the first layer if it is fully connected: [units, values]."""
    for name, array in parameters.items():
        if array.ndim >= 2:
            return name if array.ndim == 2 and len(array) >= _FEWEST_UNITS else None
    return None


def _silent(name: str, parameters: Parameters, records: FloatArray) -> Iterator[Finding]:
    weights, bias = parameters[name], parameters.get(name.removesuffix("weight") + "bias")
    if weights.shape[1] != records.shape[1] or bias is None:
        return
    fires = records @ weights.T + bias > 0
    alive = fires.any(axis=0)
    share = float(alive.mean())
    if share < ALIVE_SHARE:
        yield Finding(Sign.SILENT, name, share, ALIVE_SHARE)
        return
    chosen = float(fires[:, alive].mean())
    if chosen < SELECTIVE_SHARE:
        yield Finding(Sign.SELECTIVE, name, chosen, SELECTIVE_SHARE)


def _changed(parameters: Parameters, previous: Parameters) -> Iterator[Finding]:
    for name in sorted(set(parameters) ^ set(previous)):
        yield Finding(Sign.SCHEMA, name, 1.0, 0.0)
    for name, array in parameters.items():
        old = previous.get(name)
        if old is None or old.shape != array.shape:
            continue
        size = float(np.linalg.norm(old))
        change = float(np.linalg.norm(array - old)) / size if size else 0.0
        if array.ndim >= 2 and change > LARGEST_CHANGE:
            yield Finding(Sign.CHANGED, name, change, LARGEST_CHANGE)
