"""What a participant demands, whatever the coordinator says."""

from collections.abc import Set
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from secagg.config import MIN_COHORT, MIN_HONEST, RoundConfig, Suite, ThreatModel
from secagg.errors import ConfigError, PolicyViolation
from secagg.lattice.parameters import Custody
from secagg.messages import ParticipantId
from secagg.privacy.charges import cost_of, view_of
from secagg.privacy.finder import DEFAULT_DELTA, DEFAULT_EPSILON, check_budget
from secagg.scalars import settle

ROUNDING_SHARE: Final = 0.9
"""Of a demanded noise multiplier, what must be left in the sum once updates are rounded to the round's bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a participant demands of a round. A round that protects less is refused before any key leaves the machine.

    Attributes:
        min_cohort: fewest participants whose updates may be in a released sum.
        min_honest: fewest updates in a released sum, our own included, whose participants do not collude: t − n_C must
            be at least that. 2 or more: if all others colluded, the sum less theirs would be our update.
        min_colluding_share: share of the round's participants, 0 to 1, that may collude with the coordinator without
            exposing anyone; `RoundConfig.max_colluding` must grant it (rounded down; the share is taken as it is
            written in decimals, so 0.29 of 100 is 29). The default thresholds grant just under a third; a homomorphic
            round whose key is with the participants grants nothing.
        min_organisations: fewest distinct organisations in the cohort, as certificates name them (where keys are
            signed: not in semi-honest masked rounds).
        threat_models: allowed threat models. Homomorphic rounds are SEMI_HONEST.
        schemes: allowed schemes, as `RoundConfig.scheme` names them.
        custodies: allowed custodies of a homomorphic round's key.
        allow_experimental: whether to take part in rounds of custody `threshold`. Its key shares and partial
            decryptions are not proven correct, ciphertexts are malleable, and it has not been reviewed: a coordinator
            that departs from the protocol may learn more than the sum.
        suites: allowed suites.
        require_hybrid: refuse rounds whose suite is not hybrid. Whoever records such a round, and can break X25519 one
            day, opens what participants sent each other in it. Homomorphic rounds have no hybrid suite, so they are
            refused, too.
        tasks: allowed tasks; None allows every task.
        once_per_model: whether an update of one model goes into sums of one cohort only, and into no further sum once
            the coordinator has said that one came out; as far as the client remembers, and for each purpose. Without
            it, a sum is opened if it and those before it show nobody alone.
        require_distributed_noise: refuse rounds whose updates carry no noise of the participants' own; the
            coordinator's is none.
        min_noise_multiplier: smallest z of that noise. The configuration must name it, and nine tenths of it must
            really be in the sum, in the eyes of whoever sees least noise: few bits and many values make rounded updates
            longer than the clip, and a fellow participant knows its own noise (`secagg plan` prints what is left).
        max_epsilon: the most that one round may cost: ε at `delta`, for a whole participant, in the eyes of whoever
            sees least noise. None demands nothing. Rounds add up; the coordinator's ledger does that.
        delta: δ of `max_epsilon`, in (0, 1); below 1/n to mean something.
        require_complete_graph: refuse rounds in which participants stand on a ring and share secrets with their
            neighbours alone. There, a coordinator that can corrupt participants once it has seen the list of members
            needs far fewer of them (PROTOCOL, T16).
        allow_groups: whether to take part in rounds in groups. The coordinator then learns a sum per group; every
            demand here is of our own group.
    """

    min_cohort: int = MIN_COHORT
    min_honest: int = MIN_HONEST
    min_colluding_share: float = 0.3
    min_organisations: int = 1
    threat_models: frozenset[ThreatModel] = frozenset({ThreatModel.ACTIVE})
    schemes: frozenset[str] = frozenset({"masked", "ckks", "bfv"})
    custodies: frozenset[Custody] = frozenset(Custody)
    allow_experimental: bool = False
    suites: frozenset[Suite] = frozenset(Suite)
    require_hybrid: bool = False
    tasks: frozenset[str] | None = None
    once_per_model: bool = False
    require_distributed_noise: bool = False
    min_noise_multiplier: float = 0.0
    max_epsilon: float | None = None
    delta: float = DEFAULT_DELTA
    require_complete_graph: bool = False
    allow_groups: bool = True

    def __post_init__(self) -> None:
        settle(
            self,
            integers=("min_cohort", "min_organisations", "min_honest"),
            numbers=("min_colluding_share", "min_noise_multiplier", "delta")
            + (() if self.max_epsilon is None else ("max_epsilon",)),
        )
        check_budget(DEFAULT_EPSILON if self.max_epsilon is None else self.max_epsilon, self.delta)
        if not self.min_noise_multiplier >= 0:
            raise ConfigError(f"min_noise_multiplier must be 0 or more, not {self.min_noise_multiplier}")
        if not 0 <= self.min_colluding_share <= 1:
            raise ConfigError(f"min_colluding_share must be 0 to 1, not {self.min_colluding_share}")
        if self.min_honest < MIN_HONEST:
            raise ConfigError(f"min_honest must be {MIN_HONEST} or more, not {self.min_honest}")

    def check(self, config: RoundConfig) -> None:
        """Refuse a configuration below this policy.

        Raises:
            PolicyViolation: names the demand that is not met.
        """
        if self.tasks is not None and config.task not in self.tasks:  # check: task
            self._refuse(f"task {config.task!r} is not among the allowed tasks")
        if config.threat_model not in self.threat_models:  # check: threat-model
            self._refuse(f"threat model {config.threat_model.name} is not allowed")
        if config.suite not in self.suites:
            self._refuse(f"suite {config.suite.name} is not allowed")
        if self.require_hybrid and not config.suite.hybrid:  # check: hybrid-suite
            self._refuse(f"suite {config.suite.name} is not hybrid: it does not hold against a quantum computer")
        self._check_scheme(config)
        if config.ring is not None and self.require_complete_graph:  # check: complete-graph
            self._refuse(f"participants share secrets with {config.ring.degree} neighbours on a ring, not with all")
        # The threshold is the smallest cohort that can be released.
        if config.threshold < self.min_cohort:  # check: min-cohort
            self._refuse(f"threshold {config.threshold} is below the minimum cohort {self.min_cohort}")
        demanded = self._demanded_colluding(config.max_participants)
        if config.max_colluding < demanded:  # check: min-colluding-share
            self._refuse(
                f"the round stands {config.max_colluding} colluding participants, fewer than {demanded}"
                + ("; to trust all who hold its key, set min_colluding_share=0" if config.dealt else "")
            )
        if config.guaranteed_honest < self.min_honest:  # check: min-honest
            self._refuse(
                f"a sum may hold {config.guaranteed_honest} updates of participants that do not collude (threshold "
                f"less max_colluding), below {self.min_honest}"
            )
        if self.min_organisations > 1 and not config.signed:
            self._refuse("organisations are certified in the active threat model and in homomorphic rounds only")
        self._check_noise(config)
        if config.groups is not None and not self.allow_groups:
            self._refuse("the round is split into groups, whose sums are smaller")
        if config.groups is not None and not config.groups.number:
            self._refuse("the round is split into groups and is none of them")

    def _demanded_colluding(self, participants: int) -> int:
        """In exact numbers: 0.29 * 100 is 28.999… in floating point."""
        return int(Fraction(str(float(self.min_colluding_share))) * participants)

    def _check_noise(self, config: RoundConfig) -> None:
        noise, calibration = config.noise, config.code.calibration
        if noise is None or calibration is None or config.central_noise:
            if self.require_distributed_noise or self.min_noise_multiplier > 0 or self.max_epsilon is not None:
                sees = "; the coordinator sees the sum without any" if config.central_noise else ""
                self._refuse(f"the round's updates carry no distributed noise{sees}")
            return
        if not noise.z >= self.min_noise_multiplier:
            self._refuse(f"noise of z = {noise.z} is weaker than {self.min_noise_multiplier}")
        left, seen_by = calibration.multiplier(config.threshold - config.known_noises), view_of(config).value
        if not left >= ROUNDING_SHARE * self.min_noise_multiplier:
            self._refuse(
                f"of z = {noise.z}, {left:.4g} is left in the eyes of a {seen_by} once updates are rounded, less than "
                f"nine tenths of {self.min_noise_multiplier}; the round needs more bits or a larger z"
            )
        if self.max_epsilon is not None and not (cost := cost_of(config, self.delta)) <= self.max_epsilon:
            self._refuse(
                f"the round costs ε = {cost:.4g} at δ = {self.delta:g} in the eyes of a {seen_by}, "
                f"more than {self.max_epsilon:g}"
            )

    def _check_scheme(self, config: RoundConfig) -> None:
        if config.scheme not in self.schemes:  # check: scheme
            self._refuse(f"scheme {config.scheme} is not allowed")
        custody = config.homomorphic.custody if config.homomorphic else None
        if custody is not None and custody not in self.custodies:  # check: custody
            self._refuse(f"custody {custody.value} of the key is not allowed")
        if custody is Custody.THRESHOLD and not self.allow_experimental:  # check: experimental
            self._refuse("custody threshold is experimental; to take part all the same, set allow_experimental")

    def check_past(self, released: int) -> None:
        """Refuse a model again.

        Args:
            released: sums of the same model and purpose that hold an update of ours and came out, as we were told.

        Raises:
            PolicyViolation: there is one, and once is enough.
        """
        if self.once_per_model and released:
            self._refuse("an update of this model is in a released sum already")

    def check_cohorts(self, cohorts: Set[frozenset[ParticipantId]]) -> None:
        """Refuse a model again to other people.

        Args:
            cohorts: of all sums of the same model and purpose that hold an update of ours and may have been opened,
                the one that is asked for included.

        Raises:
            PolicyViolation: there are several, and one is enough.
        """
        if self.once_per_model and len(cohorts) > 1:
            self._refuse(
                "an update of this model may be in a sum of other participants already; the coordinator must ask "
                "exactly those again, or ask about another model"
            )

    def check_organisations(self, organisations: set[str]) -> None:
        """Refuse a cohort of too few organisations.

        Raises:
            PolicyViolation: names both numbers.
        """
        if len(organisations) < self.min_organisations:  # check: C14, C25, C54, C105
            self._refuse(f"{len(organisations)} organisations are below the minimum {self.min_organisations}")

    @staticmethod
    def _refuse(reason: str) -> None:
        raise PolicyViolation(f"refused by local policy: {reason}", culprit="coordinator")
