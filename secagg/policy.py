"""What a participant demands, whatever the coordinator says."""

from dataclasses import dataclass

from secagg.config import MIN_COHORT, RoundConfig, Suite, ThreatModel
from secagg.errors import PolicyViolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A participant's own terms. A round below them is refused before any key leaves the machine.

    Attributes:
        min_cohort: fewest participants whose updates may be in a released sum.
        min_organisations: fewest distinct organisations in the cohort, as certificates name them (active threat model
            only).
        threat_models: allowed threat models.
        suites: allowed suites.
        tasks: tasks taken part in; None allows every task.
        require_distributed_noise: refuse rounds whose updates carry no noise of the participants' own.
    """

    min_cohort: int = MIN_COHORT
    min_organisations: int = 1
    threat_models: frozenset[ThreatModel] = frozenset({ThreatModel.ACTIVE})
    suites: frozenset[Suite] = frozenset(Suite)
    tasks: frozenset[str] | None = None
    require_distributed_noise: bool = False

    def check(self, config: RoundConfig) -> None:
        """Refuse a configuration below this policy.

        Raises:
            PolicyViolation: names the demand that is not met.
        """
        if self.tasks is not None and config.task not in self.tasks:
            self._refuse(f"task {config.task!r} is not among the allowed tasks")
        if config.threat_model not in self.threat_models:
            self._refuse(f"threat model {config.threat_model.name} is not allowed")
        if config.suite not in self.suites:
            self._refuse(f"suite {config.suite.name} is not allowed")
        # The threshold is the smallest cohort that can be released.
        if config.threshold < self.min_cohort:
            self._refuse(f"threshold {config.threshold} is below the minimum cohort {self.min_cohort}")
        if self.min_organisations > 1 and config.threat_model is not ThreatModel.ACTIVE:
            self._refuse("organisations are certified in the active threat model only")
        if self.require_distributed_noise:
            self._refuse("the round's updates carry no distributed noise")

    def check_organisations(self, organisations: set[str]) -> None:
        """Refuse a cohort of too few organisations.

        Raises:
            PolicyViolation: names both numbers.
        """
        if len(organisations) < self.min_organisations:
            self._refuse(f"{len(organisations)} organisations are below the minimum {self.min_organisations}")

    @staticmethod
    def _refuse(reason: str) -> None:
        raise PolicyViolation(f"refused by local policy: {reason}", culprit="coordinator")
