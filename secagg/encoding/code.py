"""What a round's encoding comes to, once its schema and cohort are known: `Code`."""

from dataclasses import dataclass
from math import inf, sqrt
from typing import Protocol

from secagg.crypto.prg import Words
from secagg.crypto.secret import Secret
from secagg.encoding.arrays import FloatArray
from secagg.encoding.calibration import Calibration, Cohort, calibrate
from secagg.encoding.fixedpoint import (
    FixedPoint,
    FixedPointUpdate,
    Means,
    Span,
    WeightedMean,
    check_length,
    error_bound,
    error_bounds,
    relative_error,
    spans_of,
    total_weight,
)
from secagg.encoding.integers import IntegerCode, Integers
from secagg.encoding.noisy import Grid, GridMeans, NoisyUpdate
from secagg.encoding.pipeline import NoiseBy, Pipeline
from secagg.encoding.schema import NewArrays, Schema, Sink, Values
from secagg.encoding.steps.chain import Steps, steps_of
from secagg.encoding.steps.feedback import difference, with_carried
from secagg.encoding.vector import EncodedUpdate, SumOfOne, Sums, largest, readable
from secagg.errors import ConfigError, InputError, ProtocolViolation
from secagg.scalars import as_integer


class Code(Protocol):
    """From updates to integers that are summed, and from the sum to a mean.

    Attributes:
        vector_len: coordinates of the encoded vector.
        value_bits: every encoded integer is in [0, 2^value_bits).
        ring_bits: b; sums are taken mod 2^b.
        feedback: whether participants carry over what a round lost.
    """

    @property
    def vector_len(self) -> int: ...  # noqa: D102 - above
    @property
    def value_bits(self) -> int: ...  # noqa: D102
    @property
    def ring_bits(self) -> int: ...  # noqa: D102
    @property
    def feedback(self) -> bool: ...  # noqa: D102
    @property
    def calibration(self) -> Calibration | None:
        """Scale and noise on the grid; None without noise."""
        ...

    def encode(
        self, update: Values, weight: int, seed: Secret, context: bytes = b"", carried: FloatArray | None = None
    ) -> EncodedUpdate:
        """One participant's vector.

        Args:
            update: checked values of the schema.
            weight: integer in [1, max_weight].
            seed: 32 fresh bytes of the operating system's CSPRNG: rounding and noise come from them, so that a resent
                chunk is the same. Never used twice.
            context: the round's; needed where coordinates are sampled or rotated.
            carried: float32[schema.size], what earlier rounds lost; with `feedback` only.

        Raises:
            InputError: a weight out of range, or values so large that their norm overflows.
            LocalError: something is carried, and the round has no feedback.
        """
        ...

    def decode_mean(
        self, sums: Words | Sums, summands: int, context: bytes = b"", sink: Sink | None = None
    ) -> WeightedMean:
        """The weighted mean behind a sum of `summands` vectors. It is written range by range to `sink`, in the order of
        the schema; to new arrays if that is None. What is in the sink after an error means nothing.

        Without noise, every value and the norm of a mean are held against what clipped inputs can have. With noise
        that is not possible: every value of the ring has some probability.

        Raises:
            ProtocolViolation: no such vectors add up to this, or no clipped inputs have this mean.
            LocalError: the context is needed, and empty.
        """
        ...


def code_for(
    encoding: FixedPoint | Pipeline | Integers, schema: Schema, cohort: Cohort, *, wraps: bool, parent: bytes = b""
) -> Code:
    """What `encoding` comes to.

    Args:
        encoding: the plain fixed-point code, a pipeline, or exact integers.
        schema: of the update.
        cohort: who is summed.
        wraps: whether the scheme takes sums mod 2^b: masked rounds do, homomorphic ones add integers.
        parent: id of the grouped round, in one of its groups.

    Raises:
        ConfigError: parameters that do not fit together.
    """
    summands = cohort.summands
    if isinstance(encoding, Integers):
        return IntegerCode(encoding, schema, summands)
    if whole := next((spec for spec in schema.arrays if spec.whole), None):
        raise ConfigError(
            f"array {whole.name!r} is {whole.dtype}, and this encoding is of floats; cast it, or sum integers exactly "
            "(secagg.Integers)"
        )
    if isinstance(encoding, FixedPoint):
        return BoundedCode(encoding, Steps(schema), summands)
    steps = steps_of(encoding, schema, parent)
    if encoding.noise is None:
        return BoundedCode(encoding.code(), steps, summands)
    if encoding.noise.by is NoiseBy.COORDINATOR:
        cohort = Cohort(summands, 1, central=True)
    calibration = calibrate(
        encoding.noise.law,
        cohort,
        z=encoding.noise.z,
        clip=encoding.clips[-1].l2,
        bits=encoding.bits,
        block=steps.block,
        dimension=steps.size,
    )
    return NoisyCode(steps, calibration, Grid(encoding.bits) if wraps else Grid.raised(calibration), summands, wraps)


