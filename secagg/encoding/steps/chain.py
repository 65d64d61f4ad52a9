"""The steps of a pipeline before it quantises, in their order, and the way back from a mean."""

from dataclasses import dataclass
from math import inf, sqrt

from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import Schema, Values
from secagg.encoding.steps.clip import Clip, Clipped
from secagg.encoding.steps.rotate import Rotated, RotatedBack, Rotation, block_size, check_rotatable, padded_size
from secagg.encoding.steps.sample import Sampled, Selection, Spread, kept_size
from secagg.errors import ConfigError, LocalError


@dataclass(frozen=True, slots=True)
class Steps:
    """From the values of a schema to those that are quantised.

    Attributes:
        feedback: what a participant did not send it keeps, so what comes out is not scaled up.
        shared_seed: what the coordinates are chosen by in place of the round's context, where all groups of a round
            send the same ones; else empty.
    """

    schema: Schema
    clips: tuple[Clip, ...] = ()
    rate: float = 1.0
    rotate: bool = False
    feedback: bool = False
    shared_seed: bytes = b""

    @property
    def kept(self) -> int:
        """How many coordinates are left after sampling."""
        return kept_size(self.schema.size, self.rate) if self.rate < 1 else self.schema.size

    @property
    def size(self) -> int:
        """How many coordinates come out of all steps."""
        return padded_size(self.kept) if self.rotate else self.kept

    @property
    def block(self) -> int:
        """Coordinates of a rotation's block."""
        return block_size(self.kept)

    def error_factor(self, most: float) -> float:
        """How many times an error of what comes out an error of a value can be; infinite where values are left out, or
        may be cut off.

        Args:
            most: what comes out is cut off beyond this.
        """
        if self.rate < 1 or (self.rotate and self.norm_bound > most):
            return inf
        return sqrt(self.block) if self.rotate else 1.0

    @property
    def norm_bound(self) -> float:
        """No update is longer (Euclidean norm) once it is clipped, sampled and rotated; infinite without a clip."""
        return min((clip.norm_bound(len(self.schema.arrays), self.schema.size) for clip in self.clips), default=inf)

    def clipped(self, source: Values) -> Values:
        """The update within the bounds of all clips, one after the other."""
        sizes = [spec.size for spec in self.schema.arrays]
        for clip in self.clips:
            source = Clipped(source, clip, sizes)
        return source

    def transformed(self, source: Values, context: bytes) -> Values:
        """Sampled and rotated, as the round's context says."""
        self._check(context)
        if self.rate < 1:
            source = Sampled(source, self._selection(context))
        if self.rotate and not self.clips:
            check_rotatable(source)
        return Rotated(source, Rotation(self.kept, context)) if self.rotate else source

    def undo(self, source: Values, context: bytes) -> Values:
        """The values of the schema behind those that come out of all steps."""
        self._check(context)
        if self.rotate:
            source = RotatedBack(source, Rotation(self.kept, context))
        if self.rate < 1:
            source = Spread(source, self._selection(context), unbiased=not self.feedback)
        return source

    def _selection(self, context: bytes) -> Selection:
        return Selection(self.schema.size, self.rate, self.shared_seed or context)

    def _check(self, context: bytes) -> None:
        if not context and (self.rotate or self.rate < 1):
            raise LocalError("the rotation and the sample of a round come from its context; pass it")


def steps_of(pipeline: Pipeline, schema: Schema, parent: bytes) -> Steps:
    """The steps of a pipeline. Args: parent: id of the grouped round, in one of its groups; else empty.

    Raises:
        ConfigError: a step treats all values alike, and arrays of the schema have ranges of their own.
    """
    if any(spec.range is not None for spec in schema.arrays):
        _check_ranges(pipeline)
    shared_seed = b"" if pipeline.per_group else parent
    return Steps(schema, pipeline.clips, pipeline.rate, pipeline.rotate, pipeline.feedback, shared_seed)


def _check_ranges(pipeline: Pipeline) -> None:
    """Arrays with ranges of their own stand for different things: no step may mix them."""
    mixing = [
        (pipeline.noise is not None, "noise"),
        (pipeline.rotate, "rotate"),
        (pipeline.rate < 1, "sample"),
        (any(clip.l2 < inf and not clip.per_array for clip in pipeline.clips), "clip(l2=…)"),
    ]
    if found := next((step for mixes, step in mixing if mixes), None):
        raise ConfigError(
            f"{found} treats all values alike, and arrays of this schema have ranges of their own; "
            f"leave {found} out, or give no array a range"
        )
