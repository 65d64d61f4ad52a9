"""Counting what happens, for Prometheus. `metric_table` says what each metric counts."""

import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final, assert_never

from prometheus_client import CollectorRegistry, Counter

from secagg.context import RoundId
from secagg.events import (
    Accused,
    DropReason,
    Event,
    MasksRemoved,
    MessageAccepted,
    ParticipantDropped,
    PhaseStarted,
    RoundFailed,
    SumDelivered,
    SumReady,
    WrongShares,
)
from secagg.messages import Phase
from secagg_server.observability.exposition import OPENMETRICS, PLAIN, Exposition
from secagg_server.observability.facts import (
    CallEnded,
    CallOutcome,
    ConnectionClosed,
    Fact,
    GroupAnomaly,
    GroupsCombined,
    GroupsOpened,
    GroupsResumed,
    RoundBroken,
    RoundEvent,
    RoundLost,
    RoundName,
    RoundOpened,
    RoundResumed,
)
from secagg_server.observability.http import Answer
from secagg_server.observability.kept import KeptAnswers
from secagg_server.observability.metric_registry import FAILED, NO_REASON, SUM, Counted, register_state
from secagg_server.observability.metric_table import METRICS
from secagg_server.observability.state import State

FRESH_S: Final = 0.2
"""How long an answer is given again."""


@dataclass(slots=True)
class _UnderWay:
    """A round or a group that is not over, and since when. Times are in seconds since 1970."""

    opened_s: float
    phase: Phase | None = None
    phase_s: float = 0.0
    removed: int = 0  # mask values that are out of its sum, as far as that was told


def _resumed(opened_s: float, events: Sequence[tuple[float, Event]]) -> _UnderWay:
    """Where a round stands in which this happened before the restart."""
    round_ = _UnderWay(opened_s)
    for at, event in events:
        if isinstance(event, PhaseStarted) and event.phase is not round_.phase:
            round_.phase, round_.phase_s = event.phase, at
    return round_


_Counters = tuple[Counter, Counter, Mapping[CallOutcome, Counter]]
"""Of one kind of calls: bytes that came, bytes that went, and calls by how they ended."""


