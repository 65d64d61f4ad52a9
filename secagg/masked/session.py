"""One participant through one round: the only holder of the current state."""

from enum import Enum

from secagg.aggregates import Aggregate
from secagg.encoding.vector import IntegerVector
from secagg.errors import ProtocolViolation
from secagg.masked import participant as states
from secagg.masked.participant import AwaitingProof, AwaitingRoster, AwaitingShares, AwaitingSurvivors
from secagg.masked.vector import MaskedVector
from secagg.messages import (
    ConsistencyCheck,
    ConsistencyProof,
    CoordinatorMessage,
    Roster,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
    Unmask,
)
from secagg.phases import Phase
from secagg.roster import COORDINATOR
from secagg.rounds.membership import Membership


class Ended(Enum):
    """States without secrets."""

    REVEALED = "shares for unmasking were revealed"
    ABORTED = "the participant aborted"


State = AwaitingRoster | AwaitingShares | AwaitingSurvivors | AwaitingProof | Ended
Reply = ShareKeys | MaskedVector | ConsistencyCheck | Unmask


class Participant:
    """Feeds the coordinator's messages to the current state.

    After any error the secrets are gone and nothing more ever leaves. Shares are revealed once: the state that could
    reveal them is given up *before* the reply is made, and states are never stored, so neither a second request nor a
    restart gets another answer.
    """

    def __init__(self, membership: Membership, vector: IntegerVector) -> None:
        """Args: vector: the encoded update; `membership.round.config.vector_len` coordinates.

        Raises:
            PolicyViolation: the round is below our policy.
        """
        self.membership = membership
        self.aggregate: Aggregate | None = None  # masked sums come from the coordinator
        self._vector = vector
        self._state: State
        self._state, self.advertisement = states.join(membership)

    @property
    def awaits(self) -> Phase | None:
        """The phase whose closing message comes next; None after the end."""
        match self._state:
            case AwaitingRoster():
                return Phase.ADVERTISE_KEYS
            case AwaitingShares():
                return Phase.SHARE_KEYS
            case AwaitingSurvivors():
                return Phase.MASKED_INPUT
            case AwaitingProof():
                return Phase.CONSISTENCY_CHECK
            case Ended():
                return None

    def abort(self) -> None:
        """Give up the round and its secrets."""
        self._state = Ended.ABORTED

    def receive(self, message: CoordinatorMessage, now: float) -> Reply:
        """Our reply to the coordinator's `message`.

        Args:
            message: closes the phase that `awaits` names.
            now: seconds since 1970, UTC; certificates are checked against it.

        Raises:
            RemoteError: the message is not allowed here; the round is over for us.
        """
        state, self._state = self._state, Ended.ABORTED
        return self._advance(state, message, now)

    def _advance(self, state: State, message: CoordinatorMessage, now: float) -> Reply:
        reply: Reply
        match state, message:
            case AwaitingRoster(), Roster():
                self._state, reply = state.on_roster(message, now)
            case AwaitingShares(), ShareDelivery():
                self._state, reply = state.on_delivery(message, self._vector)
            case AwaitingSurvivors(), SurvivorSet() if self.membership.active:
                self._state, reply = state.on_survivors_signed(message)
            case AwaitingSurvivors(), SurvivorSet():
                reply = state.on_survivors(message)
                self._state = Ended.REVEALED
            case AwaitingProof(), ConsistencyProof():
                reply = state.on_proof(message)
                self._state = Ended.REVEALED
            case Ended.REVEALED, _:
                self._state = Ended.REVEALED
                raise _violation("a second unmask request: shares are revealed once per round")
            case _:
                raise _violation(f"{type(message).__name__} was not expected now")
        return reply


def _violation(message: str) -> ProtocolViolation:
    return ProtocolViolation(message, culprit=COORDINATOR)