@dataclass(frozen=True, slots=True)
class BoundedCode:
    """Quantised values within a range, without noise. Sums never wrap."""

    code: FixedPoint
    steps: Steps
    summands: int

    @property
    def vector_len(self) -> int:
        """The values, then the weight."""
        return self.steps.size + 1

    @property
    def value_bits(self) -> int:
        """Bits of a value or of a weight, whichever is wider (v)."""
        return self.code.coordinate_bits

    @property
    def ring_bits(self) -> int:
        """Room for the sum of all."""
        return self.code.ring_bits(self.summands)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The ranges of the values: one for each array that has its own, or one for all."""
        ranged = any(spec.range is not None for spec in self.steps.schema.arrays)
        return spans_of(self.code, self.steps.schema) if ranged else (Span(0, self.steps.size, self.code),)

    @property
    def feedback(self) -> bool:
        """Whether the pipeline has the step `feedback`."""
        return self.steps.feedback

    @property
    def calibration(self) -> None:
        """None: nothing is calibrated where there is no noise."""
        return None

    def encode(
        self, update: Values, weight: int, seed: Secret, context: bytes = b"", carried: FloatArray | None = None
    ) -> EncodedUpdate:
        """The update clipped, sampled, rotated and rounded, with its weight behind the values."""
        clipped = self.steps.clipped(with_carried(update, carried, feedback=self.steps.feedback))
        return BoundedVector(self, clipped, weight, seed, context)

    def decode_mean(
        self, sums: Words | Sums, summands: int, context: bytes = b"", sink: Sink | None = None
    ) -> WeightedMean:
        """The mean; each of its values and its norm are held against what clipped updates can have."""
        sums, spans, schema = readable(sums), self.spans, self.steps.schema
        weight = total_weight(self.code, self.steps.size, sums, summands)
        means = Means(spans, sums, summands, weight)
        errors = ((span.stop - span.start) * error_bound(span.code, summands, weight) ** 2 for span in spans)
        check_length(means, self.steps.norm_bound + sqrt(sum(errors)))
        arrays = schema.fill(sink or NewArrays(), self.steps.undo(means, context))
        bounds = error_bounds(self.code, schema, summands, weight, self.steps.error_factor(self.code.clip))
        return WeightedMean(arrays, weight, bounds, relative_error(self.code, summands, weight))


class BoundedVector(FixedPointUpdate):
    """What a participant sends under a `BoundedCode`."""

    def __init__(self, code: BoundedCode, clipped: Values, weight: int, seed: Secret, context: bytes) -> None:
        super().__init__(code.code, code.steps.transformed(clipped, context), weight, seed, code.spans)
        self._bounded = code
        self._clipped = clipped
        self._context = context

    def lost(self) -> FloatArray:
        """The clipped update less what its own integers decode to."""
        code = self._bounded
        sent = Means(code.spans, SumOfOne(self, self.dtype), 1, self._weight)
        return difference(self._clipped, code.steps.undo(sent, self._context))


@dataclass(frozen=True, slots=True)
class NoisyCode:
    """Updates of bounded norm with noise. Every participant counts once, so no weight is sent."""

    steps: Steps
    calibration: Calibration
    grid: Grid
    summands: int
    wraps: bool

    @property
    def vector_len(self) -> int:
        """The number of rotated values. No weight is sent."""
        return self.steps.size

    @property
    def value_bits(self) -> int:
        """Bits of an integer on the grid, which holds a rounded value and its noise."""
        return self.grid.bits

    @property
    def ring_bits(self) -> int:
        """Bits of the ring: those of the grid where sums wrap, else enough for the sum of all."""
        return self.grid.bits + (0 if self.wraps else (self.summands - 1).bit_length())

    @property
    def feedback(self) -> bool:
        """Whether the pipeline has the step `feedback`."""
        return self.steps.feedback

    def encode(
        self, update: Values, weight: int, seed: Secret, context: bytes = b"", carried: FloatArray | None = None
    ) -> EncodedUpdate:
        """The update clipped, sampled, rotated and rounded, with its share of the noise. Its weight must be 1."""
        if as_integer(weight, "weight", InputError) != 1:
            raise InputError(f"with noise every participant has weight 1, not {weight}")
        return NoisyVector(
            self, self.steps.clipped(with_carried(update, carried, feedback=self.steps.feedback)), seed, context
        )

    def decode_mean(
        self, sums: Words | Sums, summands: int, context: bytes = b"", sink: Sink | None = None
    ) -> WeightedMean:
        """The mean with its noise. A sum that does not wrap is held against the largest that so many can have."""
        sums, schema = readable(sums), self.steps.schema
        if not self.wraps and largest(sums, self.vector_len) > summands * 2 * self.grid.raised_by:
            raise ProtocolViolation(f"the sum is beyond what {summands} participants can encode")
        means = GridMeans(self.grid, sums, summands, self.calibration.scale)
        bounds = dict.fromkeys((spec.name for spec in schema.arrays), inf)
        arrays = schema.fill(sink or NewArrays(), self.steps.undo(means, context))
        return WeightedMean(arrays, summands, bounds)


class NoisyVector(NoisyUpdate):
    """What a participant sends under a `NoisyCode`."""

    def __init__(self, code: NoisyCode, clipped: Values, seed: Secret, context: bytes) -> None:
        steps = code.steps
        super().__init__(steps.transformed(clipped, context), steps.block, code.calibration, code.grid, seed)
        self._stages = steps
        self._clipped = clipped
        self._context = context

    def lost(self) -> FloatArray:
        """The clipped update less what its rounded values decode to; the noise is not counted as lost."""
        return difference(self._clipped, self._stages.undo(self.rounded(), self._context))
