"""A round in groups at a framework's server: a round for each group, and one result of their sums."""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf, isfinite
from typing import Final

from secagg.aggregates import Aggregate, GroupedAggregate, GroupSum, plan_of, too_few
from secagg.config import RoundConfig
from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.rng import Rng, SystemRng
from secagg.errors import AbortReason, ConfigError, RoundAborted, SecAggError
from secagg.events import Event
from secagg.masked.ranges import Workers, one_after_the_other
from secagg.messages import ParticipantId, Phase
from secagg.programs.ledgers.budgets import Charge
from secagg.robust.combining import Anomaly, anomalies
from secagg.rounds.releases import ReleaseMemory
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.grouping import GroupedRoundId
from secagg_client.carried.coordinator import CarriedRound, Clock, OpenedGroup, Peer
from secagg_client.carried.steps import Step

_DRAW_BYTES: Final = 8  # of randomness for one choice among at most ten million peers


class CarriedGroups:
    """A round in groups over a framework's channel. It is used as `CarriedRound` is. For one thread at a time.

    Attributes:
        round_id: of the whole, 16 bytes. Steps have the ids of the groups' rounds; see `round_ids`.
        config: configuration of the whole.
        groups: the rounds that its groups are, by number.
        outcome: how it ended; None while it runs.
        anomalies: groups whose mean is far longer than the others', once it ended with a result.
    """

    def __init__(
        self,
        config: RoundConfig,
        peers: Sequence[Peer],
        *,
        clock: Clock,
        rng: Rng | None = None,
        trust: TrustAnchors | None = None,
        charge: Callable[[RoundId, RoundConfig], Charge | None] | None = None,
        releases: ReleaseMemory | None = None,
        workers: Workers = one_after_the_other,
    ) -> None:
        """Deal the peers to the groups at random. Arguments and errors as of `CarriedRound`.

        Raises:
            ConfigError: a group would have fewer peers than the threshold, or more than it admits.
        """
        rng = rng or SystemRng()
        self.round_id = RoundId(rng.token(ROUND_ID_SIZE))
        self.config = config
        self.outcome: GroupedAggregate | RoundAborted | None = None
        self.anomalies: list[Anomaly] = []
        self._plan = plan_of(config)
        self._ids = GroupedRoundId(self.round_id, encode_config(config))
        if len(set(peers)) < len(peers):
            raise ConfigError("a peer stands twice; name each one once")
        dealt = _dealt(peers, self._plan.count, rng)
        _check_sizes(config, dealt)
        shared = charge(self.round_id, config) if charge else None
        made = partial(CarriedRound, clock=clock, rng=rng, trust=trust, releases=releases, workers=workers)
        self.groups: dict[int, CarriedRound] = {}
        taken: set[ParticipantId] = set()
        try:
            for number, some in dealt.items():
                config_bytes = self._ids.group_config(number)
                opened = OpenedGroup(self._ids.round_id(number), config_bytes, shared, taken)
                self.groups[number] = made(decode_config(config_bytes), some, group=opened)
        except SecAggError:
            if shared is not None:
                shared.withdraw()
            raise
        self._group_of = {peer: self.groups[number] for number, some in dealt.items() for peer in some}

    # --- what the framework's process asks ----------------------------------------------------------------------------

    @property
    def round_ids(self) -> tuple[RoundId, ...]:
        """The rounds whose steps this takes: those of its groups."""
        return tuple(group.round_id for group in self.groups.values())

    @property
    def phase(self) -> Phase | None:
        """The phase that a group is in, of those that are not over; None once the round is over."""
        phases = (group.phase for group in self.groups.values())
        return None if self.outcome is not None else next(filter(None, phases), None)

    @property
    def dropped(self) -> dict[Peer, str]:
        """Why a peer takes no further part, in words that may be printed."""
        return {peer: reason for group in self.groups.values() for peer, reason in group.dropped.items()}

    @property
    def events(self) -> list[Event]:
        """What happened in the groups, group after group."""
        return [event for group in self.groups.values() for event in group.events]

    @property
    def awaits_model(self) -> bool:
        """Whether every group that is not over goes on only once `name_model` is called."""
        waiting = [group for group in self.groups.values() if group.outcome is None]
        return bool(waiting) and all(group.awaits_model for group in waiting)

    def steps(self) -> dict[Peer, Step]:
        """What to send to whom now. Empty when the round is over, and while it `awaits_model`."""
        return {peer: step for group in self.groups.values() for peer, step in group.steps().items()}

    def endings(self) -> dict[Peer, Step]:
        """What to tell each peer of the end, in a later exchange; nobody answers it. Empty while the round runs."""
        if self.outcome is None:
            return {}
        failure = self.outcome if isinstance(self.outcome, RoundAborted) else None
        return {peer: step for group in self.groups.values() for peer, step in group.endings(failure).items()}

    # --- what the framework's process tells ---------------------------------------------------------------------------

    def name_model(self, model_digest: bytes) -> None:
        """Say which model the round is about, as `CarriedRound.name_model`, in every group."""
        for group in self.groups.values():
            group.name_model(model_digest)

    def take(self, peer: Peer, step: Step) -> None:
        """Take a peer's answer, as `CarriedRound.take`, in the peer's own group."""
        if peer in self._group_of:
            self._group_of[peer].take(peer, step)
            self._go_on()

    def lost(self, peer: Peer, reason: str) -> None:
        """The framework says that a peer is gone, or that it answered with an error."""
        if peer in self._group_of:
            self._group_of[peer].lost(peer, reason)
            self._go_on()

    def close(self) -> None:
        """The exchange is over: whoever was asked and has not answered is gone."""
        for group in self.groups.values():
            group.close()
        self._go_on()

    def abort(self, reason: AbortReason, message: str) -> None:
        """End the round without a result, unless it is over."""
        if self.outcome is None:
            self._stop(RoundAborted(reason, message))

    # --- the end ------------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if self.outcome is not None:
            return
        fallen = [number for number, group in self.groups.items() if isinstance(group.outcome, RoundAborted)]
        if len(self.groups) - len(fallen) < self._plan.fewest:
            self._stop(self._too_few(fallen))  # no sum of the others is worth telling
        elif all(group.outcome is not None for group in self.groups.values()):
            self._conclude()

    def _stop(self, failure: RoundAborted) -> None:
        for group in self.groups.values():
            group.abort(failure.reason, str(failure))
        self.outcome = failure

    def _conclude(self) -> None:
        """The sums of the groups that have one, each decoded once to see how long it is."""
        sums = {n: group.outcome for n, group in self.groups.items() if isinstance(group.outcome, Aggregate)}
        whole = GroupedAggregate(self._ids.parent, {n: GroupSum(sums[n], self.groups[n].context) for n in sorted(sums)})
        norms = {number: self._norm(number, one) for number, one in whole.groups.items()}
        lost = [number for number in self.groups if not isfinite(norms.get(number, inf))]
        if len(self.groups) - len(lost) < self._plan.fewest:
            self.outcome = self._too_few(lost)  # how long a sum is that is not released, nobody learns
            return
        self.anomalies = anomalies(norms)
        self.outcome = whole

    def _norm(self, number: int, one: GroupSum) -> float:
        return one.norm(self.groups[number].config)

    def _too_few(self, fallen: Sequence[int]) -> RoundAborted:
        return too_few(self._plan, {number: self.groups[number].outcome for number in fallen})


def _dealt(peers: Sequence[Peer], count: int, rng: Rng) -> dict[int, list[Peer]]:
    """The peers by number of the group, in random order, so many in each that no two groups differ by more than one."""
    left, drawn = list(peers), []
    while left:
        drawn.append(left.pop(int.from_bytes(rng.token(_DRAW_BYTES)) % len(left)))
    return {number: drawn[number - 1 :: count] for number in range(1, count + 1)}


def _check_sizes(config: RoundConfig, dealt: dict[int, list[Peer]]) -> None:
    sizes = sorted(map(len, dealt.values()))
    if not config.fewest_members <= sizes[0] <= sizes[-1] <= config.max_participants:
        raise ConfigError(
            f"{sum(sizes)} peers in {len(dealt)} groups are {sizes[0]} to {sizes[-1]} in a group; each group needs "
            f"{config.fewest_members} and admits {config.max_participants}: ask for fewer groups, or change how many a "
            "group needs"
        )
