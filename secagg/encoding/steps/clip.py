"""Bounds on what one participant can put into the sum: L2 and L∞, of the whole update or of each array."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import inf, sqrt
from typing import Final

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.encoding.schema import Values
from secagg.encoding.steps.text import Arguments, real
from secagg.errors import ConfigError, InputError
from secagg.scalars import settle

_STRIDE: Final = 1 << 15
_MIN: Final = 2.0**-64
_MAX: Final = 2.0**64


@dataclass(frozen=True, slots=True)
class Clip:
    """One bound on an update: a Euclidean norm, or a magnitude of values. Exactly one of the two is given.

    Attributes:
        l2: largest Euclidean norm, 2^-64 to 2^64; longer vectors are scaled down. Infinite where `linf` is meant.
        linf: largest magnitude of a value, 2^-64 to 2^64. Infinite where `l2` is meant.
        per_array: whether `l2` bounds every array of the schema by itself.
    """

    l2: float = inf
    linf: float = inf
    per_array: bool = False

    def __post_init__(self) -> None:
        settle(self, numbers=("l2", "linf"))
        bounds = [bound for bound in (self.l2, self.linf) if bound != inf]
        if len(bounds) != 1 or not _MIN <= bounds[0] <= _MAX:
            raise ConfigError("clip has one bound, l2 or linf, from 2^-64 to 2^64")
        if self.per_array and self.l2 == inf:
            raise ConfigError("clip(linf=…) bounds every value already; leave per=array out")

    def norm_bound(self, arrays: int, values: int) -> float:
        """The largest Euclidean norm of an update of so many arrays and values that keeps to this bound."""
        if self.linf != inf:
            return self.linf * sqrt(values)
        return self.l2 * sqrt(arrays) if self.per_array else self.l2


def read(given: Arguments) -> Clip:
    """The bound that a text says."""
    if given.get("per", "array") != "array":
        raise ConfigError("clip knows per=array only; leave per out for a bound on the whole update")
    bounds = {name: real(given, name) for name in ("l2", "linf") if name in given}
    return Clip(**bounds, per_array="per" in given)


def written(clip: Clip) -> str:
    """The parameters of a clip as they stand in a pipeline's text."""
    bound = f"l2={clip.l2!r}" if clip.l2 != inf else f"linf={clip.linf!r}"
    return f"{bound}{', per=array' if clip.per_array else ''}"


class Clipped:
    """A source within its bound."""

    def __init__(self, source: Values, clip: Clip, sizes: Sequence[int]) -> None:
        """Args: sizes: values in each array of the schema, in its order.

        Raises:
            InputError: values are so large that the norm overflows.
        """
        self.size = source.size
        self._source = source
        self._linf = clip.linf
        borders = (0, *accumulate(sizes if clip.per_array else [source.size]))
        factors = ((low, high, self._factor(low, high, clip.l2)) for low, high in pairwise(borders))
        self._shrunk = [part for part in factors if part[2] != 1.0]

    def _factor(self, start: int, stop: int, bound: float) -> float:
        if bound == inf:
            return 1.0
        length = norm(self._source, start, stop)
        if length == inf:
            raise InputError("the update's norm is beyond float64; it is no update worth summing")
        return 1.0 if length <= bound else bound / length

    def read(self, start: int, stop: int) -> FloatArray:
        """The values, shrunk or cut to the bound."""
        values = self._source.read(start, stop)
        if self._linf != inf:
            return np.clip(values, -self._linf, self._linf, out=values)
        for low, high, factor in self._shrunk:
            if low < stop and start < high:
                values[max(low, start) - start : min(high, stop) - start] *= factor
        return values


def norm(source: Values, start: int, stop: int) -> float:
    """Euclidean norm of the coordinates [start, stop); infinite if its square is beyond float64."""
    total = 0.0
    for low in range(start, stop, _STRIDE):
        part = source.read(low, min(low + _STRIDE, stop))
        with np.errstate(over="ignore"):
            total += float(np.dot(part, part))
    return sqrt(total)
