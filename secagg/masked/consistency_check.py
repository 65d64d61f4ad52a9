"""Round 3, ConsistencyCheck (Bonawitz et al. 2017, figure 4, round 3): only where the coordinator may lie.

A coordinator that told one participant that v survived, and another one that v dropped, would collect both kinds of
shares of v and could unmask it.

Participant: checks the sets of survivors and dropped; records the sum as opened; signs the sets. With a semi-honest
coordinator the same checks are made, and shares are revealed at once (`secagg.masked.unmask`).

Coordinator: takes one signature of each survivor, which must cover the sets that it told. It answers everyone with all
signatures (U4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from secagg import roster as rosters
from secagg.errors import ProtocolViolation
from secagg.masked import unmask
from secagg.masked.graph import neighbourhoods
from secagg.masked.shares import SharePair
from secagg.masked.unmask import AwaitingProof
from secagg.messages import ConsistencyCheck, Index, Phase, SurvivorSet, Unmask
from secagg.roster import COORDINATOR
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import SignaturePhase


@dataclass(frozen=True, slots=True)
class AwaitingSurvivors:
    """Our input is out; next comes who survived. Holds our neighbours' shares."""

    awaits: ClassVar = Phase.MASKED_INPUT
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
        if not alive | gone <= set(checked.members):  # check: C22-roster
            raise ProtocolViolation("survivors or dropped are not on the roster", culprit=COORDINATOR)
        neighbours = neighbourhoods(checked.membership.round.config, checked.members).of(checked.own_index)
        if (alive | gone) & {checked.own_index, *neighbours} != set(self.held):  # check: C22-shared
            raise ProtocolViolation("survivors and dropped are not those who shared keys", culprit=COORDINATOR)
        if checked.own_index not in alive:  # check: C23
            raise ProtocolViolation("our own input is called dropped", culprit=COORDINATOR)
        if len(alive) < threshold:  # check: C24
            raise ProtocolViolation(f"{len(alive)} survivors are below threshold {threshold}", culprit=COORDINATOR)
        checked.check_organisations(alive)  # check: C25
        checked.claim_sum(alive)  # check: C86

    def on_survivors_signed(self, survivors: SurvivorSet) -> tuple[AwaitingProof, ConsistencyCheck]:
        """Round 3 against an active coordinator: sign the sets that we were shown."""
        self.check(survivors)
        membership = self.checked.membership
        message = rosters.survivors_to_sign(membership.round.context, self.checked.roster, survivors)
        return AwaitingProof(self.checked, self.held, survivors), ConsistencyCheck(membership.sign(message))

    def on_survivors(self, survivors: SurvivorSet) -> Unmask:
        """Round 4 with a semi-honest coordinator: reveal at once."""
        self.check(survivors)
        return unmask.reveal(self.held, survivors)


class ConsistencyCheckPhase(SignaturePhase[ConsistencyCheck]):
    """Round 3 at the coordinator."""

    phase = Phase.CONSISTENCY_CHECK

    def to_sign(self, message: ConsistencyCheck) -> bytes:
        """The sets of survivors and dropped that the coordinator told everyone."""
        state = self.state
        return rosters.survivors_to_sign(state.round.context, state.members.roster, state.sets)
