"""Metrics as exact sums of integers: nobody's loss, accuracy or number of examples is seen, their means are.

A metric has a range that the job agrees on. Its value is rounded to one of 2^20 steps of that range and multiplied
by the weight of the participant. The round adds up these products, the weights behind them, and how many participants
had a value outside of the range. Names and ranges stand in the names of the round's arrays. They are so a part of the
round's configuration, to which every key is bound: participants that were told different ranges have no sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final

import numpy as np

from secagg.config import METRICS
from secagg.encoding.integers import IntegerArray, Integers, IntegerSums
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError, DecodeError, InputError
from secagg.scalars import as_number
from secagg_client.learning.purposes import EVALUATE

STEPS: Final = 1 << 20
"""Steps of a metric's range; a mean is off by at most half a step."""
MAX_METRICS: Final = 1000
PURPOSES: Final = frozenset({METRICS, EVALUATE})
"""Purposes of rounds of metrics: of training, and of evaluation."""
_WEIGHT: Final = "weight"


@dataclass(frozen=True, slots=True)
class MetricMeans:
    """What a round of metrics gives.

    Attributes:
        means: mean of each metric, weighted by the participants' weights. A metric that nobody reported is left out.
        weight: Σ of the weights of all participants in the sum.
        outside: for each metric, how many participants had a value that was clipped to the range, or no number.
    """

    means: dict[str, float]
    weight: int
    outside: dict[str, int]


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of a job.

    Attributes:
        ranges: smallest and largest value by name of the metric. A name has no line break. With none of them, only the
            sum of the weights is computed.
        max_weight: largest weight of a participant, 1 or more.
    """

    ranges: Mapping[str, tuple[float, float]]
    max_weight: int

    def __post_init__(self) -> None:
        if len(self.ranges) > MAX_METRICS:
            raise ConfigError(f"{len(self.ranges)} metrics are more than {MAX_METRICS}; name fewer")
        made = {name: _checked(name, bounds) for name, bounds in self.ranges.items()}
        object.__setattr__(self, "ranges", made)

    @property
    def encoding(self) -> Integers:
        """How the round of these metrics adds up."""
        return Integers(max=self.max_weight)

    @property
    def schema(self) -> Schema:
        """The arrays of the round: the weight, and three numbers for each metric. All are int64 of shape ()."""
        arrays = [ArraySpec(_WEIGHT, (), "int64", bounds=(0, self.max_weight))]
        for name, (low, high) in self.ranges.items():
            arrays += [
                ArraySpec(f"sum\n{low!r}\n{high!r}\n{name}", (), "int64", bounds=(0, STEPS * self.max_weight)),
                ArraySpec(f"weight\n{name}", (), "int64", bounds=(0, self.max_weight)),
                ArraySpec(f"outside\n{name}", (), "int64", bounds=(0, 1)),
            ]
        return Schema(tuple(arrays))

    @classmethod
    def of(cls, schema: Schema) -> "Metrics":
        """The metrics that a round adds up, read from its schema.

        Raises:
            DecodeError: it is no schema of metrics.
        """
        ranges: dict[str, tuple[float, float]] = {}
        try:
            for spec in schema.arrays[1::3]:
                _, low, high, name = spec.name.split("\n")
                ranges[name] = (float(low), float(high))
            found = cls(ranges, (schema.arrays[0].bounds or (0, 0))[1])
            matches = found.schema == schema
        except (ValueError, ConfigError) as error:
            raise DecodeError(f"the round adds up no metrics: {error}") from error
        if not matches:
            raise DecodeError("the round adds up no metrics: its schema has other arrays")
        return found

    def update(self, values: Mapping[str, object], weight: int) -> dict[str, IntegerArray]:
        """What a participant contributes.

        Args:
            values: its metrics by name. Names that the job does not have are not sent. A value that is no finite number
                is left out and counted as outside, and so is one beyond the range, which is clipped.
            weight: 0 to `max_weight`.

        Raises:
            InputError: the weight is outside of that.
        """
        if not 0 <= weight <= self.max_weight:
            raise InputError(f"a weight is 0 to {self.max_weight}, not {weight}")
        made: dict[str, int] = {_WEIGHT: weight}
        for name, (low, high) in self.ranges.items():
            value = _number(values.get(name))
            inside = min(max(value, low), high) if value is not None else low
            steps = round((inside - low) / (high - low) * STEPS)
            counted = 0 if value is None else weight
            made[f"sum\n{low!r}\n{high!r}\n{name}"] = steps * counted
            made[f"weight\n{name}"] = counted
            made[f"outside\n{name}"] = int(name in values and (value is None or inside != value))
        return {name: np.array(value, np.int64) for name, value in made.items()}

    def read(self, totals: IntegerSums) -> MetricMeans:
        """The means behind the sums of a round."""
        means, outside = {}, {}
        for name, (low, high) in self.ranges.items():
            total, weight = (int(totals.arrays[key]) for key in (f"sum\n{low!r}\n{high!r}\n{name}", f"weight\n{name}"))
            if weight:
                means[name] = low + (high - low) * (total / weight / STEPS)
            outside[name] = int(totals.arrays[f"outside\n{name}"])
        return MetricMeans(means, int(totals.arrays[_WEIGHT]), outside)


def _checked(name: object, bounds: object) -> tuple[float, float]:
    if not isinstance(name, str) or not name or "\n" in name:
        raise ConfigError(f"a metric's name is text without line breaks, not {name!r}")
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise ConfigError(f"metric {name!r}: give its range as (smallest, largest), not {bounds!r}")
    low, high = (as_number(bound, f"a bound of metric {name!r}") for bound in bounds)
    if not (isfinite(low) and isfinite(high) and low < high and isfinite(high - low)):
        raise ConfigError(f"metric {name!r}: its range is from a number to a larger one, not {low} to {high}")
    return float(low), float(high)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return None
    return number if isfinite(number) else None