class Metrics:
    """Counts facts, and answers with what was counted and what is true now."""

    def __init__(
        self, state: State, clock: Callable[[], float] = time.monotonic, *, shown: Set[str] = METRICS.keys()
    ) -> None:
        """Args:
        state: of the coordinator, or of an ingress worker.
        clock: seconds, for how old an answer is.
        shown: names of the metrics.
        """
        self._registry = CollectorRegistry()
        self._of = Counted(self._registry, shown).of
        register_state(self._registry, state, shown)
        self._exposition = Exposition(self._registry)
        self._rounds: dict[RoundId, _UnderWay] = {}  # those with phases: groups, not what they are of
        self._in_groups: dict[RoundId, float] = {}  # when each round in groups was opened
        self._calls: dict[tuple[str, str], _Counters] = {}  # by plane and method
        self._begun: set[Phase] = set()
        self._kept = KeptAnswers(FRESH_S, clock)

    def __call__(self, fact: Fact) -> None:  # noqa: PLR0912, one for each kind
        """Count the fact."""
        match fact:
            case CallEnded():  # the usual ones first
                self._count_call(fact)
            case RoundEvent(name, at, event):
                self._count_event(name, at, event)
            case RoundOpened(name, at):
                self._rounds[name.round_id] = _UnderWay(at)
                self._of("secagg_open_rounds").set(len(self._rounds))
                if name.parent is None:
                    self._of("secagg_rounds_opened_total", name.scheme).inc()
            case GroupsOpened(name, at):
                self._in_groups[name.round_id] = at
                self._of("secagg_rounds_opened_total", name.scheme).inc()
            case RoundResumed(name, _, _, opened_s, events):
                self._rounds[name.round_id] = _resumed(opened_s, events)
                self._of("secagg_open_rounds").set(len(self._rounds))
                self._of("secagg_rounds_resumed_total").inc()
            case GroupsResumed(name, opened_s):
                self._in_groups[name.round_id] = opened_s
            case RoundLost():
                self._of("secagg_rounds_lost_total").inc()
            case GroupsCombined(name, at):
                self._end(name, at, SUM, NO_REASON)
            case GroupAnomaly():
                self._of("secagg_group_anomalies_total").inc()
            case RoundBroken():
                self._of("secagg_broken_total", "round").inc()
            case ConnectionClosed(cause):
                self._of("secagg_connections_closed_total", cause.name).inc()
            case _:
                assert_never(fact)

    # --- rounds -------------------------------------------------------------------------------------------------------

    def _count_event(self, name: RoundName, at: float, event: Event) -> None:
        match event:
            case MessageAccepted():
                return
            case PhaseStarted(phase, _, expected):
                self._begin_phase(name, at, phase, expected)
            case ParticipantDropped(phase, _, reason):
                self._of("secagg_dropouts_total", str(phase), reason.name).inc()
            case WrongShares():
                self._of("secagg_wrong_shares_total", "dealt" if event.dealt else "revealed").inc()
            case Accused(_, _, verdict):
                self._of("secagg_accusations_total", verdict.name).inc()
            case MasksRemoved(done):
                round_ = self._rounds[name.round_id]
                self._of("secagg_mask_values_removed_total").inc(done - round_.removed)
                round_.removed = done
            case SumReady(survivors) | SumDelivered(survivors):
                self._of("secagg_participants_survived_total").inc(len(survivors))
                self._end(name, at, SUM, NO_REASON)
            case RoundFailed(error):
                self._end(name, at, FAILED, error.reason.name)
            case _:
                assert_never(event)

    def _begin_phase(self, name: RoundName, at: float, phase: Phase, expected: int) -> None:
        round_ = self._rounds[name.round_id]
        if round_.phase is phase:
            return  # its deadline has moved
        if round_.phase is Phase.ADVERTISE_KEYS:
            self._of("secagg_participants_joined_total").inc(expected)
        self._end_phase(round_, at)
        round_.phase, round_.phase_s = phase, at
        if phase not in self._begun:
            self._begun.add(phase)
            for reason in DropReason:  # Prometheus sees no increase in what was not there before
                self._of("secagg_dropouts_total", str(phase), reason.name)

    def _end_phase(self, round_: _UnderWay, at: float) -> None:
        if round_.phase is not None:
            self._of("secagg_phase_duration_seconds", str(round_.phase)).observe(at - round_.phase_s)

    def _end(self, name: RoundName, at: float, outcome: str, reason: str) -> None:
        round_ = self._rounds.pop(name.round_id, None)
        if round_ is not None:
            self._end_phase(round_, at)
            self._of("secagg_open_rounds").set(len(self._rounds))
        if name.parent is not None:
            self._of("secagg_groups_total", outcome, reason).inc()
            return
        opened_s = self._in_groups.pop(name.round_id, None) if round_ is None else round_.opened_s
        self._of("secagg_rounds_total", name.scheme, outcome, reason).inc()
        if opened_s is None:
            return  # it was lost before this process began
        self._of("secagg_round_duration_seconds", outcome).observe(at - opened_s)
        self._of("secagg_last_round_timestamp_seconds", outcome).set(at)

    # --- calls --------------------------------------------------------------------------------------------------------

    def _count_call(self, call: CallEnded) -> None:
        counters = self._calls.get((call.plane, call.method))
        if counters is None:
            counters = self._calls[call.plane, call.method] = self._counters_of(call.plane, call.method)
        received, sent, ended = counters
        received.inc(call.bytes_in)
        sent.inc(call.bytes_out)
        ended[call.outcome].inc()
        if call.error is not None:
            self._of("secagg_refusals_total", call.plane, type(call.error).__name__).inc()
        if call.outcome is CallOutcome.BROKEN:
            self._of("secagg_broken_total", "call").inc()

    def _counters_of(self, *which: str) -> "_Counters":
        """Those of one kind of calls, of each end that a call can have: all are shown from its first call on."""
        ended = {outcome: self._of("secagg_calls_total", *which, outcome.name) for outcome in CallOutcome}
        return self._of("secagg_received_bytes_total", *which), self._of("secagg_sent_bytes_total", *which), ended

    # --- the answer ---------------------------------------------------------------------------------------------------

    def answer(self, accept: str) -> Answer:
        """All metrics: OpenMetrics for who accepts it, else the older format."""
        wanted = "application/openmetrics-text" in accept
        return self._kept.get(wanted, lambda: self._made(openmetrics=wanted))

    def _made(self, *, openmetrics: bool) -> Answer:
        return Answer(self._exposition.text(openmetrics=openmetrics), OPENMETRICS if openmetrics else PLAIN)
