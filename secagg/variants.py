"""The ways to sum that a task chooses from: a scheme and, where updates are encrypted, who holds the key."""

from dataclasses import dataclass, replace
from typing import Final, Self

from secagg.config import RoundConfig, ThreatModel, default_threshold
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import code_for
from secagg.errors import ConfigError
from secagg.lattice.parameters import Custody, Profile, Scheme, find_profile


@dataclass(frozen=True, slots=True)
class Variant:
    """One of them.

    Attributes:
        scheme: None for masked rounds.
        custody: None for masked rounds.
    """

    scheme: Scheme | None = None
    custody: Custody | None = None

    def __post_init__(self) -> None:
        if (self.scheme is None) != (self.custody is None):
            raise ConfigError("custody says who holds a homomorphic key: give it with ckks or bfv, and only there")

    @classmethod
    def named(cls, scheme: str, custody: str = Custody.PARTICIPANTS.value) -> Self:
        """The variant with these names on the command line. A masked round has no key, whatever `custody` says.

        Raises:
            ConfigError: threshold custody of a masked round.
        """
        if scheme != "masked":
            return cls(Scheme(scheme), Custody(custody))
        if Custody(custody) is Custody.THRESHOLD:
            raise ConfigError("a masked round has no key to hold: custody threshold belongs to ckks or bfv")
        return cls()

    @property
    def name(self) -> str:
        """`masked`, `ckks`, `bfv`, `ckks-threshold` or `bfv-threshold`."""
        if self.scheme is None:
            return "masked"
        return f"{self.scheme.value}-threshold" if self.experimental else self.scheme.value

    @property
    def title(self) -> str:
        """The name that reports and pages show."""
        if self.scheme is None:
            return "masked"
        if self.experimental:
            return f"{self.scheme.name}, key shared (experimental)"
        return f"{self.scheme.name}, key with participants"

    @property
    def experimental(self) -> bool:
        """Whether a participant must say that it takes part all the same (`Policy.allow_experimental`)."""
        return self.custody is Custody.THRESHOLD

    def threat_model(self, wanted: ThreatModel) -> ThreatModel:
        """`wanted`, where the scheme has it: homomorphic rounds stand against a semi-honest coordinator only."""
        return wanted if self.scheme is None else ThreatModel.SEMI_HONEST

    def default_threshold(self, participants: int, wanted: ThreatModel) -> int:
        """t where nobody names one: under a joint key that of the active threat model, for 2t > n + n_C must hold."""
        joint = self.custody is Custody.THRESHOLD
        return default_threshold(participants, ThreatModel.ACTIVE if joint else wanted)

    def encrypting(self, config: RoundConfig, *, give_sum: bool = False) -> RoundConfig:
        """A masked round's configuration with its updates encrypted in this way; itself for masked rounds.

        Args:
            config: of the masked round.
            give_sum: whether the FL server gets the sum where the participants could keep it.

        Raises:
            ConfigError: the scheme cannot sum values of that width, or does not go with the rest.
        """
        if self.scheme is None:
            return config
        colluding = 0 if self.custody is Custody.PARTICIPANTS else config.max_colluding
        cohort = Cohort(config.max_participants, config.threshold - colluding)
        code = code_for(config.encoding, config.schema, cohort, wraps=False)
        profile = self.profile(config.max_participants, code.value_bits)
        return replace(config, homomorphic=profile, max_colluding=colluding, release_to_coordinator=give_sum or None)

    def profile(self, participants: int, value_bits: int) -> Profile | None:
        """The encryption parameters of a round; None for a masked one.

        Raises:
            ConfigError: the scheme cannot sum that many values of that width.
        """
        if self.scheme is None or self.custody is None:
            return None
        return find_profile(self.scheme, self.custody, participants, value_bits)


MASKED: Final = Variant()
WITH_PARTICIPANTS: Final = tuple(Variant(scheme, Custody.PARTICIPANTS) for scheme in Scheme)
EXPERIMENTAL: Final = tuple(Variant(scheme, Custody.THRESHOLD) for scheme in Scheme)
EVERY_VARIANT: Final = (MASKED, *WITH_PARTICIPANTS, *EXPERIMENTAL)
