"""The ways to sum that the red team plays against, each in a configuration that the product itself accepts."""

from dataclasses import dataclass
from typing import Final

from secagg.config import MIN_HONEST, Graph, RoundConfig, ThreatModel, default_max_colluding
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import code_for
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import Schema
from secagg.errors import ConfigError, MissingExtraError
from secagg.lattice import tenseal_backend
from secagg.lattice.parameters import Custody
from secagg.sparse.ring import Ring
from secagg.variants import EVERY_VARIANT, MASKED, Variant

TASK: Final = "red team"


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to sum.

    Attributes:
        name: for the command line and reports.
        variant: scheme and custody.
        threat_model: what the coordinator may do.
    """

    name: str
    variant: Variant
    threat_model: ThreatModel

    @property
    def title(self) -> str:
        """What the report calls it."""
        if self.variant.scheme is not None:
            return self.variant.title
        active = self.threat_model is ThreatModel.ACTIVE
        return "masked, active coordinator" if active else "masked, semi-honest coordinator"

    @property
    def encrypted(self) -> bool:
        """Whether its rounds are homomorphic, which needs TenSEAL."""
        return self.variant.scheme is not None

    def config(
        self,
        schema: Schema,
        participants: int,
        *,
        encoding: FixedPoint | Pipeline | None = None,
        threshold: int = 0,
        max_colluding: int = -1,
        model_digest: bytes = bytes(32),
        graph: Graph | Ring = Graph.COMPLETE,
    ) -> RoundConfig:
        """A round of this mode.

        Raises:
            ConfigError: the product refuses it.
        """
        code = encoding or FixedPoint(1.0, 16)
        limit = threshold or self.variant.default_threshold(participants, self.threat_model)
        colluding = min(default_max_colluding(participants), limit - MIN_HONEST) if max_colluding < 0 else max_colluding
        if self.variant.custody is Custody.PARTICIPANTS:
            colluding = 0
        return RoundConfig(
            task=TASK,
            schema=schema,
            encoding=code,
            max_participants=participants,
            threshold=limit,
            max_colluding=colluding,
            threat_model=self.threat_model,
            model_digest=model_digest,
            graph=graph,
            release_to_coordinator=True,
            homomorphic=self.variant.profile(participants, _value_bits(code, schema, participants, limit - colluding)),
        )


def _value_bits(encoding: FixedPoint | Pipeline, schema: Schema, participants: int, honest: int) -> int:
    """Bits of an encoded value where sums do not wrap."""
    return code_for(encoding, schema, Cohort(participants, honest), wraps=False).value_bits


MASKED_SEMI_HONEST: Final = Mode("masked-semi-honest", MASKED, ThreatModel.SEMI_HONEST)
MASKED_ACTIVE: Final = Mode("masked-active", MASKED, ThreatModel.ACTIVE)
ENCRYPTED: Final = tuple(
    Mode(variant.name, variant, ThreatModel.SEMI_HONEST) for variant in EVERY_VARIANT if variant.scheme is not None
)
EVERY_MODE: Final = (MASKED_SEMI_HONEST, MASKED_ACTIVE, *ENCRYPTED)


def mode_named(name: str) -> Mode:
    """The mode of a name.

    Raises:
        ConfigError: there is none.
    """
    for mode in EVERY_MODE:
        if mode.name == name:
            return mode
    raise ConfigError(f"no mode {name!r}; one of: {', '.join(mode.name for mode in EVERY_MODE)}")


def available(modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
    """The modes that can be played here, because their libraries are installed."""
    return tuple(mode for mode in modes if not mode.encrypted or homomorphic_available())


def homomorphic_available() -> bool:
    """Whether the extra `ckks` is installed."""
    try:
        tenseal_backend.preload()
    except MissingExtraError:
        return False
    return True
