"""What a participant checks of the survivors that it is shown, before it signs them or reveals anything.

The survivors close round 2. Where the coordinator may lie, they are signed next (`secagg.masked.consistency_check`);
with a semi-honest one, shares are revealed at once (`secagg.masked.unmask`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from secagg.errors import ProtocolViolation
from secagg.masked.shares import SharePair
from secagg.messages import Index, Phase, SurvivorSet
from secagg.roster import COORDINATOR
from secagg.rounds.checked_roster import CheckedRoster


@dataclass(frozen=True, slots=True)
class AwaitingSurvivors:
    """Our input is out; next comes who survived. Holds our neighbours' shares."""

    awaits: ClassVar = Phase.MASKED_INPUT
    takes: ClassVar = SurvivorSet
    checked: CheckedRoster
    held: Mapping[Index, SharePair]  # by owner; its keys are U2 within our closed neighbourhood

    def check(self, survivors: SurvivorSet) -> None:
        """Refuse sets that could unmask someone; else the sum counts as opened from here on.

        Raises:
            ProtocolViolation: sets overlap, do not make up U2, lack us, or are below the threshold.
            PolicyViolation: too few organisations among the survivors, or see `CheckedRoster.claim_sum`.
        """
        checked, threshold = self.checked, self.checked.membership.threshold
        alive, gone = set(survivors.survivors), set(survivors.dropped)
        if alive & gone:  # check: C21
            raise ProtocolViolation(
                f"{sorted(alive & gone)} are called both survivors and dropped", culprit=COORDINATOR
            )
        if not alive | gone <= set(range(1, len(checked.names) + 1)):  # check: C22-roster
            raise ProtocolViolation("survivors or dropped are not on the roster", culprit=COORDINATOR)
        if (alive | gone) & {checked.own_index, *checked.neighbours} != set(self.held):  # check: C22-shared, C107
            raise ProtocolViolation("survivors and dropped are not those who shared keys", culprit=COORDINATOR)
        if checked.own_index not in alive:  # check: C23
            raise ProtocolViolation("our own input is called dropped", culprit=COORDINATOR)
        if len(alive) < threshold:  # check: C24
            raise ProtocolViolation(f"{len(alive)} survivors are below threshold {threshold}", culprit=COORDINATOR)
        checked.check_organisations(alive)  # check: C25
        checked.claim_sum(alive)  # check: C86
