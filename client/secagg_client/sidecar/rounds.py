"""A round at the coordinator, seen from a framework's server."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from threading import Event, Lock, Thread

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import MAX_GRINDING_S, Deadlines, RoundConfig, ThreatModel
from secagg.errors import AbortReason, RoundAborted, SecAggError
from secagg_client.sync.control import ControlClient

Peer = str
"""A participant's address in the framework, such as the id of a Flower node or the name of a FLARE site."""


class SidecarRound:
    """A round that was opened for the framework's clients, who first train and then join it.

    Nobody is waited for whom the framework has given up: say so with `lost`. Safe to use from several threads.

    Attributes:
        config: the configuration as it was opened.
        round_id: id of the round, 16 bytes.
        dropped: why peers are gone, as far as the framework knows.
    """

    def __init__(
        self,
        control: ControlClient,
        config: RoundConfig,
        names: Mapping[Peer, str],
        *,
        patience_s: float,
        when_over: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the round and say who is expected.

        Args:
            control: the connection to the coordinator.
            config: describes the round. Its time limits for joining are replaced, because clients train first.
            names: the participant id of each peer.
            patience_s: how long clients may train.
            when_over: called once from another thread when the round is over.

        Raises:
            BudgetExceeded: its noise is too weak for what is left of the task's privacy budget.
            ConfigError: the coordinator refuses the configuration, or these are too few or too many participants.
            LedgerError: the task's privacy ledger is damaged, or cannot be written.
            TransportError: the coordinator cannot be reached.
        """
        on_ring = config.ring is not None and config.threat_model is ThreatModel.ACTIVE
        self.config = replace(config, deadlines=joining_within(config.deadlines, patience_s, on_ring=on_ring))
        self.dropped: dict[Peer, str] = {}
        self._control = control
        self._names = dict(names)
        self._outcome: Aggregate | GroupedAggregate | SecAggError | None = None
        self._over = Event()
        self._when_over = when_over
        self._lock = Lock()
        self.round_id = control.open_round(self.config)
        try:
            control.expect(self.round_id, self._names.values())
        except SecAggError:
            self.abort("the framework's server could not say who is expected")
            raise
        self._watcher = Thread(target=self._watch, name=f"secagg-round-{self.round_id.hex()[:8]}", daemon=True)
        self._watcher.start()

    @property
    def over(self) -> bool:
        """Whether the round has ended."""
        return self._over.is_set()

    def lost(self, peer: Peer, reason: str) -> None:
        """The framework says that a peer is gone, or its reply is an error: nobody waits for it any more."""
        with self._lock:
            if peer in self.dropped or peer not in self._names:
                return
            self.dropped[peer] = reason
        with suppress(SecAggError):  # the round may be over already; and if the coordinator is gone, `result` says so
            self._control.exclude(self.round_id, [self._names[peer]])

    def abort(self, reason: str) -> None:
        """End the round without a sum, unless it is over."""
        with suppress(SecAggError):
            self._control.abort(self.round_id, reason)

    def result(self, timeout_s: float | None = None) -> Aggregate | GroupedAggregate:
        """Wait for the end of the round, and give its sum.

        Args:
            timeout_s: longest time; then the round is ended without a sum. No limit if None.

        Raises:
            RoundAborted: there is none; or the time is over.
            TransportError: the coordinator cannot be reached any more.
            UnknownRoundError: the coordinator has forgotten the round, because it was started anew.
        """
        if not self._over.wait(timeout_s):
            self.abort("the framework's server waited too long for its clients")
            raise RoundAborted(AbortReason.CANCELLED, "the clients did not come in the time allowed")
        match self._outcome:
            case Aggregate() | GroupedAggregate() as sums:
                return sums
            case SecAggError() as error:
                raise error
            case None:
                raise AssertionError("over without an outcome")

    def _watch(self) -> None:
        try:
            if self.config.groups is None:
                self._outcome = self._control.result(self.round_id)
            else:
                self._outcome = self._control.result_groups(self.round_id)
        except SecAggError as error:
            self._outcome = error
        finally:
            self._over.set()
            self._when_over()


def joining_within(deadlines: Deadlines, patience_s: float, *, on_ring: bool) -> Deadlines:
    """The same time limits, but as long for joining as clients may train. The phase of joining ends before, when all
    have come who are expected and not gone.

    Args:
        deadlines: of the round.
        patience_s: how long clients may train.
        on_ring: the round has a ring, and its coordinator may lie: once the first client has come, keys are collected
            for ten minutes at most.
    """
    most = min(max(patience_s, 0.001), 604_800.0)
    keys = max(deadlines.advertise_keys_s, most)
    return replace(deadlines, advertise_keys_s=min(keys, MAX_GRINDING_S) if on_ring else keys, join_s=most)
