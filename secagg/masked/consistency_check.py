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
from secagg.errors import AbortReason, ProtocolViolation, RoundAborted
from secagg.events import Event
from secagg.masked.survivors import AwaitingSurvivors
from secagg.messages import (
    ConsistencyCheck,
    Index,
    ParticipantId,
    Phase,
    SurvivorSet,
)
from secagg.rounds.coordinator_phase import SignaturePhase
from secagg.rounds.session import Turn, Waiting


@dataclass(frozen=True, slots=True)
class AwaitingSurvivorsToSign(AwaitingSurvivors):
    """Our input is out; next comes who survived, for us to sign. Holds our neighbours' shares."""

    def receive(self, survivors: SurvivorSet, turn: Turn) -> tuple[Waiting, ConsistencyCheck]:
        """Sign the sets that we were shown."""
        self.check(survivors)
        checked, membership = self.checked, self.checked.membership
        message = rosters.survivors_to_sign(membership.round.input_context, checked.digest, survivors)
        signature = membership.sign(message) if checked.own_index in checked.graph.committee else b""
        return turn.after(self, checked, self.held, survivors), ConsistencyCheck(signature)


class ConsistencyCheckPhase(SignaturePhase[ConsistencyCheck]):
    """Round 3 at the coordinator."""

    phase = Phase.CONSISTENCY_CHECK

    def check(self, index: Index, message: ConsistencyCheck, name: ParticipantId) -> None:
        """A signature of everyone; or, where a committee signs, of its members, and nothing of others."""
        if index in self.state.graph.committee:
            SignaturePhase.check(self, index, message, name)
        elif message.signature:  # check: C110
            raise ProtocolViolation(f"{name} signed, and is not in the committee", culprit=name)

    def to_sign(self, message: ConsistencyCheck) -> bytes:
        """The sets of survivors and dropped that the coordinator told everyone."""
        state = self.state
        return rosters.survivors_to_sign(state.round.input_context, state.round.roster_digest, state.sets)

    def close(self, alive: set[Index]) -> list[Event]:
        """Nobody would reveal anything on fewer signatures than are needed, or for too few holders of shares.

        Raises:
            RoundAborted: BELOW_THRESHOLD.
        """
        self.state.check_shares(alive)
        signed, needed = len(alive & self.state.graph.committee), self.state.round.config.signatures_needed
        if signed < needed:  # check: C109-signatures
            raise RoundAborted(
                AbortReason.BELOW_THRESHOLD,
                f"{signed} members of the committee signed who survived, fewer than the {needed} that are needed",
            )
        return []
