"""Rounds that go through the same exchanges: one of updates, and one of the metrics beside it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from secagg.config import RoundConfig
from secagg.errors import AbortReason
from secagg.messages import INPUT_PHASES
from secagg_client.carried.coordinator import CarriedRound, Peer
from secagg_client.carried.groups import CarriedGroups
from secagg_client.carried.steps import Step

Carried = CarriedRound | CarriedGroups


@dataclass(slots=True)
class Bundle:
    """Rounds of one cohort that answer one question of the strategy.

    Attributes:
        rounds: by purpose.
        peers: who is asked to take part.
    """

    rounds: Mapping[str, Carried]
    peers: frozenset[Peer]
    _sent: list[Carried] = field(default_factory=list, init=False)  # in the exchange under way

    @property
    def over(self) -> bool:
        """Whether all of them have ended."""
        return not self._running

    @property
    def asks_for_input(self) -> bool:
        """Whether what comes next is the participants' input, in all rounds that go on."""
        return bool(self._running) and all(self._at_input(one) for one in self._running)

    @property
    def configs(self) -> list[RoundConfig]:
        """Of its rounds."""
        return [one.config for one in self.rounds.values()]

    @property
    def joined(self) -> frozenset[Peer]:
        """Who is still in all of them."""
        return self.peers - self.dropped().keys()

    def name_model(self, digest: bytes) -> None:
        """Say which model the rounds are about that leave it for later; once for each bundle."""
        for one in self._running:
            if one.config.model_later:
                one.name_model(digest)

    def steps(self, *, with_input: bool) -> list[dict[Peer, Step]]:
        """What to send to whom in the next exchange.

        Args:
            with_input: whether it asks for input; else rounds that come to that wait.
        """
        self._sent = [one for one in self._running if with_input or not self._at_input(one)]
        return [one.steps() for one in self._sent]

    def take(self, peer: Peer, steps: Iterable[Step]) -> None:
        """What a peer answered. Steps of other rounds are not ours."""
        own = {round_id: one for one in self._sent for round_id in one.round_ids}
        for step in steps:
            if step.round_id in own:
                own[step.round_id].take(peer, step)

    def lost(self, peer: Peer, reason: str) -> None:
        """A peer is gone from all rounds of this exchange."""
        for one in self._sent:
            one.lost(peer, reason)

    def keep_only(self, peers: frozenset[Peer]) -> None:
        """Go on without those that are not asked this time."""
        for one in self._running:
            for peer in sorted(self.peers - peers):
                one.lost(peer, "the strategy did not ask it this time")

    def close(self) -> None:
        """The exchange is over."""
        for one in self._sent:
            one.close()
        self._sent = []

    def give_up(self, reason: str) -> None:
        """End all rounds that run: nobody will be asked any more."""
        for one in self._running:
            one.abort(AbortReason.CANCELLED, reason)

    def endings(self) -> list[dict[Peer, Step]]:
        """What to tell of the rounds that are over, in a later exchange."""
        return [one.endings() for one in self.rounds.values()]

    def dropped(self) -> dict[Peer, str]:
        """Who is out of one of the rounds, and why."""
        return {peer: reason for one in self.rounds.values() for peer, reason in one.dropped.items()}

    @property
    def _running(self) -> Sequence[Carried]:
        return [one for one in self.rounds.values() if one.outcome is None]

    @staticmethod
    def _at_input(one: Carried) -> bool:
        return one.phase in INPUT_PHASES
