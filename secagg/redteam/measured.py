"""Measurements beside attacks on views: what noise, many rounds and releases do, the DP audit, detection's rates."""

from dataclasses import dataclass, fields

Interval = tuple[float, float]
"""95 %."""


@dataclass(frozen=True, slots=True)
class NoisePoint:
    """One attack on sums with distributed noise.

    Attributes:
        line: attack and cohort, for people.
        z: noise multiplier: deviation of the sum's noise over the clip.
        exact: mean share of the cohort's records that came back with 30 dB or more.
        real: whether the product's own pipeline made the noise; it refuses z below 2^-10, where floats stand in.
    """

    line: str
    z: float
    trials: int
    identified: float
    interval: Interval
    chance: float
    exact: float
    real: bool


@dataclass(frozen=True, slots=True)
class RoundsPoint:
    """An adversary with the sums of many rounds of the same people.

    Attributes:
        line: how cohorts and model change, for people.
        rounds: T.
        determined: share of people whose update is a combination of the sums, if updates stayed the same.
    """

    line: str
    rounds: int
    determined: float
    trials: int
    identified: float
    interval: Interval
    chance: float


@dataclass(frozen=True, slots=True)
class Exposure:
    """One attack on released means.

    Attributes:
        attack: by name.
        target: data and model.
        participants: of the mean.
        noise: z of distributed noise; 0 for none.
    """

    attack: str
    target: str
    participants: int
    noise: float
    trials: int
    identified: float
    interval: Interval
    chance: float


@dataclass(frozen=True, slots=True)
class AuditedClaim:
    """A claim of ε, audited with canaries.

    Attributes:
        title: what was audited.
        bound: ε is at least this, with 95 %.
        true: whether the claim is; a false one must be disproved.
    """

    title: str
    claim: float
    bound: float
    trials: int
    true: bool

    @property
    def as_claimed(self) -> bool:
        """Whether exactly a false claim was disproved."""
        return (self.bound <= self.claim) is self.true


@dataclass(frozen=True, slots=True)
class Detected:
    """How often a check of models spoke.

    Attributes:
        check: `inspection` or `fidelity`.
        models: what it was shown.
        malicious: whether it should speak.
    """

    check: str
    models: str
    malicious: bool
    spoke: int
    shown: int
    interval: Interval


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything of this module that was measured."""

    noise: tuple[NoisePoint, ...] = ()
    rounds: tuple[RoundsPoint, ...] = ()
    exposures: tuple[Exposure, ...] = ()
    claims: tuple[AuditedClaim, ...] = ()
    detected: tuple[Detected, ...] = ()

    def __add__(self, other: "Measured") -> "Measured":
        """Both, one after the other."""
        return Measured(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))
