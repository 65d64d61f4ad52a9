"""Measurements beside attacks on views: what noise, many rounds and releases do, the DP audit, detection's rates."""

from dataclasses import dataclass, fields

Interval = tuple[float, float]
"""95 %."""


@dataclass(frozen=True, slots=True)
class Tried:
    """How often one attack named the victim.

    Attributes:
        attack: by name, and on which target.
        identified: id@1, with its 95 % interval (Clopper–Pearson) and the chance of a guess.
    """

    attack: str
    trials: int
    identified: float
    interval: Interval
    chance: float

    @property
    def told(self) -> str:
        """A sentence for the report: the share, its interval, and what a guess has."""
        low, high = self.interval
        return f"{self.identified:.0%} (95 %: {low:.0%} to {high:.0%}; a guess {self.chance:.1%})"

    @property
    def beyond_chance(self) -> bool:
        """Whether it named more victims than a guess would, with 97.5 % (one-sided)."""
        return self.interval[0] > self.chance


@dataclass(frozen=True, slots=True)
class Attacked:
    """Something that was attacked in several ways. Attributes: tried: every attack, at least one."""

    tried: tuple[Tried, ...]

    @property
    def strongest(self) -> Tried:
        """The attack that named the most; of several, the one that was tried most often."""
        return max(self.tried, key=lambda t: (t.identified, t.trials))

    @property
    def beyond_chance(self) -> bool:
        """Whether any of the attacks got beyond chance."""
        return any(t.beyond_chance for t in self.tried)


@dataclass(frozen=True, slots=True)
class NoisePoint:
    """One attack on sums with distributed noise.

    Attributes:
        line: attack and cohort, for people.
        z: noise multiplier: deviation of the sum's noise over the clip.
        found: how often the attack named the victim.
        exact: mean share of the cohort's records that came back with 30 dB or more.
        real: whether the product's own pipeline made the noise; it refuses z below 2^-10, where floats stand in.
    """

    line: str
    z: float
    found: Tried
    exact: float
    real: bool


@dataclass(frozen=True, slots=True)
class RoundsPoint(Attacked):
    """An adversary with the sums of many rounds of the same people.

    Attributes:
        line: how cohorts and model change, for people.
        rounds: T.
        determined: share of people whose update is a combination of the sums, if updates stayed the same.
    """

    line: str
    rounds: int
    determined: float


@dataclass(frozen=True, slots=True)
class Exposure(Attacked):
    """Attacks of one kind on released means.

    Attributes:
        attack: the kind, by its best-known attack.
        target: data and model.
        participants: of the mean.
        noise: z of distributed noise; 0 for none.
    """

    attack: str
    target: str
    participants: int
    noise: float


@dataclass(frozen=True, slots=True)
class AuditedClaim:
    """A claim of ε, audited with canaries.

    Attributes:
        title: what was audited.
        bound: ε is at least this, with 95 %, whatever the noise is.
        gaussian: the same if the noise is Gaussian, with 99.998 %: much nearer to the truth.
        true: whether the claim is; a false one must be disproved.
    """

    title: str
    claim: float
    bound: float
    gaussian: float
    trials: int
    true: bool

    @property
    def told(self) -> str:
        """A sentence for the report: what the audit found beside what was claimed."""
        return f"ε is at least {max(self.bound, self.gaussian):.2f}, claimed {self.claim:g}"

    @property
    def disproved(self) -> bool:
        """Whether what was found contradicts the claimed ε."""
        return max(self.bound, self.gaussian) > self.claim

    @property
    def as_claimed(self) -> bool:
        """Whether exactly a false claim was disproved."""
        return self.disproved is not self.true


@dataclass(frozen=True, slots=True)
class Power:
    """The smallest fault that a statistical check finds with 95 %.

    Attributes:
        check: whose statistic it is.
        fault: what would be wrong.
        smallest: how much of it, for people.
        found: how many of `controls` faults of that size the statistic noticed; 0 of 0 where it notices every one.
    """

    check: str
    fault: str
    smallest: str
    found: int
    controls: int

    @property
    def as_claimed(self) -> bool:
        """Whether the controls bear the figure out: with 95 % each, 13 of 20 or fewer come once in 30,000 runs."""
        return 20 * self.found > 13 * self.controls or not self.controls


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
    power: tuple[Power, ...] = ()
    detected: tuple[Detected, ...] = ()

    def __add__(self, other: "Measured") -> "Measured":
        """What two measurements found, the first one's rows first."""
        return Measured(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))
