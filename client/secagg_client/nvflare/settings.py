"""What a job says about its rounds. The job's files carry it to the server and to the sites as plain JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from secagg.config import MAX_GRINDING_S, METRICS, MIN_COHORT, Deadlines, Graph, RoundConfig, ThreatModel
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.integers import Integers
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import Schema
from secagg.errors import ConfigError
from secagg.scalars import settle
from secagg_client.learning import clipping
from secagg_client.learning.metrics import Metrics
from secagg_client.nvflare.models import Arrays

FLARE: Final = "nvflare"
SIDECAR: Final = "sidecar"
Transport = Literal["nvflare", "sidecar"]

MAX_PHASE_S: Final = 604_800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The arguments of `secure`, which explains them."""

    task: str
    clip: float | None
    max_weight: int = 1
    value_bits: int = 16
    pipeline: str = ""
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    active: bool = False
    threshold: int = 0
    max_colluding: int = -1
    graph: str = "complete"
    phase_s: float = 60.0
    start_s: float = 120.0
    transport: Transport = FLARE
    control: str = ""
    coordinator: str = ""

    def __post_init__(self) -> None:
        numbers = ("phase_s", "start_s") if self.clip is None else ("phase_s", "start_s", "clip")
        settle(self, integers=("max_weight", "value_bits", "threshold", "max_colluding"), numbers=numbers)
        for name in ("phase_s", "start_s"):
            if not 0.1 <= getattr(self, name) <= MAX_PHASE_S:
                raise ConfigError(f"{name} must be 0.1 to {MAX_PHASE_S:.0f} seconds, not {getattr(self, name)}")
        if self.pipeline and (self.clip is not None or self.max_weight != 1):
            raise ConfigError("a pipeline has a clip and weights of its own; leave clip and max_weight out")
        if self.graph not in {"complete", "auto"}:
            raise ConfigError(f"graph is 'complete' or 'auto', not {self.graph!r:.80}")
        if self.transport not in {FLARE, SIDECAR}:
            raise ConfigError(f"transport is {FLARE!r} or {SIDECAR!r}, not {self.transport!r}")
        if [self.transport == SIDECAR] * 2 != [bool(self.control), bool(self.coordinator)]:
            raise ConfigError("transport 'sidecar' needs control and coordinator, its two addresses; no other has them")
        if self.transport == FLARE and self.noisy:
            raise ConfigError(
                "noise needs the privacy ledger of a coordinator; use transport='sidecar', whose coordinator keeps one"
            )
        if self.transport == SIDECAR and not self.active:
            raise ConfigError("rounds of a sidecar are in the active threat model; set threat_model=ThreatModel.ACTIVE")
        self.encoding(1.0)
        Metrics(self.metrics, self.max_weight)

    @property
    def noisy(self) -> bool:
        """Whether sums carry noise."""
        return bool(self.pipeline) and Pipeline.parse(self.pipeline).noise is not None

    @property
    def finds_clip(self) -> bool:
        """Whether the job finds its clip before the first round."""
        return self.clip is None and not self.pipeline

    @property
    def fewest(self) -> int:
        """Fewest sites that a sum may have, for any number of sites in the round."""
        return max(MIN_COHORT, self.threshold)

    @property
    def weights(self) -> int:
        """Largest weight of a site."""
        return Pipeline.parse(self.pipeline).max_weight if self.pipeline else self.max_weight

    def encoding(self, found_clip: float | None) -> FixedPoint | Pipeline:
        """How updates become integers.

        Args:
            found_clip: the clip where the job has none of its own.
        """
        if self.pipeline:
            return Pipeline.parse(self.pipeline)
        clip = self.clip if self.clip is not None else found_clip
        if clip is None:
            raise ConfigError("there is no clip yet")
        return FixedPoint(clip, self.value_bits, self.max_weight)

    def update_config(self, sites: int, model: Arrays, model_digest: bytes, found_clip: float | None) -> RoundConfig:
        """The round that adds up updates of `model` over so many sites."""
        return self._config(sites, Schema.of(model), self.encoding(found_clip), model_digest, "train")

    def metrics_config(self, sites: int, model_digest: bytes) -> RoundConfig | None:
        """The round that adds up the metrics that come with the updates; None where the job names none."""
        if not self.metrics:
            return None
        metrics = Metrics(self.metrics, self.weights)
        return self._config(sites, metrics.schema, metrics.encoding, model_digest, METRICS)

    def clip_config(self, sites: int, model_digest: bytes) -> RoundConfig:
        """The round that finds a clip."""
        return self._config(sites, clipping.SCHEMA, clipping.ENCODING, model_digest, clipping.PURPOSE)

    def _config(
        self, sites: int, schema: Schema, encoding: FixedPoint | Pipeline | Integers, model_digest: bytes, purpose: str
    ) -> RoundConfig:
        return RoundConfig(
            task=self.task,
            schema=schema,
            encoding=encoding,
            max_participants=sites,
            threshold=self.threshold,
            max_colluding=self.max_colluding,
            graph="auto" if self.graph == "auto" else Graph.COMPLETE,
            model_digest=model_digest,
            threat_model=ThreatModel.ACTIVE if self.active else ThreatModel.SEMI_HONEST,
            deadlines=Deadlines(
                join_s=MAX_PHASE_S,
                # on a ring keys may not be collected for longer
                advertise_keys_s=MAX_GRINDING_S if self.graph == "auto" and self.active else MAX_PHASE_S,
            ),
            release_to_participants=False,
            purpose=purpose,
        )

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads: numbers, texts, lists and mappings."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"metrics": {name: list(bounds) for name, bounds in self.metrics.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Settings":
        """The settings that `as_json` wrote.

        Raises:
            ConfigError: they are from another version, or no settings.
        """
        try:
            metrics = {name: (low, high) for name, (low, high) in value["metrics"].items()}
            return cls(**{**value, "metrics": metrics})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ConfigError(f"the job's secagg settings cannot be read; export it again: {error}") from error
