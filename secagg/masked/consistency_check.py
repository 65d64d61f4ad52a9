"""Round 3, ConsistencyCheck (Bonawitz et al. 2017, figure 4, round 3): only where the coordinator may lie.

A coordinator that told one participant that v survived, and another one that v dropped, would collect both kinds of
shares of v and could unmask it.

Participant: checks the sets of survivors and dropped; records the sum as opened; signs the sets. With a semi-honest
coordinator the same checks are made, and shares are revealed at once (`secagg.masked.unmask`).

Coordinator: takes one signature of each survivor, which must cover the sets that it told. It answers everyone with all
signatures (U4).
"""

from dataclasses import dataclass

from secagg import roster as rosters
from secagg.masked.survivors import AwaitingSurvivors
from secagg.messages import ConsistencyCheck, Phase, SurvivorSet
from secagg.rounds.coordinator_phase import SignaturePhase
from secagg.rounds.session import Turn, Waiting


@dataclass(frozen=True, slots=True)
class AwaitingSurvivorsToSign(AwaitingSurvivors):
    """Our input is out; next comes who survived, for us to sign. Holds our neighbours' shares."""

    def receive(self, survivors: SurvivorSet, turn: Turn) -> tuple[Waiting, ConsistencyCheck]:
        """Sign the sets that we were shown."""
        self.check(survivors)
        membership = self.checked.membership
        message = rosters.survivors_to_sign(membership.round.input_context, self.checked.roster, survivors)
        return turn.after(self, self.checked, self.held, survivors), ConsistencyCheck(membership.sign(message))


class ConsistencyCheckPhase(SignaturePhase[ConsistencyCheck]):
    """Round 3 at the coordinator."""

    phase = Phase.CONSISTENCY_CHECK

    def to_sign(self, message: ConsistencyCheck) -> bytes:
        """The sets of survivors and dropped that the coordinator told everyone."""
        state = self.state
        return rosters.survivors_to_sign(state.round.input_context, state.members.roster, state.sets)
