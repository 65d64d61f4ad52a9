"""Count, mean, variance and histogram of a column over sites, exactly, by one round of integer sums.

Nothing here sends anything: the FL server and the sites hand what `Column` makes to their clients.
"""

from dataclasses import dataclass
from math import isfinite, nan, sqrt
from typing import Any, Final

import numpy as np

from secagg.config import RoundConfig
from secagg.context import digest_model
from secagg.encoding.integers import IntegerArray, Integers, IntegerSums
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError, InputError, ProtocolViolation
from secagg.scalars import settle, utf8

MAX_BINS: Final = 100_000
_EXACT: Final = 2.0**53
_MOST: Final = 2**62


@dataclass(frozen=True, slots=True)
class Summary:
    """Count, mean, variance and histogram of the rows of all sites together.

    Attributes:
        sites: how many sites' rows are in it; one without rows counts too.
        count: number of rows.
        mean: of all rows, each rounded to the column's step; NaN without rows.
        variance: mean squared distance from the mean (of the population: divided by `count`); NaN without rows.
        histogram: int64[bins], rows in each bin; empty where the column has no bins.
        edges: float64[bins + 1], as `numpy.histogram` gives them.
    """

    sites: int
    count: int
    mean: float
    variance: float
    histogram: IntegerArray
    edges: np.ndarray[Any, np.dtype[np.float64]]

    @property
    def deviation(self) -> float:
        """The square root of `variance`."""
        return sqrt(self.variance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of which the sum over all sites is wanted. The FL server and every site describe it in the same words.

    The FL server opens a round with the column's `config`. Each site takes part with its `update`. Both `read` the
    result.

    The result is exact and carries no noise. A histogram cell of few people may tell who they are. Two sums whose sites
    differ by one tell that site's numbers; the coordinator and the sites refuse the second, because both are about the
    same digest.

    Attributes:
        name: name of the column. Together with everything below it makes the digest that the round is about.
        low: smallest value, within ±2^53.
        high: largest value.
        max_rows: most rows that a site may have.
        step: values are rounded to the nearest low + k·step before they are summed, so the mean is within step/2 of the
            mean of the rows, and exact where all rows are such values (as whole numbers are, with the default 1).
        bins: number of the histogram's bins, of equal width from `low` to `high`; 0 for no histogram.

    Examples:
        >>> ages = Column(name="age", low=0, high=120, max_rows=100_000, bins=12)
        >>> opened = control.open_round(ages.config(task="ages", max_participants=10))  # the FL server
        >>> result = client.participate(ages.update(rows), task="ages", model_digest=ages.digest)  # a site
        >>> ages.read(result.totals).mean
    """

    name: str
    low: float
    high: float
    max_rows: int
    step: float = 1.0
    bins: int = 0

    def __post_init__(self) -> None:
        settle(self, integers=("max_rows", "bins"), numbers=("low", "high", "step"))
        utf8(self.name, "name")
        if not -_EXACT <= self.low < self.high <= _EXACT:
            raise ConfigError(f"low and high are numbers within ±2^53, low below high, not {self.low} and {self.high}")
        if not (0 < self.step <= self.high - self.low and isfinite((self.high - self.low) / self.step)):
            raise ConfigError(
                f"step is a number above 0, at most high − low, and not so small that no float counts the steps, "
                f"not {self.step}"
            )
        if not 0 <= self.bins <= MAX_BINS:
            raise ConfigError(f"bins must be 0 to {MAX_BINS}, not {self.bins}")
        if not (np.diff(self.edges) > 0).all():
            raise ConfigError(f"no {self.bins} bins fit between {self.low} and {self.high} in float64; ask for fewer")
        if self.max_rows < 1 or self.max_rows * self._steps**2 > _MOST:
            raise ConfigError(
                f"sums of {self.max_rows} squares of up to {self._steps} steps are not from 1 to 2^62; "
                "lower max_rows, or widen step"
            )

    @property
    def _steps(self) -> int:
        return round((self.high - self.low) / self.step)

    @property
    def edges(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Edges of the bins: float64[bins + 1], as `numpy.histogram` gives them. Empty where there are no bins."""
        return np.linspace(self.low, self.high, self.bins + 1) if self.bins else np.zeros(0)

    @property
    def digest(self) -> bytes:
        """What the round is about, 32 bytes. Participants pass it as `model_digest`, in place of a model's."""
        numbers = np.array([self.low, self.high, self.step, self.max_rows, self.bins], np.float64)
        return digest_model({"column": np.frombuffer(self.name.encode() + b"\0", np.uint8), "agreed": numbers})

    @property
    def schema(self) -> Schema:
        """The arrays that a site sends, int64."""
        rows, steps = self.max_rows, self._steps
        most = {"count": ((), rows), "sum": ((), rows * steps), "squares": ((), rows * steps**2)}
        arrays = [ArraySpec(name, shape, "int64", bounds=(0, top)) for name, (shape, top) in most.items()]
        if self.bins:
            arrays.append(ArraySpec("histogram", (self.bins,), "int64", bounds=(0, rows)))
        return Schema(tuple(arrays))

    def config(self, *, task: str, max_participants: int, **options: Any) -> RoundConfig:
        """The configuration of a round about this column, for the FL server.

        Args:
            task: name of the task that participants wait for.
            max_participants: most sites that may take part.
            options: any other argument of `RoundConfig`.

        Raises:
            ConfigError: it is unsafe, or the sums of so many sites do not fit 64 bits. The error says what to change.
        """
        return RoundConfig(
            task=task,
            schema=self.schema,
            encoding=Integers(max=self.max_rows),
            max_participants=max_participants,
            model_digest=self.digest,
            **options,
        )

    def update(self, values: Any) -> dict[str, IntegerArray]:
        """The update of a site, for `Client.participate`.

        Args:
            values: the site's rows: numbers, one-dimensional; empty where it has none.

        Raises:
            InputError: a value is no number, NaN, infinite, or below `low` or above `high`; names its index. Or there
                are more rows than `max_rows`.
        """
        rows = self._checked(values)
        steps = np.rint((rows - self.low) / self.step).astype(np.int64)
        made = {"count": len(rows), "sum": steps.sum(), "squares": (steps * steps).sum()}
        update: dict[str, IntegerArray] = {name: np.array(value, np.int64) for name, value in made.items()}
        if self.bins:
            update["histogram"] = np.histogram(rows, self.bins, (self.low, self.high))[0].astype(np.int64)
        return update

    def _checked(self, values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        if isinstance(values, np.ma.MaskedArray):
            raise InputError(f"column {self.name!r} has masked values; leave them out, as values.compressed() does")
        try:
            given = np.asarray(values)
        except (TypeError, ValueError) as error:
            raise InputError(f"column {self.name!r} is no row of numbers: {error}") from error
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iufb"):
            raise InputError(f"column {self.name!r} is {given.dtype} of shape {given.shape}; pass one row of numbers")
        if len(given) > self.max_rows:
            raise InputError(f"column {self.name!r} has {len(given)} rows, more than max_rows, {self.max_rows}")
        rows = given.astype(np.float64)
        inside = (self.low <= rows) & (rows <= self.high)  # not true of NaN
        if not inside.all():
            at = int(np.argmin(inside))
            raise InputError(
                f"column {self.name!r} is {rows[at]} at index {at}, and was agreed to lie from {self.low} to "
                f"{self.high}; leave the row out, or clip it",
                array=self.name,
                index=(at,),
            )
        return rows

    def read(self, totals: IntegerSums | None) -> Summary:
        """The statistics, from `RoundResult.totals` at a site or `Aggregate.totals(config)` at the FL server.

        Raises:
            InputError: there are no totals: the round gave a receipt only, or was no round of integers.
            ProtocolViolation: no rows from `low` to `high` have these sums: a site sent something else than `update`
                gives.
        """
        if totals is None:
            raise InputError("there are no totals to read: the round gives participants a receipt only")
        count, steps, squares = (int(totals.arrays[name]) for name in ("count", "sum", "squares"))
        histogram = totals.arrays.get("histogram", np.zeros(0, np.int64))
        spread = count * squares - steps**2  # exact, in whole numbers
        # Of every row's steps k: 0 ≤ k ≤ k² ≤ k·(most steps). So the mean is from `low` to `high`, too.
        possible = spread >= 0 and steps <= squares <= steps * self._steps
        if not possible or (self.bins and int(histogram.sum()) != count):
            raise ProtocolViolation(f"the sums of column {self.name!r} contradict each other: a site made its own up")
        return Summary(
            sites=totals.summands,
            count=count,
            mean=self.low + self.step * (steps / count) if count else nan,
            variance=self.step**2 * (spread / count**2) if count else nan,
            histogram=histogram,
            edges=self.edges,
        )
