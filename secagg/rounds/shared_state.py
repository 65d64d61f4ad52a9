"""What the coordinator's phases of one round know together: what one of them concludes, and later ones read."""

from dataclasses import dataclass, field

from secagg.context import Round
from secagg.errors import AbortReason, AuthenticationError, RoundAborted
from secagg.events import WrongShares
from secagg.messages import Index, ParticipantId, ShareKeys, SurvivorSet
from secagg.rounds.graph import Neighbourhoods, neighbourhoods
from secagg.rounds.members import Members


@dataclass(slots=True)
class SharedState:
    """What every scheme has; a scheme adds what its own phases conclude.

    Attributes:
        round: id, configuration and context.
        members: who is in the round, once ADVERTISE_KEYS is closed.
        shared: the accepted ShareKeys messages, by sender; its keys are U2 once SHARE_KEYS is closed.
        sets: who is in the sum, and who shared keys but is not, once inputs are closed.
        wrong_holders: who revealed another share than it was dealt, with the first such share.
    """

    round: Round
    members: Members
    shared: dict[Index, ShareKeys] = field(default_factory=dict)
    sets: SurvivorSet = field(default_factory=lambda: SurvivorSet((), ()))
    wrong_holders: dict[ParticipantId, WrongShares] = field(default_factory=dict)

    @property
    def graph(self) -> Neighbourhoods:
        """Who are neighbours, once ADVERTISE_KEYS is closed."""
        return neighbourhoods(self.round, len(self.members.at))

    @property
    def survivors(self) -> tuple[ParticipantId, ...]:
        """The names of those whose updates are in the sum."""
        return tuple(self.members.name(i) for i in self.sets.survivors)

    def check_shares(self, alive: set[Index]) -> None:
        """Give the round up once `alive` hold too few shares of somebody's secret: the sum cannot be unmasked any more.

        Raises:
            RoundAborted: BELOW_THRESHOLD; the error says how many members' secrets that are.
        """
        config, graph = self.round.config, self.graph
        if config.ring is None:
            return  # all hold shares of all, and are enough
        held = {owner: sum(i in alive for i in (owner, *graph.of(owner))) for owner in self.shared}
        lacking = {owner: count for owner, count in held.items() if count < config.share_threshold}
        if lacking:  # check: C109-shares
            owner, count = min(lacking.items(), key=lambda item: item[1])
            raise RoundAborted(
                AbortReason.BELOW_THRESHOLD,
                f"too few hold shares of the secrets of {len(lacking)} participants: {count} of {graph.degree + 1} do "
                f"for {self.members.name(owner)}, and {config.share_threshold} are needed. More neighbours on the ring "
                "dropped out than it was made for",
            )

    def refuse_wrong_share(self, owner: ParticipantId, holder: ParticipantId) -> AuthenticationError:
        """The error for a holder that revealed another share than the owner dealt to it.

        The holder is remembered: it may still send the right share, and is named if the round fails.
        """
        self.wrong_holders.setdefault(holder, WrongShares(holder, ((owner, holder),)))
        return AuthenticationError(f"{holder} revealed another share than {owner} dealt to it", culprit=holder)
