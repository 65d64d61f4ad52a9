"""What the server's caller chose for all rounds of a job, and the configuration of each round that follows from it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from secagg.config import METRICS, MIN_COHORT, TRAIN, UNNAMED_MODEL, Graph, RoundConfig, ThreatModel
from secagg.context import RoundId
from secagg.crypto.identity import TrustAnchors
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.integers import Integers
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import Schema
from secagg.errors import ConfigError
from secagg.lattice.parameters import Profile
from secagg.programs.ledgers.budgets import Charge
from secagg.robust.grouping import Groups
from secagg.scalars import as_number
from secagg_client.learning import clipping
from secagg_client.learning.metrics import Metrics

AUTO: Final = "auto"

GraphChoice = Literal["complete", "auto"]
"""Who shares masks with whom: everybody with everybody, or in large cohorts neighbours on a ring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of one job. `SecAgg` explains each of them.

    Attributes:
        clip: values of an update are clipped to plus and minus this; None until it is found.
        encoding: of the update, given by the caller; None for the fixed-point code that `clip` and `value_bits` make.
    """

    task: str
    max_weight: int
    clip: float | None
    value_bits: int
    encoding: FixedPoint | Pipeline | None
    metrics: Metrics
    threat_model: ThreatModel
    trust: TrustAnchors | None
    threshold: int
    max_colluding: int
    graph: GraphChoice
    groups: Groups | None
    homomorphic: Profile | None
    phase_s: float
    charge: Callable[[RoundId, RoundConfig], Charge | None] | None = None

    def __post_init__(self) -> None:
        if not as_number(self.phase_s, "phase_s") > 0:
            raise ConfigError(f"phase_s is a number of seconds above 0, not {self.phase_s}")
        if self.graph not in get_args(GraphChoice):
            raise ConfigError(f"graph is 'complete' or 'auto', not {self.graph!r:.80}")
        if self.noisy and self.metrics.ranges:
            raise ConfigError(
                "the sums of metrics are exact and carry no noise, so they would void what the noise protects: leave "
                "metrics out, and evaluate at the server (evaluate_fn) on data of its own"
            )

    @property
    def fewest(self) -> int:
        """Fewest nodes that a round may ask."""
        return max(MIN_COHORT, self.threshold) * (1 if self.groups is None else self.groups.count)

    @property
    def noisy(self) -> bool:
        """Whether updates carry noise."""
        return isinstance(self.encoding, Pipeline) and self.encoding.noise is not None

    @property
    def searches_clip(self) -> bool:
        """Whether the clip must be found first."""
        return self.encoding is None and self.clip is None

    def with_clip(self, clip: float) -> "Settings":
        """The same, once the clip is known."""
        return replace(self, clip=clip)

    def train_rounds(self, model: Schema, participants: int, digest: bytes, named: bytes | None) -> list[RoundConfig]:
        """The round of updates to a model, and that of the metrics beside it, if there are any.

        Args:
            model: the arrays that are averaged.
            participants: how many nodes are asked.
            digest: of the model.
            named: the digest again; None if the rounds leave it for later, as all but homomorphic ones can.
        """
        update = self._update_round(model, participants, digest if self.homomorphic else named)
        return [update, *([self.metrics_round(participants, named, METRICS)] if self.metrics.ranges else [])]

    def _update_round(self, schema: Schema, participants: int, digest: bytes | None) -> RoundConfig:
        encoding = self.encoding
        if encoding is None:
            if self.clip is None:
                raise ConfigError("the clip is not known yet")
            encoding = FixedPoint(self.clip, self.value_bits, self.max_weight)
        return RoundConfig(
            task=self.task,
            schema=schema,
            encoding=encoding,
            max_participants=participants if self.groups is None else -(-participants // self.groups.count),
            model_digest=UNNAMED_MODEL if digest is None else digest,
            model_later=digest is None,
            threshold=self.threshold,
            max_colluding=self.max_colluding,
            graph="auto" if self.graph == "auto" else Graph.COMPLETE,
            threat_model=ThreatModel.SEMI_HONEST if self.homomorphic else self.threat_model,
            purpose=TRAIN,
            groups=self.groups,
            homomorphic=self.homomorphic,
            release_to_coordinator=True if self.homomorphic else None,
        )

    def metrics_round(self, participants: int, digest: bytes | None, purpose: str) -> RoundConfig:
        """The round of metrics beside one of updates, or of an evaluation."""
        return self._exact(self.metrics.schema, self.metrics.encoding, participants, digest, purpose)

    def clip_round(self, participants: int, digest: bytes | None) -> RoundConfig:
        """The round that finds the clip."""
        return self._exact(clipping.SCHEMA, clipping.ENCODING, participants, digest, clipping.PURPOSE)

    def _exact(
        self, schema: Schema, encoding: Integers, participants: int, digest: bytes | None, purpose: str
    ) -> RoundConfig:
        """A round of exact sums: masked, and in one cohort even where updates are in groups."""
        alone = self.groups is None
        return RoundConfig(
            task=self.task,
            schema=schema,
            encoding=encoding,
            max_participants=participants,
            model_digest=UNNAMED_MODEL if digest is None else digest,
            model_later=digest is None,
            threshold=self.threshold if alone else 0,
            max_colluding=self.max_colluding if alone else -1,
            graph="auto" if self.graph == "auto" else Graph.COMPLETE,
            threat_model=self.threat_model,
            purpose=purpose,
        )
